//! The receipts service: how far each message has come (SENT < DELIVERED < READ), and the counts that follow from it.
//!
//! - Forward only: what says less than is stored changes nothing.
//! - Nobody acknowledges what they wrote themselves.
//! - Everything is a function of the log; the counts can be made anew from the messages and receipts.
//!
//! ```text
//!  RECEIPT (uid)  ─► its message ─► state of the message, what the reader has read
//!  RECEIPT (upto) ─► one mark per topic and user: all before it is delivered
//! ```
//!
//! A stretch of the log is applied here once persistence has applied it, so that every message meant is there.

mod apply;
mod config;
mod metrics;
mod service;

pub use config::Config;
pub use service::{Deps, Error, Service};
