//! The statements of a batch: one a table, rows as arrays.

use ahash::AHashMap;
use bytes::Bytes;
use sqlx::Row;

use super::conn::Conn;
use super::known::{Topic, Topics};
use super::shared::int;
use crate::rules::sums::Voice;
use crate::rules::uids::{UidKey, uid_hash};
use crate::{Flags, NewMessage, NewRetained, Rewrite, StoreError, StreamTarget, StreamText};

const DOING: &str = "appending messages";

/// What a batch adds to a topic.
struct Sum {
    topic: Topic,
    head: i64,
    /// The last that anybody is shown; 0 = none.
    prev: i64,
    first_at: i64,
    shown: i64,
    /// The last message of its own in history, and when it was accepted.
    last: Option<(i64, i64)>,
    /// Whether staff spoke.
    answered: bool,
    /// When the visitor first spoke since then; 0 = it did not.
    waiting_since: u64,
}

impl Sum {
    fn new(topic: Topic) -> Self {
        Self {
            topic,
            head: 0,
            prev: 0,
            first_at: i64::MAX,
            shown: 0,
            last: None,
            answered: false,
            waiting_since: 0,
        }
    }

    fn add(&mut self, m: &NewMessage) {
        let at = int(m.entry.accepted_at);
        (self.head, self.first_at) = (int(m.position.0), self.first_at.min(at));
        if m.entry.is_told() {
            self.prev = self.head;
        }
        let voice = Voice::of(&m.entry, m.flags);
        self.waiting_since = voice.waiting_since(self.waiting_since, m.entry.accepted_at);
        self.answered |= voice == Voice::Staff;
        if m.flags.has(Flags::SHOWN) {
            (self.shown, self.last) = (self.shown + 1, Some((self.head, at)));
        }
    }
}

/// The hash that stands for a user in a message's row.
pub(super) fn user_hash(uid: &str) -> i64 {
    int(uid_hash("", uid))
}

/// Stores messages; gives where each is: topic and position.
pub(super) async fn messages(
    tx: &mut Conn<'_>,
    topics: &Topics,
    messages: &[NewMessage],
) -> Result<Vec<(i64, i64)>, StoreError> {
    if messages.is_empty() {
        return Ok(Vec::new());
    }
    let mut places = Vec::with_capacity(messages.len());
    let mut sums: AHashMap<i64, Sum> = AHashMap::new();
    for m in messages {
        let topic = topics
            .get(&m.entry.org, &m.entry.topic)
            .ok_or_else(|| entered(&m.entry.topic))?;
        sums.entry(topic.id).or_insert_with(|| Sum::new(topic)).add(m);
        places.push((topic.id, int(m.position.0)));
    }
    let prevs = heads(tx, sums).await?;
    rows(tx, messages, &places, prevs).await?;
    uids(tx, messages, &places).await?;
    Ok(places)
}

/// A topic that this batch entered is not in the table.
pub(super) fn entered(topic: &str) -> StoreError {
    StoreError::Damaged {
        table: "topics",
        what: format!("`{topic}` was entered and is not there"),
    }
}

/// Brings the sums of topics up to date; gives what the next of each came after.
async fn heads(tx: &mut Conn<'_>, sums: AHashMap<i64, Sum>) -> Result<AHashMap<i64, i64>, StoreError> {
    let text = "WITH u AS (SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
                                   $7::bigint[], $8::bigint[], $9::boolean[], $10::bigint[], $11::bigint[])
                     u (topic, branch, partition, head, first_at, shown, last, updated_at, answered, waiting_since, prev)),
                old AS (SELECT h.topic, h.prev FROM u JOIN heads h ON h.topic = u.topic),
                known AS (UPDATE heads h SET head = u.head, first_at = least(h.first_at, u.first_at), shown = h.shown + u.shown,
                    last = CASE WHEN u.last = 0 THEN h.last ELSE u.last END,
                    updated_at = CASE WHEN u.last = 0 THEN h.updated_at ELSE u.updated_at END,
                    waiting_since = CASE WHEN u.answered OR h.waiting_since = 0 THEN u.waiting_since ELSE h.waiting_since END,
                    prev = CASE WHEN u.prev = 0 THEN h.prev ELSE u.prev END
                  FROM u WHERE h.topic = u.topic),
                new AS (INSERT INTO heads SELECT topic, branch, partition, head, first_at, shown, last, updated_at, waiting_since, prev
                  FROM u WHERE NOT EXISTS (SELECT FROM heads h WHERE h.topic = u.topic))
                SELECT topic, prev FROM old";
    let sums: Vec<Sum> = sums.into_values().collect();
    let column = |of: fn(&Sum) -> i64| sums.iter().map(of).collect::<Vec<i64>>();
    let put = sqlx::query(text)
        .bind(column(|s| s.topic.id))
        .bind(column(|s| s.topic.branch))
        .bind(column(|s| i64::from(s.topic.partition.0)))
        .bind(column(|s| s.head))
        .bind(column(|s| s.first_at))
        .bind(column(|s| s.shown))
        .bind(column(|s| s.last.map_or(0, |(position, _)| position)))
        .bind(column(|s| s.last.map_or(0, |(_, at)| at)))
        .bind(sums.iter().map(|s| s.answered).collect::<Vec<bool>>())
        .bind(column(|s| int(s.waiting_since)))
        .bind(column(|s| s.prev));
    let rows = tx.rows(DOING, put).await?;
    let old = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
    old.collect::<Result<_, sqlx::Error>>()
        .map_err(StoreError::postgres(DOING))
}

async fn rows(
    tx: &mut Conn<'_>,
    messages: &[NewMessage],
    places: &[(i64, i64)],
    mut prevs: AHashMap<i64, i64>,
) -> Result<(), StoreError> {
    let text = "INSERT INTO messages (topic, position, accepted_at, prev, expires_at, sender, author, flags, entry)
                SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
                  $7::bigint[], $8::bigint[], $9::bytea[])";
    let prev = messages
        .iter()
        .zip(places)
        .map(|(m, (topic, position))| match m.entry.is_told() {
            true => prevs.insert(*topic, *position).unwrap_or(0),
            false => prevs.get(topic).copied().unwrap_or(0),
        });
    let prev: Vec<i64> = prev.collect();
    let column = |of: fn(&NewMessage) -> i64| messages.iter().map(of).collect::<Vec<i64>>();
    let expires = |m: &NewMessage| (m.entry.expires_at != 0).then(|| int(m.entry.expires_at));
    let insert = sqlx::query(text)
        .bind(places.iter().map(|(topic, _)| *topic).collect::<Vec<_>>())
        .bind(places.iter().map(|(_, position)| *position).collect::<Vec<_>>())
        .bind(column(|m| int(m.entry.accepted_at)))
        .bind(prev)
        .bind(messages.iter().map(expires).collect::<Vec<_>>())
        .bind(column(|m| user_hash(&m.entry.sender)))
        .bind(column(|m| user_hash(&m.entry.author)))
        .bind(column(|m| i64::from(m.flags.0)))
        .bind(messages.iter().map(|m| &m.bytes[..]).collect::<Vec<&[u8]>>());
    tx.run(DOING, insert).await.map(|_| ())
}

async fn uids(tx: &mut Conn<'_>, messages: &[NewMessage], places: &[(i64, i64)]) -> Result<(), StoreError> {
    let keyed: Vec<_> = (messages.iter().zip(places))
        .filter_map(|(m, place)| Some((UidKey::of(&m.entry, m.flags)?, m, place)))
        .collect();
    if keyed.is_empty() {
        return Ok(());
    }
    let text = "INSERT INTO uids (uid, topic, position, partition, accepted_at, key_high, key_low)
                SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
                  $7::bigint[])";
    let half = |shift: u32| {
        let of = |(key, ..): &(UidKey, _, _)| key.message().map(|key| (key >> shift) as i64);
        keyed.iter().map(of).collect::<Vec<Option<i64>>>()
    };
    let column = |of: fn(&NewMessage) -> u64| keyed.iter().map(|(_, m, _)| int(of(m))).collect::<Vec<i64>>();
    let insert = sqlx::query(text)
        .bind(keyed.iter().map(|(key, ..)| int(key.hash())).collect::<Vec<_>>())
        .bind(keyed.iter().map(|(.., place)| place.0).collect::<Vec<_>>())
        .bind(keyed.iter().map(|(.., place)| place.1).collect::<Vec<_>>())
        .bind(column(|m| u64::from(m.partition.0)))
        .bind(column(|m| m.entry.accepted_at))
        .bind(half(64))
        .bind(half(0));
    tx.run(DOING, insert).await.map(|_| ())
}

pub(super) async fn rewrites(tx: &mut Conn<'_>, rewrites: &[Rewrite]) -> Result<(), StoreError> {
    if rewrites.is_empty() {
        return Ok(());
    }
    let text = "UPDATE messages m SET entry = u.entry, flags = u.flags
                FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[]) u (topic, position, flags, entry)
                WHERE m.topic = u.topic AND m.position = u.position";
    let update = sqlx::query(text)
        .bind(rewrites.iter().map(|r| r.id.topic).collect::<Vec<_>>())
        .bind(rewrites.iter().map(|r| r.id.at).collect::<Vec<_>>())
        .bind(rewrites.iter().map(|r| i64::from(r.flags.0)).collect::<Vec<_>>())
        .bind(rewrites.iter().map(|r| &r.bytes[..]).collect::<Vec<&[u8]>>());
    tx.run("changing messages", update).await.map(|_| ())
}

/// Stores streamed answers as far as they have come; `new` is where the messages of the batch are.
pub(super) async fn streams(
    tx: &mut Conn<'_>,
    streams: &[StreamText],
    new: &[(i64, i64)],
) -> Result<(), StoreError> {
    // The last word on each: a row is not written twice by one statement.
    let mut last: AHashMap<(i64, i64), Option<&Bytes>> = AHashMap::new();
    for stream in streams {
        let place = match stream.target {
            StreamTarget::Stored(id) => (id.topic, id.at),
            StreamTarget::New(index) => *new.get(index).ok_or_else(|| entered("a streamed answer"))?,
        };
        last.insert(place, stream.bytes.as_ref());
    }
    let doing = "storing streamed answers";
    let (gone, kept): (Vec<_>, Vec<_>) = last.into_iter().partition(|(_, bytes)| bytes.is_none());
    let topics =
        |of: &[((i64, i64), Option<&Bytes>)]| of.iter().map(|((topic, _), _)| *topic).collect::<Vec<_>>();
    let positions =
        |of: &[((i64, i64), Option<&Bytes>)]| of.iter().map(|((_, at), _)| *at).collect::<Vec<_>>();
    if !kept.is_empty() {
        let text = "INSERT INTO streams SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[])
                    ON CONFLICT (topic, position) DO UPDATE SET entry = excluded.entry";
        let bytes: Vec<&[u8]> = kept
            .iter()
            .filter_map(|(_, bytes)| bytes.map(|b| &b[..]))
            .collect();
        let insert = sqlx::query(text)
            .bind(topics(&kept))
            .bind(positions(&kept))
            .bind(bytes);
        tx.run(doing, insert).await?;
    }
    if !gone.is_empty() {
        let text = "DELETE FROM streams s USING unnest($1::bigint[], $2::bigint[]) u (topic, position)
                    WHERE s.topic = u.topic AND s.position = u.position";
        let delete = sqlx::query(text).bind(topics(&gone)).bind(positions(&gone));
        tx.run(doing, delete).await?;
    }
    Ok(())
}

/// Stores the last word of each topic.
pub(super) async fn retained(
    tx: &mut Conn<'_>,
    topics: &Topics,
    retained: &[NewRetained],
) -> Result<(), StoreError> {
    let mut last: AHashMap<i64, (Topic, &NewRetained)> = AHashMap::new();
    for r in retained {
        let topic = topics.get(&r.org, &r.topic).ok_or_else(|| entered(&r.topic))?;
        last.insert(topic.id, (topic, r));
    }
    let doing = "storing retained messages";
    let (kept, gone): (Vec<_>, Vec<_>) = last.into_values().partition(|(_, r)| r.bytes.is_some());
    if !kept.is_empty() {
        let text = "INSERT INTO retained (topic, branch, position, expires_at, entry)
                    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[])
                    ON CONFLICT (topic) DO UPDATE SET position = excluded.position, expires_at = excluded.expires_at,
                      entry = excluded.entry";
        let expires = |r: &NewRetained| (r.expires_at.0 != 0).then(|| int(r.expires_at.0));
        let insert = sqlx::query(text)
            .bind(kept.iter().map(|(topic, _)| topic.id).collect::<Vec<_>>())
            .bind(kept.iter().map(|(topic, _)| topic.branch).collect::<Vec<_>>())
            .bind(kept.iter().map(|(_, r)| int(r.position.0)).collect::<Vec<_>>())
            .bind(kept.iter().map(|(_, r)| expires(r)).collect::<Vec<_>>())
            .bind(
                kept.iter()
                    .filter_map(|(_, r)| r.bytes.as_deref())
                    .collect::<Vec<&[u8]>>(),
            );
        tx.run(doing, insert).await?;
    }
    if !gone.is_empty() {
        let ids: Vec<i64> = gone.iter().map(|(topic, _)| topic.id).collect();
        let delete = sqlx::query("DELETE FROM retained WHERE topic = ANY($1)").bind(ids);
        tx.run(doing, delete).await?;
    }
    Ok(())
}
