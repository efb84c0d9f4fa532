//! The only SQL: what the services made of the log, and what does not come from it.
//!
//! [`Store`] is the seam, split by concern; [`SqliteStore`] is the implementation for one process, [`PostgresStore`] that
//! for many. Two rules hold for all
//! of it. What comes from the journal is committed with the position up to which it was applied in the same transaction, and
//! lazily: a crash takes rows and position back together, and the journal brings them again. Receipts alone are synced, as
//! a status that was shown must not go back. What does not come from the journal is durable when the call returns.

mod directory;
mod error;
mod identities;
mod log;
mod messages;
mod postgres;
mod progress;
mod receipts;
mod rules;
mod sessions;
mod sqlite;
#[cfg(feature = "suite")]
pub mod suite;
mod threads;

pub use directory::{DirectoryNews, DirectoryStore, OrgDirectory, Refusal};
pub use error::StoreError;
pub use identities::IdentityStore;
pub use log::{
    Flags, LogBatch, LogStore, MessageId, NewMessage, NewRetained, NewThread, Rewrite, Stored, StreamTarget,
    StreamText, TargetKey, ThreadEvent, Want,
};
pub use messages::MessageStore;
pub use postgres::{PostgresConfig, PostgresStore};
pub use progress::{Advance, LogIdentity, Service};
pub use receipts::{NewMark, NewReceipt, ReceiptBatch, ReceiptRow, ReceiptStore, UnreadQuery};
pub use rules::identity::within_log;
pub use rules::uids::{uid_hash, uid_of};
pub use sessions::{DueWill, SessionRow, SessionStore};
pub use sqlite::{Options, SqliteStore};
pub use threads::{Notice, Place, StoredThread, ThreadQuery, ThreadRow, ThreadStore};

/// Everything a store does.
pub trait Store:
    LogStore + MessageStore + SessionStore + ThreadStore + ReceiptStore + IdentityStore + DirectoryStore
{
}

impl<T> Store for T where
    T: LogStore + MessageStore + SessionStore + ThreadStore + ReceiptStore + IdentityStore + DirectoryStore
{
}
