use bytes::Bytes;
use model::{OrgId, Position, ReceiptKind, TopicName};

/// A page of a topic's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRequest {
    /// The tenant.
    pub org: OrgId,
    /// The topic, in its canonical form.
    pub topic: TopicName,
    /// Which part.
    pub range: HistoryRange,
}

/// Which part of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryRange {
    /// The first `limit` after a position.
    After {
        /// Exclusive.
        position: Position,
        /// At most.
        limit: u32,
    },
    /// The last `limit` before a position.
    Before {
        /// Exclusive.
        position: Position,
        /// At most.
        limit: u32,
    },
    /// Page `number` (from 0) of `size`, counted from the newest.
    Page {
        /// From 0.
        number: u32,
        /// Entries a page.
        size: u32,
    },
}

/// One message of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Its position.
    pub position: Position,
    /// The position before it in its topic.
    pub prev: Option<Position>,
    /// The encoded log entry; a recalled message has lost its content.
    pub entry: Bytes,
    /// How far it came with its recipients; `None` = sent.
    pub state: Option<ReceiptKind>,
    /// Whether it was taken back.
    pub recalled: bool,
}

/// The page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryPage {
    /// Ascending by position, whatever the range.
    pub entries: Vec<HistoryEntry>,
    /// How many messages the topic has in all.
    pub total: u64,
    /// Everything of the topic up to here is included or older than the page.
    pub head: Position,
    /// Whether there are more beyond the page, in its direction.
    pub more: bool,
}
