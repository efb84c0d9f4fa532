//! Topics that memory does not have.
//!
//! Invariants, which the writer keeps, as it alone enters topics into memory and lets them go:
//! - What the table has of a topic that is not in memory is all there is of it: its sums are those of its row, none of its messages
//!   is in the tail.
//! - A reader asks memory first. If a topic is not there then, the table has everything that was applied by that time, whatever
//!   happens to the topic in between.

use ahash::{AHashMap, AHashSet};
use model::{PartitionId, TopicFilter};
use parking_lot::RwLock;
use rusqlite::{Connection, OptionalExtension, Params};

use super::mem::Mem;
use super::shared::{int, sql};
use super::topics::{Topic, TopicId, columns, topic};
use crate::StoreError;

const DOING: &str = "reading topics";
/// Topics with news of an organisation, in a partition, up to which they are looked at one by one; when there are more, those that a
/// filter may match are.
const NEWS: usize = 1024;

/// The number of a topic, wherever it is.
pub(super) fn id(
    conn: &Connection,
    mem: &RwLock<Mem>,
    org: &str,
    name: &str,
) -> Result<Option<TopicId>, StoreError> {
    if let Some(id) = mem.read().topics.id(org, name) {
        return Ok(Some(id));
    }
    Ok(stored(conn, org, name)?.map(|topic| topic.id))
}

/// The topic of a number, wherever it is.
pub(super) fn get(conn: &Connection, mem: &RwLock<Mem>, id: TopicId) -> Result<Option<Topic>, StoreError> {
    if let Some(topic) = mem.read().topics.get(id) {
        return Ok(Some(topic.clone()));
    }
    one(
        conn,
        concat!("SELECT ", columns!(), " FROM topics WHERE id = ?1"),
        [id],
    )
}

/// The row of a topic that is not in memory.
pub(super) fn stored(conn: &Connection, org: &str, name: &str) -> Result<Option<Topic>, StoreError> {
    const ROW: &str = concat!(
        "SELECT ",
        columns!(),
        " FROM topics WHERE org = ?1 AND topic = ?2"
    );
    one(conn, ROW, (org, name))
}

fn one(conn: &Connection, text: &str, key: impl Params) -> Result<Option<Topic>, StoreError> {
    conn.prepare_cached(text)
        .and_then(|mut s| s.query_row(key, topic).optional())
        .map_err(sql(DOING))
}

/// Where a topic may have news, and for which filters.
pub(super) struct Wanted<'a> {
    pub org: &'a str,
    pub filters: Vec<&'a TopicFilter>,
    /// The partitions asked about, with the earliest position that anything is asked after.
    pub after: Vec<(PartitionId, u64)>,
}

/// The topics of the table that have news for any of the filters, but for `known`, which memory has told of.
pub(super) fn with_news(
    conn: &Connection,
    wanted: &Wanted<'_>,
    known: &AHashSet<TopicId>,
) -> Result<Vec<Topic>, StoreError> {
    let mut found = AHashMap::new();
    let mut take = |topic: Topic| {
        if !known.contains(&topic.id) {
            found.entry(topic.id).or_insert(topic);
        }
    };
    let (wildcards, exact): (Vec<&TopicFilter>, Vec<_>) =
        wanted.filters.iter().partition(|filter| filter.has_wildcard());
    for filter in exact {
        stored(conn, wanted.org, filter)?.into_iter().for_each(&mut take);
    }
    if wildcards.is_empty() {
        return Ok(found.into_values().collect());
    }
    for (partition, after) in &wanted.after {
        let news = newest(conn, wanted.org, *partition, *after)?;
        if news.len() <= NEWS {
            let matched = news
                .into_iter()
                .filter(|t| wildcards.iter().any(|f| f.matches(&t.name)));
            matched.for_each(&mut take);
            continue;
        }
        for filter in &wildcards {
            let of_partition = |t: &Topic| t.partition == *partition && t.has_news(*after);
            beginning(conn, wanted.org, filter, |topic| {
                if of_partition(&topic) {
                    take(topic);
                }
            })?;
        }
    }
    Ok(found.into_values().collect())
}

/// The topics of an organisation that have something behind a position: at most one more than [`NEWS`].
fn newest(
    conn: &Connection,
    org: &str,
    partition: PartitionId,
    after: u64,
) -> Result<Vec<Topic>, StoreError> {
    const TEXT: &str = concat!(
        "SELECT ",
        columns!(),
        " FROM topics WHERE org = ?1 AND partition = ?2 AND news > ?3 LIMIT ?4"
    );
    let key = (org, partition.0, int(after), NEWS as i64 + 1);
    conn.prepare_cached(TEXT)
        .and_then(|mut s| s.query_map(key, topic)?.collect())
        .map_err(sql(DOING))
}

/// Walks over the topics of the table that a filter matches.
fn beginning(
    conn: &Connection,
    org: &str,
    filter: &TopicFilter,
    mut take: impl FnMut(Topic),
) -> Result<(), StoreError> {
    const TEXT: &str = concat!(
        "SELECT ",
        columns!(),
        " FROM topics WHERE org = ?1 AND topic >= ?2 ORDER BY topic"
    );
    let doing = sql(DOING);
    let prefix = filter.literal_prefix();
    let mut select = conn.prepare_cached(TEXT).map_err(&doing)?;
    let mut rows = select.query((org, prefix)).map_err(&doing)?;
    while let Some(row) = rows.next().map_err(&doing)? {
        let topic = topic(row).map_err(&doing)?;
        if !topic.name.starts_with(prefix) {
            break;
        }
        if filter.matches(&topic.name) {
            take(topic);
        }
    }
    Ok(())
}
