use model::{PartitionId, Position};
use thiserror::Error;

/// Why the store did not do what it was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// No space is left. Nothing of the operation was stored; it may be tried again when there is space.
    #[error("no space is left on the store's disk while {0}")]
    Full(&'static str),
    /// The database refused.
    #[error("{operation} in the store")]
    Sqlite {
        /// What was being done.
        operation: &'static str,
        /// The cause.
        #[source]
        source: rusqlite::Error,
    },
    /// The schema is older than this version needs.
    #[error("the store's schema is version {found}, {wanted} is needed: run `longwire migrate`")]
    Outdated {
        /// Its version.
        found: i64,
        /// Ours.
        wanted: i64,
    },
    /// The schema was made by a newer version.
    #[error("the store's schema is version {found}, this version of longwire knows up to {known}")]
    Unknown {
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Somebody else applied the partition further, or less far, than the batch assumes: read on from what is stored.
    #[error("partition {partition} is applied up to {stored}, the batch begins at {assumed}")]
    Misplaced {
        /// The partition.
        partition: PartitionId,
        /// What is stored.
        stored: Position,
        /// What the batch assumed.
        assumed: Position,
    },
    /// A stored row cannot be read.
    #[error("a row of {table} in the store is damaged: {what}")]
    Damaged {
        /// Its table.
        table: &'static str,
        /// What is wrong.
        what: String,
    },
    /// The store has been closed, or its writer has ended.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Names the operation that SQLite refused.
    pub(crate) fn sqlite(operation: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
        move |source| match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => StoreError::Full(operation),
            _ => StoreError::Sqlite { operation, source },
        }
    }

    /// Whether the same call may succeed later.
    pub fn is_temporary(&self) -> bool {
        match self {
            StoreError::Full(_) => true,
            StoreError::Sqlite { source, .. } => matches!(
                source.sqlite_error_code(),
                Some(
                    rusqlite::ErrorCode::SystemIoFailure
                        | rusqlite::ErrorCode::DatabaseBusy
                        | rusqlite::ErrorCode::CannotOpen
                )
            ),
            _ => false,
        }
    }
}
