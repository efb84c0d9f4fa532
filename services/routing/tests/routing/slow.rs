//! Checkpoints that are not to be had for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use backplane::checkpoint::{CheckpointError, Checkpoints, EmbeddedCheckpoints};
use bytes::Bytes;
use model::PartitionId;

pub struct SlowCheckpoints {
    real: EmbeddedCheckpoints,
    /// So many more blobs cannot be read.
    pub fail: AtomicU32,
    /// Nothing can be claimed.
    pub away: AtomicBool,
}

impl SlowCheckpoints {
    pub fn new(real: EmbeddedCheckpoints) -> Arc<Self> {
        Arc::new(Self {
            real,
            fail: AtomicU32::new(0),
            away: AtomicBool::new(false),
        })
    }

    /// The names of the blobs of a partition.
    pub async fn blobs(&self, partition: PartitionId) -> Vec<String> {
        let mut names = self.real.list(partition).await.unwrap();
        names.sort();
        names
    }
}

fn unavailable<T>() -> Result<T, CheckpointError> {
    Err(CheckpointError::Unavailable("choosing a leader".into()))
}

#[async_trait]
impl Checkpoints for SlowCheckpoints {
    async fn put(&self, partition: PartitionId, name: &str, bytes: Bytes) -> Result<(), CheckpointError> {
        self.real.put(partition, name, bytes).await
    }

    async fn get(&self, partition: PartitionId, name: &str) -> Result<Option<Bytes>, CheckpointError> {
        let fail = |left: u32| left.checked_sub(1);
        match self.fail.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fail) {
            Ok(_) => unavailable(),
            Err(_) => self.real.get(partition, name).await,
        }
    }

    async fn list(&self, partition: PartitionId) -> Result<Vec<String>, CheckpointError> {
        self.real.list(partition).await
    }

    async fn delete(&self, partition: PartitionId, name: &str) -> Result<(), CheckpointError> {
        self.real.delete(partition, name).await
    }

    async fn manifest(&self, partition: PartitionId) -> Result<Option<Bytes>, CheckpointError> {
        self.real.manifest(partition).await
    }

    async fn claim(&self, partition: PartitionId, epoch: u64) -> Result<Option<Bytes>, CheckpointError> {
        if self.away.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_secs(3)).await;
            return unavailable();
        }
        self.real.claim(partition, epoch).await
    }

    async fn put_manifest(
        &self,
        partition: PartitionId,
        epoch: u64,
        bytes: Bytes,
    ) -> Result<(), CheckpointError> {
        self.real.put_manifest(partition, epoch, bytes).await
    }
}
