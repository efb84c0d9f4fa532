//! What an operator asks: who holds which session, who has which message.

use ahash::AHashMap;
use bytes::Bytes;
use contract::persistence::SessionKey;
use model::{EdgeId, OrgId, Position, UnixMillis, UserId};
use rusqlite::{Connection, OptionalExtension, Row};

use super::shared::{int, sql};
use super::topics::TopicId;
use crate::rules::receipts::Recipients;
use crate::rules::sessions::began_at;
use crate::{ReceiptRow, SessionRow, StoreError};

/// The edges of stored sessions that are connected, and `more`; each once.
pub(super) fn connected_edges(conn: &Connection, more: Vec<EdgeId>) -> Result<Vec<EdgeId>, StoreError> {
    let text = "SELECT DISTINCT edge FROM sessions WHERE connected = 1";
    let mut edges = conn
        .prepare_cached(text)
        .and_then(|mut s| {
            s.query_map([], |r| r.get::<_, String>(0).map(EdgeId::from))?
                .collect::<Result<Vec<_>, _>>()
        })
        .map_err(sql("reading the edges of sessions"))?;
    edges.extend(more);
    edges.sort_unstable();
    edges.dedup();
    Ok(edges)
}

/// Stored sessions, and those connected of which nothing is stored.
pub(super) fn sessions_of(
    conn: &Connection,
    transient: &AHashMap<SessionKey, (u64, EdgeId)>,
    org: &OrgId,
    users: &[UserId],
) -> Result<Vec<SessionRow>, StoreError> {
    let doing = sql("reading sessions");
    let text = "SELECT client, epoch, edge, connected, expires_at, state, began, expiry FROM sessions
                WHERE org = ?1 AND user = ?2 ORDER BY client";
    let mut select = conn.prepare_cached(text).map_err(&doing)?;
    let mut found = Vec::new();
    for user in users {
        let row = |r: &Row<'_>| {
            Ok(SessionRow {
                key: SessionKey {
                    org: org.clone(),
                    user: user.clone(),
                    client: r.get::<_, String>(0)?.into(),
                },
                epoch: r.get::<_, i64>(1)? as u64,
                edge: r.get::<_, String>(2)?.into(),
                connected: r.get(3)?,
                expires_at: r.get::<_, Option<i64>>(4)?.map(|at| UnixMillis(at as u64)),
                state: r.get::<_, Vec<u8>>(5)?.into(),
                began_at: began_at(r.get(6)?),
                expiry: r.get(7)?,
            })
        };
        for row in select
            .query_map((org.as_str(), user.as_str()), row)
            .map_err(&doing)?
        {
            found.push(row.map_err(&doing)?);
        }
    }
    let mine = transient
        .iter()
        .filter(|(key, _)| key.org == *org && users.contains(&key.user));
    found.extend(mine.map(|(key, (epoch, edge))| SessionRow {
        key: key.clone(),
        epoch: *epoch,
        edge: edge.clone(),
        connected: true,
        began_at: began_at(int(*epoch)),
        expiry: 0,
        expires_at: None,
        state: Bytes::new(),
    }));
    found.sort_by(|a, b| {
        (a.key.user.as_str(), a.key.client.as_str()).cmp(&(b.key.user.as_str(), b.key.client.as_str()))
    });
    Ok(found)
}

pub(super) fn receipts_of(
    conn: &Connection,
    topic: TopicId,
    message: Position,
) -> Result<Vec<ReceiptRow>, StoreError> {
    let doing = sql("reading the receipts of a message");
    let mut found = Recipients::default();
    let marks = "SELECT user, changed FROM marks WHERE topic = ?1 AND upto >= ?2";
    for (by, changed) in users(conn, marks, topic, message).map_err(&doing)? {
        found.reached(by, Position(changed as u64));
    }
    let reads = "SELECT user, 0 FROM reads WHERE topic = ?1 AND message = ?2";
    for (by, _) in users(conn, reads, topic, message).map_err(&doing)? {
        found.read(by);
    }
    let text = "SELECT state, changed, entry FROM receipts WHERE topic = ?1 AND message = ?2";
    let furthest = conn
        .prepare_cached(text)
        .and_then(|mut s| {
            let row = |r: &Row<'_>| Ok((r.get::<_, i64>(0)?, r.get::<_, i64>(1)?, r.get::<_, Vec<u8>>(2)?));
            s.query_row((topic, int(message.0)), row).optional()
        })
        .map_err(&doing)?;
    if let Some((state, changed, entry)) = furthest {
        found.furthest(state, Position(changed as u64), Bytes::from(entry))?;
    }
    Ok(found.rows())
}

fn users(
    conn: &Connection,
    text: &str,
    topic: TopicId,
    message: Position,
) -> rusqlite::Result<Vec<(String, i64)>> {
    conn.prepare_cached(text)?
        .query_map((topic, int(message.0)), |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect()
}
