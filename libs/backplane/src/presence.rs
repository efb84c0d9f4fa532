//! Who is online, and on which edge. An address book with expiry: wrong for no longer than a time to live, and never
//! the basis of a decision about messages.

mod embedded;
mod redis;
#[cfg(feature = "suite")]
pub mod suite;

use std::time::Duration;

use async_trait::async_trait;
use model::{EdgeId, OrgId, UserId};
use thiserror::Error;

pub use self::redis::{RedisConfig, RedisPresence};
pub use embedded::EmbeddedPresence;

/// Presence cannot be asked now: who is online is unknown.
#[derive(Debug, Error)]
#[error("presence is unknown: {0}")]
pub struct PresenceError(pub String);

/// One connection of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// The edge that holds it.
    pub edge: EdgeId,
    /// Unique among the user's connections: `{client id}` or `{login}/stomp/{session}`.
    pub connection: String,
    /// `mqtt` or `stomp`.
    pub protocol: String,
    /// Whether its user serves customers on it, by its token: who comes to a desk is given to such connections only.
    pub staff: bool,
}

/// A connection that is entered, or kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entered {
    /// The tenant.
    pub org: OrgId,
    /// The [address](model::Principal::address) of the user.
    pub user: UserId,
    /// The connection.
    pub at: Presence,
    /// What is to be known of the user when it has gone: given back by [`PresenceBook::departed`], and nobody else's
    /// business. Empty: nobody is told when the user comes or goes.
    pub card: String,
}

/// A user whose last connection is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departed {
    /// The tenant.
    pub org: OrgId,
    /// The user.
    pub user: UserId,
    /// What its last connection was entered with.
    pub card: String,
}

/// The address book.
///
/// It also knows which users are *taken to be there*: from the first connection of a user until some time after the last
/// one, so that a connection that breaks and comes back is no news. Each coming and each going is told once, to whichever
/// edge is the one that sees it.
#[async_trait]
pub trait PresenceBook: Send + Sync + 'static {
    /// Enters connections, or keeps them for `ttl` from now. The last edge to enter a connection holds it. One answer
    /// each, in order: whether the user was not taken to be there until now (once for each user that comes; never for one
    /// without a card). After an error any part of it may have been done; doing it again does no harm.
    async fn enter(&self, entered: &[Entered], ttl: Duration) -> Result<Vec<bool>, PresenceError>;

    /// Strikes a connection out, if `edge` still is the one that holds it. A user without another connection is taken to
    /// be there for `linger` more.
    async fn remove(
        &self,
        org: &OrgId,
        user: &UserId,
        connection: &str,
        edge: &EdgeId,
        linger: Duration,
    ) -> Result<(), PresenceError>;

    /// The connections of a user that have not run out.
    async fn connections(&self, org: &OrgId, user: &UserId) -> Result<Vec<Presence>, PresenceError>;

    /// Users who are no longer taken to be there, whether their connections were struck out or ran out with their edge;
    /// `limit` at most, and each of them once, to one asker.
    async fn departed(&self, limit: usize) -> Result<Vec<Departed>, PresenceError>;
}
