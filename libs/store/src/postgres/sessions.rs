//! Sessions and wills.
//!
//! Opening, closing and abandoning are one statement each, whose every decision is made where the row is locked: two
//! edges that open the same session at once do so one after the other, and nobody asks the database twice. What is
//! decided is said in `rules/sessions.rs`, and the suite holds the statements to it. Epochs follow the clock of the
//! database.

use ahash::AHashMap;
use async_trait::async_trait;
use contract::persistence::{CloseSession, MemberTopic, OpenSession, OpenedSession, SaveSession, SessionKey};
use model::thread::Membership;
use model::{EdgeId, OrgId, UnixMillis, UserId};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::PostgresStore;
use super::shared::{at_most, int, position};
use super::threads::member_topics;
use crate::rules::sessions::began_at;
use crate::{DueWill, SessionRow, SessionStore, StoreError};

/// Whether the session `s` does not go on: a clean start is asked for (`$8`), or it is over at `$9`.
macro_rules! anew {
    () => {
        "($8 OR CASE WHEN s.connected THEN s.expiry = 0 ELSE s.expires_at <= $9 END)"
    };
}

/// `present`: the session goes on. With it the threads of whoever opens it, without what has ended of them.
const OPEN: &str = concat!("
  WITH clock AS MATERIALIZED (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS micros),
  opened AS (
    INSERT INTO sessions AS s (org, usr, client, epoch, began, edge, connected, opened, present, previous, expiry,
      expires_at, will_delay, will, replaced_will, state)
    SELECT $1, $2, $3, micros, micros, $4, true, $9, false, NULL, $5, NULL, $6, $7, NULL, '' FROM clock
    ON CONFLICT (org, usr, client) DO UPDATE SET
      epoch = greatest(s.epoch + 1, excluded.epoch),
      began = CASE WHEN ",
    anew!(),
    " THEN greatest(s.epoch + 1, excluded.epoch) ELSE s.began END,
      present = NOT ",
    anew!(),
    ",
      state = CASE WHEN ",
    anew!(),
    " THEN '' ELSE s.state END,
      previous = CASE WHEN s.connected THEN s.edge END,
      replaced_will = CASE WHEN s.connected AND (",
    anew!(),
    " OR s.will_delay = 0) THEN s.will END,
      edge = excluded.edge, connected = true, opened = excluded.opened, expiry = excluded.expiry, expires_at = NULL,
      will_delay = excluded.will_delay, will = excluded.will
    RETURNING epoch, present, state, previous, replaced_will),
  replaced AS (
    INSERT INTO wills (org, usr, client, epoch, waits, due_at, entry)
    SELECT $1, $2, $3, epoch, false, $9, replaced_will FROM opened WHERE replaced_will IS NOT NULL),
  cancelled AS (
    DELETE FROM wills USING opened
    WHERE opened.present AND wills.org = $1 AND wills.usr = $2 AND wills.client = $3 AND wills.due_at > $9),
  released AS (
    UPDATE wills SET due_at = $9 FROM opened
    WHERE NOT opened.present AND wills.org = $1 AND wills.usr = $2 AND wills.client = $3 AND wills.due_at > $9)
  SELECT epoch, present AND octet_length(state) > 0, state, previous, topics, partitions, members, users, sinces
  FROM opened, (SELECT array_agg(t.topic) AS topics, array_agg(t.partition) AS partitions, array_agg(f.member) AS members,
      array_agg(f.usr) AS users, array_agg(f.since) AS sinces
    FROM (",
    super::threads::lasting!("$10"),
    ") f JOIN topics t ON t.id = f.topic) part"
);

const CLOSE: &str = "
  WITH s AS (SELECT org, usr, client, epoch, will, will_delay FROM sessions
    WHERE org = $1 AND usr = $2 AND client = $3 AND epoch = $4 AND connected FOR UPDATE),
  left_behind AS (
    INSERT INTO wills (org, usr, client, epoch, waits, due_at, entry)
    SELECT org, usr, client, epoch, will_delay > 0, $6 + 1000 * least(will_delay, $5), will FROM s
    WHERE $7 AND will IS NOT NULL),
  forgotten AS (
    DELETE FROM sessions USING s WHERE $5 = 0 AND sessions.org = s.org AND sessions.usr = s.usr AND sessions.client = s.client)
  UPDATE sessions SET connected = false, expiry = $5, expires_at = $6 + 1000 * $5, will = NULL, will_delay = NULL, state = $8
  FROM s WHERE $5 > 0 AND sessions.org = s.org AND sessions.usr = s.usr AND sessions.client = s.client";

/// Ends the connections of an edge, or of all.
const ABANDON: &str = "
  WITH clock AS MATERIALIZED (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS micros),
  s AS MATERIALIZED (SELECT org, usr, client, epoch, will, will_delay, expiry FROM sessions
    WHERE connected AND ($1::text IS NULL OR edge = $1) ORDER BY org, usr, client FOR UPDATE),
  left_behind AS (
    INSERT INTO wills (org, usr, client, epoch, waits, due_at, entry)
    SELECT org, usr, client, epoch, will_delay > 0, $2 + 1000 * least(will_delay, expiry), will FROM s WHERE will IS NOT NULL),
  forgotten AS (
    DELETE FROM sessions USING s
    WHERE s.expiry = 0 AND sessions.org = s.org AND sessions.usr = s.usr AND sessions.client = s.client),
  kept AS (
    UPDATE sessions SET connected = false, epoch = greatest(s.epoch + 1, clock.micros), will = NULL, will_delay = NULL,
      expires_at = $2 + 1000 * s.expiry FROM s, clock
    WHERE s.expiry > 0 AND sessions.org = s.org AND sessions.usr = s.usr AND sessions.client = s.client)
  SELECT count(*) FROM s";

/// Wills whose time has come. One that waited is of no use when its session went on before it was due: its end and
/// the new beginning did not see each other.
const DUE: &str = "
  WITH due AS MATERIALIZED (SELECT id, org, usr, client, epoch, waits, due_at, entry FROM wills
    WHERE due_at <= $1 ORDER BY due_at, id LIMIT $2),
  useless AS (DELETE FROM wills USING due, sessions s WHERE wills.id = due.id AND due.waits AND s.org = due.org
    AND s.usr = due.usr AND s.client = due.client AND s.epoch > due.epoch
      AND s.began <= due.epoch AND s.connected AND s.opened < due.due_at RETURNING wills.id)
  SELECT id, entry FROM due WHERE id NOT IN (SELECT id FROM useless) ORDER BY due_at, id";

#[async_trait]
impl SessionStore for PostgresStore {
    async fn open_session(&self, open: OpenSession, now: UnixMillis) -> Result<OpenedSession, StoreError> {
        let doing = "opening a session";
        let (key, will) = (&open.key, open.will.as_ref());
        let ask = sqlx::query(OPEN)
            .bind(key.org.as_str())
            .bind(key.user.as_str())
            .bind(key.client.as_str())
            .bind(open.edge.as_str())
            .bind(i64::from(open.expiry))
            .bind(will.map(|w| i64::from(w.delay)))
            .bind(will.map(|w| &w.entry[..]))
            .bind(open.clean_start)
            .bind(int(now.0))
            .bind(open.identities.iter().map(UserId::as_str).collect::<Vec<_>>());
        let row = self.shared.conn(doing).await?.row(doing, ask).await?;
        let read = |row: &PgRow| -> Result<OpenedSession, sqlx::Error> {
            Ok(OpenedSession {
                epoch: row.try_get::<i64, _>(0)? as u64,
                present: row.try_get(1)?,
                state: row.try_get::<Vec<u8>, _>(2)?.into(),
                previous_edge: row.try_get::<Option<String>, _>(3)?.map(EdgeId::from),
                threads: threads(row)?,
            })
        };
        let row = row
            .ok_or(sqlx::Error::RowNotFound)
            .map_err(StoreError::postgres(doing))?;
        read(&row).map_err(StoreError::postgres(doing))
    }

    async fn save_sessions(&self, saves: Vec<SaveSession>) -> Result<Vec<bool>, StoreError> {
        let doing = "saving sessions";
        // The last word on each: a row is not written twice by one statement.
        let mut last: AHashMap<(&SessionKey, u64), &SaveSession> = AHashMap::new();
        last.extend(saves.iter().map(|save| ((&save.key, save.epoch), save)));
        let mut last: Vec<&SaveSession> = last.into_values().collect();
        if last.is_empty() {
            return Ok(Vec::new());
        }
        let order = |s: &SaveSession| (s.key.org.clone(), s.key.user.clone(), s.key.client.clone());
        last.sort_by_cached_key(|save| order(save));
        let text = "WITH lazy AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
                    UPDATE sessions s SET state = u.state
                    FROM lazy, unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bytea[]) u (org, usr, client, epoch, state)
                    WHERE s.org = u.org AND s.usr = u.usr AND s.client = u.client AND s.epoch = u.epoch AND s.connected
                    RETURNING s.org, s.usr, s.client, s.epoch";
        let ask = sqlx::query(text)
            .bind(last.iter().map(|s| s.key.org.as_str()).collect::<Vec<_>>())
            .bind(last.iter().map(|s| s.key.user.as_str()).collect::<Vec<_>>())
            .bind(last.iter().map(|s| s.key.client.as_str()).collect::<Vec<_>>())
            .bind(last.iter().map(|s| int(s.epoch)).collect::<Vec<_>>())
            .bind(last.iter().map(|s| &s.state[..]).collect::<Vec<&[u8]>>());
        let rows = self.shared.conn(doing).await?.rows(doing, ask).await?;
        let key = |row: &PgRow| -> Result<(SessionKey, u64), sqlx::Error> {
            let key = SessionKey {
                org: OrgId::new(row.try_get::<&str, _>(0)?),
                user: UserId::new(row.try_get::<&str, _>(1)?),
                client: row.try_get::<String, _>(2)?.into(),
            };
            Ok((key, row.try_get::<i64, _>(3)? as u64))
        };
        let saved = rows.iter().map(key).collect::<Result<ahash::AHashSet<_>, _>>();
        let saved = saved.map_err(StoreError::postgres(doing))?;
        Ok(saves
            .iter()
            .map(|s| saved.contains(&(s.key.clone(), s.epoch)))
            .collect())
    }

    async fn close_session(&self, close: CloseSession) -> Result<(), StoreError> {
        let doing = "closing a session";
        let key = &close.key;
        let ask = sqlx::query(CLOSE)
            .bind(key.org.as_str())
            .bind(key.user.as_str())
            .bind(key.client.as_str())
            .bind(int(close.epoch))
            .bind(i64::from(close.expiry))
            .bind(int(close.at.0))
            .bind(close.publish_will)
            .bind(&close.state[..]);
        self.shared.conn(doing).await?.run(doing, ask).await.map(|_| ())
    }

    async fn abandon_sessions(&self, now: UnixMillis) -> Result<usize, StoreError> {
        self.abandon("ending sessions of a dead process", None, now).await
    }

    async fn connected_edges(&self) -> Result<Vec<EdgeId>, StoreError> {
        let doing = "reading the edges of sessions";
        // From one edge to the next along the index: it costs by the edges, not by their sessions.
        let text = "WITH RECURSIVE e AS (
                      (SELECT edge FROM sessions WHERE connected ORDER BY edge LIMIT 1)
                      UNION ALL
                      SELECT (SELECT s.edge FROM sessions s WHERE s.connected AND s.edge > e.edge ORDER BY s.edge LIMIT 1)
                      FROM e WHERE e.edge IS NOT NULL)
                    SELECT edge FROM e WHERE edge IS NOT NULL";
        let rows = self
            .shared
            .conn(doing)
            .await?
            .rows(doing, sqlx::query(text))
            .await?;
        let edge = |row: &PgRow| row.try_get::<String, _>(0).map(EdgeId::from);
        rows.iter()
            .map(edge)
            .collect::<Result<_, _>>()
            .map_err(StoreError::postgres(doing))
    }

    async fn abandon_edge(&self, edge: &EdgeId, now: UnixMillis) -> Result<usize, StoreError> {
        self.abandon("ending sessions of a dead edge", Some(edge), now)
            .await
    }

    async fn sessions_of(&self, org: &OrgId, users: Vec<UserId>) -> Result<Vec<SessionRow>, StoreError> {
        let doing = "reading sessions";
        let text =
            "SELECT usr, client, epoch, edge, connected, expires_at, state, began, expiry FROM sessions
                    WHERE org = $1 AND usr = ANY($2) ORDER BY usr, client";
        let users: Vec<&str> = users.iter().map(UserId::as_str).collect();
        let ask = sqlx::query(text).bind(org.as_str()).bind(users);
        let rows = self.shared.conn(doing).await?.rows(doing, ask).await?;
        let read = |row: &PgRow| -> Result<SessionRow, sqlx::Error> {
            Ok(SessionRow {
                key: SessionKey {
                    org: org.clone(),
                    user: UserId::new(row.try_get::<&str, _>(0)?),
                    client: row.try_get::<String, _>(1)?.into(),
                },
                epoch: row.try_get::<i64, _>(2)? as u64,
                edge: row.try_get::<String, _>(3)?.into(),
                connected: row.try_get(4)?,
                expires_at: row.try_get::<Option<i64>, _>(5)?.map(|at| UnixMillis(at as u64)),
                state: row.try_get::<Vec<u8>, _>(6)?.into(),
                began_at: began_at(row.try_get(7)?),
                expiry: u32::try_from(row.try_get::<i64, _>(8)?).unwrap_or(u32::MAX),
            })
        };
        rows.iter()
            .map(read)
            .collect::<Result<_, _>>()
            .map_err(StoreError::postgres(doing))
    }

    async fn expire_sessions(&self, now: UnixMillis, limit: usize) -> Result<usize, StoreError> {
        let doing = "expiring sessions";
        let text = "DELETE FROM sessions s USING (
                      SELECT org, usr, client FROM sessions WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2
                      FOR UPDATE SKIP LOCKED) old
                    WHERE s.org = old.org AND s.usr = old.usr AND s.client = old.client";
        let ask = sqlx::query(text).bind(int(now.0)).bind(at_most(limit));
        Ok(self.shared.conn(doing).await?.run(doing, ask).await? as usize)
    }

    async fn due_wills(&self, now: UnixMillis, limit: usize) -> Result<Vec<DueWill>, StoreError> {
        let doing = "reading due wills";
        let ask = sqlx::query(DUE).bind(int(now.0)).bind(at_most(limit));
        let rows = self.shared.conn(doing).await?.rows(doing, ask).await?;
        let will = |row: &PgRow| -> Result<DueWill, sqlx::Error> {
            Ok(DueWill {
                id: row.try_get::<i64, _>(0)? as u64,
                entry: row.try_get::<Vec<u8>, _>(1)?.into(),
            })
        };
        rows.iter()
            .map(will)
            .collect::<Result<_, _>>()
            .map_err(StoreError::postgres(doing))
    }

    async fn forget_wills(&self, ids: Vec<u64>) -> Result<(), StoreError> {
        let doing = "forgetting wills";
        let ids: Vec<i64> = ids.into_iter().map(int).collect();
        let ask = sqlx::query("DELETE FROM wills WHERE id = ANY($1)").bind(ids);
        self.shared.conn(doing).await?.run(doing, ask).await.map(|_| ())
    }
}

/// The threads that a row of [`OPEN`] names; it has none where there are none.
fn threads(row: &PgRow) -> Result<Vec<MemberTopic>, sqlx::Error> {
    let topics: Option<Vec<String>> = row.try_get(4)?;
    let partitions: Option<Vec<i64>> = row.try_get(5)?;
    let members: Option<Vec<Option<String>>> = row.try_get(6)?;
    let users: Option<Vec<Option<String>>> = row.try_get(7)?;
    let sinces: Option<Vec<Option<i64>>> = row.try_get(8)?;
    let who = members.into_iter().flatten().zip(users.into_iter().flatten());
    let memberships = who.zip(sinces.into_iter().flatten());
    let lasting = |((member, user), since): ((Option<String>, Option<String>), Option<i64>)| {
        Some(Membership::from(member?.into(), user?.into(), position(since?)))
    };
    let places = topics.into_iter().flatten().zip(partitions.into_iter().flatten());
    let rows = places.zip(memberships.map(lasting));
    Ok(member_topics(
        rows.map(|((topic, partition), m)| (topic, partition, m)),
    ))
}

impl PostgresStore {
    async fn abandon(
        &self,
        doing: &'static str,
        edge: Option<&EdgeId>,
        now: UnixMillis,
    ) -> Result<usize, StoreError> {
        let ask = sqlx::query(ABANDON)
            .bind(edge.map(EdgeId::as_str))
            .bind(int(now.0));
        let row = self.shared.conn(doing).await?.row(doing, ask).await?;
        let count: i64 = row
            .map_or(Ok(0), |row| row.try_get(0))
            .map_err(StoreError::postgres(doing))?;
        Ok(count as usize)
    }
}
