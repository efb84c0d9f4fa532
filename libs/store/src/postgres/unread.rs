//! Counts what a user has not read.

use model::UserId;
use sqlx::Row;

use super::conn::Conn;
use super::write::user_hash;
use super::{Shared, threads};
use crate::{StoreError, UnreadQuery};

/// One statement: the topics taken part in, in each the countable messages by others after the floor that are not read.
pub(super) async fn unread(shared: &Shared, query: &UnreadQuery) -> Result<u64, StoreError> {
    let doing = "counting unread messages";
    const TEXT: &str = concat!(
        "WITH ",
        threads::taking_part!(),
        ", t AS (SELECT part.topic, part.since FROM part WHERE $3::bigint IS NULL OR part.topic = $3
             UNION ALL SELECT $3, 0 WHERE $3 IS NOT NULL AND NOT EXISTS (SELECT FROM part WHERE part.topic = $3))
         SELECT coalesce(sum(c.n), 0)::bigint FROM t CROSS JOIN LATERAL (
           SELECT greatest(t.since, CASE WHEN $4 THEN 0 ELSE coalesce(
             (SELECT max(f.floor) FROM floors f WHERE f.topic = t.topic AND f.usr = ANY($2)), 0) END) AS after) a
         JOIN heads h ON h.topic = t.topic AND h.head > a.after
         CROSS JOIN LATERAL (SELECT count(*) AS n FROM messages m
           WHERE m.topic = t.topic AND m.position > a.after AND m.accepted_at >= h.first_at
             AND m.flags & 6 = 2 AND m.sender <> ALL($5) AND m.author <> ALL($5)
             AND NOT EXISTS (SELECT FROM reads r WHERE r.topic = t.topic AND r.usr = ANY($2) AND r.message = m.position)) c"
    );
    let topic = match &query.topic {
        None => None,
        Some(name) => match shared.topic(&query.org, name).await? {
            Some(topic) => Some(topic.id),
            None => return Ok(0),
        },
    };
    let mut conn = shared.conn(doing).await?;
    let ask = sqlx::query(TEXT)
        .bind(query.org.as_str())
        .bind(query.identities.iter().map(UserId::as_str).collect::<Vec<_>>())
        .bind(topic)
        .bind(query.anew)
        .bind(
            query
                .identities
                .iter()
                .map(|who| user_hash(who))
                .collect::<Vec<_>>(),
        );
    let row = conn.row(doing, ask).await?;
    let count: i64 = row
        .map_or(Ok(0), |row| row.try_get(0))
        .map_err(StoreError::postgres(doing))?;
    Ok(count as u64)
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
