//! Checkpoints of a cluster: one stream, a subject for each piece, the last message of a subject counts.
//!
//! ```text
//!  {name}.checkpoint.{p}.manifest               the epoch of who claimed it, the manifest
//!  {name}.checkpoint.{p}.blob.{blob}.head       length, checksum, and the blob itself if it is small
//!  {name}.checkpoint.{p}.blob.{blob}.{write}.{i}   else its pieces; {write} tells two attempts apart
//! ```
//!
//! Not the object store of the client: that sends one piece of 128 KiB after the other, makes a consumer for each
//! reading, and replaces an object without looking what was there. Pieces here go and come eight at a time, and a
//! manifest is replaced by compare and set.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_trait::async_trait;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use model::PartitionId;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{CheckpointError, Checkpoints, Claimed, check_name};
use crate::nats::api::{ApiError, Stored};
use crate::nats::{Nats, NatsError, PATIENCE, backoff};

/// [`Checkpoints`] in a JetStream stream, `{name}_checkpoints`, with as many replicas as the log. What the servers do
/// not do at once, for want of a leader, is tried again for ten seconds.
#[derive(Clone)]
pub struct NatsCheckpoints(Arc<Inner>);

struct Inner {
    nats: Nats,
    /// The largest piece: far below what a server takes at once by default, a megabyte, as it must also come back in
    /// base64.
    piece: usize,
}

const PIECE: usize = 256 * 1024;
/// Pieces under way at once.
const WINDOW: usize = 8;
/// How often a blob is read again that is replaced while it is read.
const ATTEMPTS: usize = 3;

/// The first message of a blob.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    /// Of the whole blob.
    crc: u32,
    len: u64,
    /// Which attempt to store it has succeeded.
    write: u64,
    /// How many pieces it has; 0 when it is in here.
    pieces: u32,
    content: Bytes,
}

impl Head {
    const SIZE: usize = 24;

    fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(Self::SIZE + self.content.len());
        out.put_u32_le(self.crc);
        out.put_u64_le(self.len);
        out.put_u64_le(self.write);
        out.put_u32_le(self.pieces);
        out.put_slice(&self.content);
        out.freeze()
    }

    fn decode(mut bytes: Bytes) -> Option<Self> {
        (bytes.len() >= Self::SIZE).then(|| Self {
            crc: bytes.get_u32_le(),
            len: bytes.get_u64_le(),
            write: bytes.get_u64_le(),
            pieces: bytes.get_u32_le(),
            content: bytes,
        })
    }

    fn is_of(&self, bytes: &[u8]) -> bool {
        self.len == bytes.len() as u64 && self.crc == crc32c::crc32c(bytes)
    }
}

impl NatsCheckpoints {
    /// Finds the stream, or creates it.
    ///
    /// # Errors
    /// When NATS refuses, or what is there under this name is not ours.
    pub async fn open(nats: &Nats) -> Result<Self, NatsError> {
        let keys = ["subjects", "max_msgs_per_subject"];
        nats.own_stream(&format!("the stream {}", name(nats)), &config(nats), &keys)
            .await?;
        Ok(Self(Arc::new(Inner {
            nats: nats.clone(),
            piece: PIECE.min(nats.max_payload() / 4).max(1),
        })))
    }
}

fn name(nats: &Nats) -> String {
    format!("{}_checkpoints", nats.name())
}

fn config(nats: &Nats) -> Value {
    json!({
        "name": name(nats),
        "subjects": [format!("{}.checkpoint.>", nats.name())],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "num_replicas": nats.config().replicas,
        "max_msgs_per_subject": 1,
        "max_msgs": -1,
        "max_bytes": -1,
        "max_age": 0,
        "allow_direct": false,
        "deny_delete": true,
    })
}

impl Inner {
    fn manifest_subject(&self, partition: PartitionId) -> String {
        format!("{}.checkpoint.{partition}.manifest", self.nats.name())
    }

    /// What the subjects of all blobs of a partition begin with.
    fn blobs(&self, partition: PartitionId) -> String {
        format!("{}.checkpoint.{partition}.blob.", self.nats.name())
    }

    /// Stores a message, in place of the one before; again until it is acknowledged. With `revision`, only if that is
    /// the last of its subject, and only once: whether an attempt without an answer has succeeded must be looked at.
    async fn store(&self, subject: &str, payload: Bytes, revision: Option<u64>) -> Result<(), ApiError> {
        let mut headers = HeaderMap::new();
        if let Some(revision) = revision {
            headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, revision.to_string().as_str());
        }
        let store = || {
            self.nats
                .store(subject.to_owned(), headers.clone(), payload.clone(), PATIENCE)
        };
        let stored = match revision {
            Some(_) => store().await,
            None => patiently(store).await,
        };
        stored.map(drop)
    }

    /// The last message of a subject, as the leader has it.
    async fn last(&self, subject: &str) -> Result<Option<Stored>, CheckpointError> {
        let (stream, which) = (name(&self.nats), json!({ "last_by_subj": subject }));
        let found = patiently(|| self.nats.stored(&stream, &which)).await;
        found.map_err(unavailable)
    }

    async fn put(&self, partition: PartitionId, blob: &str, bytes: Bytes) -> Result<(), CheckpointError> {
        let prefix = format!("{}{blob}.", self.blobs(partition));
        let mut head = Head {
            crc: crc32c::crc32c(&bytes),
            len: bytes.len() as u64,
            write: rand::random(),
            pieces: 0,
            content: Bytes::new(),
        };
        if bytes.len() <= self.piece {
            head.content = bytes;
        } else {
            let pieces = bytes.len().div_ceil(self.piece);
            head.pieces = u32::try_from(pieces).map_err(|_| damaged(blob, "it is too large"))?;
            let pieces = (0..pieces).map(|i| {
                let subject = format!("{prefix}{:016x}.{i}", head.write);
                let piece = bytes.slice(i * self.piece..bytes.len().min((i + 1) * self.piece));
                async move { self.store(&subject, piece, None).await }
            });
            let stored = stream::iter(pieces).buffer_unordered(WINDOW);
            stored.try_collect::<()>().await.map_err(unavailable)?;
        }
        // Last, so that whoever finds it finds the pieces.
        let stored = self.store(&format!("{prefix}head"), head.encode(), None).await;
        stored.map_err(unavailable)
    }

    async fn get(&self, partition: PartitionId, blob: &str) -> Result<Option<Bytes>, CheckpointError> {
        let prefix = format!("{}{blob}.", self.blobs(partition));
        for _ in 0..ATTEMPTS {
            let Some(stored) = self.last(&format!("{prefix}head")).await? else {
                return Ok(None);
            };
            let head = Head::decode(stored.bytes).ok_or_else(|| damaged(blob, "its head is too short"))?;
            let bytes = match head.pieces {
                0 => Some(head.content.clone()),
                _ => self.pieces(&prefix, &head).await?,
            };
            if let Some(bytes) = bytes.filter(|bytes| head.is_of(bytes)) {
                return Ok(Some(bytes));
            }
        }
        Err(damaged(blob, "its pieces do not fit its head"))
    }

    /// The pieces of a blob, together; `None` when one is missing.
    async fn pieces(&self, prefix: &str, head: &Head) -> Result<Option<Bytes>, CheckpointError> {
        let subjects = (0..head.pieces).map(|i| format!("{prefix}{:016x}.{i}", head.write));
        let read = subjects.map(|subject| async move { self.last(&subject).await });
        let mut read = stream::iter(read).buffered(WINDOW);
        let mut bytes = BytesMut::new();
        while let Some(piece) = read.next().await {
            let Some(piece) = piece? else {
                return Ok(None);
            };
            bytes.extend_from_slice(&piece.bytes);
        }
        Ok(Some(bytes.freeze()))
    }

    async fn list(&self, partition: PartitionId) -> Result<Vec<String>, CheckpointError> {
        let prefix = self.blobs(partition);
        let what = format!("STREAM.INFO.{}", name(&self.nats));
        let mut names = BTreeSet::new();
        let mut seen = 0;
        loop {
            let body = json!({ "subjects_filter": format!("{prefix}>"), "offset": seen });
            let info: Info = self.nats.api(&what, &body, PATIENCE).await.map_err(unavailable)?;
            let subjects = info.state.subjects.unwrap_or_default();
            let blobs = subjects
                .keys()
                .filter_map(|subject| subject.strip_prefix(&prefix)?.split('.').next());
            names.extend(blobs.map(str::to_owned));
            seen += subjects.len();
            if subjects.is_empty() || seen >= info.total {
                return Ok(names.into_iter().collect());
            }
        }
    }

    /// All pieces of it at once, those of attempts that failed as well.
    async fn delete(&self, partition: PartitionId, blob: &str) -> Result<(), CheckpointError> {
        let what = format!("STREAM.PURGE.{}", name(&self.nats));
        let filter = format!("{}{blob}.>", self.blobs(partition));
        let purged = self
            .nats
            .api::<Value>(&what, &json!({ "filter": filter }), PATIENCE)
            .await;
        purged.map(drop).map_err(unavailable)
    }

    /// Replaces the manifest for an owner of `epoch`; without a manifest, claims the one that is there.
    async fn replace(
        &self,
        partition: PartitionId,
        epoch: u64,
        manifest: Option<Bytes>,
    ) -> Result<Option<Bytes>, CheckpointError> {
        let subject = self.manifest_subject(partition);
        let deadline = Instant::now() + 2 * PATIENCE;
        for attempt in 1.. {
            let stored = self.last(&subject).await?;
            let revision = stored.as_ref().map_or(0, |stored| stored.seq);
            let found = Claimed::found(stored.as_ref().map(|stored| &stored.bytes), partition);
            found.admits(partition, epoch)?;
            let manifest = manifest.clone().or(found.manifest);
            let claimed = Claimed { epoch, manifest };
            // An attempt without an answer is made again, from what is there then: it may be ours, and may be ours
            // twice.
            match self.store(&subject, claimed.encode(), Some(revision)).await {
                Ok(()) => return Ok(claimed.manifest),
                Err(error) if !(error.is_conflict() || error.is_temporary()) || Instant::now() > deadline => {
                    return Err(unavailable(error));
                }
                Err(_) => sleep(backoff(attempt, PATIENCE / 5)).await,
            }
        }
        unreachable!("the loop has no end")
    }
}

/// Asks again while the servers cannot answer, for ten seconds.
async fn patiently<T, F>(mut ask: impl FnMut() -> F) -> Result<T, ApiError>
where
    F: Future<Output = Result<T, ApiError>>,
{
    let deadline = Instant::now() + 2 * PATIENCE;
    for attempt in 1.. {
        match ask().await {
            Err(error) if error.is_temporary() && Instant::now() < deadline => {
                sleep(backoff(attempt, PATIENCE / 5)).await;
            }
            answer => return answer,
        }
    }
    unreachable!("the loop has no end")
}

/// A page of the subjects of a stream.
#[derive(Deserialize)]
struct Info {
    state: Subjects,
    #[serde(default)]
    total: usize,
}

#[derive(Deserialize)]
struct Subjects {
    subjects: Option<HashMap<String, u64>>,
}

#[async_trait]
impl Checkpoints for NatsCheckpoints {
    async fn put(&self, partition: PartitionId, name: &str, bytes: Bytes) -> Result<(), CheckpointError> {
        check_name(name)?;
        self.0.put(partition, name, bytes).await
    }

    async fn get(&self, partition: PartitionId, name: &str) -> Result<Option<Bytes>, CheckpointError> {
        check_name(name)?;
        self.0.get(partition, name).await
    }

    async fn list(&self, partition: PartitionId) -> Result<Vec<String>, CheckpointError> {
        self.0.list(partition).await
    }

    async fn delete(&self, partition: PartitionId, name: &str) -> Result<(), CheckpointError> {
        check_name(name)?;
        self.0.delete(partition, name).await
    }

    async fn manifest(&self, partition: PartitionId) -> Result<Option<Bytes>, CheckpointError> {
        let stored = self.0.last(&self.0.manifest_subject(partition)).await?;
        Ok(Claimed::found(stored.as_ref().map(|stored| &stored.bytes), partition).manifest)
    }

    async fn claim(&self, partition: PartitionId, epoch: u64) -> Result<Option<Bytes>, CheckpointError> {
        self.0.replace(partition, epoch, None).await
    }

    async fn put_manifest(
        &self,
        partition: PartitionId,
        epoch: u64,
        bytes: Bytes,
    ) -> Result<(), CheckpointError> {
        self.0.replace(partition, epoch, Some(bytes)).await.map(drop)
    }
}

fn unavailable(error: ApiError) -> CheckpointError {
    CheckpointError::Unavailable(error.to_string())
}

fn damaged(blob: &str, what: &str) -> CheckpointError {
    CheckpointError::Damaged {
        place: blob.to_owned(),
        what: what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written() {
        let head = Head {
            crc: 1,
            len: u64::MAX,
            write: 3,
            pieces: 4,
            content: Bytes::from_static(b"small"),
        };
        assert_eq!(Head::decode(head.encode().slice(..23)), None);
        assert_eq!(Head::decode(head.encode()), Some(head));
    }
}
