//! Checkpoints that count how often they are looked at.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use backplane::checkpoint::{CheckpointError, Checkpoints, EmbeddedCheckpoints};
use bytes::Bytes;
use model::PartitionId;

pub struct Shelf {
    inner: EmbeddedCheckpoints,
    looked: AtomicU64,
}

impl Shelf {
    pub fn open(dir: &Path) -> Self {
        Self {
            inner: EmbeddedCheckpoints::open(dir).unwrap(),
            looked: AtomicU64::new(0),
        }
    }

    /// How many manifests were read: the log is trimmed up to what is in them.
    pub fn looked(&self) -> u64 {
        self.looked.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Checkpoints for Shelf {
    async fn put(&self, p: PartitionId, name: &str, bytes: Bytes) -> Result<(), CheckpointError> {
        self.inner.put(p, name, bytes).await
    }
    async fn get(&self, p: PartitionId, name: &str) -> Result<Option<Bytes>, CheckpointError> {
        self.inner.get(p, name).await
    }
    async fn list(&self, p: PartitionId) -> Result<Vec<String>, CheckpointError> {
        self.inner.list(p).await
    }
    async fn delete(&self, p: PartitionId, name: &str) -> Result<(), CheckpointError> {
        self.inner.delete(p, name).await
    }
    async fn manifest(&self, p: PartitionId) -> Result<Option<Bytes>, CheckpointError> {
        self.looked.fetch_add(1, Ordering::Relaxed);
        self.inner.manifest(p).await
    }
    async fn claim(&self, p: PartitionId, epoch: u64) -> Result<Option<Bytes>, CheckpointError> {
        self.inner.claim(p, epoch).await
    }
    async fn put_manifest(&self, p: PartitionId, epoch: u64, bytes: Bytes) -> Result<(), CheckpointError> {
        self.inner.put_manifest(p, epoch, bytes).await
    }
}
