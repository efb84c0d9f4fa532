//! Sessions and wills.

use async_trait::async_trait;
use bytes::Bytes;
use model::{EdgeId, OrgId, UnixMillis, UserId};
use rpc::persistence::{CloseSession, OpenSession, OpenedSession, SaveSession, SessionKey};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::SqliteStore;
use super::job::{Change, Ctx, Mode};
use super::shared::{int, sql};
use crate::{DueWill, SessionRow, SessionStore, StoreError, ThreadStore};

/// A session's row.
struct Stored {
    epoch: u64,
    edge: EdgeId,
    connected: bool,
    expires_at: Option<i64>,
    will: Option<(Vec<u8>, u32)>,
    state: Vec<u8>,
}

#[async_trait]
impl SessionStore for SqliteStore {
    async fn open_session(&self, open: OpenSession, now: UnixMillis) -> Result<OpenedSession, StoreError> {
        let (org, identities) = (open.key.org.clone(), open.identities.clone());
        let opened = self.write(Mode::Sync, move |ctx| opened(ctx, &open, now)).await?;
        let threads = match identities.is_empty() {
            true => Vec::new(),
            false => self.member_topics(&org, identities).await?,
        };
        Ok(OpenedSession { threads, ..opened })
    }

    async fn save_sessions(&self, saves: Vec<SaveSession>) -> Result<Vec<bool>, StoreError> {
        self.write(Mode::Lazy, move |ctx| {
            let text = "UPDATE sessions SET state = ?5
                        WHERE org = ?1 AND user = ?2 AND client = ?3 AND epoch = ?4 AND connected = 1";
            let mut update = ctx.conn.prepare_cached(text).map_err(sql("saving sessions"))?;
            let mut save = |s: &SaveSession| {
                let (k, epoch) = (&s.key, int(s.epoch));
                update.execute(params![
                    k.org.as_str(),
                    k.user.as_str(),
                    k.client.as_str(),
                    epoch,
                    &s.state[..]
                ])
            };
            saves
                .iter()
                .map(|s| save(s).map(|n| n == 1))
                .collect::<Result<_, _>>()
                .map_err(sql("saving sessions"))
        })
        .await
    }

    async fn close_session(&self, close: CloseSession) -> Result<(), StoreError> {
        let shared = self.shared.clone();
        {
            // Nothing of it is stored: the disk need not know.
            let mut transient = shared.transient.lock();
            if transient
                .get(&close.key)
                .is_some_and(|(epoch, _)| *epoch == close.epoch)
            {
                transient.remove(&close.key);
                return Ok(());
            }
        }
        self.write(Mode::Sync, move |ctx| closed(ctx.conn, &close)).await
    }

    async fn abandon_sessions(&self, now: UnixMillis) -> Result<usize, StoreError> {
        self.write(Mode::Sync, move |ctx| {
            let epoch = ctx.shared.next_epoch(now);
            abandon(ctx.conn, None, epoch, now).map_err(sql("ending sessions of a dead process"))
        })
        .await
    }

    async fn connected_edges(&self) -> Result<Vec<EdgeId>, StoreError> {
        let transient = self
            .shared
            .transient
            .lock()
            .values()
            .map(|(_, edge)| edge.clone())
            .collect();
        self.read(move |conn, _| super::explain::connected_edges(conn, transient))
            .await
    }

    async fn abandon_edge(&self, edge: &EdgeId, now: UnixMillis) -> Result<usize, StoreError> {
        let edge = edge.clone();
        self.write(Mode::Sync, move |ctx| {
            let epoch = ctx.shared.next_epoch(now);
            let stored =
                abandon(ctx.conn, Some(&edge), epoch, now).map_err(sql("ending sessions of a dead edge"))?;
            let ended = ctx.transient_of(&edge);
            let count = stored + ended.len();
            let ended = ended.into_iter().map(|key| Change::Transient(key, None));
            ctx.changes.extend(ended);
            Ok(count)
        })
        .await
    }

    async fn sessions_of(&self, org: &OrgId, users: Vec<UserId>) -> Result<Vec<SessionRow>, StoreError> {
        let org = org.clone();
        self.read(move |conn, _| super::explain::sessions_of(conn, &org, &users))
            .await
    }

    async fn expire_sessions(&self, now: UnixMillis, limit: usize) -> Result<usize, StoreError> {
        self.write(Mode::Lazy, move |ctx| {
            let text = "DELETE FROM sessions WHERE rowid IN
                        (SELECT rowid FROM sessions WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)";
            ctx.conn
                .execute(text, params![int(now.0), limit as i64])
                .map_err(sql("expiring sessions"))
        })
        .await
    }

    async fn due_wills(&self, now: UnixMillis, limit: usize) -> Result<Vec<DueWill>, StoreError> {
        self.read(move |conn, _| {
            let text = "SELECT id, entry FROM wills WHERE due_at <= ?1 ORDER BY due_at, id LIMIT ?2";
            let will = |r: &Row<'_>| {
                Ok(DueWill {
                    id: r.get::<_, i64>(0)? as u64,
                    entry: r.get::<_, Vec<u8>>(1)?.into(),
                })
            };
            conn.prepare_cached(text)
                .and_then(|mut s| s.query_map(params![int(now.0), limit as i64], will)?.collect())
                .map_err(sql("reading due wills"))
        })
        .await
    }

    async fn forget_wills(&self, ids: Vec<u64>) -> Result<(), StoreError> {
        self.write(Mode::Sync, move |ctx| {
            let mut delete = ctx
                .conn
                .prepare_cached("DELETE FROM wills WHERE id = ?1")
                .map_err(sql("forgetting wills"))?;
            ids.iter()
                .try_for_each(|id| delete.execute([int(*id)]).map(|_| ()))
                .map_err(sql("forgetting wills"))
        })
        .await
    }
}

fn opened(ctx: &mut Ctx<'_>, open: &OpenSession, now: UnixMillis) -> Result<OpenedSession, StoreError> {
    let doing = sql("opening a session");
    let transient = ctx.transient(&open.key);
    let epoch = ctx.shared.next_epoch(now);
    let stored = stored(ctx.conn, &open.key).map_err(&doing)?;
    let expired = stored
        .as_ref()
        .is_some_and(|s| s.expires_at.is_some_and(|at| at <= int(now.0)));
    let goes_on = stored.is_some() && !expired && !open.clean_start;
    let previous = match (&stored, transient) {
        (_, Some((_, edge))) => Some(edge),
        (Some(s), None) if s.connected => Some(s.edge.clone()),
        _ => None,
    };
    if let Some(stored) = &stored {
        settle_wills(ctx.conn, &open.key, stored, goes_on, now).map_err(&doing)?;
    } else {
        release_wills(ctx.conn, &open.key, now).map_err(&doing)?;
    }
    let is_transient = open.expiry == 0 && open.will.is_none() && !goes_on;
    if is_transient {
        if stored.is_some() {
            delete(ctx.conn, &open.key).map_err(&doing)?;
        }
        let session = Some((epoch, open.edge.clone()));
        ctx.changes.push(Change::Transient(open.key.clone(), session));
    } else {
        ctx.changes.push(Change::Transient(open.key.clone(), None));
        let state = stored.filter(|_| goes_on).map(|s| s.state).unwrap_or_default();
        insert(ctx.conn, open, epoch, goes_on, &state).map_err(&doing)?;
        return Ok(OpenedSession {
            epoch,
            present: goes_on && !state.is_empty(),
            state: state.into(),
            previous_edge: previous,
            threads: Vec::new(),
        });
    }
    Ok(OpenedSession {
        epoch,
        present: false,
        state: Bytes::new(),
        previous_edge: previous,
        threads: Vec::new(),
    })
}

fn stored(conn: &Connection, key: &SessionKey) -> rusqlite::Result<Option<Stored>> {
    let text = "SELECT epoch, edge, connected, expires_at, will_delay, will, state FROM sessions
                WHERE org = ?1 AND user = ?2 AND client = ?3";
    let row = |r: &Row<'_>| {
        let will = match (r.get::<_, Option<u32>>(4)?, r.get::<_, Option<Vec<u8>>>(5)?) {
            (Some(delay), Some(will)) => Some((will, delay)),
            _ => None,
        };
        Ok(Stored {
            epoch: r.get::<_, i64>(0)? as u64,
            edge: EdgeId::from(r.get::<_, String>(1)?),
            connected: r.get(2)?,
            expires_at: r.get(3)?,
            will,
            state: r.get(6)?,
        })
    };
    conn.prepare_cached(text)?
        .query_row(
            params![key.org.as_str(), key.user.as_str(), key.client.as_str()],
            row,
        )
        .optional()
}

/// What becomes of the wills of a session that is opened again. One that waits is cancelled when the session goes on and
/// is due when the session is forgotten [MQTT-3.1.3-9]; that of a connection which is only now replaced is due when it had
/// no delay or the session is forgotten, as the server ends that connection itself.
fn settle_wills(
    conn: &Connection,
    key: &SessionKey,
    stored: &Stored,
    goes_on: bool,
    now: UnixMillis,
) -> rusqlite::Result<()> {
    if let (true, Some((entry, delay))) = (stored.connected, &stored.will)
        && (!goes_on || *delay == 0)
    {
        add_will(conn, key, int(now.0), entry)?;
    }
    if goes_on {
        let text = "DELETE FROM wills WHERE org = ?1 AND user = ?2 AND client = ?3 AND due_at > ?4";
        conn.prepare_cached(text)?.execute(params![
            key.org.as_str(),
            key.user.as_str(),
            key.client.as_str(),
            int(now.0)
        ])?;
        return Ok(());
    }
    release_wills(conn, key, now)
}

/// Wills that wait are due: their session is no more.
fn release_wills(conn: &Connection, key: &SessionKey, now: UnixMillis) -> rusqlite::Result<()> {
    let text = "UPDATE wills SET due_at = ?4 WHERE org = ?1 AND user = ?2 AND client = ?3 AND due_at > ?4";
    let key = params![
        key.org.as_str(),
        key.user.as_str(),
        key.client.as_str(),
        int(now.0)
    ];
    conn.prepare_cached(text)?.execute(key)?;
    Ok(())
}

fn add_will(conn: &Connection, key: &SessionKey, due_at: i64, entry: &[u8]) -> rusqlite::Result<()> {
    let text = "INSERT INTO wills (org, user, client, due_at, entry) VALUES (?1, ?2, ?3, ?4, ?5)";
    let row = params![
        key.org.as_str(),
        key.user.as_str(),
        key.client.as_str(),
        due_at,
        entry
    ];
    conn.prepare_cached(text)?.execute(row).map(|_| ())
}

fn delete(conn: &Connection, key: &SessionKey) -> rusqlite::Result<()> {
    let text = "DELETE FROM sessions WHERE org = ?1 AND user = ?2 AND client = ?3";
    let key = params![key.org.as_str(), key.user.as_str(), key.client.as_str()];
    conn.prepare_cached(text)?.execute(key).map(|_| ())
}

fn insert(
    conn: &Connection,
    open: &OpenSession,
    epoch: u64,
    goes_on: bool,
    state: &[u8],
) -> rusqlite::Result<()> {
    let text = "INSERT INTO sessions (org, user, client, epoch, edge, connected, expiry, will_delay, will, state, began)
                VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6, ?7, ?8, ?9, ?4)
                ON CONFLICT (org, user, client) DO UPDATE SET epoch = excluded.epoch, edge = excluded.edge, connected = 1,
                  began = iif(?10, began, excluded.began),
                  expiry = excluded.expiry, expires_at = NULL, will_delay = excluded.will_delay, will = excluded.will,
                  state = excluded.state";
    let (key, will) = (&open.key, open.will.as_ref());
    conn.prepare_cached(text)?
        .execute(params![
            key.org.as_str(),
            key.user.as_str(),
            key.client.as_str(),
            int(epoch),
            open.edge.as_str(),
            open.expiry,
            will.map(|w| w.delay),
            will.map(|w| &w.entry[..]),
            state,
            goes_on,
        ])
        .map(|_| ())
}

fn closed(conn: &Connection, close: &CloseSession) -> Result<(), StoreError> {
    let doing = sql("closing a session");
    let key = &close.key;
    let stored = match stored(conn, key).map_err(&doing)? {
        Some(stored) if stored.epoch == close.epoch && stored.connected => stored,
        _ => return Ok(()),
    };
    if let (true, Some((entry, delay))) = (close.publish_will, &stored.will) {
        let wait = u64::from((*delay).min(close.expiry)) * 1000;
        add_will(conn, key, int(close.at.0.saturating_add(wait)), entry).map_err(&doing)?;
    }
    if close.expiry == 0 {
        return delete(conn, key).map_err(&doing);
    }
    let expires = int(close.at.0.saturating_add(u64::from(close.expiry) * 1000));
    let text = "UPDATE sessions SET connected = 0, expiry = ?4, expires_at = ?5, will = NULL, will_delay = NULL, state = ?6
                WHERE org = ?1 AND user = ?2 AND client = ?3";
    let row = params![
        key.org.as_str(),
        key.user.as_str(),
        key.client.as_str(),
        close.expiry,
        expires,
        &close.state[..]
    ];
    conn.prepare_cached(text)
        .and_then(|mut s| s.execute(row))
        .map(|_| ())
        .map_err(doing)
}

/// Ends the connections that an edge holds, or everyone.
fn abandon(conn: &Connection, edge: Option<&EdgeId>, epoch: u64, now: UnixMillis) -> rusqlite::Result<usize> {
    let edge = edge.map(EdgeId::as_str);
    conn.execute(
        "INSERT INTO wills (org, user, client, due_at, entry)
         SELECT org, user, client, ?1 + 1000 * min(will_delay, expiry), will FROM sessions
         WHERE connected = 1 AND will IS NOT NULL AND edge = coalesce(?2, edge)",
        params![int(now.0), edge],
    )?;
    let gone = conn.execute(
        "DELETE FROM sessions WHERE connected = 1 AND expiry = 0 AND edge = coalesce(?1, edge)",
        [edge],
    )?;
    let kept = conn.execute(
        "UPDATE sessions SET connected = 0, epoch = ?3, will = NULL, will_delay = NULL, expires_at = ?1 + 1000 * expiry
         WHERE connected = 1 AND edge = coalesce(?2, edge)",
        params![int(now.0), edge, int(epoch)],
    )?;
    Ok(gone + kept)
}
