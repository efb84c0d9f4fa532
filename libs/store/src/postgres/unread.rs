//! Counts what a user has not read.

use ahash::AHashMap;
use model::{TopicName, UserId};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::conn::Conn;
use super::shared::Shared;
use super::threads::taking_part;
use super::write::user_hash;
use crate::{StoreError, UnreadQuery};

/// In each of these topics, or in those taken part in: the countable messages by others after the floor that are not read.
/// Whoever may ask for a topic without a thread takes part in it; in one that was left nothing is unread. What has none is left
/// out.
const UNREAD: &str = concat!(
    "WITH ",
    taking_part!(),
    ", t AS (SELECT topic, since FROM part WHERE $3::bigint[] IS NULL
         UNION ALL SELECT n.topic, coalesce(part.since, 0) FROM unnest($3::bigint[]) n (topic) LEFT JOIN part ON part.topic = n.topic
         WHERE part.topic IS NOT NULL OR NOT EXISTS (SELECT FROM members l WHERE l.topic = n.topic AND l.member = ANY($2)))
     SELECT t.topic, c.n FROM t CROSS JOIN LATERAL (
       SELECT greatest(t.since, CASE WHEN $4 THEN 0 ELSE coalesce(
         (SELECT max(f.floor) FROM floors f WHERE f.topic = t.topic AND f.usr = ANY($2)), 0) END) AS after) a
     JOIN heads h ON h.topic = t.topic AND h.head > a.after
     CROSS JOIN LATERAL (SELECT count(*) AS n FROM messages m
       WHERE m.topic = t.topic AND m.position > a.after AND m.accepted_at >= h.first_at
         AND m.flags & 6 = 2 AND m.sender <> ALL($5) AND m.author <> ALL($5)
         AND NOT EXISTS (SELECT FROM reads r WHERE r.topic = t.topic AND r.usr = ANY($2) AND r.message = m.position)) c
     WHERE c.n > 0"
);

pub(super) async fn unread(shared: &Shared, query: &UnreadQuery) -> Result<u64, StoreError> {
    Ok(counts(shared, query, None).await?.values().sum())
}

pub(super) async fn unread_in(
    shared: &Shared,
    query: &UnreadQuery,
    names: &[TopicName],
) -> Result<Vec<u64>, StoreError> {
    let named = names.iter().map(|name| (query.org.as_str(), name.as_str()));
    let topics = shared.find_topics(named).await?;
    let id = |name: &TopicName| topics.get(&query.org, name).map(|topic| topic.id);
    let only: Vec<i64> = names.iter().filter_map(id).collect();
    if only.is_empty() {
        return Ok(vec![0; names.len()]);
    }
    let counts = counts(shared, query, Some(only)).await?;
    let count = |name| id(name).and_then(|id| counts.get(&id).copied());
    Ok(names.iter().map(|name| count(name).unwrap_or(0)).collect())
}

async fn counts(
    shared: &Shared,
    query: &UnreadQuery,
    only: Option<Vec<i64>>,
) -> Result<AHashMap<i64, u64>, StoreError> {
    let doing = "counting unread messages";
    let who = &query.identities;
    let ask = sqlx::query(UNREAD)
        .bind(query.org.as_str())
        .bind(who.iter().map(UserId::as_str).collect::<Vec<_>>())
        .bind(only)
        .bind(query.anew)
        .bind(who.iter().map(|who| user_hash(who)).collect::<Vec<_>>());
    let rows = shared.conn(doing).await?.rows(doing, ask).await?;
    let read =
        |row: &PgRow| -> Result<_, sqlx::Error> { Ok((row.try_get(0)?, row.try_get::<i64, _>(1)? as u64)) };
    let counts: Result<_, _> = rows.iter().map(read).collect();
    counts.map_err(StoreError::postgres(doing))
}

/// Raises the floors of users over what they have read and what they wrote themselves: up to before the first countable
/// message that is neither.
pub(super) async fn raise_floors(tx: &mut Conn<'_>, readers: &[(i64, &str)]) -> Result<(), StoreError> {
    let text = "INSERT INTO floors AS f (topic, usr, floor)
                SELECT u.topic, u.usr, reached.position FROM unnest($1::bigint[], $2::text[], $3::bigint[]) u (topic, usr, hash)
                CROSS JOIN LATERAL (SELECT coalesce((SELECT floor FROM floors f WHERE f.topic = u.topic AND f.usr = u.usr), 0) AS at) old
                CROSS JOIN LATERAL (SELECT coalesce((SELECT m.position FROM messages m
                    WHERE m.topic = u.topic AND m.position > old.at AND m.flags & 2 <> 0 AND m.sender <> u.hash
                      AND NOT EXISTS (SELECT FROM reads r WHERE r.topic = u.topic AND r.usr = u.usr AND r.message = m.position)
                    ORDER BY m.position LIMIT 1), 9223372036854775807) AS position) unread
                CROSS JOIN LATERAL (SELECT m.position FROM messages m
                    WHERE m.topic = u.topic AND m.position > old.at AND m.position < unread.position AND m.flags & 2 <> 0
                    ORDER BY m.position DESC LIMIT 1) reached
                ON CONFLICT (topic, usr) DO UPDATE SET floor = greatest(f.floor, excluded.floor)";
    let put = sqlx::query(text)
        .bind(readers.iter().map(|(topic, _)| *topic).collect::<Vec<_>>())
        .bind(readers.iter().map(|(_, user)| *user).collect::<Vec<_>>())
        .bind(
            readers
                .iter()
                .map(|(_, user)| user_hash(user))
                .collect::<Vec<_>>(),
        );
    tx.run("storing what was read", put).await.map(|_| ())
}
