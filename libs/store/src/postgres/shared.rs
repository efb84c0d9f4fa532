//! What the parts of the store have in common.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use model::Position;
use sqlx::PgPool;
use tokio::sync::Notify;

use super::known::Known;

/// What clones of the store share.
pub(super) struct Shared {
    pub pool: PgPool,
    /// How long a statement is waited for.
    pub patience: Duration,
    pub known: Arc<Known>,
    /// Who is asked to hurry, by service.
    pub hurry: [Notify; 2],
    /// Statements sent so far.
    pub statements: AtomicU64,
}

/// Positions, hashes and times are stored as what PostgreSQL has.
pub(super) fn int(n: u64) -> i64 {
    n as i64
}

/// A limit; without one as much as PostgreSQL can count.
pub(super) fn at_most(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

pub(super) fn position(n: i64) -> Position {
    Position(n as u64)
}

/// PostgreSQL has no U+0000 in texts; nobody misses it in a nickname.
pub(super) fn text(s: &str) -> String {
    s.replace('\0', "")
}
