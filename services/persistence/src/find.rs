//! What an owner asks before it accepts: whether a uid was there before, and which were.

use contract::RpcError;
use contract::persistence::{Found, FoundKind, MessageKey, UID_WINDOW, UidPage};
use model::{PartitionId, Position, TopicName, UnixMillis, UserId};
use store::{Flags, Stored, TargetKey, Want};
use wire::Kind;

use crate::core::Core;
use crate::error::{answer, late};

impl Core {
    /// See [`contract::persistence::Persistence::find`].
    pub(crate) async fn found(
        &self,
        partition: PartitionId,
        keys: Vec<MessageKey>,
        applied: Position,
    ) -> Result<Vec<Option<Found>>, RpcError> {
        if applied > Position::START {
            self.consumer.reach(partition, applied).await.map_err(late)?;
        }
        let target = |key: MessageKey| TargetKey {
            org: key.org,
            topic: key.topic,
            uid: key.uid.to_string(),
            want: Want::First,
        };
        let keys = keys.into_iter().map(target).collect();
        let rows = self.deps.store.find(keys).await.map_err(answer)?;
        let first = |rows: Vec<Stored>| rows.into_iter().next().map(found);
        Ok(rows.into_iter().map(first).collect())
    }

    /// See [`contract::persistence::Persistence::uids_since`].
    pub(crate) async fn uid_page(
        &self,
        partition: PartitionId,
        after: Position,
        limit: u32,
    ) -> Result<UidPage, RpcError> {
        let window = u64::try_from(UID_WINDOW.as_millis()).unwrap_or(u64::MAX);
        let since = UnixMillis(self.now().0.saturating_sub(window));
        let limit = limit.clamp(1, UidPage::LIMIT) as usize;
        let page = self.deps.store.uids_since(partition, after, since, limit);
        page.await.map_err(answer)
    }
}

fn found(stored: Stored) -> Found {
    let entry = stored.entry;
    Found {
        kind: match entry.known_kind() {
            Kind::Recall => FoundKind::Recall,
            Kind::StreamPart => FoundKind::Stream,
            _ => FoundKind::Chat,
        },
        position: stored.position,
        topic: TopicName::trusted(&entry.topic),
        sender: UserId::new(&entry.sender),
        author: UserId::new(&entry.author),
        digest: entry.digest,
        accepted_at: UnixMillis(entry.accepted_at),
        r#type: entry.r#type,
        recalled: stored.flags.has(Flags::RECALLED),
        state: stored.state,
    }
}
