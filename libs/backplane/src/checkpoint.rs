//! Checkpoints: what the owner of a partition stores so that the next one need not read the whole log. Small named
//! blobs, and one manifest that says which of them count.
//!
//! ```text
//!  put(blob) … put(blob) ─► durable ─► put_manifest ─► in place of the one before ─► delete(what the old one needed)
//! ```
//!
//! A crash between any two steps leaves the old manifest with all its blobs, and some blobs that nobody needs.
//!
//! An owner claims the manifest when it takes over. From then on one with a lower epoch can replace it no more, however
//! long it slept, and what the claim returned stays what counts.

mod embedded;
mod nats;
#[cfg(feature = "suite")]
pub mod suite;

use async_trait::async_trait;
use bytes::Bytes;
use model::PartitionId;
use thiserror::Error;

pub use embedded::EmbeddedCheckpoints;
pub use nats::NatsCheckpoints;

/// Why a checkpoint was not stored or read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CheckpointError {
    /// A newer owner has claimed the manifest: who asks owns the partition no more, and deletes nothing.
    #[error("the checkpoint of partition {partition} was claimed by an owner of epoch {epoch}")]
    Fenced {
        /// The partition.
        partition: PartitionId,
        /// The epoch of the newer owner.
        epoch: u64,
    },
    /// The disk or the servers do not do it now. Of what was to be stored, nothing or all of it may be: it can be
    /// repeated.
    #[error("checkpoints are unavailable: {0}")]
    Unavailable(String),
    /// What is there is not what was stored.
    #[error("the checkpoint {place} is damaged: {what}")]
    Damaged {
        /// Which blob.
        place: String,
        /// What does not fit.
        what: String,
    },
    /// No name of a blob: letters, digits and `-`, at most [`NAME_LIMIT`] of them.
    #[error("a blob cannot be named {0:?}")]
    Name(String),
}

/// The longest name of a blob.
pub const NAME_LIMIT: usize = 64;

/// Stores checkpoints. What was put is durable when the call returns: fsynced, or acknowledged by a majority of the
/// servers.
#[async_trait]
pub trait Checkpoints: Send + Sync + 'static {
    /// Stores a blob, whole or not at all. In place of another of that name; but whoever wants to be safe from crashes
    /// gives a new name to what has changed.
    async fn put(&self, partition: PartitionId, name: &str, bytes: Bytes) -> Result<(), CheckpointError>;

    /// A blob as it was put; `None` when there is none.
    async fn get(&self, partition: PartitionId, name: &str) -> Result<Option<Bytes>, CheckpointError>;

    /// The names of a partition's blobs, in any order, without the manifest. It may have the name of one whose storing
    /// was interrupted: that can be deleted like any other.
    async fn list(&self, partition: PartitionId) -> Result<Vec<String>, CheckpointError>;

    /// Deletes a blob, if it is there. After a crash it may be there again.
    async fn delete(&self, partition: PartitionId, name: &str) -> Result<(), CheckpointError>;

    /// The manifest as it stands, for who does not own the partition (yet). A manifest that is damaged counts as none,
    /// here and when it is claimed.
    async fn manifest(&self, partition: PartitionId) -> Result<Option<Bytes>, CheckpointError>;

    /// Claims the manifest for an owner of this epoch, and gives it as it is from then on until this owner replaces it.
    /// [`CheckpointError::Fenced`] if an owner of a higher epoch has claimed it.
    async fn claim(&self, partition: PartitionId, epoch: u64) -> Result<Option<Bytes>, CheckpointError>;

    /// Replaces the manifest, whole or not at all. [`CheckpointError::Fenced`], and nothing has happened, if an owner
    /// of a higher epoch has claimed it.
    async fn put_manifest(
        &self,
        partition: PartitionId,
        epoch: u64,
        bytes: Bytes,
    ) -> Result<(), CheckpointError>;
}

/// Whether a blob can have this name, everywhere.
fn check_name(name: &str) -> Result<(), CheckpointError> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if name.is_empty() || name.len() > NAME_LIMIT || !name.bytes().all(legal) {
        return Err(CheckpointError::Name(name.to_owned()));
    }
    Ok(())
}

/// A manifest as it is stored: with the epoch of who claimed it last, and nothing else until one was put.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Claimed {
    epoch: u64,
    manifest: Option<Bytes>,
}

impl Claimed {
    /// Checksum, epoch, whether there is a manifest, and that.
    fn encode(&self) -> Bytes {
        let manifest = self.manifest.as_deref();
        let mut body = self.epoch.to_le_bytes().to_vec();
        body.push(u8::from(manifest.is_some()));
        body.extend_from_slice(manifest.unwrap_or_default());
        let mut out = crc32c::crc32c(&body).to_le_bytes().to_vec();
        out.append(&mut body);
        out.into()
    }

    fn decode(bytes: &Bytes) -> Option<Self> {
        let (crc, body) = bytes.split_first_chunk::<4>()?;
        let (epoch, rest) = body.split_first_chunk::<8>()?;
        let (has_manifest, manifest) = rest.split_first()?;
        let manifest = (*has_manifest == 1).then(|| bytes.slice_ref(manifest));
        (crc32c::crc32c(body) == u32::from_le_bytes(*crc)).then_some(Self {
            epoch: u64::from_le_bytes(*epoch),
            manifest,
        })
    }

    /// What was read, where a damaged one counts as none: what it held can be rebuilt, and a partition without an owner
    /// cannot wait.
    fn found(bytes: Option<&Bytes>, partition: PartitionId) -> Self {
        let Some(bytes) = bytes else {
            return Self::default();
        };
        Self::decode(bytes).unwrap_or_else(|| {
            tracing::error!(%partition, "the checkpoint's manifest is damaged and is not used");
            Self::default()
        })
    }

    /// Whether an owner may replace it.
    fn admits(&self, partition: PartitionId, epoch: u64) -> Result<(), CheckpointError> {
        if self.epoch > epoch {
            let epoch = self.epoch;
            return Err(CheckpointError::Fenced { partition, epoch });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_as_it_was_claimed_and_put() {
        for manifest in [None, Some(Bytes::new()), Some(Bytes::from_static(b"m"))] {
            let claimed = Claimed { epoch: 7, manifest };
            let bytes = claimed.encode();
            assert_eq!(Claimed::decode(&bytes), Some(claimed));
            let mut damaged = bytes.to_vec();
            damaged[5] ^= 1;
            assert_eq!(Claimed::decode(&damaged.into()), None);
            assert_eq!(Claimed::decode(&bytes.slice(..8)), None);
        }
    }

    #[test]
    fn names_are_what_files_and_subjects_can_have() {
        for name in ["", "a.b", "a/b", "a b", ">", "é", &"x".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert_eq!(check_name("0000-1f"), Ok(()));
    }
}
