//! Reads threads.

use contract::persistence::UserCard;
use model::thread::{Members, Membership, Offer};
use model::{Position, UnixMillis, UserId};
use parking_lot::RwLock;
use rusqlite::{Connection, OptionalExtension, Params, Row};

use super::part::{listed, membership, open};
use crate::rules::threads::{Life, desk_agent};
use crate::sqlite::cold;
use crate::sqlite::mem::Mem;
use crate::sqlite::shared::{at_most, int, sql};
use crate::sqlite::topics::{Sums, Topic, TopicId};
use crate::{StoreError, StoredThread, ThreadQuery, ThreadRow};

const DOING: &str = "reading threads";

/// Whether a thread still is what it was found for.
type Fits = fn(&StoredThread) -> bool;

/// A page of the threads that somebody takes part in or has left.
pub(super) fn page(
    conn: &Connection,
    mem: &RwLock<Mem>,
    query: &ThreadQuery,
) -> Result<(Vec<ThreadRow>, u64), StoreError> {
    let ids = match query.open {
        true => open(conn, &query.org, &query.identities),
        false => listed(conn, &query.org, &query.identities),
    };
    let ids = ids.map_err(sql(DOING))?;
    let mut found: Vec<(TopicId, Sums)> = Vec::with_capacity(ids.len());
    for id in ids {
        found.extend(cold::get(conn, mem, id)?.map(|topic| (id, topic.sums)));
    }
    found.retain(|(_, sums)| !query.unreplied || sums.waiting_since != 0);
    let total = found.len() as u64;
    found.sort_unstable_by_key(|(id, sums)| std::cmp::Reverse((sums.updated_at, *id)));
    let mut rows = Vec::new();
    for (id, sums) in found.into_iter().skip(query.offset).take(query.limit) {
        if let Some(mut topic) = cold::get(conn, mem, id)? {
            topic.sums = sums;
            rows.extend(row(conn, topic).map_err(sql(DOING))?);
        }
    }
    Ok((rows, total))
}

/// The row of a thread whose topic was asked for before.
fn row(conn: &Connection, topic: Topic) -> rusqlite::Result<Option<ThreadRow>> {
    let sums = topic.sums;
    let last = conn
        .prepare_cached(
            "SELECT m.position, coalesce(s.entry, m.entry) FROM messages m
                         LEFT JOIN streams s ON s.message = m.id WHERE m.id = ?1",
        )?
        .query_row([sums.last], |r| {
            Ok((
                Position(r.get::<_, i64>(0)? as u64),
                r.get::<_, Vec<u8>>(1)?.into(),
            ))
        })
        .optional()?;
    let text =
        "SELECT h.uid, h.kind, h.status, h.desk, h.party, coalesce(nullif(v.nickname, ''), h.nickname),
                  coalesce(nullif(v.avatar, ''), h.avatar), h.agent, h.created_at
                FROM threads h LEFT JOIN visitors v ON v.org = h.org AND v.uid = h.party WHERE h.topic = ?1";
    let read = |r: &Row<'_>| {
        let created_at = r.get::<_, i64>(8)? as u64;
        Ok(ThreadRow {
            topic: topic.name,
            partition: topic.partition,
            uid: r.get(0)?,
            kind: r.get(1)?,
            status: r.get(2)?,
            desk: r.get::<_, String>(3)?.into(),
            visitor: UserCard {
                uid: r.get::<_, String>(4)?.into(),
                nickname: r.get(5)?,
                avatar: r.get(6)?,
            },
            agent: r.get::<_, Option<String>>(7)?.map(UserId::from),
            last,
            updated_at: UnixMillis(sums.updated_at.max(created_at)),
            waiting_since: (sums.waiting_since != 0).then_some(UnixMillis(sums.waiting_since)),
        })
    };
    conn.prepare_cached(text)?.query_row([topic.id], read).optional()
}

/// A thread with its life, as of one moment.
pub(super) fn stored(
    conn: &Connection,
    mem: &RwLock<Mem>,
    id: TopicId,
) -> Result<Option<StoredThread>, StoreError> {
    let doing = sql(DOING);
    let Some(topic) = cold::get(conn, mem, id)? else {
        return Ok(None);
    };
    let snapshot = conn.unchecked_transaction().map_err(&doing)?;
    let Some(row) = row(&snapshot, topic).map_err(&doing)? else {
        return Ok(None);
    };
    let text = "SELECT org, status, agent, version, pending, coalesce((SELECT position FROM progress p
                  WHERE p.service = 1 AND p.partition = threads.partition), 0), overridden FROM threads WHERE topic = ?1";
    let read = |r: &Row<'_>| {
        let number = |i| r.get::<_, i64>(i).map(|n| n as u64);
        let life = Life {
            status: r.get(1)?,
            agent: r.get(2)?,
            version: number(3)?,
            desk_agent: desk_agent(&row.kind, &row.desk),
            overridden: r.get(6)?,
        };
        Ok((r.get::<_, String>(0)?, life, number(4)?, number(5)?))
    };
    let (org, life, pending, applied) = snapshot
        .prepare_cached(text)
        .and_then(|mut s| s.query_row([id], read))
        .map_err(&doing)?;
    let mut lasting = memberships(&snapshot, id).map_err(&doing)?;
    lasting.retain(Membership::lasts);
    let offers = offers(&snapshot, id).map_err(&doing)?;
    snapshot.finish().map_err(doing)?;
    Ok(Some(StoredThread {
        org: org.into(),
        row,
        life: life.of(lasting, offers)?,
        pending: Position(pending),
        applied: Position(applied),
    }))
}

/// Who belongs to a thread and who did.
pub(super) fn members(conn: &Connection, id: TopicId) -> rusqlite::Result<Members> {
    let version = conn
        .prepare_cached("SELECT version FROM threads WHERE topic = ?1")?
        .query_row([id], |r| r.get::<_, i64>(0))
        .optional()?;
    Ok(Members {
        version: Position(version.unwrap_or(0) as u64),
        all: memberships(conn, id)?,
    })
}

/// In the order in which they began; with a change the visitor comes before its agent.
fn memberships(conn: &Connection, id: TopicId) -> rusqlite::Result<Vec<Membership>> {
    let text = "SELECT member, user, since, until FROM members WHERE topic = ?1 ORDER BY began, member <> user, member";
    conn.prepare_cached(text)?
        .query_map([id], |r| membership(r, 0))?
        .collect()
}

fn offers(conn: &Connection, id: TopicId) -> rusqlite::Result<Vec<Offer>> {
    let text = "SELECT uid, invitation, sender, receivers, expires_at FROM offers WHERE topic = ?1 ORDER BY position";
    let offer = |r: &Row<'_>| {
        Ok(Offer {
            uid: r.get(0)?,
            is_invitation: r.get(1)?,
            from: r.get::<_, String>(2)?.into(),
            to: receivers(r.get_ref(3)?.as_str()?),
            expires_at: UnixMillis(r.get::<_, i64>(4)? as u64),
        })
    };
    conn.prepare_cached(text)?.query_map([id], offer)?.collect()
}

/// One a line.
fn receivers(lines: &str) -> Vec<UserId> {
    let uids = lines.split('\n').filter(|uid| !uid.is_empty());
    uids.map(UserId::new).collect()
}

/// The threads that a statement names, in its order, but for those that are something else by now.
fn named(
    conn: &Connection,
    mem: &RwLock<Mem>,
    text: &str,
    key: impl Params,
    fits: Fits,
) -> Result<Vec<StoredThread>, StoreError> {
    let ids: Vec<TopicId> = conn
        .prepare_cached(text)
        .and_then(|mut s| s.query_map(key, |r| r.get(0))?.collect())
        .map_err(sql(DOING))?;
    each(conn, mem, ids, fits)
}

fn each(
    conn: &Connection,
    mem: &RwLock<Mem>,
    ids: Vec<TopicId>,
    fits: Fits,
) -> Result<Vec<StoredThread>, StoreError> {
    let read = ids.into_iter().map(|id| stored(conn, mem, id));
    let read = read.collect::<Result<Vec<_>, _>>()?;
    Ok(read.into_iter().flatten().filter(fits).collect())
}

/// Each partition has its turn: one whose owner is away keeps no other waiting.
pub(super) const PENDING: &str = "SELECT topic FROM (
       SELECT topic, pending, row_number() OVER (PARTITION BY partition ORDER BY pending) AS nth FROM threads
       WHERE pending > 0) ORDER BY nth, pending LIMIT ?1";

pub(super) fn pending(
    conn: &Connection,
    mem: &RwLock<Mem>,
    limit: usize,
) -> Result<Vec<StoredThread>, StoreError> {
    named(conn, mem, PENDING, [at_most(limit)], |t| {
        t.pending > Position::START
    })
}

/// Each desk has its turn: one at which nobody is keeps no other waiting.
pub(super) const WAITING: &str = "SELECT topic FROM (
       SELECT topic, version, row_number() OVER (PARTITION BY org, desk ORDER BY version) AS nth FROM threads
       WHERE version > 0 AND status IN ('OFFLINE', 'QUEUING')) ORDER BY nth, version LIMIT ?1";

pub(super) fn waiting(
    conn: &Connection,
    mem: &RwLock<Mem>,
    limit: usize,
) -> Result<Vec<StoredThread>, StoreError> {
    named(conn, mem, WAITING, [at_most(limit)], |t| {
        t.life.status.is_waiting()
    })
}

pub(super) const DUE: &str = "SELECT topic FROM offers WHERE expires_at < ?1 GROUP BY topic
     ORDER BY min(expires_at), topic LIMIT ?2";

pub(super) fn with_due_offers(
    conn: &Connection,
    mem: &RwLock<Mem>,
    now: UnixMillis,
    limit: usize,
) -> Result<Vec<StoredThread>, StoreError> {
    let key = (int(now.0), at_most(limit));
    named(conn, mem, DUE, key, |t| !t.life.offers.is_empty())
}

/// Open threads that were not changed since a time, the longest unchanged first.
pub(super) const UNCHANGED: &str =
    "SELECT topic FROM threads WHERE version > 0 AND status <> 'CLOSED' AND changed_at < ?1
     ORDER BY changed_at";

pub(super) fn idle(
    conn: &Connection,
    mem: &RwLock<Mem>,
    before: UnixMillis,
    limit: usize,
) -> Result<Vec<StoredThread>, StoreError> {
    let doing = sql(DOING);
    let mut select = conn.prepare_cached(UNCHANGED).map_err(&doing)?;
    let unchanged = select
        .query_map([int(before.0)], |r| r.get::<_, TopicId>(0))
        .map_err(&doing)?;
    let mut ids = Vec::new();
    for id in unchanged {
        let id = id.map_err(&doing)?;
        if cold::get(conn, mem, id)?.is_some_and(|t| t.sums.updated_at < before.0) {
            ids.push(id);
        }
        if ids.len() == limit {
            break;
        }
    }
    each(conn, mem, ids, |t| t.life.is_open())
}

pub(super) const QUEUE: &str =
    "SELECT (SELECT count(*) FROM threads w WHERE w.org = t.org AND w.desk = t.desk AND w.version > 0
       AND w.status IN ('OFFLINE', 'QUEUING') AND w.version < t.version)
     FROM threads t WHERE t.topic = ?1 AND t.version > 0 AND t.status IN ('OFFLINE', 'QUEUING')";

/// How many of its desk wait since before it.
pub(super) fn place_in_queue(conn: &Connection, id: TopicId) -> rusqlite::Result<Option<u64>> {
    conn.prepare_cached(QUEUE)?
        .query_row([id], |r| r.get::<_, i64>(0).map(|n| n as u64))
        .optional()
}
