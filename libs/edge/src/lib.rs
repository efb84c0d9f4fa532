//! What both edges and the gateway share, free of any protocol: taking a message in ([`ingest`], [`line`]) and giving
//! messages out ([`attach`], [`mailbox`], [`receiver`]).
//!
//! ```text
//!  in:   payload ─ingest► Entry ─line► the partition's owner … ► Outcome ► the protocol's acknowledgement
//!  out:  owner ─line► dispatch ─► mailbox of each connection ─► receiver (session machine) ─► the protocol's frame
//!                                   attach: what a connection wants, and from where on it comes live
//! ```
//!
//! Invariants: nothing is acknowledged before an owner has judged it and the log has it; nothing is handed to a connection that its
//! principal may not see; a connection that does not read costs its mailbox's bound and a cursor, no more.

pub mod access;
pub mod attach;
pub mod audience;

mod config;
mod core;
mod delivered;
pub mod delivery;
mod dispatch;
mod ending;
mod error;
pub mod ingest;
pub mod lease;
pub mod line;
pub mod mailbox;
mod metrics;
pub mod presence;
pub mod proofs;
pub mod rate;
pub mod receiver;
pub mod registry;
pub mod saver;
mod takeover;
pub mod websocket;
pub mod wishes;

pub use config::{Config, Limits};
pub use contract::routing::Outcome;
pub use core::{Core, Outside};
pub use ending::store_and_say;
pub use error::Refusal;
