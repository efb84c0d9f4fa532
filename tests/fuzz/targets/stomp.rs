//! The first byte chooses version and role, the rest is what arrives: at once, and byte by byte.
#![no_main]

#[path = "../../../libs/stomp-codec/tests/support/mod.rs"]
#[allow(dead_code, reason = "shared with the codec's own tests")]
mod support;

use stomp_codec::{Limits, Role};
use support::{VERSIONS, decoder, feed};

/// Small, so that the limits are met.
const LIMITS: Limits = Limits {
    max_headers: 8,
    max_header_line: 64,
    max_header_bytes: 256,
    max_body: 128,
};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&choice, bytes)) = data.split_first() else {
        return;
    };
    let role = if choice & 1 == 0 {
        Role::Server
    } else {
        Role::Client
    };
    let version = VERSIONS[usize::from(choice >> 1) % VERSIONS.len()];
    let whole = feed(&mut decoder(role, version, LIMITS), [bytes]);
    let pieces = feed(&mut decoder(role, version, LIMITS), bytes.chunks(1));
    assert_eq!(whole, pieces);
});
