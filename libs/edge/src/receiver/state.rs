//! What a receiver holds. What is done with it stands in the files beside this one.

use std::collections::VecDeque;
use std::sync::Arc;

use contract::RpcError;
use contract::persistence::BacklogPage;
use futures::future::BoxFuture;
use model::thread::Membership;
use model::{OrgId, PartitionId, Position, Principal, TopicFilter, TopicName};
use session::{Aside, Limits, Output, SavedState, Session};
use tokio_util::task::AbortOnDropHandle;

use super::asked::Asked;
use super::entitlement::Entitlement;
use super::item::Item;
use super::known::Known;
use crate::Core;
use crate::delivered::Delivered;
use crate::mailbox::{Boundaries, Mail, Mailbox};

/// A page of the backlog that is being read.
pub(super) type Reading = BoxFuture<'static, (u32, Result<BacklogPage, RpcError>)>;

/// The receiving half of a connection.
pub struct Receiver {
    pub(super) core: Arc<Core>,
    pub(super) who: Arc<Principal>,
    pub(super) client: Arc<str>,
    pub(super) mailbox: Arc<Mailbox>,
    /// The session machine. Acknowledge through the methods of the receiver, which note what was delivered.
    pub session: Session<Item>,
    /// What it receives without asking.
    pub(super) implied: Vec<Implied>,
    pub(super) reading: Option<Reading>,
    pub(super) delivered: Delivered,
    pub(super) out: Vec<Output<Item>>,
    pub(super) next_attach: u64,
    /// Every attach under way.
    pub(super) attaching: Vec<AbortOnDropHandle<()>>,
    /// Attaches under way of what it receives from the beginning: by name, the partition of each.
    pub(super) initial: Vec<(u64, PartitionId)>,
    /// It does not wait for them any more.
    pub(super) late: bool,
    pub(super) grants: Vec<(u64, PartitionId)>,
    /// Partitions of which the edge has lost entries: what comes live has holes until the edge has a boundary again.
    pub(super) broken: Vec<PartitionId>,
    /// Boundaries of partitions that are broken, or in which an attach is under way: until that is over, what comes live has holes.
    pub(super) held: Vec<(PartitionId, Position)>,
    /// What is set aside of the session for others that held it before.
    pub(super) aside: Option<Box<Aside>>,
    /// Retained messages that the window has had no room for yet.
    pub(super) kept: VecDeque<Item>,
    /// The thread of a side channel that it receives alone: its changes count here, its messages are not for this connection.
    pub(super) heard: Option<TopicName>,
    /// Which places of conversations the user may see.
    pub(super) entitlement: Entitlement,
    /// The memberships that the session knows.
    pub(super) known: Known,
    /// Where the partitions stood when the session began, of those that it has nothing in.
    pub(super) elsewhere: Vec<(PartitionId, Position)>,
    /// Threads that the connection began with and the session did not know: what they have since then is read, as soon as the
    /// session has begun in their partition.
    pub(super) granted: Vec<Granted>,
    /// Changes of threads that wait to be handed out, by which the user sees again what had been hidden from it.
    pub(super) rejoined: Vec<(Position, Membership)>,
    /// Partitions in which the session has not begun yet.
    pub(super) fresh: Vec<Fresh>,
    /// How far the saved session had got, if there is one.
    pub(super) resumed: Option<Vec<(PartitionId, Position)>>,
    /// It has begun in a partition that the saved session did not have.
    pub(super) begun_anew: bool,
    /// Up to where the partitions had been given out when the threads were asked for.
    pub(super) asked: Asked,
    /// Where a new session begins in its user's own topic: from `asked` to here it is told of memberships only.
    pub(super) began: Option<Position>,
    /// Whether it follows its user into the threads that the user is made a member of.
    pub(super) entitled: bool,
    pub(super) hears_presence: bool,
}

/// A partition in which the session begins when its first attach is complete.
pub(super) struct Fresh {
    pub(super) partition: PartitionId,
    /// Up to where it had been given out when the connection was entered.
    pub(super) entered: Position,
    /// The highest position that came before it began.
    pub(super) early: Position,
    /// It has begun already, where the connection was entered: what came early is to be read.
    pub(super) begun: bool,
}

/// A filter that the connection receives by without having subscribed to it, and from where on.
pub(super) struct Implied {
    pub(super) filter: TopicFilter,
    pub(super) start: Vec<(PartitionId, Position)>,
}

/// A thread that the session did not know when its connection began.
pub(super) struct Granted {
    pub(super) partition: PartitionId,
    pub(super) filter: TopicFilter,
    pub(super) since: Position,
}

/// What is left of mail for the protocol's edge to deal with.
#[derive(Debug)]
pub enum Left {
    /// Nothing.
    Nothing,
    /// An attach that the edge asked for is complete; with the boundaries of each filter.
    Attached(u64, Vec<Boundaries>),
    /// Mail that is not about receiving.
    Mail(Mail),
}

impl Receiver {
    /// A receiver of a new session, or of one that goes on from `saved`. `client` is the client id.
    pub fn new(
        core: Arc<Core>,
        who: Arc<Principal>,
        client: &str,
        mailbox: Arc<Mailbox>,
        limits: Limits,
        saved: Option<(SavedState, u64)>,
    ) -> Self {
        let (mut resumed, mut aside, mut known) = (None, None, Known::default());
        let mut elsewhere = Vec::new();
        let session = match saved {
            Some((mut state, epoch)) => {
                aside = state.aside.take();
                elsewhere = std::mem::take(&mut state.elsewhere);
                known = Known::of(state.memberships.take());
                resumed = Some(state.lanes.iter().map(|l| (l.partition, l.sent)).collect());
                Session::resume(state, limits, epoch)
            }
            None => Session::new(limits),
        };
        Self {
            core,
            who,
            client: client.into(),
            mailbox,
            session,
            implied: Vec::new(),
            reading: None,
            delivered: Delivered::default(),
            out: Vec::new(),
            next_attach: 1,
            attaching: Vec::new(),
            initial: Vec::new(),
            late: false,
            grants: Vec::new(),
            broken: Vec::new(),
            held: Vec::new(),
            aside,
            kept: VecDeque::new(),
            heard: None,
            entitlement: Entitlement::default(),
            known,
            elsewhere,
            granted: Vec::new(),
            rejoined: Vec::new(),
            fresh: Vec::new(),
            resumed,
            begun_anew: false,
            asked: Asked::default(),
            began: None,
            entitled: false,
            hears_presence: false,
        }
    }

    /// The user on whose behalf it receives.
    pub fn principal(&self) -> &Arc<Principal> {
        &self.who
    }

    /// The tenant it receives from.
    pub fn org(&self) -> &OrgId {
        &self.who.org
    }
}
