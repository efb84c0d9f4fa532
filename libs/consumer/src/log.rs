//! Whether a store was filled from the log that is there, and the log still has what was taken from it.

use backplane::journal::{Journal, JournalError};
use model::Partitioning;
use store::{LogIdentity, Service, Store, StoreError, within_log};
use thiserror::Error;
use tokio::time::sleep;

use crate::{Inner, RETRY};

/// Why a store cannot be used with a log, or that is not known.
#[derive(Debug, Error)]
pub enum LogError {
    /// It is another log, or an older one, or the store does not say.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log does not say how far it goes.
    #[error("how far the log goes is not known")]
    Journal(#[from] JournalError),
}

/// Binds a new store to this log, and finds out whether one that is not new was filled from it and from no more than it has.
/// Otherwise new messages would get positions that the store takes for applied: acknowledged, and in no history.
///
/// # Errors
/// [`StoreError::OtherLog`] and [`StoreError::BeyondLog`], which say what to do; what the store or the log failed with.
pub async fn check_log(
    store: &dyn Store,
    journal: &dyn Journal,
    partitioning: Partitioning,
    service: Service,
) -> Result<(), LogError> {
    let log = LogIdentity {
        epoch: journal.epoch(),
        partitions: partitioning.count(),
    };
    store.bind_log(log).await?;
    // Before the heads: both grow.
    let applied = store.progress(service).await?;
    let mut heads = Vec::with_capacity(applied.len());
    for (partition, _) in &applied {
        heads.push((*partition, journal.head(*partition).await?));
    }
    Ok(within_log(service, &applied, &heads)?)
}

impl Inner {
    /// The same, asked until it is known.
    pub(crate) async fn is_of_log(&self) -> Result<(), StoreError> {
        let deps = &self.deps;
        loop {
            match check_log(&*deps.store, &*deps.journal, deps.partitioning, self.service).await {
                Ok(()) => return Ok(()),
                Err(LogError::Store(error)) if error.is_temporary() => deps.store_check.fail(&error),
                Err(LogError::Store(error)) => return Err(error),
                Err(LogError::Journal(error)) => deps.journal_check.fail(&error),
            }
            sleep(RETRY).await;
        }
    }
}
