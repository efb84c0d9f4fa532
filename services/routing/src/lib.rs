//! Routing: owns the partitions of the log. The owner of a partition judges what edges submit, appends what it accepts, gives it
//! to every edge that asked for its topic, and answers.
//!
//! Owns nothing durable. What it remembers (which edge wants which topic, which uids were accepted) is rebuilt from the log and
//! from what edges say when they open a line, so that an owner may be killed at any time.
//!
//! Invariants:
//! - one owner appends to a partition: each append names the frame that it follows, and a new owner begins with one of its own;
//! - what the log has not confirmed is neither given out nor said to be stored;
//! - of several submissions with one (org, topic, uid) one is accepted; (edge, number) is in the log at most once, but
//!   for receipts, which only move forward;
//! - of several changes of a thread that were decided on the same version one is accepted, and what a member sends after the end of
//!   its membership is not;
//! - after the answer to an attach with boundary B, every later entry of the filter is given, in order;
//! - every submission is answered, or its line ends.
//!
//! One flow: an edge submits 7 and 8 → the owner finds that 8 is a resend → 7 is appended as frame 43, following 42 → the log
//! confirms → the edges of the thread get it, and the first is told `7 is stored at 43.0, 8 at 40.3`.

mod changes;
mod checkpoint;
mod config;
mod deps;
mod error;
mod inbox;
mod known;
mod lookup;
mod metrics;
mod owner;
mod pulse;
mod service;
mod tenure;

pub use config::Config;
pub use deps::Deps;
pub use error::Error;
pub use inbox::Owners;
pub use service::Service;
