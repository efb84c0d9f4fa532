//! Finds messages by uid.

use parking_lot::RwLock;
use rusqlite::{Connection, OptionalExtension};

use super::load::decode;
use super::mem::Mem;
use super::shared::{int, sql};
use super::topics::TopicId;
use crate::rules::uids::{self, more_hash, uid_hash};
use crate::{Flags, MessageId, StoreError, Stored, TargetKey};
use model::{Position, ReceiptKind};

pub(super) fn lookup(
    conn: &Connection,
    mem: &RwLock<Mem>,
    keys: &[TargetKey],
) -> Result<Vec<Vec<Stored>>, StoreError> {
    let mut candidates = candidates(
        conn,
        mem,
        &keys.iter().flat_map(TargetKey::hashes).collect::<Vec<_>>(),
    )?
    .into_iter();
    let mut found = Vec::with_capacity(keys.len());
    for key in keys {
        let mut ids: Vec<i64> = candidates.by_ref().take(key.hashes().count()).flatten().collect();
        ids.sort_unstable();
        let mut hits: Vec<Stored> = Vec::new();
        for id in ids {
            if hits.len() == key.want.most() {
                break;
            }
            let Some((_, mut row)) = message(conn, id)? else {
                continue;
            };
            if key.means(&row) {
                row.stream = stream(conn, id)?;
                hits.push(row);
            }
        }
        found.push(hits);
    }
    Ok(found)
}

/// The same for anyone, who wants to know how far each has come as well.
pub(super) fn find(
    conn: &Connection,
    mem: &RwLock<Mem>,
    keys: &[TargetKey],
) -> Result<Vec<Vec<Stored>>, StoreError> {
    let mut found = lookup(conn, mem, keys)?;
    let doing = sql("reading the state of a message");
    let text = "SELECT state FROM receipts WHERE topic = ?1 AND message = ?2";
    let mut select = conn.prepare_cached(text).map_err(&doing)?;
    for row in found.iter_mut().flatten() {
        let state = select
            .query_row((row.id.topic, int(row.position.0)), |r| r.get(0))
            .optional()
            .map_err(&doing)?;
        row.state = state.and_then(ReceiptKind::from_number);
    }
    Ok(found)
}

/// Every message of a uid in a tenant.
pub(super) fn of_uid(
    conn: &Connection,
    mem: &RwLock<Mem>,
    org: &str,
    uid: &str,
) -> Result<Vec<Stored>, StoreError> {
    let keys = [uid_hash(org, uid), more_hash(org, uid)];
    let ids: Vec<i64> = candidates(conn, mem, &keys)?.into_iter().flatten().collect();
    let mut found = Vec::new();
    for id in ids {
        found.extend(message(conn, id)?.map(|(_, row)| row));
    }
    Ok(uids::of_uid(found, org, uid))
}

/// For each hash the messages it may mean, oldest first.
fn candidates(conn: &Connection, mem: &RwLock<Mem>, keys: &[u64]) -> Result<Vec<Vec<i64>>, StoreError> {
    let doing = sql("looking up uids");
    let mut all = vec![Vec::new(); keys.len()];
    {
        let mem = mem.read();
        keys.iter()
            .zip(&mut all)
            .for_each(|(key, ids)| mem.candidates(*key, ids));
    }
    let mut select = conn
        .prepare_cached("SELECT message FROM uid_index WHERE uid = ?1")
        .map_err(&doing)?;
    for (key, ids) in keys.iter().zip(&mut all) {
        let mut rows = select.query([int(*key)]).map_err(&doing)?;
        while let Some(row) = rows.next().map_err(&doing)? {
            ids.push(row.get(0).map_err(&doing)?);
        }
        if ids.len() > 1 {
            ids.sort_unstable();
            ids.dedup();
        }
    }
    Ok(all)
}

/// One message; `None` when it is gone.
pub(super) fn message(conn: &Connection, id: i64) -> Result<Option<(TopicId, Stored)>, StoreError> {
    let doing = sql("reading a message");
    let text = "SELECT topic, position, flags, entry FROM messages WHERE id = ?1";
    let mut select = conn.prepare_cached(text).map_err(&doing)?;
    let row = select
        .query_row([id], |r| {
            Ok((r.get(0)?, r.get::<_, i64>(1)?, r.get(2)?, r.get::<_, Vec<u8>>(3)?))
        })
        .optional()
        .map_err(&doing)?;
    let Some((topic, position, flags, entry)) = row else {
        return Ok(None);
    };
    let entry = decode(&entry)?;
    let (id, position) = (MessageId { topic, at: id }, Position(position as u64));
    Ok(Some((
        topic,
        Stored {
            id,
            position,
            flags: Flags(flags),
            entry,
            stream: None,
            state: None,
        },
    )))
}

/// The streamed answer that begins with a message.
pub(super) fn stream(conn: &Connection, id: i64) -> Result<Option<bytes::Bytes>, StoreError> {
    let doing = sql("reading a streamed answer");
    let mut select = conn
        .prepare_cached("SELECT entry FROM streams WHERE message = ?1")
        .map_err(&doing)?;
    let entry = select
        .query_row([id], |r| r.get::<_, Vec<u8>>(0))
        .optional()
        .map_err(&doing)?;
    Ok(entry.map(Into::into))
}
