//! The log. P partitions, each an ordered sequence of frames that, once appended, are never lost, changed or reordered.
//!
//! ```text
//!  append(p, follows n-1, frame) ──► durable ──► FrameSeq n ──► every reader of p sees n after n-1
//! ```
//!
//! Who appends names the frame that its own is to follow. So of two that believe they own a partition one can append, and the
//! other finds out: the log fences, whatever leases say.

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
    /// Who appends, in this life of it.
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
    /// The outcome is unknown: retry with the same [`FrameId`], bytes and expectation, or read the log.
    #[error("an append to the journal did not finish in time")]
    Unknown,
    /// The frame is not stored, and can no longer be where it was to go: another frame stands there or is on its way there, or one
    /// before it is missing. Which of these, and how far the log goes, is told by nothing but reading it.
    ///
    /// It is certain of every attempt with this id and expectation. A journal that cannot exclude that an earlier one was stored
    /// says `Unknown` instead.
    #[error("the frame does not follow frame {} of partition {partition}", follows.0)]
    Mismatch {
        /// The partition.
        partition: PartitionId,
        /// What the frame was to follow.
        follows: FrameSeq,
    },
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
    /// Appends one frame to a partition. Resolves only when the frame is durable: fsynced, or replicated and acknowledged.
    ///
    /// *Place.* With `follows: Some(n)` the frame is stored as frame n + 1 or not at all ([`JournalError::Mismatch`]); frame 1 follows
    /// `Some(FrameSeq(0))`. Of several that expect the same, one is stored. What is in flight counts: an append may name a frame that
    /// is not acknowledged yet, and if that one fails, so does it. `None` takes whatever place is next: for tests, and for who
    /// appends side by side with others. Frames of one writer to one partition, appended one after the other, keep their order;
    /// appends in flight together are ordered by the journal.
    ///
    /// *Repetition.* A frame whose id was stored before (within the duplicate window, at least two minutes) is not stored again: the
    /// first one's place is returned. That holds for a repetition with the first one's expectation; one with another may get
    /// `Mismatch` instead. So who named an expectation takes only n + 1 for its answer.
    ///
    /// An error other than `Unknown` means that no reader will ever see the frame.
    async fn append(
        &self,
        partition: PartitionId,
        follows: Option<FrameSeq>,
        id: FrameId,
        frame: Bytes,
    ) -> Result<FrameSeq, JournalError>;

    /// Reads every frame after `after`, in order, without holes, and then waits for more. Sees only durable frames. Nobody can have
    /// read beyond the end: a journal may refuse such a cursor as [`JournalError::Corrupt`], as its log has lost frames.
    async fn read(&self, partition: PartitionId, after: FrameSeq) -> Result<Box<dyn Reader>, JournalError>;

    /// The last durable frame of a partition; 0 when it is empty and has always been. At least every frame that was acknowledged
    /// before the question, whether or not waiting readers were told of it.
    async fn head(&self, partition: PartitionId) -> Result<FrameSeq, JournalError>;

    /// Whether the frames of all partitions that wait at once share one write. Where they do not, each frame costs the log about
    /// the same, however little it carries.
    fn shares_writes(&self) -> bool {
        false
    }

    /// Tells waiting readers at once of everything that is durable. A journal may let a reader that waits in [`Reader::next`] sleep
    /// on for a moment, so that one wake-up serves several frames; who needs a reader to catch up now says so here. Costs little
    /// when there is nothing to tell.
    fn announce(&self) {}

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
    /// The next frames, at least one, as many as are at hand (bounded by about 4 MiB). What is durable when it is called is returned
    /// at once. When there is nothing it waits, and may be woken a moment after a frame is durable: see [`Journal::announce`].
    /// Cancel safe: frames are not lost when the future is dropped.
    async fn next(&mut self) -> Result<Vec<StoredFrame>, JournalError>;
}
