//! The directory as it is now, as far as this process knows.

use std::sync::Arc;

use parking_lot::RwLock;
use store::{Store, StoreError};
use tokio::sync::Mutex;

use super::snapshot::Snapshot;

/// Answers from memory. What others have changed is in it after the next [`Live::refresh`].
#[derive(Default)]
pub(crate) struct Live {
    now: RwLock<Arc<Snapshot>>,
    /// One reads at a time: what was read later is put in place later.
    reading: Mutex<()>,
}

impl Live {
    /// The directory, as it is known now.
    pub fn get(&self) -> Arc<Snapshot> {
        self.now.read().clone()
    }

    /// Reads what has changed. Whatever was durable when this is called is in what [`Live::get`] gives afterwards.
    pub async fn refresh(&self, store: &dyn Store) -> Result<(), StoreError> {
        let _one = self.reading.lock().await;
        let mut before = self.get();
        let mut news = store.directory_since(before.version).await?;
        if news.version < before.version {
            // The database lost changes that it had told of: numbers mean something else now.
            tracing::warn!("the database has lost changes of the directory; it is read anew");
            before = Arc::default();
            news = store.directory_since(0).await?;
        }
        if news.version != before.version || !news.orgs.is_empty() {
            *self.now.write() = Arc::new(before.with(news));
        }
        Ok(())
    }
}
