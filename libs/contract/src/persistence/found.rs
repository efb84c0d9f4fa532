use std::time::Duration;

use model::{MessageUid, OrgId, Position, ReceiptKind, TopicName, UnixMillis, UserId};

/// How far back uids are told: whoever judges must know those of at least eight days. An hour more, as a message is
/// stamped by the clock of the edge that accepted it.
pub const UID_WINDOW: Duration = Duration::from_secs(8 * 24 * 3600 + 3600);

/// What names a message: its uid within its topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageKey {
    /// The tenant.
    pub org: OrgId,
    /// Its topic.
    pub topic: TopicName,
    /// What its client called it.
    pub uid: MessageUid,
}

/// What a stored message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundKind {
    /// A chat message.
    Chat,
    /// The first part of a streamed answer.
    Stream,
    /// A recall.
    Recall,
}

/// A message that is already stored. Of one that was edited everything but `position` and `accepted_at` is the edit's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it stands.
    pub position: Position,
    /// Its thread.
    pub topic: TopicName,
    /// The principal that sent it.
    pub sender: UserId,
    /// The uid it was sent as.
    pub author: UserId,
    /// The hash of what makes it the same message.
    pub digest: u64,
    /// When it was accepted.
    pub accepted_at: UnixMillis,
    /// What it is.
    pub kind: FoundKind,
    /// The chat type name.
    pub r#type: String,
    /// Whether it was taken back.
    pub recalled: bool,
    /// The furthest that a receipt which names it has brought it; `None` = none did.
    pub state: Option<ReceiptKind>,
}

/// The uid of a stored message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenUid {
    /// Where the message stands.
    pub position: Position,
    /// The hash of (org, topic, uid): `wire::envelope::uid_key`.
    pub key: u128,
    /// When it was accepted.
    pub accepted_at: UnixMillis,
}

/// Uids of a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UidPage {
    /// Ascending by position. A uid that the log has twice is there twice.
    pub uids: Vec<SeenUid>,
    /// Everything after the position asked for and up to here is in the page: what to ask for next, or, when there is
    /// no more, where to read on in the log.
    pub next: Position,
    /// Whether there may be more that is applied.
    pub more: bool,
}

impl UidPage {
    /// The most that a page has.
    pub const LIMIT: u32 = 50_000;
}
