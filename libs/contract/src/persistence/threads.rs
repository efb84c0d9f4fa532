use bytes::Bytes;
use model::{OrgId, PartitionId, Position, TopicName, UnixMillis, UserId};

/// A thread that a user is a member of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberTopic {
    /// The thread's topic.
    pub topic: TopicName,
    /// Its partition.
    pub partition: PartitionId,
    /// The member sees what comes after this position.
    pub since: Position,
}

/// What others see of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserCard {
    /// Its uid; empty asks for a new one where that is possible.
    pub uid: UserId,
    /// Display name.
    pub nickname: String,
    /// Avatar URL.
    pub avatar: String,
}

/// An agent at a desk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentCard {
    /// The agent's card: `uid` is the agent uid, an alias of the user.
    pub card: UserCard,
    /// The user behind it.
    pub user: UserId,
}

/// What a desk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeskKind {
    /// One agent.
    Agent,
    /// Several.
    Workgroup,
}

/// Who answers at a desk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desk {
    /// What it is.
    pub kind: DeskKind,
    /// Its own card.
    pub card: UserCard,
    /// Its agents; one for an agent's desk.
    pub agents: Vec<AgentCard>,
}

/// A visitor comes to a desk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenThread {
    /// The tenant.
    pub org: OrgId,
    /// The desk's uid.
    pub desk: UserId,
    /// The visitor.
    pub visitor: UserCard,
    /// Users that are online now, among whom an agent of a workgroup is picked by the fewest open threads.
    pub online: Vec<UserId>,
    /// When.
    pub at: UnixMillis,
}

/// A thread as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadCard {
    /// Its uid.
    pub uid: String,
    /// Its topic.
    pub topic: TopicName,
    /// `AGENT`, `WORKGROUP`, …
    pub kind: String,
    /// `CHATTING`, `OFFLINE`, `CLOSED`, …
    pub status: String,
    /// The visitor.
    pub visitor: UserCard,
    /// The agent it was given to, where it has one.
    pub agent: Option<AgentCard>,
    /// The last message: position and encoded log entry.
    pub last: Option<(Position, Bytes)>,
    /// When it was last active.
    pub updated_at: UnixMillis,
    /// Messages by others that the asking user has not read.
    pub unread: u64,
    /// Since when the visitor waits for an answer.
    pub unreplied_since: Option<UnixMillis>,
}

/// The thread of a visitor at a desk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedThread {
    /// The thread.
    pub thread: ThreadCard,
    /// Whether it is new.
    pub created: bool,
    /// Users who became members and have not been told: an entry of kind MEMBERSHIP on `user/{uid}` is owed to each.
    pub joined: Vec<UserId>,
}

/// Which threads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadsRequest {
    /// The tenant.
    pub org: OrgId,
    /// The user and its aliases.
    pub identities: Vec<UserId>,
    /// Only those whose visitor waits for an answer.
    pub unreplied: bool,
    /// Page, from 0.
    pub page: u32,
    /// Threads a page.
    pub size: u32,
}

/// A page of threads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ThreadPage {
    /// The most recently active first.
    pub threads: Vec<ThreadCard>,
    /// How many there are in all.
    pub total: u64,
}
