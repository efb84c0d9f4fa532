use bytes::Bytes;
use model::{ClientId, EdgeId, OrgId, Principal, UnixMillis, UserId};

use super::MemberTopic;

/// Whose session: nobody takes over another user's by naming its client id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionKey {
    /// The tenant.
    pub org: OrgId,
    /// The principal's [address](Principal::address): its user, if it proved that it is that.
    pub user: UserId,
    /// The MQTT client id; `stomp/{destination}` for a visitor's durable subscription.
    pub client: ClientId,
}

impl SessionKey {
    /// That of a session of `who`. One who merely says who it is has sessions of its own: it never meets those of the user
    /// that it says it is.
    pub fn of(who: &Principal, client: impl AsRef<str>) -> Self {
        Self {
            org: who.org.clone(),
            user: who.address(),
            client: ClientId::new(client),
        }
    }
}

/// A new connection of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSession {
    /// Whose.
    pub key: SessionKey,
    /// Forget what was stored.
    pub clean_start: bool,
    /// Seconds that the session outlives its connection; `u32::MAX` = for ever (capped by configuration).
    pub expiry: u32,
    /// What to publish when the connection ends badly.
    pub will: Option<Will>,
    /// The edge that holds the connection.
    pub edge: EdgeId,
    /// Whose threads the answer is to name: [`OpenedSession::threads`].
    pub identities: Vec<UserId>,
}

/// A will, ready to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// The encoded log entry. Authorised when the connection was made.
    pub entry: Bytes,
    /// Seconds to wait after the connection ended.
    pub delay: u32,
}

/// An opened session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedSession {
    /// The fence of this connection.
    pub epoch: u64,
    /// Whether stored state was found: Session Present.
    pub present: bool,
    /// The state as last saved; empty when there is none.
    pub state: Bytes,
    /// The edge that held the session before and had not closed it.
    pub previous_edge: Option<EdgeId>,
    /// The threads that any of the identities was made a member of.
    pub threads: Vec<MemberTopic>,
}

/// Progress of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaveSession {
    /// Whose.
    pub key: SessionKey,
    /// The fence.
    pub epoch: u64,
    /// The state; opaque to persistence.
    pub state: Bytes,
}

/// The end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseSession {
    /// Whose.
    pub key: SessionKey,
    /// The fence.
    pub epoch: u64,
    /// The last progress.
    pub state: Bytes,
    /// Seconds from now after which the session is forgotten; 0 forgets it now.
    pub expiry: u32,
    /// When the connection ended.
    pub at: UnixMillis,
    /// Whether the will is to be published (after its delay, or at session expiry if that comes first) or dropped.
    pub publish_will: bool,
}

/// The lease that an edge holds as long as the sessions that are connected to it are its own. Persistence ends the
/// connections of edges that do not hold theirs.
pub fn edge_lease(edge: &EdgeId) -> String {
    format!("edge/{edge}")
}
