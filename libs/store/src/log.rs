//! What the log leaves in the store.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use model::thread::Change;
use model::{OrgId, PartitionId, Position, ReceiptKind, TopicName, UnixMillis};
use wire::Entry;

use crate::{Advance, LogIdentity, Service, StoreError};

/// A stored message: what its store finds it by. Within a topic ids grow in the order of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId {
    pub(crate) topic: i64,
    /// Its number or its position.
    pub(crate) at: i64,
}

/// What a stored message is. A set of bits; part of the storage format.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// A message of its own in history.
    pub const SHOWN: Flags = Flags(1);
    /// Counts as unread until it is read.
    pub const COUNTABLE: Flags = Flags(2);
    /// Taken back: its content is gone.
    pub const RECALLED: Flags = Flags(4);
    /// A later part of a streamed answer.
    pub const PART: Flags = Flags(8);
    /// An opaque MQTT publish.
    pub const GENERIC: Flags = Flags(16);
    /// Shows what an edit says; `upto` of its entry is the position of the first one.
    pub const EDITED: Flags = Flags(32);

    /// With these as well.
    #[must_use]
    pub fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Whether it has all of these.
    pub fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Decodes a stored entry.
pub(crate) fn decode(bytes: Bytes, table: &'static str) -> Result<Entry, StoreError> {
    wire::frame::decode_entry(bytes).map_err(|e| StoreError::Damaged {
        table,
        what: e.to_string(),
    })
}

/// A message to store.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Its partition.
    pub partition: PartitionId,
    /// Its position.
    pub position: Position,
    /// What it is.
    pub flags: Flags,
    /// The decoded entry.
    pub entry: Entry,
    /// The entry's bytes, stored as they are.
    pub bytes: Bytes,
}

/// Other bytes for a message that is stored.
#[derive(Debug, Clone)]
pub struct Rewrite {
    /// Which.
    pub id: MessageId,
    /// Its new bytes.
    pub bytes: Bytes,
    /// What it is now.
    pub flags: Flags,
}

/// The first part of a streamed answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamTarget {
    /// A stored message.
    Stored(MessageId),
    /// The message of this index in the same batch.
    New(usize),
}

/// A streamed answer as far as it has come: what history shows in place of its first part.
#[derive(Debug, Clone)]
pub struct StreamText {
    /// Its first part.
    pub target: StreamTarget,
    /// The whole as a log entry; `None` forgets it (it was taken back).
    pub bytes: Option<Bytes>,
}

/// The retained message of a topic.
#[derive(Debug, Clone)]
pub struct NewRetained {
    /// The tenant.
    pub org: OrgId,
    /// The topic.
    pub topic: TopicName,
    /// Its partition.
    pub partition: PartitionId,
    /// Where it was published.
    pub position: Position,
    /// Unix ms after which it is not delivered; 0 = never.
    pub expires_at: UnixMillis,
    /// The entry's bytes; `None` clears the topic.
    pub bytes: Option<Bytes>,
}

/// A thread as the log names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewThread {
    /// The tenant.
    pub org: OrgId,
    /// Its topic.
    pub topic: TopicName,
    /// Its partition.
    pub partition: PartitionId,
    /// Its uid.
    pub uid: String,
    /// `AGENT`, `WORKGROUP`, …
    pub kind: &'static str,
    /// The desk (or first member).
    pub desk: String,
    /// The visitor (or second member).
    pub party: String,
    /// The visitor's card as the message has it; a card entered before is preferred.
    pub nickname: String,
    /// Likewise.
    pub avatar: String,
    /// Whether it is opened and closed. One of colleagues is there for ever, and has no changes.
    pub has_life: bool,
    /// When.
    pub at: UnixMillis,
}

/// Something that happens to a thread. Threads that are not known are made by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadEvent {
    /// Which.
    pub thread: NewThread,
    /// Where.
    pub position: Position,
    /// What changes; `None`: somebody has spoken in it, which means something in one that has a life and is not open. It
    /// is pending then ([`crate::ThreadStore::pending_threads`]) until it is opened.
    pub change: Option<Change>,
}

/// What a stretch of the log comes to. Applied as a whole or not at all.
#[derive(Debug, Clone, Default)]
pub struct LogBatch {
    /// The progress, one step per partition.
    pub advances: Vec<Advance>,
    /// In the order of the log within each partition.
    pub messages: Vec<NewMessage>,
    /// Stored messages that change.
    pub rewrites: Vec<Rewrite>,
    /// Streamed answers.
    pub streams: Vec<StreamText>,
    /// The last word of each topic.
    pub retained: Vec<NewRetained>,
    /// What happens to threads, in the order of the log within each partition.
    pub threads: Vec<ThreadEvent>,
}

/// Which messages of a uid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Want {
    /// The earliest message, recall or first part of a streamed answer.
    First,
    /// The earliest first part of a streamed answer.
    Stream,
    /// All that a recall of it takes back: every message, every part of a streamed answer, every edit.
    All,
}

/// Asks for messages of a topic by uid, whoever sent them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TargetKey {
    /// The tenant.
    pub org: OrgId,
    /// The topic.
    pub topic: TopicName,
    /// Their uid.
    pub uid: String,
    /// Which of them.
    pub want: Want,
}

/// A stored message.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its id.
    pub id: MessageId,
    /// Its position.
    pub position: Position,
    /// What it is.
    pub flags: Flags,
    /// The entry, decoded.
    pub entry: Entry,
    /// The streamed answer that it begins, as far as it has come; asked for with [`TargetKey`] only.
    pub stream: Option<Bytes>,
    /// The furthest that a receipt which names it has brought it; asked for with [`crate::MessageStore::find`] only.
    pub state: Option<ReceiptKind>,
}

/// Applies the log.
#[async_trait]
pub trait LogStore: Send + Sync + 'static {
    /// Binds an empty store to the log that it is filled from, for good: durable on return. To be asked before
    /// anything of the log is applied or read, by everybody who does; several may at once. Then [`crate::within_log`]
    /// tells whether the log still reaches as far as the store.
    ///
    /// # Errors
    /// [`StoreError::OtherLog`] when the store was filled from another one.
    async fn bind_log(&self, log: LogIdentity) -> Result<(), StoreError>;

    /// How far a service has applied each partition that it has ever applied. Includes what is not durable yet.
    async fn progress(&self, service: Service) -> Result<Vec<(PartitionId, Position)>, StoreError>;

    /// The same, once everything up to there is durable: the log may be trimmed up to here.
    async fn durable_progress(&self, service: Service) -> Result<Vec<(PartitionId, Position)>, StoreError>;

    /// Waits until a service has applied a partition up to `upto`, or for `limit`; says how far it has.
    async fn wait_applied(
        &self,
        service: Service,
        partition: PartitionId,
        upto: Position,
        limit: Duration,
    ) -> Result<Position, StoreError>;

    /// Asks the service, if it runs in this process, to apply what it has read without waiting for more.
    fn hurry(&self, service: Service);

    /// Resolves when a service in this process was asked to hurry, once for any number of askers.
    async fn hurried(&self, service: Service);

    /// Looks up stored messages for the service that applies: those of each key, earliest first, in the order asked.
    async fn lookup(&self, by: Service, keys: Vec<TargetKey>) -> Result<Vec<Vec<Stored>>, StoreError>;

    /// Applies a stretch of the log in one transaction, lazily durable. On an error nothing was applied. Takes the batch
    /// shared, so that it can be tried again.
    async fn apply(&self, batch: std::sync::Arc<LogBatch>) -> Result<(), StoreError>;

    /// Removes opaque publishes accepted before `before`, at most `limit`; says how many.
    async fn prune_generic(&self, before: UnixMillis, limit: usize) -> Result<usize, StoreError>;
}
