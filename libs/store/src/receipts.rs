use async_trait::async_trait;
use bytes::Bytes;
use model::{OrgId, Position, ReceiptKind, TopicName, UserId};

use crate::{Advance, StoreError};

/// A message has come further. Of a topic that is not stored it says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewReceipt {
    /// The tenant.
    pub org: OrgId,
    /// The topic.
    pub topic: TopicName,
    /// The message meant.
    pub message: Position,
    /// The first edit of it, which counts as unread at its own place: who reads the message has read it.
    pub edit: Option<Position>,
    /// How far.
    pub state: ReceiptKind,
    /// The recipient.
    pub by: UserId,
    /// Where the receipt stands in the log.
    pub changed: Position,
    /// The receipt's log entry.
    pub bytes: Bytes,
}

/// Everything by others in a topic has reached a user up to a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMark {
    /// The tenant.
    pub org: OrgId,
    /// The topic.
    pub topic: TopicName,
    /// The recipient.
    pub by: UserId,
    /// Up to here.
    pub upto: Position,
    /// Where the receipt stands in the log.
    pub changed: Position,
    /// The receipt's log entry.
    pub bytes: Bytes,
}

/// What a stretch of the log comes to. Applied as a whole or not at all, forward only: what says less than is stored
/// changes nothing.
#[derive(Debug, Clone, Default)]
pub struct ReceiptBatch {
    /// The progress, one step per partition.
    pub advances: Vec<Advance>,
    /// In the order of the log within each partition.
    pub receipts: Vec<NewReceipt>,
    /// Likewise.
    pub marks: Vec<NewMark>,
}

/// Whose unread messages.
#[derive(Debug, Clone)]
pub struct UnreadQuery {
    /// The tenant.
    pub org: OrgId,
    /// The user and its aliases.
    pub identities: Vec<UserId>,
    /// Count from the beginning instead of from what is known to be read.
    pub anew: bool,
}

/// How far a message has come with somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptRow {
    /// The recipient.
    pub by: UserId,
    /// How far.
    pub state: ReceiptKind,
    /// Where the receipt stands in the log; `None` when only its effect is kept.
    pub changed: Option<Position>,
}

/// How far messages have come.
#[async_trait]
pub trait ReceiptStore: Send + Sync + 'static {
    /// Applies a stretch of the log in one transaction, which is synced before anybody can see it: a status that was shown
    /// never goes back (P8). On an error nothing was applied.
    async fn apply_receipts(&self, batch: std::sync::Arc<ReceiptBatch>) -> Result<(), StoreError>;

    /// How far a message has come with each recipient, as far as that is kept: who brought it to its furthest state, who
    /// has read it, and whom everything up to it has reached (which says nothing of a message's own author). By
    /// recipient, each once.
    async fn receipts_of(
        &self,
        org: &OrgId,
        topic: &TopicName,
        message: Position,
    ) -> Result<Vec<ReceiptRow>, StoreError>;

    /// How many countable messages by others the identities have not read where they take part: not recalled, after they
    /// joined. What they have left has none.
    async fn unread(&self, query: UnreadQuery) -> Result<u64, StoreError>;

    /// The same in each of these topics by itself, in their order. Whoever may ask for a topic takes part in it, unless it has
    /// left its thread.
    async fn unread_in(&self, query: UnreadQuery, topics: Vec<TopicName>) -> Result<Vec<u64>, StoreError>;
}
