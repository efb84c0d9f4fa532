//! Who is online, and on which edge. An address book with expiry: wrong for no longer than a time to live, and never
//! the basis of a decision about messages.

mod embedded;
#[cfg(feature = "suite")]
pub mod suite;

use std::time::Duration;

use async_trait::async_trait;
use model::{EdgeId, OrgId, UserId};
use thiserror::Error;

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
}

/// The address book.
#[async_trait]
pub trait PresenceBook: Send + Sync + 'static {
    /// Enters a connection, or keeps it for `ttl` from now. The last edge to enter a connection holds it.
    async fn refresh(
        &self,
        org: &OrgId,
        user: &UserId,
        at: Presence,
        ttl: Duration,
    ) -> Result<(), PresenceError>;

    /// Strikes a connection out, if `edge` still is the one that holds it.
    async fn remove(
        &self,
        org: &OrgId,
        user: &UserId,
        connection: &str,
        edge: &EdgeId,
    ) -> Result<(), PresenceError>;

    /// The connections of a user that have not run out.
    async fn connections(&self, org: &OrgId, user: &UserId) -> Result<Vec<Presence>, PresenceError>;
}
