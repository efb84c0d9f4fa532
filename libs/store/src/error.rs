use model::{PartitionId, Position};
use thiserror::Error;

use crate::{LogIdentity, Service};

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
    /// PostgreSQL refused, or cannot be reached.
    #[error("{operation} in the store")]
    Postgres {
        /// What was being done.
        operation: &'static str,
        /// The cause.
        #[source]
        source: sqlx::Error,
    },
    /// The database lost what this process was told is there: it crashed, and the log is being applied again.
    #[error(
        "partition {partition} is applied up to {stored} only, after {told}: the database has recovered from a crash"
    )]
    WentBack {
        /// The partition.
        partition: PartitionId,
        /// How far it is now.
        stored: Position,
        /// How far it was.
        told: Position,
    },
    /// The store was filled from another log than the one that was opened.
    #[error(
        "the store was filled from {stored}, and {opened} was opened: a position of the one means nothing in the \
         other; restore the log that the store was filled from, or the store that was filled from this log, \
         or begin with an empty store and an empty log"
    )]
    OtherLog {
        /// The log that the store was filled from.
        stored: LogIdentity,
        /// The log that was opened.
        opened: LogIdentity,
    },
    /// The log ends before what was applied of it: its end was lost, or the store is of a later time.
    #[error(
        "{service} has applied partition {partition} up to frame {applied}, and the log ends at frame {head}: \
         new messages would get places that the store takes for applied; \
         restore a log that reaches that far, or a store that is older, or begin with an empty store and an empty log"
    )]
    BeyondLog {
        /// Who has applied it.
        service: Service,
        /// The partition.
        partition: PartitionId,
        /// The last frame that was applied.
        applied: u64,
        /// The last frame of the log.
        head: u64,
    },
    /// The schema is older than this version needs.
    #[error("the store's schema is version {found}, {wanted} is needed: run `longwire migrate`")]
    Outdated {
        /// Its version.
        found: i64,
        /// Ours.
        wanted: i64,
    },
    /// The schema is of a kind that means something else: what it holds was applied by other rules.
    #[error(
        "the store's schema is version {found}, from before uids belonged to topics: there is no way to bring it up, \
         begin with an empty store and an empty log"
    )]
    Former {
        /// Its version.
        found: i64,
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

    /// Names the operation that PostgreSQL refused.
    pub(crate) fn postgres(operation: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
        move |source| match &source {
            sqlx::Error::Database(e) if e.code().as_deref() == Some("53100") => StoreError::Full(operation),
            sqlx::Error::PoolClosed => StoreError::Closed,
            _ => StoreError::Postgres { operation, source },
        }
    }

    /// Whether the same call may succeed later.
    pub fn is_temporary(&self) -> bool {
        match self {
            StoreError::Full(_) | StoreError::WentBack { .. } => true,
            StoreError::Sqlite { source, .. } => matches!(
                source.sqlite_error_code(),
                Some(
                    rusqlite::ErrorCode::SystemIoFailure
                        | rusqlite::ErrorCode::DatabaseBusy
                        | rusqlite::ErrorCode::CannotOpen
                )
            ),
            StoreError::Postgres { source, .. } => passes(source),
            _ => false,
        }
    }
}

/// Whether what PostgreSQL said passes: a lost connection, a server that starts, stops or changes its role, a lock that was
/// not to be had, resources that are used up.
fn passes(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(e) => e.code().is_some_and(|code| {
            let class = code.get(..2).unwrap_or_default();
            // Connection, transaction rollback, resources, operator, system; read only, lock, cancelled by a timeout.
            matches!(class, "08" | "40" | "53" | "57" | "58") || matches!(&*code, "25006" | "55P03")
        }),
        _ => false,
    }
}
