//! Places with agents, and notices of memberships.

use model::{TopicName, UnixMillis, UserId};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::part::membership;
use crate::rules::threads::fewest;
use crate::sqlite::shared::{at_most, int};
use crate::{Notice, Place};

/// Takes a place; within the writer, so that nobody counts at the same time.
pub(super) fn take(
    conn: &Connection,
    org: &str,
    topic: &str,
    places: &[Place],
    now: UnixMillis,
) -> rusqlite::Result<Option<UserId>> {
    let held: Option<String> = conn
        .prepare_cached("SELECT agent FROM places WHERE org = ?1 AND topic = ?2")?
        .query_row((org, topic), |r| r.get(0))
        .optional()?;
    let again = held.and_then(|held| places.iter().find(|place| place.agent.as_str() == held));
    let chosen = match again {
        Some(place) => Some(place),
        None => {
            let has = places.iter().map(|place| has(conn, org, topic, &place.agent));
            fewest(places, has.collect::<Result<Vec<_>, _>>()?)
        }
    };
    match chosen {
        Some(place) => {
            let row = params![org, topic, place.agent.as_str(), int(now.0)];
            conn.prepare_cached("INSERT OR REPLACE INTO places VALUES (?1, ?2, ?3, ?4)")?
                .execute(row)?;
        }
        // It is not with any of those who may have it now.
        None => release(conn, org, topic)?,
    }
    Ok(chosen.map(|place| place.agent.clone()))
}

/// Those that wait at an agent's own desk take none of its places: otherwise it would have no place left for them.
pub(super) const HAS: &str = "SELECT
       (SELECT count(*) FROM threads WHERE org = ?1 AND agent = ?3 AND version > 0
          AND status NOT IN ('CLOSED', 'OFFLINE', 'QUEUING'))
       + (SELECT count(*) FROM places WHERE org = ?1 AND agent = ?3 AND topic <> ?2)";

/// How many threads an agent has, and places for others.
pub(super) fn has(conn: &Connection, org: &str, topic: &str, agent: &str) -> rusqlite::Result<u64> {
    conn.prepare_cached(HAS)?
        .query_row((org, topic, agent), |r| r.get::<_, i64>(0).map(|n| n as u64))
}

/// Gives the place of a thread back.
pub(super) fn release(conn: &Connection, org: &str, topic: &str) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM places WHERE org = ?1 AND topic = ?2")?
        .execute((org, topic))
        .map(|_| ())
}

pub(super) const OWED: &str = "SELECT m.org, t.topic, h.uid, m.member, m.user, m.since, m.until
     FROM members m JOIN topics t ON t.id = m.topic JOIN threads h ON h.topic = m.topic
     WHERE m.owed > 0 ORDER BY m.owed, m.topic, m.member LIMIT ?1";

/// Notices that are owed, the earliest first within a partition.
pub(super) fn owed(conn: &Connection, limit: usize) -> rusqlite::Result<Vec<Notice>> {
    let notice = |r: &Row<'_>| {
        Ok(Notice {
            org: r.get::<_, String>(0)?.into(),
            topic: TopicName::trusted(r.get::<_, String>(1)?),
            thread: r.get(2)?,
            membership: membership(r, 3)?,
        })
    };
    conn.prepare_cached(OWED)?
        .query_map([at_most(limit)], notice)?
        .collect()
}

/// These were told. A membership that has ended since is another one.
pub(super) fn told(conn: &Connection, notices: &[Notice]) -> rusqlite::Result<()> {
    let text =
        "UPDATE members SET owed = 0 WHERE topic = (SELECT id FROM topics WHERE org = ?1 AND topic = ?2)
                AND member = ?3 AND since = ?4 AND until = ?5";
    let mut update = conn.prepare_cached(text)?;
    for notice in notices {
        let m = &notice.membership;
        update.execute(params![
            notice.org.as_str(),
            notice.topic.as_str(),
            m.member.as_str(),
            int(m.since.0),
            int(m.until.0)
        ])?;
    }
    Ok(())
}
