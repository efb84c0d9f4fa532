//! The MQTT edge over real seams, routing and persistence, spoken to over sockets.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a failing step fails the test")]

mod claims;
mod connect;
mod fence;
mod holders;
mod idle;
mod joining;
mod presence;
mod publish;
mod rig;
mod sessions;
mod subscribe;
mod transport;
mod types;
