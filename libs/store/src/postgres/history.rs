//! Pages of a topic's history, the last message before a position.

use async_trait::async_trait;
use bytes::Bytes;
use contract::persistence::{
    BacklogPage, BacklogRequest, HistoryEntry, HistoryPage, HistoryRange, Retained, UidPage,
};
use model::{OrgId, PartitionId, Position, ReceiptKind, TopicFilter, TopicName, UnixMillis};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::PostgresStore;
use super::conn::Conn;
use super::shared::{Shared, at_most, int, position};
use crate::rules::history::Reading;
use crate::rules::receipts::delivered;
use crate::{Flags, MessageStore, Service, StoreError, Stored, TargetKey};

const DOING: &str = "reading a page of history";

#[async_trait]
impl MessageStore for PostgresStore {
    async fn backlog(&self, request: BacklogRequest, now: UnixMillis) -> Result<BacklogPage, StoreError> {
        super::backlog::backlog(&self.shared, &request, now).await
    }

    async fn history(
        &self,
        org: &OrgId,
        topic: &TopicName,
        range: HistoryRange,
    ) -> Result<HistoryPage, StoreError> {
        let Some(topic) = self.shared.topic(org, topic).await? else {
            return Ok(HistoryPage::default());
        };
        let mut conn = self.shared.conn(DOING).await?;
        self.shared.check_claims(&mut conn, Service::Persistence).await?;
        history(&mut conn, topic.id, range).await
    }

    async fn retained(
        &self,
        org: &OrgId,
        filter: &TopicFilter,
        now: UnixMillis,
    ) -> Result<Vec<Retained>, StoreError> {
        super::retained::retained(&self.shared, org, filter, now).await
    }

    async fn find(&self, keys: Vec<TargetKey>) -> Result<Vec<Vec<Stored>>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut conn = self.shared.conn("looking up uids").await?;
        // Who asks was told how far the log is applied, and takes what is not found for never stored.
        self.shared.check_claims(&mut conn, Service::Persistence).await?;
        super::lookup::lookup(&self.shared, &mut conn, &keys, true).await
    }

    async fn uids_since(
        &self,
        partition: PartitionId,
        after: Position,
        since: UnixMillis,
        limit: usize,
    ) -> Result<UidPage, StoreError> {
        super::uids::uids_since(&self.shared, partition, after, since, limit).await
    }

    async fn find_uid(&self, org: &OrgId, uid: &str) -> Result<Vec<Stored>, StoreError> {
        let mut conn = self.shared.conn("looking up uids").await?;
        super::lookup::of_uid(&mut conn, org, uid).await
    }

    async fn last_before(
        &self,
        org: &OrgId,
        topic: &TopicName,
        before: Position,
    ) -> Result<Option<Position>, StoreError> {
        last_before(&self.shared, org, topic, before).await
    }
}

async fn last_before(
    shared: &Shared,
    org: &str,
    topic: &str,
    before: Position,
) -> Result<Option<Position>, StoreError> {
    let doing = "reading the last position";
    let Some(topic) = shared.topic(org, topic).await? else {
        return Ok(None);
    };
    let text =
        "SELECT position FROM messages WHERE topic = $1 AND position < $2 ORDER BY position DESC LIMIT 1";
    let mut conn = shared.conn(doing).await?;
    let ask = sqlx::query(text)
        .bind(topic.id)
        .bind(int(before.0.min(Position::END.0)));
    let row = conn.row(doing, ask).await?;
    row.map(|row| row.try_get(0).map(position))
        .transpose()
        .map_err(StoreError::postgres(doing))
}

/// What a page of history has of each message; `$2` and what follows it differ by range.
macro_rules! page {
    ($which:literal) => {
        concat!(
            "SELECT m.position, m.prev, m.flags, coalesce(s.entry, m.entry), coalesce(r.state, 0),
               ARRAY(SELECT k.usr FROM marks k WHERE k.topic = m.topic AND k.upto >= m.position)
             FROM messages m LEFT JOIN streams s ON s.topic = m.topic AND s.position = m.position
               LEFT JOIN receipts r ON r.topic = m.topic AND r.message = m.position
             WHERE m.topic = $1 AND m.flags & 1 <> 0 AND ",
            $which
        )
    };
}

async fn history(conn: &mut Conn<'_>, topic: i64, range: HistoryRange) -> Result<HistoryPage, StoreError> {
    let reading = Reading::of(range);
    let text = match reading.backwards {
        true => page!("m.position < $2 ORDER BY m.position DESC LIMIT $3 OFFSET $4"),
        false => page!("m.position > $2 ORDER BY m.position LIMIT $3 OFFSET $4"),
    };
    let total = sqlx::query("SELECT shown FROM heads WHERE topic = $1").bind(topic);
    let total = conn.row(DOING, total).await?;
    let total: i64 = total
        .map_or(Ok(0), |row| row.try_get(0))
        .map_err(StoreError::postgres(DOING))?;
    let page = sqlx::query(text)
        .bind(topic)
        .bind(int(reading.from.0))
        .bind(at_most(reading.most()))
        .bind(int(reading.skip));
    let (rows, more) = reading.page(conn.rows(DOING, page).await?);
    Ok(HistoryPage {
        entries: rows.iter().map(entry).collect::<Result<_, _>>()?,
        total: total as u64,
        head: Position::START,
        more,
    })
}

/// One message as history shows it.
fn entry(row: &PgRow) -> Result<HistoryEntry, StoreError> {
    let read = || -> Result<_, sqlx::Error> {
        let (at, prev) = (position(row.try_get(0)?), row.try_get::<i64, _>(1)?);
        let flags = Flags(row.try_get::<i64, _>(2)? as u8);
        let entry = Bytes::from(row.try_get::<Vec<u8>, _>(3)?);
        let state = ReceiptKind::from_number(row.try_get(4)?);
        Ok((at, prev, flags, entry, state, row.try_get::<Vec<String>, _>(5)?))
    };
    let (at, prev, flags, entry, mut state, reached) = read().map_err(StoreError::postgres(DOING))?;
    if state.is_none() {
        state = delivered(&entry, &reached)?;
    }
    Ok(HistoryEntry {
        position: at,
        prev: (prev != 0).then(|| position(prev)),
        entry,
        state,
        recalled: flags.has(Flags::RECALLED),
    })
}
