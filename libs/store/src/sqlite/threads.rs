//! Threads, members, visitors.

mod apply;
mod part;
mod places;
mod read;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use contract::persistence::{MemberTopic, UserCard};
use model::thread::Members;
use model::{OrgId, PartitionId, Position, TopicName, UnixMillis, UserId};
use rusqlite::{Connection, OptionalExtension, params};

use super::SqliteStore;
use super::cold;
use super::job::Mode;
use super::shared::{int, sql};
use crate::rules::threads::each_once;
use crate::{Notice, Place, StoreError, StoredThread, ThreadQuery, ThreadRow, ThreadStore};

pub(super) use apply::apply;
pub(super) use part::{has_left, taking_part};

#[async_trait]
impl ThreadStore for SqliteStore {
    async fn thread(&self, org: &OrgId, topic: &TopicName) -> Result<Option<StoredThread>, StoreError> {
        let (org, topic) = (org.clone(), topic.clone());
        self.read(move |conn, mem| match cold::id(conn, mem, &org, &topic)? {
            Some(id) => read::stored(conn, mem, id),
            None => Ok(None),
        })
        .await
    }

    async fn thread_topic(&self, org: &OrgId, uid: &str) -> Result<Option<TopicName>, StoreError> {
        let (org, uid) = (org.clone(), uid.to_owned());
        self.read(move |conn, _| {
            let text = "SELECT t.topic FROM threads h JOIN topics t ON t.id = h.topic WHERE h.org = ?1 AND h.uid = ?2";
            let name = |r: &rusqlite::Row<'_>| r.get::<_, String>(0).map(TopicName::trusted);
            conn.prepare_cached(text)
                .and_then(|mut s| s.query_row((org.as_str(), uid), name).optional())
                .map_err(sql("looking up a thread"))
        })
        .await
    }

    async fn members(&self, org: &OrgId, topic: &TopicName) -> Result<Members, StoreError> {
        let (org, topic) = (org.clone(), topic.clone());
        self.read_snapshot(move |conn, mem| match cold::id(conn, mem, &org, &topic)? {
            Some(id) => read::members(conn, id).map_err(sql("reading the members of a thread")),
            None => Ok(Members::default()),
        })
        .await
    }

    async fn memberships(
        &self,
        org: &OrgId,
        identities: Vec<UserId>,
        reached: Vec<(PartitionId, Position)>,
    ) -> Result<Vec<MemberTopic>, StoreError> {
        let (org, identities) = (org.clone(), each_once(identities));
        // What ends while it is read is neither missed nor there twice.
        self.read_snapshot(move |conn, _| {
            part::memberships(conn, &org, &identities, &reached).map_err(sql("reading memberships"))
        })
        .await
    }

    async fn pending_threads(&self, limit: usize) -> Result<Vec<StoredThread>, StoreError> {
        self.read(move |conn, mem| read::pending(conn, mem, limit)).await
    }

    async fn waiting_threads(&self, limit: usize) -> Result<Vec<StoredThread>, StoreError> {
        self.read(move |conn, mem| read::waiting(conn, mem, limit)).await
    }

    async fn idle_threads(&self, before: UnixMillis, limit: usize) -> Result<Vec<StoredThread>, StoreError> {
        self.read(move |conn, mem| read::idle(conn, mem, before, limit))
            .await
    }

    async fn threads_with_due_offers(
        &self,
        now: UnixMillis,
        limit: usize,
    ) -> Result<Vec<StoredThread>, StoreError> {
        self.read(move |conn, mem| read::with_due_offers(conn, mem, now, limit))
            .await
    }

    async fn place_in_queue(&self, org: &OrgId, topic: &TopicName) -> Result<Option<u64>, StoreError> {
        let (org, topic) = (org.clone(), topic.clone());
        self.read(move |conn, mem| match cold::id(conn, mem, &org, &topic)? {
            Some(id) => read::place_in_queue(conn, id).map_err(sql("counting who waits")),
            None => Ok(None),
        })
        .await
    }

    async fn take_place(
        &self,
        org: &OrgId,
        topic: &TopicName,
        places: Vec<Place>,
        now: UnixMillis,
    ) -> Result<Option<UserId>, StoreError> {
        let (org, topic) = (org.clone(), topic.clone());
        self.write(Mode::Sync, move |ctx| {
            places::take(ctx.conn, &org, &topic, &places, now).map_err(sql("taking a place"))
        })
        .await
    }

    async fn release_place(&self, org: &OrgId, topic: &TopicName) -> Result<(), StoreError> {
        let (org, topic) = (org.clone(), topic.clone());
        self.write(Mode::Sync, move |ctx| {
            places::release(ctx.conn, &org, &topic).map_err(sql("giving a place back"))
        })
        .await
    }

    async fn release_places_before(&self, before: UnixMillis) -> Result<usize, StoreError> {
        self.write(Mode::Sync, move |ctx| {
            let text = "DELETE FROM places WHERE taken_at < ?1";
            ctx.conn
                .prepare_cached(text)
                .and_then(|mut s| s.execute([int(before.0)]))
                .map_err(sql("giving places back"))
        })
        .await
    }

    async fn owed_notices(&self, limit: usize) -> Result<Vec<Notice>, StoreError> {
        self.read(move |conn, _| places::owed(conn, limit).map_err(sql("reading notices")))
            .await
    }

    async fn told(&self, notices: Vec<Notice>) -> Result<(), StoreError> {
        self.write(Mode::Sync, move |ctx| {
            places::told(ctx.conn, &notices).map_err(sql("marking notices as told"))
        })
        .await
    }

    async fn threads(&self, query: ThreadQuery) -> Result<(Vec<ThreadRow>, u64), StoreError> {
        self.read(move |conn, mem| read::page(conn, mem, &query)).await
    }

    async fn visitor(&self, org: &OrgId, card: UserCard) -> Result<UserCard, StoreError> {
        let org = org.clone();
        self.write(Mode::Sync, move |ctx| {
            enter_visitor(ctx.conn, &org, &card).map_err(sql("entering a visitor"))
        })
        .await
    }
}

fn enter_visitor(conn: &Connection, org: &str, card: &UserCard) -> rusqlite::Result<UserCard> {
    let text = "INSERT INTO visitors VALUES (?1, ?2, ?3, ?4) ON CONFLICT (org, uid) DO UPDATE SET
                  nickname = iif(excluded.nickname = '', nickname, excluded.nickname),
                  avatar = iif(excluded.avatar = '', avatar, excluded.avatar)
                RETURNING nickname, avatar";
    conn.prepare_cached(text)?
        .query_row(params![org, card.uid.as_str(), card.nickname, card.avatar], |r| {
            Ok(UserCard {
                uid: card.uid.clone(),
                nickname: r.get(0)?,
                avatar: r.get(1)?,
            })
        })
}
