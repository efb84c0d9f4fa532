//! Where the built binary is.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The folder of the profile under test, `target/<profile>`: where Cargo put the test executable's folder `deps`. It
/// follows `CARGO_TARGET_DIR` by itself.
///
/// # Panics
/// When the test executable is not where Cargo puts them.
pub fn target_dir() -> PathBuf {
    let exe = std::env::current_exe().expect("the operating system knows this executable");
    let deps = exe.parent().expect("an executable is in a folder");
    let profile = if deps.ends_with("deps") {
        deps.parent().expect("deps is in the profile's folder")
    } else {
        deps
    };
    profile.to_owned()
}

/// The binary under test: `LONGWIRE_BIN`, else the one beside the test executable.
///
/// # Panics
/// When it is not there; the message says how to build it.
pub fn binary() -> PathBuf {
    let path = std::env::var_os("LONGWIRE_BIN").map_or_else(|| target_dir().join("longwire"), PathBuf::from);
    assert!(
        path.is_file(),
        "there is no {}; build it with `cargo build -p longwire` (or use `make test`)",
        path.display()
    );
    path
}

/// The root of the checkout: that of the crate which cargo runs, as a build may be shared by several checkouts; without
/// cargo, that in which this was built.
///
/// # Panics
/// Never: every crate lies two folders below it.
pub fn workspace() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder =
            std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&folder).ancestors().nth(2);
        root.expect("crates are two folders deep").to_owned()
    });
    &ROOT
}
