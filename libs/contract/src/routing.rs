//! The line between an edge and the owner of a partition: what an edge submits and attaches goes up, what became of it and
//! what it has attached comes down. docs/adr/0015-the-owner-sequences.md
//!
//! ```text
//!  edge ── Hello ─────────────────────► owner      after, filters, the first number
//!       ── Attach 7, Submit 8, 9 … ───►            numbered without holes, in order
//!       ◄─ Routed: welcome, answers, entries, upto in the order of the log
//! ```
//!
//! A line keeps its order and loses nothing until it ends, which both sides notice. After that the edge opens another, to
//! whoever owns the partition then, says what it was given last, and repeats everything unanswered, in order.

mod once;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use model::{EdgeId, OrgId, PartitionId, Position, TopicFilter};
use wire::Entry;

use crate::RpcError;
pub use once::{submit_once, tell_once};

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the log. `duplicate`: it was before, and this is where.
    Stored {
        /// Where it stands.
        position: Position,
        /// Whether it is a resend.
        duplicate: bool,
    },
    /// The uid was used for another message.
    Conflict,
    /// A change of a thread that was decided on what the thread is no more, or on less of the log than the owner has seen.
    Outdated,
    /// It was not the sender's to send.
    Forbidden,
    /// A recall that is too late, or of nothing.
    Rejected,
    /// It is larger than a frame of the log may be.
    TooLarge,
    /// It is not stored: for want of room or of a working log, or because nobody could say in time whether it was stored
    /// before.
    Unavailable(String),
    /// It may or may not be stored.
    Unknown,
}

/// How an edge begins a line.
#[derive(Debug, Clone)]
pub struct Hello {
    /// The edge, in this life: another one at each start.
    pub edge: EdgeId,
    /// The partition.
    pub partition: PartitionId,
    /// The highest epoch under which the edge has heard of an owner: one of a lower epoch is none any more, though it
    /// may not know that yet, and does not take up the line.
    pub epoch: u64,
    /// The number of the first thing that is numbered.
    pub first: u64,
    /// Everything up to here has been given to the edge.
    pub after: Position,
    /// What the edge has attached.
    pub filters: Vec<(OrgId, TopicFilter)>,
}

/// What an edge says on a line.
#[derive(Debug, Clone)]
pub enum Up {
    /// Give me what matches, from now on. Answered by [`Routed::attached`].
    Attach {
        /// The edge's own number, the next after the last.
        number: u64,
        /// The tenant.
        org: OrgId,
        /// What is attached.
        filter: TopicFilter,
    },
    /// No more of this.
    Detach {
        /// The tenant.
        org: OrgId,
        /// What is detached.
        filter: TopicFilter,
    },
    /// An entry for the log. Answered by [`Routed::answers`].
    Submit(Submission),
    /// An entry for whoever is online now. Not answered.
    Transient(Arc<Entry>),
}

/// An entry on its way into the log.
#[derive(Debug, Clone)]
pub struct Submission {
    /// The edge's own number, the next after the last. Never used twice in one life of the edge.
    pub number: u64,
    /// The entry.
    pub entry: Arc<Entry>,
    /// How far the edge knew the log to go when it first sent this. An owner that has not looked at everything after that
    /// cannot say that the entry is not stored.
    pub seen: Position,
    /// Whether it was sent on an earlier line.
    pub again: bool,
}

/// An entry of the log on its way to an edge.
#[derive(Debug, Clone)]
pub struct RoutedEntry {
    /// Where it stands; [`Position::START`] for what is not in the log.
    pub position: Position,
    /// The position before it in its topic; `None` = unknown.
    pub prev: Option<Position>,
    /// The entry.
    pub entry: Arc<Entry>,
    /// The same, encoded, where it is at hand; else empty.
    pub bytes: Bytes,
}

/// How an owner begins a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Welcome {
    /// What comes after this comes live.
    pub boundary: Position,
    /// Whether everything between [`Hello::after`] and the boundary comes too. If not, it has to be read from the store.
    pub whole: bool,
}

/// What an owner says on a line.
#[derive(Debug, Clone, Default)]
pub struct Routed {
    /// The lease under which the owner speaks. Grows with each change of owner.
    pub epoch: u64,
    /// The beginning of the line. Between processes what was missed may come before it, where it is too much for one
    /// message.
    pub welcome: Option<Welcome>,
    /// Entries that the edge has attached, in the order of the log.
    pub entries: Vec<RoutedEntry>,
    /// For attaches by number: everything after the position comes live.
    pub attached: Vec<(u64, Position)>,
    /// What became of submissions, by number.
    pub answers: Vec<(u64, Outcome)>,
    /// Everything up to here has been given.
    pub upto: Position,
}

impl RoutedEntry {
    /// About how many bytes it takes on a line.
    pub fn size(&self) -> usize {
        let entry = match self.bytes.len() {
            0 => self.entry.size(),
            encoded => encoded,
        };
        entry + Routed::AROUND
    }
}

impl Routed {
    /// About how many bytes an entry or an answer takes besides its own.
    pub const AROUND: usize = 48;

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.welcome.is_none()
            && self.entries.is_empty()
            && self.attached.is_empty()
            && self.answers.is_empty()
    }
}

/// The owner's end of a line to an edge. Called from the owner's own task: never blocks.
pub trait Downstream: Send + Sync + 'static {
    /// Hands over what the owner says, in order. False when the line has ended: nobody is there, or it takes too little.
    fn routed(&self, routed: Routed) -> bool;

    /// The owner has ended the line: it leaves, or has lost the partition. Nothing follows.
    fn ended(&self);
}

/// The edge's end of a line to an owner. Dropped, it ends the line.
pub trait Upstream: Send + Sync + 'static {
    /// Sends, in order, without waiting. False when the line has ended.
    fn send(&self, up: Up) -> bool;
}

/// The routing service, as edges use it.
#[async_trait]
pub trait Routing: Send + Sync + 'static {
    /// Opens a line to the owner of the partition; what the owner says goes to `edge`, maybe before this returns. A line
    /// that the same edge has open there ends. Between processes it is open only when the owner has spoken: one that
    /// takes up lines and says nothing may be cut off from the log, and another may be there by now. Cancel safe.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unavailable`] when no owner is to be found now.
    async fn open(&self, hello: Hello, edge: Arc<dyn Downstream>) -> Result<Box<dyn Upstream>, RpcError>;
}

/// What an owner tells every edge when it begins, so that they need not look for it; or when it leaves (`epoch` 0), so that
/// others need not wait for its lease to run out. May be lost: edges and replicas look by themselves as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announcement {
    /// The partition.
    pub partition: PartitionId,
    /// The owner's lease; 0 = the partition is free.
    pub epoch: u64,
}

impl Announcement {
    /// Where it is told.
    pub const SUBJECT: &str = "owners";

    /// As it is told: partition and epoch, big endian.
    pub fn to_bytes(self) -> Bytes {
        let mut bytes = self.partition.0.to_be_bytes().to_vec();
        bytes.extend(self.epoch.to_be_bytes());
        bytes.into()
    }

    /// Reads one; `None` when it is none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (partition, epoch) = bytes.split_first_chunk()?;
        Some(Self {
            partition: PartitionId(u16::from_be_bytes(*partition)),
            epoch: u64::from_be_bytes(epoch.try_into().ok()?),
        })
    }
}
