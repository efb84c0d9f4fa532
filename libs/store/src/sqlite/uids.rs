//! The uids of a partition, in the order of the log. No index has them in that order: messages are appended as they are
//! applied, so the rows themselves are read from where the last page ended, or from where the time begins that is asked for.

use ahash::AHashMap;
use contract::persistence::{SeenUid, UidPage};
use model::{PartitionId, Position, UnixMillis};
use parking_lot::RwLock;
use rusqlite::{Connection, OptionalExtension, Row};

use super::SqliteStore;
use super::cold;
use super::load::decode;
use super::mem::Mem;
use super::shared::{Ended, sql};
use crate::rules::uids::{self, Bisect, UidKey};
use crate::{Flags, Service, StoreError};

/// Rows that are read at a time: how long a reading connection is kept, and the writer from beginning its log again.
const SLICE: usize = 65_536;
const DOING: &str = "reading uids";

/// A page as far as it is read.
struct Page {
    uids: Vec<SeenUid>,
    at: Ended,
    limit: usize,
    since: UnixMillis,
}

pub(super) async fn uids_since(
    store: &SqliteStore,
    partition: PartitionId,
    after: Position,
    since: UnixMillis,
    limit: usize,
) -> Result<UidPage, StoreError> {
    let limit = limit.max(1);
    let last = store.shared.uid_pages.lock().get(&partition).copied();
    let at = match last.filter(|ended| ended.position == after) {
        Some(ended) => ended,
        None => {
            let id = store.read(move |conn, _| begin(conn, since)).await?;
            Ended { position: after, id }
        }
    };
    // Rows are committed before memory is told: all of them up to here can be read.
    let applied = store.shared.mem.read().applied(Service::Persistence, partition);
    let (uids, mut more) = (Vec::new(), true);
    let mut page = Page {
        uids,
        at,
        limit,
        since,
    };
    while more && page.uids.len() < limit {
        (page, more) = store
            .read(move |conn, mem| slice(conn, mem, partition, page))
            .await?;
    }
    let (ended, page) = (page.at, uids::page(page.uids, page.at.position, applied, more));
    let position = page.next;
    store
        .shared
        .uid_pages
        .lock()
        .insert(partition, Ended { position, ..ended });
    Ok(page)
}

/// The id after which nothing is older than asked.
fn begin(conn: &Connection, since: UnixMillis) -> Result<i64, StoreError> {
    let doing = sql(DOING);
    let last = conn
        .query_row("SELECT max(id) FROM messages", [], |r| r.get::<_, Option<i64>>(0))
        .map_err(&doing)?;
    let mut bisect = Bisect::new(0, last.unwrap_or(0) as u64, since);
    let text = "SELECT id, entry FROM messages WHERE id > ?1 ORDER BY id LIMIT 1";
    let mut select = conn.prepare_cached(text).map_err(&doing)?;
    while let Some(id) = bisect.ask() {
        let row = select
            .query_row([id as i64], |r| {
                Ok((r.get::<_, i64>(0)?, r.get::<_, Vec<u8>>(1)?))
            })
            .optional()
            .map_err(&doing)?;
        let row = row
            .map(|(id, entry)| Ok::<_, StoreError>((id as u64, UnixMillis(decode(&entry)?.accepted_at))))
            .transpose()?;
        bisect.tell(id, row);
    }
    Ok(bisect.found() as i64)
}

/// Reads on until the page is full or the slice is over; whether there may be more.
fn slice(
    conn: &Connection,
    mem: &RwLock<Mem>,
    partition: PartitionId,
    mut page: Page,
) -> Result<(Page, bool), StoreError> {
    let doing = sql(DOING);
    let text = "SELECT id, topic, position, flags, entry FROM messages WHERE id > ?1 ORDER BY id LIMIT ?2";
    let mut select = conn.prepare_cached(text).map_err(&doing)?;
    let mut rows = select.query((page.at.id, SLICE as i64)).map_err(&doing)?;
    let (mut read, mut partitions) = (0, AHashMap::new());
    while let Some(row) = rows.next().map_err(&doing)? {
        let topic = row.get(1).map_err(&doing)?;
        let of = match partitions.get(&topic) {
            Some(of) => *of,
            None => match cold::get(conn, mem, topic)? {
                Some(found) => *partitions.entry(topic).or_insert(found.partition),
                None => return Ok((page, false)),
            },
        };
        (read, page.at.id) = (read + 1, row.get(0).map_err(&doing)?);
        let position = Position(row.get::<_, i64>(2).map_err(&doing)? as u64);
        if of != partition || position <= page.at.position {
            continue;
        }
        page.at.position = position;
        page.uids.extend(seen(row, position, page.since)?);
        if page.uids.len() == page.limit {
            return Ok((page, true));
        }
    }
    Ok((page, read == SLICE))
}

fn seen(row: &Row<'_>, position: Position, since: UnixMillis) -> Result<Option<SeenUid>, StoreError> {
    let doing = sql(DOING);
    let flags = Flags(row.get(3).map_err(&doing)?);
    let blob = row.get_ref(4).map_err(&doing)?;
    let entry = decode(blob.as_blob().map_err(|e| doing(e.into()))?)?;
    let accepted_at = UnixMillis(entry.accepted_at);
    let key = UidKey::of(&entry, flags).and_then(UidKey::message);
    Ok(key.filter(|_| accepted_at >= since).map(|key| SeenUid {
        position,
        key,
        accepted_at,
    }))
}
