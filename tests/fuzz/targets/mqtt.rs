//! The first byte chooses version and role, the rest is what arrives.
#![no_main]

#[path = "../../../libs/mqtt-codec/tests/common/invariants.rs"]
#[allow(dead_code, reason = "shared with the codec's own tests")]
mod invariants;

libfuzzer_sys::fuzz_target!(|data: &[u8]| invariants::check_selected(data));
