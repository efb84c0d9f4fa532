//! The receipts service: how far each message has come, and the counters that follow from it. Every answer is a function
//! of the log, recomputable from it.

use async_trait::async_trait;
use model::{OrgId, TopicName, UserId};

use crate::RpcError;

/// What the receipts service answers.
#[async_trait]
pub trait Receipts: Send + Sync + 'static {
    /// How many countable messages by others, in one thread or in all that the identities take part in, the user has
    /// not read. Waits until everything that was durable when it was asked is applied.
    async fn unread(
        &self,
        org: &OrgId,
        identities: Vec<UserId>,
        topic: Option<TopicName>,
    ) -> Result<u64, RpcError>;

    /// The same, counted anew from the messages and receipts themselves: what [`Self::unread`] must equal.
    async fn recount(
        &self,
        org: &OrgId,
        identities: Vec<UserId>,
        topic: Option<TopicName>,
    ) -> Result<u64, RpcError>;
}
