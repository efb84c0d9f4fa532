//! The side that calls.

mod board;
mod connection;
mod directory;
mod finder;
mod persistence;
mod pool;
mod receipts;
mod routing;

use std::sync::Arc;

use runtime::health::Check;

use self::pool::Pool;
use super::method::Service;
use super::wire::{Malformed, Wire};
use super::{Config, Metrics};
use contract::persistence::Persistence;
use contract::receipts::Receipts;
use contract::routing::Routing;
use contract::{ErrorKind, RpcError};

/// The persistence service at [`Config::persistence`]. Connects in the background: nobody need be there yet. `check`
/// tells whether a replica is ready. To be called within a runtime; the connections end when it is dropped.
pub fn connect_persistence(config: &Config, metrics: &Metrics, check: Check) -> Arc<dyn Persistence> {
    let pool = Pool::new(Service::Persistence, &config.persistence, config, metrics, check);
    Arc::new(persistence::Remote(pool))
}

/// The receipts service at [`Config::receipts`], likewise.
pub fn connect_receipts(config: &Config, metrics: &Metrics, check: Check) -> Arc<dyn Receipts> {
    let pool = Pool::new(Service::Receipts, &config.receipts, config, metrics, check);
    Arc::new(receipts::Remote(pool))
}

/// The owners of partitions at [`Config::routing`], likewise. Lines are opened to whichever replica owns a partition.
pub fn connect_routing(config: &Config, metrics: &Metrics, check: Check) -> Arc<dyn Routing> {
    Arc::new(routing::Remote::new(config, metrics, check))
}

/// An answer as the caller wants it. One that cannot be read is a fault of ours, not the caller's.
fn answer<T: Wire>(message: T::Message) -> Result<T, RpcError> {
    T::from_wire(message).map_err(unreadable)
}

fn unreadable(malformed: Malformed) -> RpcError {
    RpcError::new(
        ErrorKind::Internal,
        format!("the answer cannot be understood: {malformed}"),
    )
}
