//! Finds messages by uid.

use parking_lot::RwLock;
use rusqlite::{Connection, OptionalExtension};

use super::load::decode;
use super::mem::{Mem, TopicId};
use super::{int, sql};
use crate::{Flags, Lookup, MessageId, SentKey, StoreError, Stored, TargetKey, Want, uid_hash};
use model::Position;

pub(super) fn lookup(
    conn: &Connection,
    mem: &RwLock<Mem>,
    sent: &[SentKey],
    targets: &[TargetKey],
) -> Result<Lookup, StoreError> {
    let keys: Vec<u64> = (sent.iter().map(|k| uid_hash(&k.org, &k.uid)))
        .chain(targets.iter().map(|k| uid_hash(&k.org, &k.uid)))
        .collect();
    let mut candidates = candidates(conn, mem, &keys)?.into_iter();
    let mut found = Lookup::default();
    for (key, ids) in sent.iter().zip(&mut candidates) {
        let mut hit = None;
        for id in ids {
            let Some((topic, row)) = message(conn, id)? else {
                continue;
            };
            let here = key
                .partition
                .is_none_or(|p| mem.read().topics.get(topic).is_some_and(|t| t.partition == p));
            if here && key.means(&row.entry) {
                hit = Some(row);
                break;
            }
        }
        found.sent.push(hit);
    }
    for (key, ids) in targets.iter().zip(candidates) {
        let mut hits: Vec<Stored> = Vec::new();
        for id in ids {
            let Some((_, mut row)) = message(conn, id)? else {
                continue;
            };
            if key.means(&row) {
                row.stream = stream(conn, id)?;
                hits.push(row);
                if key.want != Want::All {
                    break;
                }
            }
        }
        found.targets.push(hits);
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
    let ids = candidates(conn, mem, &[uid_hash(org, uid)])?
        .into_iter()
        .flatten();
    let mut found = Vec::new();
    for id in ids {
        let row = message(conn, id)?.map(|(_, row)| row);
        found.extend(row.filter(|row| row.entry.org == org && row.entry.uid == uid));
    }
    Ok(found)
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
