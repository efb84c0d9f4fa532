//! Routing over fakes of its seams, and together with the receiving side of edges.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a failing step fails the test")]

mod attach;
mod by_hand;
mod cut_off;
mod fakes;
mod judge;
mod known;
mod owner;
mod replicas;
mod slow;
