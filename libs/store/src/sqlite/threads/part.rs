//! Who takes part in what: see `rules/threads.rs`.

use std::collections::BTreeMap;

use contract::persistence::MemberTopic;
use model::thread::Membership;
use model::{PartitionId, Position, TopicName, UserId};
use rusqlite::{Connection, Params, Row};

use crate::rules::threads::ascending;
use crate::sqlite::shared::int;
use crate::sqlite::topics::TopicId;

/// What lasts of somebody's memberships.
pub(super) const LASTING: &str =
    "SELECT m.topic, t.topic, t.partition, m.member, m.user, m.since, m.until FROM members m JOIN topics t ON t.id = m.topic
     WHERE m.org = ?1 AND m.member = ?2 AND m.until = 9223372036854775807";
/// What has ended after a place of a partition.
pub(super) const ENDED: &str =
    "SELECT m.topic, t.topic, t.partition, m.member, m.user, m.since, m.until FROM members m JOIN topics t ON t.id = m.topic
     WHERE m.org = ?1 AND m.member = ?2 AND m.partition = ?3 AND m.until > ?4 AND m.until < 9223372036854775807";
/// Open threads of a desk that others have had.
pub(super) const OVERRIDDEN: &str =
    "SELECT h.topic, t.topic, t.partition FROM threads h JOIN topics t ON t.id = h.topic
     WHERE h.org = ?1 AND h.desk = ?2 AND h.overridden = 1 AND h.status <> 'CLOSED'";
/// Those that were closed after a place of a partition.
pub(super) const CLOSED: &str =
    "SELECT h.topic, t.topic, t.partition FROM threads h JOIN topics t ON t.id = h.topic
     WHERE h.org = ?1 AND h.desk = ?2 AND h.overridden = 1 AND h.status = 'CLOSED' AND h.partition = ?3 AND h.version > ?4";

/// Collects threads and memberships, each thread once.
#[derive(Default)]
struct Found(BTreeMap<TopicId, MemberTopic>);

impl Found {
    fn thread(&mut self, row: &Row<'_>) -> rusqlite::Result<&mut MemberTopic> {
        let (name, partition) = (row.get::<_, String>(1)?, PartitionId(row.get(2)?));
        Ok(self.0.entry(row.get(0)?).or_insert_with(|| MemberTopic {
            topic: TopicName::trusted(name),
            partition,
            memberships: Vec::new(),
        }))
    }

    fn threads(&mut self, conn: &Connection, text: &str, key: impl Params) -> rusqlite::Result<()> {
        let mut select = conn.prepare_cached(text)?;
        let mut rows = select.query(key)?;
        while let Some(row) = rows.next()? {
            self.thread(row)?;
        }
        Ok(())
    }

    fn memberships(&mut self, conn: &Connection, text: &str, key: impl Params) -> rusqlite::Result<()> {
        let mut select = conn.prepare_cached(text)?;
        let mut rows = select.query(key)?;
        while let Some(row) = rows.next()? {
            let membership = membership(row, 3)?;
            self.thread(row)?.memberships.push(membership);
        }
        Ok(())
    }
}

/// Reads the membership whose columns begin at `i`.
pub(super) fn membership(row: &Row<'_>, i: usize) -> rusqlite::Result<Membership> {
    Ok(Membership {
        member: row.get::<_, String>(i)?.into(),
        user: row.get::<_, String>(i + 1)?.into(),
        since: Position(row.get::<_, i64>(i + 2)? as u64),
        until: Position(row.get::<_, i64>(i + 3)? as u64),
    })
}

/// What a session of these identities has to know that has got so far.
pub(super) fn memberships(
    conn: &Connection,
    org: &str,
    identities: &[UserId],
    reached: &[(PartitionId, Position)],
) -> rusqlite::Result<Vec<MemberTopic>> {
    let mut found = Found::default();
    for who in identities.iter().map(UserId::as_str) {
        found.memberships(conn, LASTING, (org, who))?;
        found.threads(conn, OVERRIDDEN, (org, who))?;
        for (partition, at) in reached {
            let key = (org, who, partition.0, int(at.0));
            found.memberships(conn, ENDED, key)?;
            found.threads(conn, CLOSED, key)?;
        }
    }
    Ok(found.0.into_values().map(ascending).collect())
}

/// The ways to take part.
pub(super) const WAYS: [&str; 3] = [
    "SELECT topic, 0 FROM threads WHERE org = ?1 AND desk = ?2 AND overridden = 0 AND kind <> 'WORKGROUP'",
    "SELECT topic, 0 FROM threads WHERE org = ?1 AND party = ?2",
    "SELECT topic, since FROM members WHERE org = ?1 AND member = ?2 AND until = 9223372036854775807",
];

/// The threads that any of the identities takes part in, each once, with the position from which messages count.
pub(in crate::sqlite) fn taking_part(
    conn: &Connection,
    org: &str,
    identities: &[UserId],
) -> rusqlite::Result<Vec<(TopicId, u64)>> {
    let mut found: ahash::AHashMap<TopicId, u64> = ahash::AHashMap::new();
    for who in identities {
        for text in WAYS {
            let mut select = conn.prepare_cached(text)?;
            let row = |r: &Row<'_>| Ok((r.get(0)?, r.get::<_, i64>(1)? as u64));
            for row in select.query_map((org, who.as_str()), row)? {
                let (id, since) = row?;
                let at = found.entry(id).or_insert(since);
                *at = since.min(*at);
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// The ways to take part in what is open.
pub(super) const OPEN: [&str; 3] = [
    "SELECT topic FROM threads WHERE org = ?1 AND desk = ?2 AND overridden = 0 AND status <> 'CLOSED' AND kind <> 'WORKGROUP'",
    "SELECT topic FROM threads WHERE org = ?1 AND party = ?2 AND status <> 'CLOSED'",
    "SELECT topic FROM members WHERE org = ?1 AND member = ?2 AND until = 9223372036854775807",
];

/// The open threads that any of the identities takes part in, each once.
pub(super) fn open(conn: &Connection, org: &str, identities: &[UserId]) -> rusqlite::Result<Vec<TopicId>> {
    let mut found = ahash::AHashSet::new();
    for who in identities {
        for text in OPEN {
            let mut select = conn.prepare_cached(text)?;
            for id in select.query_map((org, who.as_str()), |r| r.get(0))? {
                found.insert(id?);
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// Those that any of the identities takes part in or has left, each once.
pub(super) fn listed(conn: &Connection, org: &str, identities: &[UserId]) -> rusqlite::Result<Vec<TopicId>> {
    let part = taking_part(conn, org, identities)?;
    let mut found: ahash::AHashSet<TopicId> = part.into_iter().map(|(id, _)| id).collect();
    let text = "SELECT topic FROM members WHERE org = ?1 AND member = ?2 AND until < 9223372036854775807";
    let mut select = conn.prepare_cached(text)?;
    for who in identities {
        for id in select.query_map((org, who.as_str()), |r| r.get(0))? {
            found.insert(id?);
        }
    }
    Ok(found.into_iter().collect())
}

/// Whether any of the identities was a member of a thread. Of who does not take part any more nothing is unread.
pub(in crate::sqlite) fn has_left(
    conn: &Connection,
    topic: TopicId,
    identities: &[UserId],
) -> rusqlite::Result<bool> {
    let mut select = conn.prepare_cached("SELECT 1 FROM members WHERE topic = ?1 AND member = ?2")?;
    for who in identities {
        if select.exists((topic, who.as_str()))? {
            return Ok(true);
        }
    }
    Ok(false)
}
