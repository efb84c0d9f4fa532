//! The log. P partitions, each an ordered sequence of frames that, once appended, are never lost, changed or reordered.
//!
//! ```text
//!  append(p, frame) ──► durable ──► FrameSeq n ──► every reader of p sees n after n-1
//! ```

mod embedded;
mod jetstream;
#[cfg(feature = "suite")]
pub mod suite;

use async_trait::async_trait;
use bytes::Bytes;
use model::{FrameSeq, PartitionId};
use thiserror::Error;

pub use embedded::{EmbeddedJournal, JournalConfig, JournalStats, OpenError};
pub use jetstream::{JetStreamJournal, JetStreamStats};

/// Identity of a frame within its writer, so that a retried append is stored once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FrameId {
    /// The edge or gateway.
    pub writer: model::EdgeId,
    /// Its own number for the frame, never used twice in one life of the writer.
    pub number: u64,
}

/// Why the journal did not do what it was asked.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The frame is not stored, and will not be by itself: the disk is full or failing. Later appends may succeed.
    #[error("appending to the journal: {reason}")]
    Unavailable {
        /// What failed, for the operator: `/readyz` shows it.
        reason: String,
    },
    /// The outcome is unknown: retry with the same [`FrameId`].
    #[error("an append to the journal did not finish in time")]
    Unknown,
    /// The frame is larger than the journal takes.
    #[error("a frame of {size} bytes exceeds the journal's limit of {limit}")]
    TooLarge {
        /// Bytes of the frame.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The journal has no such partition.
    #[error("the journal has no partition {partition}, only {count} from 0 on")]
    NoPartition {
        /// The partition asked for.
        partition: PartitionId,
        /// How many there are.
        count: u16,
    },
    /// What was asked for has been trimmed: the reader must begin at `first` and take what is older from the store.
    #[error("the journal of partition {partition} begins at frame {first}")]
    Trimmed {
        /// The partition.
        partition: PartitionId,
        /// The oldest frame that is still there.
        first: u64,
    },
    /// Stored bytes do not match their checksum.
    #[error("the journal is damaged in {place}: {what}")]
    Corrupt {
        /// File and offset.
        place: String,
        /// What does not fit.
        what: String,
    },
    /// The log was deleted and created anew while it was open: its positions mean other frames. The process must start again.
    #[error("the journal of partition {partition} was created anew")]
    Recreated {
        /// The partition where it was noticed.
        partition: PartitionId,
    },
    /// The journal has been closed.
    #[error("the journal is closed")]
    Closed,
}

/// A stored frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFrame {
    /// Its place.
    pub seq: FrameSeq,
    /// What was appended.
    pub bytes: Bytes,
}

/// The durable, ordered log.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Appends one frame to a partition. Resolves only when the frame is durable: fsynced, or replicated and
    /// acknowledged. Frames of one writer to one partition, appended one after the other, keep their order; appends
    /// that are in flight together are ordered by the journal. A frame whose id was stored before (within the
    /// duplicate window, at least two minutes) is not stored again: the first one's place is returned.
    ///
    /// An error other than `Unknown` means that no reader will ever see the frame.
    async fn append(
        &self,
        partition: PartitionId,
        id: FrameId,
        frame: Bytes,
    ) -> Result<FrameSeq, JournalError>;

    /// Reads every frame after `after`, in order, without holes, and then waits for more. Sees only durable frames. Nobody can have
    /// read beyond the end: a journal may refuse such a cursor as [`JournalError::Corrupt`], as its log has lost frames.
    async fn read(&self, partition: PartitionId, after: FrameSeq) -> Result<Box<dyn Reader>, JournalError>;

    /// The last durable frame of a partition; 0 when it is empty and has always been.
    async fn head(&self, partition: PartitionId) -> Result<FrameSeq, JournalError>;

    /// Frames up to `upto` are no longer needed by any reader. They are removed when they are also older than the
    /// retention; a journal may keep them longer.
    async fn trim(&self, partition: PartitionId, upto: FrameSeq) -> Result<(), JournalError>;

    /// The identity of the log. A recreated log has another one, so that its positions are not mistaken for the old
    /// ones.
    fn epoch(&self) -> u64;

    /// Whether appends can succeed now; the reason if not. Cheap: asked by every `/readyz`.
    fn health(&self) -> Result<(), String>;
}

/// A place in one partition's log.
#[async_trait]
pub trait Reader: Send + 'static {
    /// The next frames, at least one, as many as are at hand (bounded by about 4 MiB); waits when there are none.
    /// Cancel safe: frames are not lost when the future is dropped.
    async fn next(&mut self) -> Result<Vec<StoredFrame>, JournalError>;
}
