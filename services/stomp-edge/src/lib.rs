//! The STOMP edge: 1.0 to 1.2 over WebSocket, for the pages of visitors.
//!
//! Owns the connections of STOMP clients and nothing durable. One task per connection reads what there is, decodes all
//! of it, appends all of it, and writes the socket once per turn. Every SUBSCRIBE has a receiving half of its own
//! ([`edge::receiver`]), all of one connection share its mailbox.
//!
//! Invariants:
//! - a RECEIPT of a SEND leaves when the message is durable and judged;
//! - what a client may send and receive is decided by its token, or by the one visitor it is;
//! - before authentication a client has the bytes and the time of the limits, and nothing else;
//! - progress of a durable subscription only moves forward, whichever of the visitor's pages acknowledges (`cursors`);
//! - a client that does not read costs its windows and a cursor.
//!
//! One flow: SEND → [`edge::ingest`] → [`edge::line`] → accepted by the owner → RECEIPT, and MESSAGE to every page.

mod ack;
mod bye;
mod clocks;
mod config;
mod connect;
mod connection;
mod cursors;
mod deliver;
mod destination;
mod echo;
mod identity;
mod metrics;
mod progress;
mod send;
mod service;
mod socket;
mod subscribe;
mod subscription;
mod transaction;
mod upgrade;

pub use config::Config;
pub use service::{Deps, Service};
