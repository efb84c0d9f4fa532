//! The persistence service: history, backlog, sessions, retained messages, threads and members. It applies the journal
//! to the store and answers from the store.

mod backlog;
mod directory;
mod explain;
mod found;
mod history;
mod sessions;
mod standing;
mod threads;

use async_trait::async_trait;
use model::thread::Members;
use model::{OrgId, PartitionId, Position, TopicFilter, TopicName, UserId};

use crate::RpcError;
pub use backlog::{BacklogEntry, BacklogFilter, BacklogLane, BacklogPage, BacklogRequest, Retained};
pub use directory::{
    DESKS_PAGE, DeskEntry, Directory, DirectoryChange, DirectoryUid, Listed, MAX_AGENTS, MAX_DESK_AGENTS,
    MAX_DESKS,
};
pub use explain::{
    ExplainRequest, Explained, ExplainedMember, ExplainedReceipt, ExplainedRecipient, StoredSession, Tie,
};
pub use found::{Found, FoundKind, MessageKey, SeenUid, UID_WINDOW, UidPage};
pub use history::{HistoryEntry, HistoryPage, HistoryRange, HistoryRequest};
pub use sessions::{CloseSession, OpenSession, OpenedSession, SaveSession, SessionKey, Will, edge_lease};
pub use standing::Standing;
pub use threads::{
    Actor, AgentCard, AgentStatus, ChangeThread, Desk, DeskKind, MemberTopic, OpenThread, OpenedThread,
    ThreadCard, ThreadKey, ThreadPage, ThreadWish, ThreadsRequest, UserCard,
};

/// What the persistence service does for the others. Every answer that depends on the log says up to where the log was
/// applied; nothing here changes messages: that is done by the log alone.
#[async_trait]
pub trait Persistence: Directory {
    /// Opens a session for a new connection: its epoch grows by one, whoever held it before can change nothing any
    /// more. With `clean_start` what was stored is forgotten first. Durable before it returns. A clean session that
    /// expires with its connection and has no will is not stored at all.
    /// Also names the threads of its user, so that a reconnect asks once.
    async fn open_session(&self, open: OpenSession) -> Result<OpenedSession, RpcError>;

    /// Stores progress. One answer per session, in order: false where the epoch is stale or the session is gone.
    /// May be lost in a power failure of the last second: a little comes again.
    async fn save_sessions(&self, saves: Vec<SaveSession>) -> Result<Vec<bool>, RpcError>;

    /// The connection is over. Stores the last progress, starts the expiry, and decides about the will. A stale epoch
    /// changes nothing and is no error.
    async fn close_session(&self, close: CloseSession) -> Result<(), RpcError>;

    /// What a session missed: see [`BacklogRequest`]. Waits until the log is applied up to every lane's `upto`.
    async fn backlog(&self, request: BacklogRequest) -> Result<BacklogPage, RpcError>;

    /// Retained messages that match, newest state as of `applied` positions: waits like [`Self::backlog`].
    async fn retained(
        &self,
        org: &OrgId,
        filter: &TopicFilter,
        upto: Vec<BacklogLane>,
    ) -> Result<Vec<Retained>, RpcError>;

    /// Looks up stored messages of a partition by topic and uid, whoever sent them: of each key the one that was stored
    /// first. Waits until the partition is applied up to `applied`, so that *not found* is true for everything up to
    /// there; [`Position::START`] does not wait. `Unavailable` when that takes too long: then nothing is known.
    async fn find(
        &self,
        partition: PartitionId,
        keys: Vec<MessageKey>,
        applied: Position,
    ) -> Result<Vec<Option<Found>>, RpcError>;

    /// The uids of a partition after a position that were accepted within [`UID_WINDOW`]: messages, recalls and first
    /// parts of streamed answers. At most `limit` and at most [`UidPage::LIMIT`] of them, ascending by position. Does not
    /// wait for the log: [`UidPage::next`] says up to where it was applied.
    async fn uids_since(
        &self,
        partition: PartitionId,
        after: Position,
        limit: u32,
    ) -> Result<UidPage, RpcError>;

    /// The last position of a topic strictly before `before`; `None` when it has none. Does not wait for the log.
    async fn last_before(
        &self,
        org: &OrgId,
        topic: &TopicName,
        before: Position,
    ) -> Result<Option<Position>, RpcError>;

    /// A page of a topic's history: waits until everything that was durable when it was asked is applied.
    async fn history(&self, request: HistoryRequest) -> Result<HistoryPage, RpcError>;

    /// Who belongs to a thread beyond those its topic names, and who did. As far as the log is applied, and at least up to
    /// `known_to`, which is waited for: whoever hears later changes of the thread takes them in ([`Members::apply`]).
    async fn members(&self, org: &OrgId, topic: &TopicName, known_to: Position) -> Result<Members, RpcError>;

    /// The threads that a session of these identities has to know: those that any of them is a member of; and of the partitions
    /// named with how far the session has got, those that it was a member of after that. Costs by what it gives.
    async fn memberships(
        &self,
        org: &OrgId,
        identities: Vec<UserId>,
        reached: Vec<(PartitionId, Position)>,
    ) -> Result<Vec<MemberTopic>, RpcError>;

    /// Who answers at a desk; `NotFound` when there is none of that uid. An agent is a desk by itself.
    async fn desk(&self, org: &OrgId, uid: &UserId) -> Result<Desk, RpcError>;

    /// The thread of a visitor at a desk: the one that is open, or one that is opened now. Durable in the log, and applied, when
    /// this returns. `RateLimited` when the visitor or its organisation opens too many.
    async fn open_thread(&self, open: OpenThread) -> Result<OpenedThread, RpcError>;

    /// Whether a visitor's message may begin a thread of this topic: the thread is known, or its desk is, and neither the
    /// visitor nor its organisation begins too many (`NotFound`, `RateLimited`). Changes nothing: the thread begins with the
    /// message.
    async fn admit(&self, org: &OrgId, topic: &TopicName) -> Result<(), RpcError>;

    /// Changes a thread as its member wishes. Durable in the log when this returns; who is concerned is told, and if this process
    /// dies another tells them. `Forbidden` when it is not the asker's to change, `NotFound` when there is no such thread or offer,
    /// `Conflict` when it is not in a state for that.
    async fn change_thread(&self, change: ChangeThread) -> Result<ThreadCard, RpcError>;

    /// Threads of a user, the most recently active first.
    async fn threads(&self, request: ThreadsRequest) -> Result<ThreadPage, RpcError>;

    /// Enters a visitor or brings its card up to date; without a uid it gets a new one.
    async fn visitor(&self, org: &OrgId, card: UserCard) -> Result<UserCard, RpcError>;

    /// What is known of a uid that somebody says is their own.
    async fn standing(&self, org: &OrgId, uid: &UserId) -> Result<Standing, RpcError>;

    /// These uids have been used with tokens that prove them. Durable before it returns; doing it again does no harm.
    async fn prove(&self, org: &OrgId, uids: Vec<UserId>) -> Result<(), RpcError>;

    /// Where messages of a uid are, how far they came, and what is stored of the sessions of those who should have them.
    /// Waits a moment for the log and answers without it when it is late; empty when there is none.
    async fn explain(&self, request: ExplainRequest) -> Result<Vec<Explained>, RpcError>;
}
