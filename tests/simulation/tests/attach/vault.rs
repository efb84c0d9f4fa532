//! Checkpoints: blobs and manifests as they were put, until something is lost of them, or older ones come back.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use backplane::checkpoint::{CheckpointError, Checkpoints};
use bytes::Bytes;
use model::PartitionId;
use parking_lot::Mutex;
use tokio::time::{Duration, sleep};

use crate::chance::Chance;
use crate::process::Process;

#[derive(Default, Clone)]
struct Shelf {
    epoch: u64,
    manifest: Option<Bytes>,
    blobs: BTreeMap<String, Bytes>,
}

/// Everything that is stored.
pub struct Vault {
    chance: Arc<Chance>,
    shelves: Mutex<BTreeMap<u16, Shelf>>,
    /// As it once was.
    before: Mutex<BTreeMap<u16, Shelf>>,
}

impl Vault {
    pub fn new(chance: Arc<Chance>) -> Arc<Self> {
        Arc::new(Self {
            chance,
            shelves: Mutex::default(),
            before: Mutex::default(),
        })
    }

    /// Something is lost, or comes back as it was. Who has claimed what stays known.
    pub fn lose(&self, how: usize) {
        let mut shelves = self.shelves.lock();
        match how % 4 {
            0 => shelves.values_mut().for_each(|shelf| {
                (shelf.manifest, shelf.blobs) = (None, BTreeMap::new());
            }),
            1 => shelves
                .values_mut()
                .for_each(|shelf| drop(shelf.blobs.pop_first())),
            2 => *self.before.lock() = shelves.clone(),
            _ => {
                for (partition, before) in &*self.before.lock() {
                    let shelf = shelves.entry(*partition).or_default();
                    (shelf.manifest, shelf.blobs) = (before.manifest.clone(), before.blobs.clone());
                }
            }
        }
    }
}

/// A process that uses them.
pub struct ProcessVault {
    pub vault: Arc<Vault>,
    pub process: Arc<Process>,
}

impl ProcessVault {
    async fn there(&self) -> Result<(), CheckpointError> {
        self.process.pass().await;
        let chance = &self.vault.chance;
        chance.pause().await;
        self.process.pass().await;
        if self.process.is_without_log() || chance.happens(chance.faults().failed) {
            sleep(Duration::from_millis(300)).await;
            self.process.pass().await;
            return Err(CheckpointError::Unavailable("not to be reached".into()));
        }
        Ok(())
    }

    fn with<T>(&self, partition: PartitionId, f: impl FnOnce(&mut Shelf) -> T) -> T {
        f(self.vault.shelves.lock().entry(partition.0).or_default())
    }
}

#[async_trait]
impl Checkpoints for ProcessVault {
    async fn put(&self, partition: PartitionId, name: &str, bytes: Bytes) -> Result<(), CheckpointError> {
        self.there().await?;
        self.with(partition, |shelf| shelf.blobs.insert(name.to_owned(), bytes));
        Ok(())
    }

    async fn get(&self, partition: PartitionId, name: &str) -> Result<Option<Bytes>, CheckpointError> {
        self.there().await?;
        Ok(self.with(partition, |shelf| shelf.blobs.get(name).cloned()))
    }

    async fn list(&self, partition: PartitionId) -> Result<Vec<String>, CheckpointError> {
        self.there().await?;
        Ok(self.with(partition, |shelf| shelf.blobs.keys().cloned().collect()))
    }

    async fn delete(&self, partition: PartitionId, name: &str) -> Result<(), CheckpointError> {
        self.there().await?;
        self.with(partition, |shelf| shelf.blobs.remove(name));
        Ok(())
    }

    async fn manifest(&self, partition: PartitionId) -> Result<Option<Bytes>, CheckpointError> {
        self.there().await?;
        Ok(self.with(partition, |shelf| shelf.manifest.clone()))
    }

    async fn claim(&self, partition: PartitionId, epoch: u64) -> Result<Option<Bytes>, CheckpointError> {
        self.there().await?;
        self.with(partition, |shelf| match shelf.epoch > epoch {
            true => Err(CheckpointError::Fenced {
                partition,
                epoch: shelf.epoch,
            }),
            false => {
                shelf.epoch = epoch;
                Ok(shelf.manifest.clone())
            }
        })
    }

    async fn put_manifest(
        &self,
        partition: PartitionId,
        epoch: u64,
        bytes: Bytes,
    ) -> Result<(), CheckpointError> {
        self.there().await?;
        self.with(partition, |shelf| match shelf.epoch > epoch {
            true => Err(CheckpointError::Fenced {
                partition,
                epoch: shelf.epoch,
            }),
            false => {
                shelf.manifest = Some(bytes);
                Ok(())
            }
        })
    }
}
