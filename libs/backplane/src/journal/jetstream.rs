//! The journal of a cluster: one JetStream stream per partition, held by several servers.
//!
//! ```text
//!  append ─► publish with an id, and the sequence it follows ─► leader ─► quorum ─► acknowledged with its own
//!  read   ◄─ a consumer in the memory of one server, thrown away at any doubt; the position is the reader's own
//! ```
//!
//! See docs/adr/0008-jetstream-journal.md.

mod append;
mod pull;
mod reader;
mod streams;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use model::{FrameSeq, PartitionId};
use tokio::time::{Instant, sleep};

use append::Doubts;
use reader::JetStreamReader;
use streams::Names;
use watch::Trouble;

use super::{FrameId, Journal, JournalError, Reader};
use crate::nats::{Nats, NatsError, backoff};

/// How long `head` tries while a stream has no leader.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// [`Journal`] in NATS JetStream.
///
/// What is read comes from streams that are never trimmed by us: frames go when they are older than the retention, so a reader that was
/// away for longer gets [`JournalError::Trimmed`].
pub struct JetStreamJournal {
    shared: Arc<Shared>,
    watcher: tokio::task::JoinHandle<()>,
}

/// What has happened since the journal was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JetStreamStats {
    /// Frames appended and acknowledged.
    pub frames: u64,
    /// Appends whose frame turned out to be stored before: an acknowledgement was lost.
    pub duplicates: u64,
    /// Appends that ended without knowing their outcome.
    pub unknown: u64,
    /// Consumers that were thrown away for new ones.
    pub rebuilds: u64,
    /// Times that a consumer jumped over a frame. Above 0 the servers disagree on what they hold.
    pub gaps: u64,
}

struct Shared {
    nats: Nats,
    names: Names,
    /// The last frame of each partition that we know of.
    heads: Vec<AtomicU64>,
    doubts: Doubts,
    trouble: Arc<Trouble>,
    stats: Stats,
}

#[derive(Default)]
struct Stats {
    frames: AtomicU64,
    duplicates: AtomicU64,
    unknown: AtomicU64,
    rebuilds: AtomicU64,
    gaps: AtomicU64,
}

impl JetStreamJournal {
    /// Opens the log of the installation, or creates it with so many partitions.
    ///
    /// # Errors
    /// When there is a log with another number of partitions, a stream of it is missing or is of another log, or NATS refuses.
    pub async fn open(nats: &Nats, partitions: u16) -> Result<Self, NatsError> {
        let (names, heads) = streams::open(nats, partitions).await?;
        let shared = Arc::new(Shared {
            nats: nats.clone(),
            names,
            heads: heads.into_iter().map(AtomicU64::new).collect(),
            doubts: Doubts::default(),
            trouble: Arc::default(),
            stats: Stats::default(),
        });
        let watcher = tokio::spawn(watch::watch(Arc::downgrade(&shared)));
        Ok(Self { shared, watcher })
    }

    /// Counters for metrics.
    pub fn stats(&self) -> JetStreamStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let stats = &self.shared.stats;
        JetStreamStats {
            frames: read(&stats.frames),
            duplicates: read(&stats.duplicates),
            unknown: read(&stats.unknown),
            rebuilds: read(&stats.rebuilds),
            gaps: read(&stats.gaps),
        }
    }
}

impl Drop for JetStreamJournal {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

impl Shared {
    fn check(&self, partition: PartitionId) -> Result<(), JournalError> {
        let count = self.names.partitions;
        if partition.0 < count {
            return Ok(());
        }
        Err(JournalError::NoPartition { partition, count })
    }

    /// A frame was stored.
    fn stored(&self, partition: PartitionId, seq: FrameSeq) {
        self.stats.frames.fetch_add(1, Ordering::Relaxed);
        self.seen(partition, seq.0);
    }

    /// The partition has reached `last`.
    fn seen(&self, partition: PartitionId, last: u64) {
        if let Some(head) = self.heads.get(usize::from(partition.0)) {
            head.fetch_max(last, Ordering::Relaxed);
        }
    }

    /// The last frame of a partition that we know of.
    fn head(&self, partition: PartitionId) -> u64 {
        let head = self.heads.get(usize::from(partition.0));
        head.map_or(0, |head| head.load(Ordering::Relaxed))
    }
}

#[async_trait]
impl Journal for JetStreamJournal {
    /// Tries for `append_timeout`. While the servers choose a leader (seconds, after one died) it waits, rather than refuse.
    async fn append(
        &self,
        partition: PartitionId,
        follows: Option<FrameSeq>,
        id: FrameId,
        frame: Bytes,
    ) -> Result<FrameSeq, JournalError> {
        self.shared.check(partition)?;
        self.shared.append(partition, follows, id, frame).await
    }

    /// A frame that was read before and is not there any more (the servers lost what they acknowledged) is
    /// [`JournalError::Corrupt`], here and in the reader: going on would give its position to another frame.
    async fn read(&self, partition: PartitionId, after: FrameSeq) -> Result<Box<dyn Reader>, JournalError> {
        self.shared.check(partition)?;
        let reader = JetStreamReader::open(self.shared.clone(), partition, after).await?;
        Ok(Box::new(reader))
    }

    /// Asks the stream's leader, never a follower that may lag.
    async fn head(&self, partition: PartitionId) -> Result<FrameSeq, JournalError> {
        self.shared.check(partition)?;
        let deadline = Instant::now() + HEAD_PATIENCE;
        let stream = self.shared.names.stream(partition);
        for attempt in 1.. {
            match self.shared.nats.stream_info(&stream).await {
                Ok(info) if !self.shared.names.owns(&info) => {
                    return Err(JournalError::Recreated { partition });
                }
                Ok(info) => {
                    self.shared.seen(partition, info.state.last_seq);
                    return Ok(FrameSeq(info.state.last_seq));
                }
                Err(error) if Instant::now() >= deadline => {
                    return Err(JournalError::Unavailable {
                        reason: format!("asking for the end of stream {stream}: {error}"),
                    });
                }
                Err(_) => sleep(backoff(attempt, Duration::from_secs(1))).await,
            }
        }
        unreachable!("the loop has no end")
    }

    /// Does nothing: frames go by age alone. Purging would be the one path by which a mistaken cursor could delete what somebody still
    /// needs, and runs through the part of the server that had most of its faults.
    async fn trim(&self, partition: PartitionId, _upto: FrameSeq) -> Result<(), JournalError> {
        self.shared.check(partition)
    }

    fn epoch(&self) -> u64 {
        self.shared.names.epoch
    }

    /// Whether there is a connection, every stream has a leader and is ours, and the last append was taken. What is wrong is looked
    /// at again every second.
    fn health(&self) -> Result<(), String> {
        if !self.shared.nats.is_connected() {
            return Err("no connection to NATS".to_owned());
        }
        self.shared.trouble.get().map_or(Ok(()), Err)
    }
}
