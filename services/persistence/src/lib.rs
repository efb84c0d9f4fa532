//! The persistence service: applies the log to the store and answers from it. It owns messages, sessions, wills,
//! retained messages, threads and members, and the directory of desks.
//!
//! - Applying is exactly once: progress is stored with the rows, and what a stretch of the log comes to (`fold`) is a
//!   function of the log and of what is stored, whatever the batches.
//! - Nothing here changes messages but the log, and nothing of the log is refused: it holds what was accepted.
//! - An answer that depends on the log waits until the log is applied as far as the asker knows it to be.
//!
//! ```text
//!  journal ─► reader of each partition (lease) ─► fold ─► store
//!                                                           ▲
//!  edges, gateway, routing ── contract::Persistence ─────────────┘
//! ```

mod apply;
mod config;
mod core;
mod desks;
mod directory;
mod error;
mod explain;
mod find;
mod fold;
mod keeper;
mod metrics;
mod rpc;
mod service;
mod standing;
mod stream;
mod threads;
mod wills;

pub use config::{Config, History};
pub use core::Deps;
pub use directory::seed::{AgentDesk, DirectorySeed, OtherDesk, WorkgroupDesk};
pub use error::Error;
pub use fold::Policy;
pub use service::Service;
pub use threads::ThreadRules;
