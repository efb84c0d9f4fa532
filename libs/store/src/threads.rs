use async_trait::async_trait;
use bytes::Bytes;
use contract::persistence::{MemberTopic, UserCard};
use model::{Membership, OrgId, PartitionId, Position, TopicName, UnixMillis, UserId};

use crate::{NewThread, StoreError};

/// A thread as it is stored. Its last message, its activity and how long its visitor waits follow from the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadRow {
    /// Its topic.
    pub topic: TopicName,
    /// Its partition.
    pub partition: PartitionId,
    /// Its uid.
    pub uid: String,
    /// `AGENT`, `WORKGROUP`, …
    pub kind: String,
    /// `CHATTING`, `CLOSED`, …
    pub status: String,
    /// The desk (or first member).
    pub desk: UserId,
    /// The visitor (or second member).
    pub visitor: UserCard,
    /// The uid of the agent it was given to.
    pub agent: Option<UserId>,
    /// The last message: position and log entry.
    pub last: Option<(Position, Bytes)>,
    /// When it was last active.
    pub updated_at: UnixMillis,
    /// Since when the visitor waits for an answer.
    pub waiting_since: Option<UnixMillis>,
}

/// Who may be given a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assign {
    /// The agent's uid.
    pub agent: UserId,
    /// The user behind it: who is to be told.
    pub user: UserId,
    /// Whether it is there now; those who are come first.
    pub online: bool,
}

/// A thread that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedRow {
    /// The thread.
    pub thread: ThreadRow,
    /// Whether it is new.
    pub created: bool,
    /// Whether its members changed.
    pub changed: bool,
    /// Users who are members and have not been told.
    pub joined: Vec<UserId>,
}

/// Which threads.
#[derive(Debug, Clone)]
pub struct ThreadQuery {
    /// The tenant.
    pub org: OrgId,
    /// The user and its aliases.
    pub identities: Vec<UserId>,
    /// Only those whose visitor waits.
    pub unreplied: bool,
    /// How many to skip.
    pub offset: usize,
    /// How many to give.
    pub limit: usize,
}

/// Threads, members and visitors. Changes are durable on return.
#[async_trait]
pub trait ThreadStore: Send + Sync + 'static {
    /// Opens a thread: makes it when it is not there, brings the visitor's card up to date, and gives it to one of
    /// `assign` with the fewest open threads when it has no agent.
    async fn open_thread(&self, thread: NewThread, assign: Vec<Assign>) -> Result<OpenedRow, StoreError>;

    /// These users have been told of their membership.
    async fn announced(&self, org: &OrgId, topic: &TopicName, users: Vec<UserId>) -> Result<(), StoreError>;

    /// Who was made a member of a thread.
    async fn membership(&self, org: &OrgId, topic: &TopicName) -> Result<Membership, StoreError>;

    /// The threads that any of these was made a member of.
    async fn member_topics(
        &self,
        org: &OrgId,
        identities: Vec<UserId>,
    ) -> Result<Vec<MemberTopic>, StoreError>;

    /// A page of threads, the most recently active first, and how many there are in all.
    async fn threads(&self, query: ThreadQuery) -> Result<(Vec<ThreadRow>, u64), StoreError>;

    /// Enters a visitor or brings its card up to date: empty members of `card` leave what is stored. Gives the whole.
    async fn visitor(&self, org: &OrgId, card: UserCard) -> Result<UserCard, StoreError>;
}
