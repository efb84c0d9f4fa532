//! Brings memory up from the tables: the tail that is not in the index yet, and its topics.

use model::{OrgId, PartitionId, Position};
use rusqlite::Connection;

use super::mem::{Mem, Slot};
use super::merge::Merge;
use super::shared::{Options, sql};
use super::topics::{Topic, TopicId, Topics, columns, topic};
use crate::rules::uids::UidKey;
use crate::{Flags, StoreError};

pub(super) struct Loaded {
    pub mem: Mem,
    /// The id of the next message.
    pub next: i64,
    /// The last session epoch that may have been given.
    pub epoch: u64,
}

pub(super) fn load(conn: &Connection, options: &Options) -> Result<Loaded, StoreError> {
    let doing = sql("reading the store into memory");
    let mut mem = Mem {
        topics: Topics::new(options.topics),
        ..Mem::default()
    };
    progress(conn, &mut mem).map_err(&doing)?;
    let indexed: i64 = conn
        .query_row("SELECT value FROM meta WHERE name = 'indexed'", [], |r| r.get(0))
        .map_err(&doing)?;
    read_tail(conn, &mut mem, indexed, options.tail)?;
    let one = |text: &str| {
        conn.query_row(text, [], |r| r.get::<_, Option<i64>>(0))
            .map_err(&doing)
    };
    let last = one("SELECT max(id) FROM messages")?.unwrap_or(0).max(indexed);
    let epoch = one("SELECT max(epoch) FROM sessions")?.unwrap_or(0) as u64;
    Ok(Loaded {
        mem,
        next: last + 1,
        epoch,
    })
}

fn progress(conn: &Connection, mem: &mut Mem) -> rusqlite::Result<()> {
    let mut select = conn.prepare("SELECT service, partition, position FROM progress")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let key = (row.get::<_, u8>(0)?, PartitionId(row.get(1)?));
        mem.progress.insert(key, Position(row.get::<_, i64>(2)? as u64));
    }
    Ok(())
}

/// Reads the messages after `indexed`. More of them than a tail holds can only be there after a start with another
/// setting: they are written to the index here.
fn read_tail(conn: &Connection, mem: &mut Mem, indexed: i64, tail: usize) -> Result<(), StoreError> {
    let doing = sql("reading the newest messages");
    let text = "SELECT id, topic, position, flags, entry FROM messages WHERE id > ?1 ORDER BY id LIMIT ?2";
    let mut select = conn.prepare(text).map_err(&doing)?;
    let (mut after, page) = (indexed, tail.max(1) * 2);
    loop {
        let mut rows = select.query((after, page as i64)).map_err(&doing)?;
        let mut read = 0;
        while let Some(row) = rows.next().map_err(&doing)? {
            let (topic, slot) = (row.get(1).map_err(&doing)?, slot(row).map_err(&doing)?);
            let blob = row.get_ref(4).map_err(&doing)?;
            let bytes = blob.as_blob().map_err(|e| doing(e.into()))?;
            let entry = decode(bytes)?;
            let uid = UidKey::of(&entry, slot.flags).map(UidKey::hash);
            mem.active.push(topic, slot, uid);
            if mem.topics.get(topic).is_none() {
                mem.topics.insert(&OrgId::new(&entry.org), row_of(conn, topic)?);
            }
            mem.topics.change(topic, |topic| {
                topic.sums.add(slot.id, slot.position, slot.flags, &entry);
                topic.dirty = true;
            });
            (after, read) = (slot.id, read + 1);
        }
        if read < page {
            return Ok(());
        }
        if let Some((tail, sums)) = mem.freeze(1) {
            let mut merge = Merge::new(&tail, sums);
            while !merge.step(conn)? {}
        }
        mem.thaw();
    }
}

fn row_of(conn: &Connection, id: TopicId) -> Result<Topic, StoreError> {
    const ROW: &str = concat!("SELECT ", columns!(), " FROM topics WHERE id = ?1");
    conn.prepare_cached(ROW)
        .and_then(|mut s| s.query_row([id], topic))
        .map_err(sql("reading the topics of the newest messages"))
}

fn slot(row: &rusqlite::Row<'_>) -> rusqlite::Result<Slot> {
    Ok(Slot {
        id: row.get(0)?,
        position: row.get::<_, i64>(2)? as u64,
        flags: Flags(row.get(3)?),
    })
}

/// Decodes a stored entry.
pub(super) fn decode(bytes: &[u8]) -> Result<wire::Entry, StoreError> {
    crate::log::decode(bytes::Bytes::copy_from_slice(bytes), "messages")
}
