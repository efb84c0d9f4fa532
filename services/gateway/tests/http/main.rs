//! The calls, over fakes of what stands behind them: a log that judges at once, and a store in memory.

#![allow(clippy::unwrap_used, clippy::panic)]

mod agents;
mod audited;
mod claims;
mod description;
mod desks;
mod directory;
mod explain;
mod fakes;
mod history;
mod identity;
mod limits;
mod log;
mod schema;
mod sending;
mod threads;
mod types;
mod visitors;
mod world;
