use async_trait::async_trait;
use bytes::Bytes;
use contract::persistence::{CloseSession, OpenSession, OpenedSession, SaveSession, SessionKey};
use model::{EdgeId, OrgId, UnixMillis, UserId};

use crate::StoreError;

/// A will whose time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueWill {
    /// Never given to another will.
    pub id: u64,
    /// The log entry as it was when the connection was made.
    pub entry: Bytes,
}

/// A session as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// Whose.
    pub key: SessionKey,
    /// The fence of its last connection.
    pub epoch: u64,
    /// The edge that holds it, or held it last.
    pub edge: EdgeId,
    /// Whether that edge has not closed it.
    pub connected: bool,
    /// When it began: at its first connection, or the last that found it expired or asked for a clean start. By the
    /// clock that epochs follow; `None` of one that was stored before this was kept.
    pub began_at: Option<UnixMillis>,
    /// Seconds that it outlives its connection.
    pub expiry: u32,
    /// When it is forgotten; `None` while it is connected.
    pub expires_at: Option<UnixMillis>,
    /// The state as last saved.
    pub state: Bytes,
}

/// Sessions and wills. All of it durable on return but for [`SessionStore::save_sessions`].
#[async_trait]
pub trait SessionStore: Send + Sync + 'static {
    /// Opens a session at `now`: see [`contract::persistence::Persistence::open_session`].
    ///
    /// A will that waits for its delay is cancelled when the session goes on, and due when it is forgotten. The will of a
    /// connection that was never closed is due too when it had no delay.
    async fn open_session(&self, open: OpenSession, now: UnixMillis) -> Result<OpenedSession, StoreError>;

    /// Stores progress where the epoch is current and the connection was not ended; lazily durable. One answer per
    /// session, in order.
    async fn save_sessions(&self, saves: Vec<SaveSession>) -> Result<Vec<bool>, StoreError>;

    /// Ends a connection: see [`contract::persistence::Persistence::close_session`].
    async fn close_session(&self, close: CloseSession) -> Result<(), StoreError>;

    /// Ends the connections of every session that is marked connected: the process that held them is dead. Says how
    /// many there were.
    async fn abandon_sessions(&self, now: UnixMillis) -> Result<usize, StoreError>;

    /// The edges that hold connected sessions, each once.
    async fn connected_edges(&self) -> Result<Vec<EdgeId>, StoreError>;

    /// Ends the connections that an edge still holds: it is dead. Their epochs grow, so that whatever it saves or closes
    /// when it was not dead after all is refused. Says how many there were.
    async fn abandon_edge(&self, edge: &EdgeId, now: UnixMillis) -> Result<usize, StoreError>;

    /// The stored sessions of these users.
    async fn sessions_of(&self, org: &OrgId, users: Vec<UserId>) -> Result<Vec<SessionRow>, StoreError>;

    /// Forgets sessions whose time is over, at most `limit`; says how many.
    async fn expire_sessions(&self, now: UnixMillis, limit: usize) -> Result<usize, StoreError>;

    /// Wills whose time has come, oldest first.
    async fn due_wills(&self, now: UnixMillis, limit: usize) -> Result<Vec<DueWill>, StoreError>;

    /// Forgets wills that are in the log.
    async fn forget_wills(&self, ids: Vec<u64>) -> Result<(), StoreError>;
}
