//! Places with agents, and notices of memberships.

use model::{OrgId, TopicName, UnixMillis, UserId};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::part::membership;
use crate::postgres::conn::Conn;
use crate::postgres::shared::{Shared, at_most, int, text};
use crate::rules::threads::fewest;
use crate::{Notice, Place, StoreError};

const TAKING: &str = "taking a place";
pub(super) const GIVING: &str = "giving places back";

/// Takes a place.
pub(super) async fn take(
    shared: &Shared,
    org: &OrgId,
    topic: &TopicName,
    places: &[Place],
    now: UnixMillis,
) -> Result<Option<UserId>, StoreError> {
    let mut tx = shared.begin(TAKING).await?;
    // Who counts waits for who counted before to commit: of two who ask at once for the last place one gets it.
    let lock = sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('longwire.assign ' || $1, 0))");
    tx.run(TAKING, lock.bind(org.as_str())).await?;
    let (has, held) = counted(&mut tx, org, topic, places).await?;
    let again = places
        .iter()
        .zip(held)
        .find_map(|(place, held)| held.then_some(place));
    let chosen = again.or_else(|| fewest(places, has));
    match chosen {
        Some(place) => {
            let put = "INSERT INTO places (org, topic, agent, taken_at) VALUES ($1, $2, $3, $4)
                       ON CONFLICT (org, topic) DO UPDATE SET agent = excluded.agent, taken_at = excluded.taken_at";
            let put = sqlx::query(put)
                .bind(org.as_str())
                .bind(topic.as_str())
                .bind(text(&place.agent))
                .bind(int(now.0));
            tx.run(TAKING, put).await?;
        }
        // It is not with any of those who may have it now.
        None => release(&mut tx, org, topic).await?,
    }
    tx.commit(TAKING).await?;
    Ok(chosen.map(|place| place.agent.clone()))
}

/// How many threads each has, but for those that wait at its own desk, with places for others; and whether it is the one who holds this one's. In one statement:
/// a thread whose change is applied meanwhile is counted as the one or as the other.
async fn counted(
    tx: &mut Conn<'_>,
    org: &OrgId,
    topic: &TopicName,
    places: &[Place],
) -> Result<(Vec<u64>, Vec<bool>), StoreError> {
    let ask = "SELECT (SELECT count(*) FROM threads h
                 WHERE h.org = $1 AND h.agent = u.agent AND h.version > 0
                   AND h.status NOT IN ('CLOSED', 'OFFLINE', 'QUEUING'))
                 + (SELECT count(*) FROM places p WHERE p.org = $1 AND p.agent = u.agent AND p.topic <> $3),
                 EXISTS (SELECT FROM places p WHERE p.org = $1 AND p.agent = u.agent AND p.topic = $3)
               FROM unnest($2::text[]) WITH ORDINALITY u (agent, ord) ORDER BY u.ord";
    let ask = sqlx::query(ask)
        .bind(org.as_str())
        .bind(places.iter().map(|p| text(&p.agent)).collect::<Vec<_>>())
        .bind(topic.as_str());
    let rows = tx.rows(TAKING, ask).await?;
    let read = |row: &PgRow| -> Result<(u64, bool), sqlx::Error> {
        Ok((row.try_get::<i64, _>(0)? as u64, row.try_get(1)?))
    };
    let rows: Result<Vec<_>, _> = rows.iter().map(read).collect();
    Ok(rows.map_err(StoreError::postgres(TAKING))?.into_iter().unzip())
}

/// Gives the place of a thread back.
pub(super) async fn release(conn: &mut Conn<'_>, org: &str, topic: &str) -> Result<(), StoreError> {
    let delete = sqlx::query("DELETE FROM places WHERE org = $1 AND topic = $2");
    conn.run(GIVING, delete.bind(org).bind(topic)).await.map(|_| ())
}

/// Gives back those that were taken before a time. What somebody else has in hand is left to them: nobody waits in a circle.
pub(super) async fn release_before(shared: &Shared, before: UnixMillis) -> Result<usize, StoreError> {
    let delete = "DELETE FROM places WHERE (org, topic) IN
                    (SELECT org, topic FROM places WHERE taken_at < $1 FOR UPDATE SKIP LOCKED)";
    let delete = sqlx::query(delete).bind(int(before.0));
    let mut conn = shared.conn(GIVING).await?;
    Ok(conn.run(GIVING, delete).await? as usize)
}

/// Notices that are owed, the earliest first within a partition.
pub(super) async fn owed(shared: &Shared, limit: usize) -> Result<Vec<Notice>, StoreError> {
    let doing = "reading notices";
    let ask = "SELECT m.org, t.topic, h.uid, m.member, m.usr, m.since, m.until
               FROM (SELECT * FROM members WHERE owed > 0 ORDER BY owed, topic, member LIMIT $1) m
               JOIN topics t ON t.id = m.topic JOIN threads h ON h.topic = m.topic ORDER BY m.owed, m.topic, m.member";
    let ask = sqlx::query(ask).bind(at_most(limit));
    let rows = shared.conn(doing).await?.rows(doing, ask).await?;
    let read = |row: &PgRow| -> Result<Notice, sqlx::Error> {
        Ok(Notice {
            org: row.try_get::<String, _>(0)?.into(),
            topic: TopicName::trusted(row.try_get::<&str, _>(1)?),
            thread: row.try_get(2)?,
            membership: membership(row, row.try_get(3)?, 4)?,
        })
    };
    let notices = rows.iter().map(read).collect::<Result<_, _>>();
    notices.map_err(StoreError::postgres(doing))
}

/// These were told. A membership that has ended since is another one. One that is about to end, whose row is held, will be
/// owed again anyhow.
pub(super) async fn told(shared: &Shared, notices: &[Notice]) -> Result<(), StoreError> {
    let doing = "marking notices as told";
    let named = notices.iter().map(|n| (n.org.as_str(), n.topic.as_str()));
    let topics = shared.find_topics(named).await?;
    let known = |n: &Notice| topics.get(&n.org, &n.topic).map(|topic| topic.id);
    let known: Vec<_> = notices
        .iter()
        .filter_map(|n| Some((known(n)?, &n.membership)))
        .collect();
    if known.is_empty() {
        return Ok(());
    }
    let update = "WITH told AS (SELECT m.topic, m.member, m.began
                    FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[]) u (topic, member, since, until)
                    JOIN members m ON m.topic = u.topic AND m.member = u.member AND m.since = u.since AND m.until = u.until
                    FOR UPDATE OF m SKIP LOCKED)
                  UPDATE members m SET owed = 0 FROM told t
                  WHERE m.topic = t.topic AND m.member = t.member AND m.began = t.began";
    let update = sqlx::query(update)
        .bind(known.iter().map(|(id, _)| *id).collect::<Vec<_>>())
        .bind(known.iter().map(|(_, m)| text(&m.member)).collect::<Vec<_>>())
        .bind(known.iter().map(|(_, m)| int(m.since.0)).collect::<Vec<_>>())
        .bind(known.iter().map(|(_, m)| int(m.until.0)).collect::<Vec<_>>());
    shared.conn(doing).await?.run(doing, update).await.map(|_| ())
}
