//! Threads, members, visitors.

mod apply;
mod part;
mod places;
mod read;

use async_trait::async_trait;
use contract::persistence::{MemberTopic, UserCard};
use model::thread::Members;
use model::{OrgId, PartitionId, Position, TopicName, UnixMillis, UserId};
use sqlx::Row;

use super::PostgresStore;
use super::shared::{at_most, int, text};
use crate::rules::threads::each_once;
use crate::{Notice, Place, StoreError, StoredThread, ThreadQuery, ThreadRow, ThreadStore};

pub(super) use apply::apply;
pub(super) use part::{lasting, member_topics, taking_part};

#[async_trait]
impl ThreadStore for PostgresStore {
    async fn thread(&self, org: &OrgId, topic: &TopicName) -> Result<Option<StoredThread>, StoreError> {
        let Some(topic) = self.shared.topic(org, topic).await? else {
            return Ok(None);
        };
        let ask = sqlx::query(read::ONE).bind(topic.id);
        Ok(read::stored(&self.shared, ask).await?.into_iter().next())
    }

    async fn thread_topic(&self, org: &OrgId, uid: &str) -> Result<Option<TopicName>, StoreError> {
        let doing = "looking up a thread";
        let ask =
            "SELECT t.topic FROM threads h JOIN topics t ON t.id = h.topic WHERE h.org = $1 AND h.uid = $2";
        let ask = sqlx::query(ask).bind(org.as_str()).bind(text(uid));
        let row = self.shared.conn(doing).await?.row(doing, ask).await?;
        let name = row.map(|row| row.try_get::<String, _>(0).map(TopicName::trusted));
        name.transpose().map_err(StoreError::postgres(doing))
    }

    async fn members(&self, org: &OrgId, topic: &TopicName) -> Result<Members, StoreError> {
        match self.shared.topic(org, topic).await? {
            Some(topic) => read::members(&self.shared, topic.id).await,
            None => Ok(Members::default()),
        }
    }

    async fn memberships(
        &self,
        org: &OrgId,
        identities: Vec<UserId>,
        reached: Vec<(PartitionId, Position)>,
    ) -> Result<Vec<MemberTopic>, StoreError> {
        part::memberships(&self.shared, org, each_once(identities), reached).await
    }

    async fn pending_threads(&self, limit: usize) -> Result<Vec<StoredThread>, StoreError> {
        read::stored(&self.shared, sqlx::query(read::PENDING).bind(at_most(limit))).await
    }

    async fn waiting_threads(&self, limit: usize) -> Result<Vec<StoredThread>, StoreError> {
        read::stored(&self.shared, sqlx::query(read::WAITING).bind(at_most(limit))).await
    }

    async fn idle_threads(&self, before: UnixMillis, limit: usize) -> Result<Vec<StoredThread>, StoreError> {
        let ask = sqlx::query(read::IDLE).bind(int(before.0)).bind(at_most(limit));
        read::stored(&self.shared, ask).await
    }

    async fn threads_with_due_offers(
        &self,
        now: UnixMillis,
        limit: usize,
    ) -> Result<Vec<StoredThread>, StoreError> {
        let ask = sqlx::query(read::DUE).bind(int(now.0)).bind(at_most(limit));
        read::stored(&self.shared, ask).await
    }

    async fn place_in_queue(&self, org: &OrgId, topic: &TopicName) -> Result<Option<u64>, StoreError> {
        match self.shared.topic(org, topic).await? {
            Some(topic) => read::place_in_queue(&self.shared, topic.id).await,
            None => Ok(None),
        }
    }

    async fn take_place(
        &self,
        org: &OrgId,
        topic: &TopicName,
        places: Vec<Place>,
        now: UnixMillis,
    ) -> Result<Option<UserId>, StoreError> {
        places::take(&self.shared, org, topic, &places, now).await
    }

    async fn release_place(&self, org: &OrgId, topic: &TopicName) -> Result<(), StoreError> {
        let mut conn = self.shared.conn(places::GIVING).await?;
        places::release(&mut conn, org, topic).await
    }

    async fn release_places_before(&self, before: UnixMillis) -> Result<usize, StoreError> {
        places::release_before(&self.shared, before).await
    }

    async fn owed_notices(&self, limit: usize) -> Result<Vec<Notice>, StoreError> {
        places::owed(&self.shared, limit).await
    }

    async fn told(&self, notices: Vec<Notice>) -> Result<(), StoreError> {
        places::told(&self.shared, &notices).await
    }

    async fn threads(&self, query: ThreadQuery) -> Result<(Vec<ThreadRow>, u64), StoreError> {
        read::page(&self.shared, &query).await
    }

    async fn visitor(&self, org: &OrgId, card: UserCard) -> Result<UserCard, StoreError> {
        let doing = "entering a visitor";
        let ask = "INSERT INTO visitors AS v VALUES ($1, $2, $3, $4) ON CONFLICT (org, uid) DO UPDATE SET
                     nickname = CASE WHEN excluded.nickname = '' THEN v.nickname ELSE excluded.nickname END,
                     avatar = CASE WHEN excluded.avatar = '' THEN v.avatar ELSE excluded.avatar END
                   RETURNING nickname, avatar";
        let ask = sqlx::query(ask)
            .bind(org.as_str())
            .bind(card.uid.as_str())
            .bind(text(&card.nickname))
            .bind(text(&card.avatar));
        let row = self.shared.conn(doing).await?.row(doing, ask).await?;
        let row = row
            .ok_or(sqlx::Error::RowNotFound)
            .map_err(StoreError::postgres(doing))?;
        let read = || -> Result<_, sqlx::Error> { Ok((row.try_get(0)?, row.try_get(1)?)) };
        let (nickname, avatar) = read().map_err(StoreError::postgres(doing))?;
        Ok(UserCard {
            uid: card.uid,
            nickname,
            avatar,
        })
    }
}
