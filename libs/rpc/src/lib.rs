//! The calls between processes: [`serve`] puts services behind gRPC, [`connect_persistence`], [`connect_receipts`] and
//! [`connect_routing`] give the same traits with the services somewhere else.
//!
//! ```text
//! caller ─ Arc<dyn Persistence> ─ pool ─┬─ replica ─ connection ──gRPC──► gate ─ Arc<dyn Persistence> (the service)
//!                                       ├─ replica ─ …                    (limit, span, metrics)
//!                      names, again and again ▲
//! ```
//!
//! *Pool*: the replicas of one service, found by name. A call goes to the ready one with the fewest calls under way. It
//! has one deadline, its repetitions included, and is repeated only where that changes nothing (docs/adr/0011-grpc.md).
//! When no replica is ready, it fails at once: nothing queues.
//!
//! *Replica*: connected in the background, ready while the health service of the other side says that it serves, left
//! as soon as that says otherwise, breaks off or gives no sign of life, and tried again after a while.

mod client;
mod config;
mod method;
mod metrics;
mod server;
mod status;
mod tls;
mod wire;

pub use client::{connect_persistence, connect_receipts, connect_routing};
pub use config::{Config, Tls};
pub use metrics::Metrics;
pub use server::{Services, serve};
pub use tls::Error;

/// Generated from `/proto/rpc.proto`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    rust_2018_idioms
)]
pub(crate) mod pb {
    include!(concat!(env!("OUT_DIR"), "/longwire.rpc.v1.rs"));
}
