//! The MQTT edge: 3.1.1 and 5, over TCP, TLS and WebSocket.
//!
//! Owns the connections of MQTT clients and nothing durable. One task per connection reads what there is, decodes all of
//! it, appends all of it, and writes the socket once per turn.
//!
//! Invariants:
//! - a PUBACK or PUBREC leaves when the message is durable and judged, in the order of the PUBLISHes [MQTT-4.6.0-2];
//! - what a client may publish and receive is decided by its token, not by what it says;
//! - before authentication a client has the bytes and the time of the limits, and nothing else;
//! - a session is one client's at a time: a newer connection makes the older one store its progress and close.
//!
//! QoS 2 towards the server: the ids between PUBLISH and PUBREL are part of the session's state, so a resend is known on
//! any edge after any end of a connection that could still store it. After a crash of the edge they are as old as the
//! last save (`edge.save_interval`): a message that was stored within that time and whose PUBREC got lost is stored twice
//! when it is sent again. Chat messages are not: their uid tells.
//!
//! One flow: PUBLISH → [`::edge::ingest`] → [`::edge::line`] → settled by routing → PUBACK with position.

mod accept;
mod config;
mod connection;
mod edge;
mod error;
mod metrics;
mod open;
mod properties;
mod service;
mod transport;

pub use config::{Config, Tls};
pub use error::Error;
pub use service::{Deps, Service};
