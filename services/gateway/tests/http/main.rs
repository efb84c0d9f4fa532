//! The calls, over fakes of what stands behind them: a log that judges at once, and a store in memory.

#![allow(clippy::unwrap_used, clippy::panic)]

mod description;
mod explain;
mod fakes;
mod history;
mod identity;
mod limits;
mod log;
mod schema;
mod sending;
mod threads;
mod visitors;
mod world;
