//! The STOMP edge on the real log, bus, routing and persistence, spoken to in raw STOMP over WebSocket.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod client;
mod world;

mod acks;
mod claims;
mod connect;
mod durable;
mod ends;
mod lagging;
mod presence;
mod send;
mod subscribe;
mod types;
