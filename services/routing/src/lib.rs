//! Routing: reads each partition of the journal in order and sends every entry to the edges that asked for its topic.
//!
//! Owns nothing durable. What it remembers (which edge wants which topic, which uids were seen lately) is rebuilt from
//! the journal and from the edges' attach requests, so that an owner may be killed at any time.
//!
//! Invariants:
//! - one owner per partition, fenced by the epoch of its lease;
//! - after the answer to an attach with boundary B, every later entry of the filter is sent, in order, numbered;
//! - of several entries with one (org, sender, uid), the first in the log is routed and no other;
//! - every frame of an edge is settled to that edge: which of its entries were accepted, and why others were not.
//!
//! One flow: edge appends frame 7 → journal stores it as seq 42 → the owner reads it, drops a resend, sends the rest to
//! the edges of the thread, and tells the appending edge `settled 7: entry 3 is a duplicate of position …`.

mod config;
mod error;
mod memory;
mod metrics;
mod owner;
mod routes;
mod service;

pub use config::Config;
pub use error::Error;
pub use service::{Deps, Service};
