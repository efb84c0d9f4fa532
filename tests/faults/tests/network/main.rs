//! The network, and time.
#![allow(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a failing step fails the test, and what a test saw belongs on its output"
)]

mod clients;
mod clocks;
mod edges;
