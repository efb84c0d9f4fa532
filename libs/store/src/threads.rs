use async_trait::async_trait;
use bytes::Bytes;
use contract::persistence::{MemberTopic, UserCard};
use model::thread::{Members, Membership, Thread};
use model::{OrgId, PartitionId, Position, TopicName, UnixMillis, UserId};

use crate::StoreError;

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

/// A thread with its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredThread {
    /// The tenant.
    pub org: OrgId,
    /// What clients see of it.
    pub row: ThreadRow,
    /// What its changes have made of it.
    pub life: Thread,
    /// The first message since it was last closed, or since ever, while it is not open; [`Position::START`] when nobody has
    /// spoken.
    pub pending: Position,
    /// Everything of its partition up to here is in this.
    pub applied: Position,
}

/// An agent who may be given a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The agent's uid.
    pub agent: UserId,
    /// The most threads that it may have at a time, over all desks.
    pub most: u32,
}

/// The notice of a membership that is owed to its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The tenant.
    pub org: OrgId,
    /// The thread.
    pub topic: TopicName,
    /// The uid of the thread.
    pub thread: String,
    /// The membership as it is now: it began, or, when it does not last, it has ended.
    pub membership: Membership,
}

/// Which threads.
#[derive(Debug, Clone, Default)]
pub struct ThreadQuery {
    /// The tenant.
    pub org: OrgId,
    /// The user and its aliases.
    pub identities: Vec<UserId>,
    /// Only those that are open, of those that somebody takes part in now. Costs by them alone.
    pub open: bool,
    /// Only those whose visitor waits.
    pub unreplied: bool,
    /// How many to skip.
    pub offset: usize,
    /// How many to give.
    pub limit: usize,
}

/// Threads, members and visitors. What becomes of a thread comes from the log alone; what is changed here besides is durable
/// on return.
#[async_trait]
pub trait ThreadStore: Send + Sync + 'static {
    /// A thread; `None` when nothing was ever heard of it. Of colleague threads too.
    async fn thread(&self, org: &OrgId, topic: &TopicName) -> Result<Option<StoredThread>, StoreError>;

    /// The topic of the thread of this uid.
    async fn thread_topic(&self, org: &OrgId, uid: &str) -> Result<Option<TopicName>, StoreError>;

    /// Who belongs to a thread and who did. Without memberships when it is not known.
    async fn members(&self, org: &OrgId, topic: &TopicName) -> Result<Members, StoreError>;

    /// The memberships of any of these identities that a session has to know: those that last; and, of the partitions
    /// given with how far the session has got, those that end after that. A thread of an agent's own desk that others have
    /// had ([`Membership`] of it has ended) is named with what is left of it as long as it is open, or was closed after that.
    /// Its cost does not depend on how many memberships have ended before.
    async fn memberships(
        &self,
        org: &OrgId,
        identities: Vec<UserId>,
        reached: Vec<(PartitionId, Position)>,
    ) -> Result<Vec<MemberTopic>, StoreError>;

    /// Threads in which somebody has spoken and that are not open, the earliest spoken first within a partition.
    async fn pending_threads(&self, limit: usize) -> Result<Vec<StoredThread>, StoreError>;

    /// Open threads that wait for an agent (QUEUING, OFFLINE). Of each desk those that wait longest first, by their version; each
    /// desk has its turn, so that one at which nobody is keeps no other waiting.
    async fn waiting_threads(&self, limit: usize) -> Result<Vec<StoredThread>, StoreError>;

    /// Open threads in which nothing was said since `before`, and that were not changed since then.
    async fn idle_threads(&self, before: UnixMillis, limit: usize) -> Result<Vec<StoredThread>, StoreError>;

    /// Threads with an offer whose time is over.
    async fn threads_with_due_offers(
        &self,
        now: UnixMillis,
        limit: usize,
    ) -> Result<Vec<StoredThread>, StoreError>;

    /// How many threads of this desk wait before this one, it not counted; `None` when it does not wait.
    async fn place_in_queue(&self, org: &OrgId, topic: &TopicName) -> Result<Option<u64>, StoreError>;

    /// Takes a place of the agent who has the fewest threads of those that have room, the first named of several. What it has:
    /// the open threads whose agent it is, and the places taken for other threads. A thread has one place: taken again, it is
    /// the same, if its agent is among those named. The place is given back when a change of the thread is applied, or by
    /// [`Self::release_place`]. `None` when nobody has room. Of two who ask at once for the last place one gets it.
    async fn take_place(
        &self,
        org: &OrgId,
        topic: &TopicName,
        places: Vec<Place>,
        now: UnixMillis,
    ) -> Result<Option<UserId>, StoreError>;

    /// Gives a place back that was not used.
    async fn release_place(&self, org: &OrgId, topic: &TopicName) -> Result<(), StoreError>;

    /// Gives back the places that were taken before this and never used.
    async fn release_places_before(&self, before: UnixMillis) -> Result<usize, StoreError>;

    /// Notices that are owed: each membership that began or ended is owed one, until it is told ([`Self::told`]).
    async fn owed_notices(&self, limit: usize) -> Result<Vec<Notice>, StoreError>;

    /// These notices are durable in the log. One whose membership has ended since is owed again.
    async fn told(&self, notices: Vec<Notice>) -> Result<(), StoreError>;

    /// A page of threads, the most recently active first, and how many there are in all.
    async fn threads(&self, query: ThreadQuery) -> Result<(Vec<ThreadRow>, u64), StoreError>;

    /// Enters a visitor or brings its card up to date: empty members of `card` leave what is stored. Gives the whole.
    async fn visitor(&self, org: &OrgId, card: UserCard) -> Result<UserCard, StoreError>;
}
