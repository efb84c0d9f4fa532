//! The life of conversations as its sides see it: handed over, shared, left, closed, opened again, waiting. Whatever can be done
//! over several protocols is done over each.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failing step fails the test; these are tests only"
)]

mod close;
mod handing_over;
mod sharing;
mod team;
mod waiting;
