//! Sessions and wills.

use async_trait::async_trait;
use bytes::Bytes;
use contract::persistence::{CloseSession, OpenSession, OpenedSession, SaveSession, SessionKey};
use model::{EdgeId, OrgId, UnixMillis, UserId};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::SqliteStore;
use super::job::{Change, Ctx, Mode};
use super::shared::{int, sql};
use crate::rules::sessions::{self, Before};
use crate::{DueWill, SessionRow, SessionStore, StoreError, ThreadStore};

/// A session's row.
struct Stored {
    epoch: u64,
    edge: EdgeId,
    before: Before,
    will: Option<Vec<u8>>,
    state: Vec<u8>,
}

#[async_trait]
impl SessionStore for SqliteStore {
    async fn open_session(&self, open: OpenSession, now: UnixMillis) -> Result<OpenedSession, StoreError> {
        let (org, identities) = (open.key.org.clone(), open.identities.clone());
        let opened = self.write(Mode::Sync, move |ctx| opened(ctx, &open, now)).await?;
        let threads = match identities.is_empty() {
            true => Vec::new(),
            false => self.memberships(&org, identities, Vec::new()).await?,
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
            // Of one that is forgotten with its connection there is nothing to store.
            let forgotten =
                |s: &SaveSession| ctx.transient(&s.key).is_some_and(|(epoch, _)| epoch == s.epoch);
            saves
                .iter()
                .map(|s| Ok(save(s)? == 1 || forgotten(s)))
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
        let doing = "ending sessions of a dead process";
        self.write(Mode::Sync, move |ctx| abandon(ctx, doing, None, now))
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
        let (edge, doing) = (edge.clone(), "ending sessions of a dead edge");
        self.write(Mode::Sync, move |ctx| abandon(ctx, doing, Some(&edge), now))
            .await
    }

    async fn sessions_of(&self, org: &OrgId, users: Vec<UserId>) -> Result<Vec<SessionRow>, StoreError> {
        let org = org.clone();
        let shared = self.shared.clone();
        self.read(move |conn, _| super::explain::sessions_of(conn, &shared.transient.lock(), &org, &users))
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
    let opening = sessions::open(stored.as_ref().map(|s| s.before), open.clean_start, now);
    let previous_edge = match (&stored, transient) {
        (_, Some((_, edge))) => Some(edge),
        (Some(s), None) if s.before.connected => Some(s.edge.clone()),
        _ => None,
    };
    if let (true, Some(will)) = (
        opening.leaves_will,
        stored.as_ref().and_then(|s| s.will.as_deref()),
    ) {
        add_will(ctx.conn, &open.key, now, will).map_err(&doing)?;
    }
    settle_wills(ctx.conn, &open.key, opening.goes_on, now).map_err(&doing)?;
    let state = match &stored {
        Some(stored) if opening.goes_on => stored.state.as_slice(),
        _ => &[],
    };
    // Of a session that is forgotten with its connection nothing is stored.
    let is_transient = open.expiry == 0 && open.will.is_none() && !opening.goes_on;
    if !is_transient {
        insert(ctx.conn, open, epoch, opening.goes_on, state).map_err(&doing)?;
    } else if stored.is_some() {
        delete(ctx.conn, &open.key).map_err(&doing)?;
    }
    let transient = is_transient.then(|| (epoch, open.edge.clone()));
    ctx.changes.push(Change::Transient(open.key.clone(), transient));
    Ok(OpenedSession {
        epoch,
        present: !state.is_empty(),
        state: Bytes::copy_from_slice(state),
        previous_edge,
        threads: Vec::new(),
    })
}

fn stored(conn: &Connection, key: &SessionKey) -> rusqlite::Result<Option<Stored>> {
    let text = "SELECT epoch, edge, connected, expires_at, will_delay, will, state, expiry FROM sessions
                WHERE org = ?1 AND user = ?2 AND client = ?3";
    let row = |r: &Row<'_>| {
        Ok(Stored {
            epoch: r.get::<_, i64>(0)? as u64,
            edge: EdgeId::from(r.get::<_, String>(1)?),
            before: Before {
                connected: r.get(2)?,
                expires_at: r.get::<_, Option<i64>>(3)?.map(|at| UnixMillis(at as u64)),
                will_delay: r.get(4)?,
                expiry: r.get(7)?,
            },
            will: r.get(5)?,
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

/// Wills that wait are cancelled when their session goes on, and due when it is no more.
fn settle_wills(conn: &Connection, key: &SessionKey, goes_on: bool, now: UnixMillis) -> rusqlite::Result<()> {
    let text = match goes_on {
        true => "DELETE FROM wills WHERE org = ?1 AND user = ?2 AND client = ?3 AND due_at > ?4",
        false => "UPDATE wills SET due_at = ?4 WHERE org = ?1 AND user = ?2 AND client = ?3 AND due_at > ?4",
    };
    let key = params![
        key.org.as_str(),
        key.user.as_str(),
        key.client.as_str(),
        int(now.0)
    ];
    conn.prepare_cached(text)?.execute(key).map(|_| ())
}

fn add_will(conn: &Connection, key: &SessionKey, due_at: UnixMillis, entry: &[u8]) -> rusqlite::Result<()> {
    let text = "INSERT INTO wills (org, user, client, due_at, entry) VALUES (?1, ?2, ?3, ?4, ?5)";
    let row = params![
        key.org.as_str(),
        key.user.as_str(),
        key.client.as_str(),
        int(due_at.0),
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
        Some(stored) if stored.epoch == close.epoch && stored.before.connected => stored,
        _ => return Ok(()),
    };
    let will_delay = stored.before.will_delay.filter(|_| close.publish_will);
    let ending = sessions::end(close.at, close.expiry, will_delay);
    if let (Some(due_at), Some(will)) = (ending.will_due_at, &stored.will) {
        add_will(conn, key, due_at, will).map_err(&doing)?;
    }
    let Some(expires_at) = ending.expires_at else {
        return delete(conn, key).map_err(&doing);
    };
    let text = "UPDATE sessions SET connected = 0, expiry = ?4, expires_at = ?5, will = NULL, will_delay = NULL, state = ?6
                WHERE org = ?1 AND user = ?2 AND client = ?3";
    let row = params![
        key.org.as_str(),
        key.user.as_str(),
        key.client.as_str(),
        close.expiry,
        int(expires_at.0),
        &close.state[..]
    ];
    conn.prepare_cached(text)
        .and_then(|mut s| s.execute(row))
        .map(|_| ())
        .map_err(doing)
}

/// Ends the connections that an edge holds, or everyone.
fn abandon(
    ctx: &mut Ctx<'_>,
    doing: &'static str,
    edge: Option<&EdgeId>,
    now: UnixMillis,
) -> Result<usize, StoreError> {
    let epoch = ctx.shared.next_epoch(now);
    let stored = abandon_stored(ctx.conn, edge, epoch, now).map_err(sql(doing))?;
    let ended = ctx.transient_of(edge);
    let count = stored + ended.len();
    ctx.changes
        .extend(ended.into_iter().map(|key| Change::Transient(key, None)));
    Ok(count)
}

fn abandon_stored(
    conn: &Connection,
    edge: Option<&EdgeId>,
    epoch: u64,
    now: UnixMillis,
) -> rusqlite::Result<usize> {
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
