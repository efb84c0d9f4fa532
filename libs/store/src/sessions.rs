use async_trait::async_trait;
use bytes::Bytes;
use model::UnixMillis;
use rpc::persistence::{CloseSession, OpenSession, OpenedSession, SaveSession};

use crate::StoreError;

/// A will whose time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueWill {
    /// Never given to another will.
    pub id: u64,
    /// The log entry as it was when the connection was made.
    pub entry: Bytes,
}

/// Sessions and wills. All of it durable on return but for [`SessionStore::save_sessions`].
#[async_trait]
pub trait SessionStore: Send + Sync + 'static {
    /// Opens a session at `now`: see [`rpc::persistence::Persistence::open_session`].
    ///
    /// A will that waits for its delay is cancelled when the session goes on, and due when it is forgotten. The will of a
    /// connection that was never closed is due too when it had no delay.
    async fn open_session(&self, open: OpenSession, now: UnixMillis) -> Result<OpenedSession, StoreError>;

    /// Stores progress where the epoch is current; lazily durable.
    async fn save_sessions(&self, saves: Vec<SaveSession>) -> Result<Vec<bool>, StoreError>;

    /// Ends a connection: see [`rpc::persistence::Persistence::close_session`].
    async fn close_session(&self, close: CloseSession) -> Result<(), StoreError>;

    /// Ends the connections of every session that is marked connected: the process that held them is dead. Says how
    /// many there were.
    async fn abandon_sessions(&self, now: UnixMillis) -> Result<usize, StoreError>;

    /// Forgets sessions whose time is over, at most `limit`; says how many.
    async fn expire_sessions(&self, now: UnixMillis, limit: usize) -> Result<usize, StoreError>;

    /// Wills whose time has come, oldest first.
    async fn due_wills(&self, now: UnixMillis, limit: usize) -> Result<Vec<DueWill>, StoreError>;

    /// Forgets wills that are in the log.
    async fn forget_wills(&self, ids: Vec<u64>) -> Result<(), StoreError>;
}
