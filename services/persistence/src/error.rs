use backplane::checkpoint::CheckpointError;
use backplane::journal::JournalError;
use backplane::lease::LeaseError;
use contract::{ErrorKind, RpcError};
use store::StoreError;
use thiserror::Error;

/// Why the persistence service cannot go on.
#[derive(Debug, Error)]
pub enum Error {
    /// The store fails.
    #[error("the store of the persistence service failed")]
    Store(#[from] StoreError),
    /// The leases cannot be asked.
    #[error("the leases could not be asked")]
    Lease(#[from] LeaseError),
    /// The journal fails.
    #[error("the journal of the persistence service failed")]
    Journal(#[from] JournalError),
    /// The checkpoints of owners cannot be read.
    #[error("the checkpoints could not be read")]
    Checkpoint(#[from] CheckpointError),
    /// No owner takes what is submitted.
    #[error("what the persistence service submits is not taken")]
    Submit(#[from] RpcError),
}

/// What a caller is told of the store's failures.
pub(crate) fn answer(error: StoreError) -> RpcError {
    let kind = if error.is_temporary() || matches!(error, StoreError::Closed) {
        ErrorKind::Unavailable
    } else {
        tracing::error!(error = &error as &dyn std::error::Error, "the store failed");
        ErrorKind::Internal
    };
    RpcError::new(kind, error.to_string())
}

/// What a caller is told when the log is not applied as far as needed.
pub(crate) fn late(error: consumer::ReachError) -> RpcError {
    match error {
        consumer::ReachError::Store(error) => answer(error),
        other => RpcError::new(ErrorKind::Unavailable, other.to_string()),
    }
}
