use async_trait::async_trait;
use contract::persistence::{BacklogPage, BacklogRequest, HistoryPage, HistoryRange, Retained, UidPage};
use model::{OrgId, PartitionId, Position, TopicFilter, TopicName, UnixMillis};

use crate::{StoreError, Stored, TargetKey};

/// Reads messages. Nothing here waits for the log.
#[async_trait]
pub trait MessageStore: Send + Sync + 'static {
    /// A page of what a session missed, as [`BacklogRequest`] says. Costs by the topics that have news and by the
    /// page, not by what the partition holds. Messages that expired before `now` are left out.
    async fn backlog(&self, request: BacklogRequest, now: UnixMillis) -> Result<BacklogPage, StoreError>;

    /// A page of a topic's history. `head` is left to the caller, who knows how far the log was applied.
    async fn history(
        &self,
        org: &OrgId,
        topic: &TopicName,
        range: HistoryRange,
    ) -> Result<HistoryPage, StoreError>;

    /// Retained messages that match and have not expired.
    async fn retained(
        &self,
        org: &OrgId,
        filter: &TopicFilter,
        now: UnixMillis,
    ) -> Result<Vec<Retained>, StoreError>;

    /// Looks up stored messages for anyone: those of each key, earliest first, in the order asked.
    async fn find(&self, keys: Vec<TargetKey>) -> Result<Vec<Vec<Stored>>, StoreError>;

    /// The uids of messages of a partition after a position, ascending, at most `limit`; none that was accepted before
    /// `since`, as far as the clocks of those who accepted them agree. The page ends at the last one or, when there is
    /// no more, where the log is applied up to.
    async fn uids_since(
        &self,
        partition: PartitionId,
        after: Position,
        since: UnixMillis,
        limit: usize,
    ) -> Result<UidPage, StoreError>;

    /// Every message of a uid in the tenant, whoever sent it where; the earliest first.
    async fn find_uid(&self, org: &OrgId, uid: &str) -> Result<Vec<Stored>, StoreError>;

    /// The last message of a topic strictly before a position.
    async fn last_before(
        &self,
        org: &OrgId,
        topic: &TopicName,
        before: Position,
    ) -> Result<Option<Position>, StoreError>;
}
