//! Whether the log answers its owner.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backplane::journal::{FrameId, Journal, JournalError, Reader};
use bytes::Bytes;
use model::{FrameSeq, PartitionId};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

/// The log as one owner uses it.
pub(crate) struct Pulse {
    journal: Arc<dyn Journal>,
    /// Since when appends are asked for and none of them has got an answer that comes from the log.
    asked: Mutex<Option<Instant>>,
}

impl Pulse {
    pub fn of(journal: Arc<dyn Journal>) -> Arc<Self> {
        Arc::new(Self {
            journal,
            asked: Mutex::default(),
        })
    }

    /// Waits until something has been asked of the log for so long without an answer.
    pub async fn missed(&self, limit: Duration) {
        while self.silent_for() < limit {
            sleep(limit / 8).await;
        }
    }

    fn silent_for(&self) -> Duration {
        self.asked.lock().map_or(Duration::ZERO, |asked| asked.elapsed())
    }
}

#[async_trait]
impl Journal for Pulse {
    async fn append(
        &self,
        partition: PartitionId,
        follows: Option<FrameSeq>,
        id: FrameId,
        frame: Bytes,
    ) -> Result<FrameSeq, JournalError> {
        self.asked.lock().get_or_insert_with(Instant::now);
        let appended = self.journal.append(partition, follows, id, frame).await;
        let is_silent = matches!(
            appended,
            Err(JournalError::Unknown | JournalError::Unavailable { .. })
        );
        if !is_silent {
            *self.asked.lock() = None;
        }
        appended
    }

    async fn read(&self, partition: PartitionId, after: FrameSeq) -> Result<Box<dyn Reader>, JournalError> {
        self.journal.read(partition, after).await
    }

    async fn head(&self, partition: PartitionId) -> Result<FrameSeq, JournalError> {
        self.journal.head(partition).await
    }

    fn announce(&self) {
        self.journal.announce();
    }

    async fn trim(&self, partition: PartitionId, upto: FrameSeq) -> Result<(), JournalError> {
        self.journal.trim(partition, upto).await
    }

    fn epoch(&self) -> u64 {
        self.journal.epoch()
    }

    fn health(&self) -> Result<(), String> {
        self.journal.health()
    }
}
