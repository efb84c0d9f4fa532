//! Threads: what the log says of them, and what this service does in their lives.
//!
//! ```text
//!  a call, or the keeper ─► change: read, decide, append ─► the log ─► events ─► the store
//!       ▲                        (again when another was faster)                   │
//!       └── what is pending, waits, is idle, is due, is owed to be told ◄──────────┘
//! ```
//!
//! Nothing is decided by what the store has alone: a change is in force when the owner of the partition has accepted it. So it
//! does not matter how many replicas decide at once.

mod change;
mod desk;
mod events;
mod keeper;
mod notices;
mod open;
mod queue;
mod quota;
mod say;
mod wish;

pub(crate) use events::Threads;
pub(crate) use keeper::keep;
pub(crate) use quota::Quotas;

use jiff::tz::TimeZone;
use std::time::Duration;

/// At most this many threads are looked at at once.
const LIMIT: usize = 500;

/// The rules of conversations that this service keeps.
#[derive(Debug, Clone)]
pub struct ThreadRules {
    /// A thread in which nothing is said for so long is closed; zero: never.
    pub auto_close: Duration,
    /// An offer that is not answered for so long is declined.
    pub offer_timeout: Duration,
    /// The most threads that an agent is given at a time, over all desks.
    pub max_threads_per_agent: u32,
    /// New threads of one visitor a minute.
    pub new_threads_per_visitor: u32,
    /// New threads of one organisation a minute.
    pub new_threads_per_org: u32,
    /// What a visitor is told while it waits for an agent; `{position}` is its place in the queue, from 1.
    pub queue: String,
    /// The zone that `createdAt` is written in.
    pub zone: TimeZone,
}

impl Default for ThreadRules {
    /// Those of the configuration's defaults, in UTC.
    fn default() -> Self {
        Self {
            auto_close: Duration::from_secs(30 * 60),
            offer_timeout: Duration::from_secs(30),
            max_threads_per_agent: 100,
            new_threads_per_visitor: 20,
            new_threads_per_org: 3000,
            queue: "You are number {position} in the queue.".to_owned(),
            zone: TimeZone::UTC,
        }
    }
}
