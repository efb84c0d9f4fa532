//! Reads threads.

use bytes::Bytes;
use contract::persistence::UserCard;
use model::thread::{Members, Membership, Offer};
use model::{PartitionId, Position, TopicName, UnixMillis, UserId};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::part::{listed, membership, open, taking_part};
use crate::postgres::conn::Statement;
use crate::postgres::shared::{Shared, at_most, position};
use crate::rules::threads::{Life, desk_agent};
use crate::{StoreError, StoredThread, ThreadQuery, ThreadRow};

const DOING: &str = "reading threads";

/// A thread with what follows from its messages; from threads `h`, topics `t`, visitors `v` and heads `s`.
macro_rules! thread_columns {
    () => {
        "t.topic, t.partition, h.uid, h.kind, h.status, h.desk, h.party, coalesce(nullif(v.nickname, ''), h.nickname),
         coalesce(nullif(v.avatar, ''), h.avatar), h.agent, greatest(coalesce(s.updated_at, 0), h.created_at),
         coalesce(s.waiting_since, 0), m.position, coalesce(st.entry, m.entry)"
    };
}

macro_rules! thread_joins {
    () => {
        "JOIN topics t ON t.id = h.topic LEFT JOIN heads s ON s.topic = h.topic
         LEFT JOIN visitors v ON v.org = h.org AND v.uid = h.party
         LEFT JOIN messages m ON m.topic = s.topic AND m.position = s.last AND m.accepted_at = s.updated_at
         LEFT JOIN streams st ON st.topic = m.topic AND st.position = m.position"
    };
}

/// The threads `f` with their lives, in the order of `f.first` and `f.next`. One statement, so that all of it is as of one moment.
macro_rules! stored {
    ($which:literal) => {
        concat!(
            "SELECT ",
            thread_columns!(),
            ", h.org, h.version, h.pending,
             coalesce((SELECT p.position FROM progress p WHERE p.service = 1 AND p.partition = h.partition), 0),
             ARRAY(SELECT m.member FROM members m WHERE m.topic = h.topic AND m.until = 9223372036854775807
               ORDER BY m.began, m.member <> m.usr, m.member),
             ARRAY(SELECT m.usr FROM members m WHERE m.topic = h.topic AND m.until = 9223372036854775807
               ORDER BY m.began, m.member <> m.usr, m.member),
             ARRAY(SELECT m.since FROM members m WHERE m.topic = h.topic AND m.until = 9223372036854775807
               ORDER BY m.began, m.member <> m.usr, m.member),
             ARRAY(SELECT o.uid FROM offers o WHERE o.topic = h.topic ORDER BY o.position),
             ARRAY(SELECT o.invitation FROM offers o WHERE o.topic = h.topic ORDER BY o.position),
             ARRAY(SELECT o.sender FROM offers o WHERE o.topic = h.topic ORDER BY o.position),
             ARRAY(SELECT o.expires_at FROM offers o WHERE o.topic = h.topic ORDER BY o.position),
             ARRAY(SELECT cardinality(o.receivers)::bigint FROM offers o WHERE o.topic = h.topic ORDER BY o.position),
             ARRAY(SELECT r.uid FROM offers o, unnest(o.receivers) WITH ORDINALITY r (uid, nth)
               WHERE o.topic = h.topic ORDER BY o.position, r.nth), h.overridden
             FROM (",
            $which,
            ") f JOIN threads h ON h.topic = f.topic ",
            thread_joins!(),
            " ORDER BY f.first, f.next"
        )
    };
}

pub(super) const ONE: &str = stored!("SELECT $1::bigint AS topic, 0 AS first, 0 AS next");

/// Each partition has its turn: one whose owner is away keeps no other waiting.
pub(super) const PENDING: &str = stored!(
    "SELECT topic, nth AS first, pending AS next FROM (
       SELECT topic, pending, row_number() OVER (PARTITION BY partition ORDER BY pending) AS nth FROM threads
       WHERE pending > 0) p ORDER BY nth, pending LIMIT $1"
);

pub(super) const WAITING: &str = stored!(
    "SELECT topic, nth AS first, version AS next FROM (
       SELECT topic, version, row_number() OVER (PARTITION BY org, desk ORDER BY version) AS nth FROM threads
       WHERE version > 0 AND status IN ('OFFLINE', 'QUEUING')) w ORDER BY nth, version LIMIT $1"
);

/// The longest unchanged first.
pub(super) const IDLE: &str = stored!(
    "SELECT h.topic, h.changed_at AS first, h.topic AS next FROM threads h LEFT JOIN heads s ON s.topic = h.topic
     WHERE h.version > 0 AND h.status <> 'CLOSED' AND h.changed_at < $1 AND coalesce(s.updated_at, 0) < $1
     ORDER BY h.changed_at LIMIT $2"
);

pub(super) const DUE: &str = stored!(
    "SELECT topic, min(expires_at) AS first, topic AS next FROM offers WHERE expires_at < $1
     GROUP BY topic ORDER BY min(expires_at), topic LIMIT $2"
);

/// The threads that one of the statements above gives.
pub(super) async fn stored(
    shared: &Shared,
    ask: Statement<'static>,
) -> Result<Vec<StoredThread>, StoreError> {
    let rows = shared.conn(DOING).await?.rows(DOING, ask).await?;
    rows.iter().map(stored_row).collect()
}

fn stored_row(row: &PgRow) -> Result<StoredThread, StoreError> {
    let read = || -> Result<_, sqlx::Error> {
        let thread = thread_row(row, 0)?;
        let number = |i: usize| row.try_get::<i64, _>(i).map(|n| n as u64);
        let life = Life {
            status: thread.status.clone(),
            agent: thread.agent.as_ref().map(ToString::to_string),
            version: number(15)?,
            desk_agent: desk_agent(&thread.kind, &thread.desk),
            overridden: row.try_get(27)?,
        };
        let org: String = row.try_get(14)?;
        Ok((org, thread, life, number(16)?, number(17)?))
    };
    let doing = StoreError::postgres(DOING);
    let (org, thread, life, pending, applied) = read().map_err(&doing)?;
    let (lasting, offers) = (lasting(row).map_err(&doing)?, offers(row).map_err(&doing)?);
    Ok(StoredThread {
        org: org.into(),
        row: thread,
        life: life.of(lasting, offers)?,
        pending: Position(pending),
        applied: Position(applied),
    })
}

fn lasting(row: &PgRow) -> Result<Vec<Membership>, sqlx::Error> {
    let members: Vec<String> = row.try_get(18)?;
    let users: Vec<String> = row.try_get(19)?;
    let sinces: Vec<i64> = row.try_get(20)?;
    let all = members.into_iter().zip(users).zip(sinces);
    let one = |((member, user), since): ((String, String), i64)| {
        Membership::from(member.into(), user.into(), position(since))
    };
    Ok(all.map(one).collect())
}

fn offers(row: &PgRow) -> Result<Vec<Offer>, sqlx::Error> {
    let uids: Vec<String> = row.try_get(21)?;
    let invitations: Vec<bool> = row.try_get(22)?;
    let senders: Vec<String> = row.try_get(23)?;
    let expires: Vec<i64> = row.try_get(24)?;
    let counts: Vec<i64> = row.try_get(25)?;
    let mut receivers = row.try_get::<Vec<String>, _>(26)?.into_iter().map(UserId::from);
    let all = uids
        .into_iter()
        .zip(invitations)
        .zip(senders)
        .zip(expires.into_iter().zip(counts));
    let one =
        |(((uid, is_invitation), from), (expires_at, count)): (((String, bool), String), (i64, i64))| Offer {
            uid,
            is_invitation,
            from: from.into(),
            to: receivers.by_ref().take(count as usize).collect(),
            expires_at: UnixMillis(expires_at as u64),
        };
    Ok(all.map(one).collect())
}

/// Who belongs to a thread and who did, in the order in which they began; with a change the visitor comes before its agent.
pub(super) async fn members(shared: &Shared, topic: i64) -> Result<Members, StoreError> {
    let doing = "reading the members of a thread";
    let ask = "SELECT h.version, m.member, m.usr, m.since, m.until FROM (SELECT $1::bigint AS topic) one
               LEFT JOIN threads h ON h.topic = one.topic LEFT JOIN members m ON m.topic = one.topic
               ORDER BY m.began, m.member <> m.usr, m.member";
    let ask = sqlx::query(ask).bind(topic);
    let rows = shared.conn(doing).await?.rows(doing, ask).await?;
    let read = || -> Result<Members, sqlx::Error> {
        let mut members = Members::default();
        for row in &rows {
            members.version = position(row.try_get::<Option<i64>, _>(0)?.unwrap_or(0));
            if let Some(member) = row.try_get::<Option<String>, _>(1)? {
                members.all.push(membership(row, member, 2)?);
            }
        }
        Ok(members)
    };
    read().map_err(StoreError::postgres(doing))
}

/// How many of its desk wait since before it.
pub(super) async fn place_in_queue(shared: &Shared, topic: i64) -> Result<Option<u64>, StoreError> {
    let doing = "counting who waits";
    let ask =
        "SELECT (SELECT count(*) FROM threads w WHERE w.org = t.org AND w.desk = t.desk AND w.version > 0
                 AND w.status IN ('OFFLINE', 'QUEUING') AND w.version < t.version)
               FROM threads t WHERE t.topic = $1 AND t.version > 0 AND t.status IN ('OFFLINE', 'QUEUING')";
    let row = shared
        .conn(doing)
        .await?
        .row(doing, sqlx::query(ask).bind(topic))
        .await?;
    let count = row.map(|row| row.try_get::<i64, _>(0).map(|n| n as u64));
    count.transpose().map_err(StoreError::postgres(doing))
}

macro_rules! page {
    ($part:expr) => {
        concat!(
            "WITH ",
            $part,
            ", f AS (SELECT part.topic, coalesce(s.updated_at, 0) AS updated_at FROM part LEFT JOIN heads s ON s.topic = part.topic
                  WHERE NOT $3 OR s.waiting_since <> 0)
             SELECT (SELECT count(*) FROM f), x.* FROM (SELECT) one LEFT JOIN LATERAL (SELECT ",
            thread_columns!(),
            " FROM (SELECT * FROM f ORDER BY updated_at DESC, topic DESC OFFSET $4 LIMIT $5) page
              JOIN threads h ON h.topic = page.topic ",
            thread_joins!(),
            " ORDER BY page.updated_at DESC, page.topic DESC) x ON true"
        )
    };
}

/// A page of the threads that somebody takes part in or has left.
const LISTED: &str = page!(listed!());
/// A page of the open threads that somebody takes part in.
const OPEN: &str = page!(open!());

/// A page of threads.
pub(super) async fn page(shared: &Shared, query: &ThreadQuery) -> Result<(Vec<ThreadRow>, u64), StoreError> {
    let who: Vec<&str> = query.identities.iter().map(UserId::as_str).collect();
    let ask = sqlx::query(if query.open { OPEN } else { LISTED })
        .bind(query.org.as_str())
        .bind(who)
        .bind(query.unreplied)
        .bind(at_most(query.offset))
        .bind(at_most(query.limit));
    let rows = shared.conn(DOING).await?.rows(DOING, ask).await?;
    let read = || -> Result<_, sqlx::Error> {
        let total: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
        let mut threads = Vec::with_capacity(rows.len());
        for row in &rows {
            if row.try_get::<Option<&str>, _>(1)?.is_some() {
                threads.push(thread_row(row, 1)?);
            }
        }
        Ok((threads, total as u64))
    };
    read().map_err(StoreError::postgres(DOING))
}

/// Reads the thread whose columns begin at `i`.
fn thread_row(row: &PgRow, i: usize) -> Result<ThreadRow, sqlx::Error> {
    let name = |n: usize| row.try_get::<String, _>(i + n);
    let at = row.try_get::<Option<i64>, _>(i + 12)?;
    let entry = row.try_get::<Option<Vec<u8>>, _>(i + 13)?;
    let waiting = row.try_get::<i64, _>(i + 11)? as u64;
    Ok(ThreadRow {
        topic: TopicName::trusted(name(0)?),
        partition: PartitionId(row.try_get::<i64, _>(i + 1)? as u16),
        uid: name(2)?,
        kind: name(3)?,
        status: name(4)?,
        desk: name(5)?.into(),
        visitor: UserCard {
            uid: name(6)?.into(),
            nickname: name(7)?,
            avatar: name(8)?,
        },
        agent: row.try_get::<Option<String>, _>(i + 9)?.map(UserId::from),
        last: at
            .zip(entry)
            .map(|(at, entry)| (position(at), Bytes::from(entry))),
        updated_at: UnixMillis(row.try_get::<i64, _>(i + 10)? as u64),
        waiting_since: (waiting != 0).then_some(UnixMillis(waiting)),
    })
}
