//! Clocks that jump.

use std::path::Path;
use std::time::Duration;

use faults::{Trial, plan, small};
use testkit::cluster::ROLES;

/// Makes a program of ours see another time; Debian's package is `libfaketime`.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// X29: the wall clocks of one replica of each role jump an hour ahead, back, and an hour behind. Order is that of the log,
/// waiting is by monotonic time, tokens go on being valid. Budget: no pause over 3 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x29_clocks_jump() {
    assert!(Path::new(LIBRARY).exists(), "install the package libfaketime");
    let clock = tempfile::NamedTempFile::new().unwrap();
    let jump = |by: &str| std::fs::write(clock.path(), format!("{by}\n")).unwrap();
    jump("+0");
    let path = clock.path().to_str().unwrap();
    let mut builder = small();
    for role in ROLES {
        for (name, value) in [
            ("LD_PRELOAD", LIBRARY),
            ("FAKETIME_TIMESTAMP_FILE", path),
            ("FAKETIME_CACHE_DURATION", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ] {
            builder = builder.env_of(role, 0, name, value);
        }
    }
    let mut trial = Trial::start(builder, plan()).await;
    for by in ["+1h", "+0", "-1h", "+0"] {
        jump(by);
        trial.go_on_for(Duration::from_secs(5)).await;
    }
    trial.verdict("X29", Duration::from_secs(3)).await;
}
