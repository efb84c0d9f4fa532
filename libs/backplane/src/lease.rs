//! One holder per name, with an epoch that grows at each change of holder: the fence for everything a holder does.

mod embedded;
mod fence;
mod kv;
pub mod share;
#[cfg(feature = "suite")]
pub mod suite;

use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;

pub use embedded::EmbeddedLeases;
pub use fence::Fence;
pub use kv::KvLeases;

/// Why a lease could not be had or kept.
#[derive(Debug, Error)]
pub enum LeaseError {
    /// Somebody else holds it.
    #[error("the lease {name} is held by {holder}")]
    Held {
        /// The name.
        name: String,
        /// Who holds it.
        holder: String,
    },
    /// It was lost: it ran out, or another holder has it. What it guarded must stop.
    #[error("the lease {0} is lost")]
    Lost(String),
    /// The lease store cannot be asked.
    #[error("the lease store is unavailable: {0}")]
    Unavailable(String),
}

/// A lease that was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What is held.
    pub name: String,
    /// Who holds it.
    pub holder: String,
    /// Grows by at least one at each change of holder.
    pub epoch: u64,
}

/// Grants leases.
///
/// A holder cannot see its lease end while it cannot reach the store. It counts for itself: the lease ends `ttl` after the moment
/// *before* it asked for it or last renewed it, by its own monotonic clock. The store counts from when it was asked, which is later, so
/// nobody else has the lease before the holder knows that it has ended. A process that was paused may wake up after the end and act before it
/// looks at the clock: what it does then carries the old epoch, and is refused by whoever has seen a newer one.
#[async_trait]
pub trait Leases: Send + Sync + 'static {
    /// Takes a lease that is free or has run out, for `ttl`. Whoever holds it already gets it again with its epoch,
    /// for `ttl` from now. A holder whose lease ran out or was released gets a higher epoch, even if nobody held it meanwhile.
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Lease, LeaseError>;

    /// Keeps it for `ttl` from now; [`LeaseError::Lost`] when it has run out, even if it is free. Of a lease that this object granted it
    /// never returns later than its end: it may try again until then, and says `Lost` then.
    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), LeaseError>;

    /// Gives it back at once. A lease that was lost is not disturbed.
    async fn release(&self, lease: &Lease) -> Result<(), LeaseError>;

    /// Who holds it now.
    async fn holder(&self, name: &str) -> Result<Option<Lease>, LeaseError>;
}
