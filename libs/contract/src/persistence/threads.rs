use bytes::Bytes;
use model::thread::Membership;
use model::{OrgId, PartitionId, Position, Role, TopicName, UnixMillis, UserId};

/// A thread that a user is a member of, or was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberTopic {
    /// The thread's topic.
    pub topic: TopicName,
    /// Its partition.
    pub partition: PartitionId,
    /// The stretches of it that the user sees under any of its identities, ascending. The last one may last.
    pub memberships: Vec<Membership>,
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

/// Whether an agent takes new threads, as it says itself. Whether it is connected is another matter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AgentStatus {
    /// It does.
    #[default]
    Available,
    /// It does not.
    Away,
}

/// An agent at a desk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentCard {
    /// The agent's card: `uid` is the agent uid, an alias of the user.
    pub card: UserCard,
    /// The user behind it.
    pub user: UserId,
    /// Whether it takes new threads.
    pub status: AgentStatus,
    /// How many open threads it has at most; `None`: nobody has said.
    pub max_threads: Option<u32>,
}

/// What a desk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeskKind {
    /// One agent.
    Agent,
    /// Several.
    Workgroup,
    /// A machine that answers.
    Robot,
    /// An entrance that leads to others.
    Unified,
    /// A knowledge base.
    Kb,
    /// One document of a knowledge base.
    KbDoc,
    /// Where tickets are worked on.
    Ticket,
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
    /// Whether it is new, or was closed and goes on now.
    pub created: bool,
    /// Where its latest change stands: it names this opening.
    pub version: Position,
    /// How many wait before it, when it waits for a place.
    pub queue: Option<u64>,
}

/// Which thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ThreadKey {
    /// By its topic.
    Topic(TopicName),
    /// By its uid, as deployed clients name it.
    Uid(String),
}

/// Who wants a thread changed: what its token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The user.
    pub user: UserId,
    /// What it is. Services may change every thread of their organisation.
    pub role: Role,
    /// The uids that it goes by, its user's own included.
    pub identities: Vec<UserId>,
}

/// What is wanted of a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ThreadWish {
    /// It is over.
    Close,
    /// It is offered to these agents or workgroups, in place of the one that offers, or besides.
    Offer {
        /// Whether whoever accepts comes besides.
        invitation: bool,
        /// Uids of agents or workgroups.
        to: Vec<UserId>,
        /// Who is meant when none is named: the other side of the colleague thread on which the offer is made.
        colleague: Option<UserId>,
    },
    /// An offer is taken: its uid.
    Accept(String),
    /// An offer is refused, or taken back by whoever made it: its uid.
    Decline(String),
    /// Whoever asks leaves it.
    Leave,
    /// Another member is removed from it: its uid.
    Remove(UserId),
}

/// A wish to change a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeThread {
    /// The tenant.
    pub org: OrgId,
    /// Which.
    pub thread: ThreadKey,
    /// Who wants it.
    pub by: Actor,
    /// What.
    pub wish: ThreadWish,
    /// Names this wish: asked again under the same uid, it is granted once. Of an offer it is the offer's uid.
    pub uid: String,
    /// When.
    pub at: UnixMillis,
}

/// Which threads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadsRequest {
    /// The tenant.
    pub org: OrgId,
    /// The user and its aliases.
    pub identities: Vec<UserId>,
    /// Only those that are open, of those that the user takes part in now. Costs by them, not by what there once was.
    pub open: bool,
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
