use bytes::Bytes;
use model::{
    ClientId, EdgeId, MessageUid, OrgId, PartitionId, Position, ReceiptKind, Role, TopicName, UnixMillis,
    UserId,
};

/// Which message is to be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainRequest {
    /// The tenant.
    pub org: OrgId,
    /// The uid that its sender gave it. Senders choose uids, so several messages may have it.
    pub uid: MessageUid,
    /// Users to look at though nothing ties them to the thread.
    pub also: Vec<UserId>,
}

/// A message, how far it came, and with whom it should be. Nothing here tells what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Its partition.
    pub partition: PartitionId,
    /// Its position; of a streamed answer that of its first part.
    pub position: Position,
    /// How many further parts a streamed answer has.
    pub parts: u32,
    /// The topic, in its canonical form.
    pub topic: TopicName,
    /// The principal that sent it.
    pub sender: UserId,
    /// What the sender is; `None` for a service.
    pub sender_role: Option<Role>,
    /// The uid it was sent as.
    pub author: UserId,
    /// The chat type name.
    pub kind: String,
    /// When it was accepted.
    pub accepted_at: UnixMillis,
    /// Whether it was taken back.
    pub recalled: bool,
    /// Whether history shows it.
    pub in_history: bool,
    /// How far it came with its recipients as a whole; `None` = sent.
    pub state: Option<ReceiptKind>,
    /// How far it came with each, as far as that is kept.
    pub receipts: Vec<ExplainedReceipt>,
    /// Who was made a member of the thread, beyond those that the topic names.
    pub members: Vec<ExplainedMember>,
    /// Who is entitled to it as far as this side knows, who took part in the thread, and who was asked about. By user,
    /// each once.
    pub recipients: Vec<ExplainedRecipient>,
}

/// How far a message came with somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedReceipt {
    /// With whom.
    pub by: UserId,
    /// How far.
    pub state: ReceiptKind,
    /// Where the receipt stands in the log; `None` when only its effect is kept.
    pub position: Option<Position>,
}

/// A member of a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedMember {
    /// The uid that was made a member: a user, or an alias of one.
    pub uid: UserId,
    /// It sees what comes after this position.
    pub since: Position,
}

/// What ties a user to a thread. Aliases are known to tokens alone, but for agents of configured desks and for what the
/// thread's messages show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tie {
    /// The topic names it, or an alias of it.
    Topic,
    /// It is a member and sees what comes after this position.
    Member(Position),
    /// It acknowledged something of the thread; as whom, its token says.
    Reader,
    /// It took part and is a member no more.
    Left,
    /// Nothing.
    Stranger,
}

/// A user as a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedRecipient {
    /// The user: the subject of its tokens, the owner of its sessions.
    pub user: UserId,
    /// What it is; `None` when neither topic nor messages tell.
    pub role: Option<Role>,
    /// The uids under which the thread knows it, its own left out.
    pub aliases: Vec<UserId>,
    /// What ties it to the thread.
    pub tie: Tie,
    /// Its stored sessions, whatever they receive. By client id.
    pub sessions: Vec<StoredSession>,
}

/// A session as it is stored. One that ends with its connection is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSession {
    /// The client id, or `stomp/{destination}`.
    pub client: ClientId,
    /// The fence of its last connection.
    pub epoch: u64,
    /// The edge that holds it, or held it last.
    pub edge: EdgeId,
    /// Whether that edge has not closed it.
    pub connected: bool,
    /// When it began, where that is known.
    pub began_at: Option<UnixMillis>,
    /// When its last connection ended, where that is known.
    pub offline_since: Option<UnixMillis>,
    /// When it is forgotten; `None` while it is connected.
    pub expires_at: Option<UnixMillis>,
    /// The state as last saved: up to a second old while it is connected.
    pub state: Bytes,
}
