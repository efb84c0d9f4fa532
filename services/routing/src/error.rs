use backplane::bus::BusError;
use backplane::journal::JournalError;
use backplane::lease::LeaseError;
use thiserror::Error;

/// Why a partition cannot be routed now. The owner lets go and tries again.
#[derive(Debug, Error)]
pub enum Error {
    /// The log cannot be read.
    #[error("reading the journal")]
    Journal(#[from] JournalError),
    /// The bus is away.
    #[error("talking to the edges")]
    Bus(#[from] BusError),
    /// The partition belongs to someone else, or its lease cannot be kept.
    #[error("holding the partition")]
    Lease(#[from] LeaseError),
    /// The bus ended a subscription.
    #[error("the bus closed a subscription")]
    BusClosed,
}
