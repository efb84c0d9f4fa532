//! Shared by the tests that make packets up.
#![allow(dead_code, reason = "every test file uses a part")]

pub mod arbitrary;
pub mod invariants;
