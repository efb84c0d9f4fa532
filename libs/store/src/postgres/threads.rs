//! Threads, members, visitors.

use async_trait::async_trait;
use bytes::Bytes;
use contract::persistence::{MemberTopic, UserCard};
use model::{Membership, OrgId, PartitionId, TopicName, UnixMillis, UserId};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::PostgresStore;
use super::conn::Conn;
use super::known::{Topic, Topics};
use super::shared::{Shared, int, position, text};
use crate::rules::threads::{candidates, least_loaded};
use crate::{Assign, NewThread, OpenedRow, StoreError, ThreadQuery, ThreadRow, ThreadStore};

/// `part`: the topics that any of the identities `$2` of the tenant `$1` takes part in (see `rules/threads.rs`), with
/// the position from which.
macro_rules! taking_part {
    () => {
        "part AS (SELECT p.topic, min(p.since) AS since FROM (
           SELECT topic, 0::bigint AS since FROM threads WHERE org = $1 AND desk = ANY($2) AND kind <> 'WORKGROUP'
           UNION ALL SELECT topic, 0 FROM threads WHERE org = $1 AND party = ANY($2)
           UNION ALL SELECT topic, 0 FROM threads WHERE org = $1 AND agent = ANY($2) AND kind = 'AGENT'
           UNION ALL SELECT topic, since FROM members WHERE org = $1 AND member = ANY($2)) p GROUP BY p.topic)"
    };
}
pub(super) use taking_part;

/// A thread with what follows from its messages; from threads `h`, topics `t` and heads `s`.
macro_rules! thread_columns {
    () => {
        "t.topic, t.partition, h.uid, h.kind, h.status, h.desk, h.party, h.nickname, h.avatar, h.agent,
         greatest(coalesce(s.updated_at, 0), h.created_at), coalesce(s.waiting_since, 0), m.position,
         coalesce(st.entry, m.entry)"
    };
}

macro_rules! thread_joins {
    () => {
        "JOIN topics t ON t.id = h.topic LEFT JOIN heads s ON s.topic = h.topic
         LEFT JOIN messages m ON m.topic = s.topic AND m.position = s.last AND m.accepted_at = s.updated_at
         LEFT JOIN streams st ON st.topic = m.topic AND st.position = m.position"
    };
}

#[async_trait]
impl ThreadStore for PostgresStore {
    async fn open_thread(&self, thread: NewThread, assign: Vec<Assign>) -> Result<OpenedRow, StoreError> {
        self.shared.open_thread(&thread, &assign).await
    }

    async fn announced(&self, org: &OrgId, topic: &TopicName, users: Vec<UserId>) -> Result<(), StoreError> {
        let doing = "marking members as told";
        let Some(topic) = self.shared.topic(org, topic).await? else {
            return Ok(());
        };
        let users: Vec<&str> = users.iter().map(UserId::as_str).collect();
        let ask = sqlx::query("UPDATE members SET announced = true WHERE topic = $1 AND tell = ANY($2)");
        let mut conn = self.shared.conn(doing).await?;
        conn.run(doing, ask.bind(topic.id).bind(users)).await.map(|_| ())
    }

    async fn membership(&self, org: &OrgId, topic: &TopicName) -> Result<Membership, StoreError> {
        let doing = "reading a membership";
        let Some(topic) = self.shared.topic(org, topic).await? else {
            return Ok(Membership::default());
        };
        let ask = "SELECT coalesce((SELECT version FROM threads WHERE topic = $1), 0),
                   ARRAY(SELECT member FROM members WHERE topic = $1 ORDER BY member)";
        let row = self
            .shared
            .conn(doing)
            .await?
            .row(doing, sqlx::query(ask).bind(topic.id))
            .await?;
        let read = |row: PgRow| -> Result<Membership, sqlx::Error> {
            let members: Vec<String> = row.try_get(1)?;
            Ok(Membership {
                version: row.try_get::<i64, _>(0)? as u64,
                members: members.into_iter().map(UserId::from).collect(),
            })
        };
        row.map_or(Ok(Membership::default()), read)
            .map_err(StoreError::postgres(doing))
    }

    async fn member_topics(
        &self,
        org: &OrgId,
        identities: Vec<UserId>,
    ) -> Result<Vec<MemberTopic>, StoreError> {
        let doing = "reading memberships";
        let ask = "SELECT t.topic, t.partition, m.since FROM members m JOIN topics t ON t.id = m.topic
                   WHERE m.org = $1 AND m.member = ANY($2)";
        let who: Vec<&str> = identities.iter().map(UserId::as_str).collect();
        let ask = sqlx::query(ask).bind(org.as_str()).bind(who);
        let rows = self.shared.conn(doing).await?.rows(doing, ask).await?;
        let read = |row: &PgRow| -> Result<MemberTopic, sqlx::Error> {
            Ok(MemberTopic {
                topic: TopicName::trusted(row.try_get::<&str, _>(0)?),
                partition: PartitionId(row.try_get::<i64, _>(1)? as u16),
                since: position(row.try_get(2)?),
            })
        };
        rows.iter()
            .map(read)
            .collect::<Result<_, _>>()
            .map_err(StoreError::postgres(doing))
    }

    async fn threads(&self, query: ThreadQuery) -> Result<(Vec<ThreadRow>, u64), StoreError> {
        let doing = "reading threads";
        const TEXT: &str = concat!(
            "WITH ",
            taking_part!(),
            ", f AS (SELECT part.topic, coalesce(s.updated_at, 0) AS updated_at FROM part LEFT JOIN heads s ON s.topic = part.topic
                  WHERE NOT $3 OR s.waiting_since <> 0)
             SELECT (SELECT count(*) FROM f), x.* FROM (SELECT) one LEFT JOIN LATERAL (SELECT ",
            thread_columns!(),
            " FROM (SELECT * FROM f ORDER BY updated_at DESC, topic DESC OFFSET $4 LIMIT $5) page
              JOIN threads h ON h.topic = page.topic ",
            thread_joins!(),
            " ORDER BY page.updated_at DESC, page.topic DESC) x ON true"
        );
        let who: Vec<&str> = query.identities.iter().map(UserId::as_str).collect();
        let ask = sqlx::query(TEXT)
            .bind(query.org.as_str())
            .bind(who)
            .bind(query.unreplied)
            .bind(i64::try_from(query.offset).unwrap_or(i64::MAX))
            .bind(i64::try_from(query.limit).unwrap_or(i64::MAX));
        let rows = self.shared.conn(doing).await?.rows(doing, ask).await?;
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
        read().map_err(StoreError::postgres(doing))
    }

    async fn visitor(&self, org: &OrgId, card: UserCard) -> Result<UserCard, StoreError> {
        let doing = "entering a visitor";
        let ask = "INSERT INTO visitors AS v VALUES ($1, $2, $3, $4) ON CONFLICT (org, uid) DO UPDATE SET
                     nickname = CASE WHEN excluded.nickname = '' THEN v.nickname ELSE excluded.nickname END,
                     avatar = CASE WHEN excluded.avatar = '' THEN v.avatar ELSE excluded.avatar END
                   RETURNING nickname, avatar";
        let ask = sqlx::query(ask)
            .bind(org.as_str())
            .bind(card.uid.as_str())
            .bind(text(&card.nickname))
            .bind(text(&card.avatar));
        let row = self.shared.conn(doing).await?.row(doing, ask).await?;
        let row = row
            .ok_or(sqlx::Error::RowNotFound)
            .map_err(StoreError::postgres(doing))?;
        let read = || -> Result<_, sqlx::Error> { Ok((row.try_get(0)?, row.try_get(1)?)) };
        let (nickname, avatar) = read().map_err(StoreError::postgres(doing))?;
        Ok(UserCard {
            uid: card.uid,
            nickname,
            avatar,
        })
    }
}

/// Makes threads that are not there.
pub(super) async fn enter(
    tx: &mut Conn<'_>,
    topics: &Topics,
    threads: &[NewThread],
) -> Result<(), StoreError> {
    let mut known: Vec<(Topic, &NewThread)> = threads
        .iter()
        .filter_map(|t| Some((topics.get(&t.org, &t.topic)?, t)))
        .collect();
    if known.is_empty() {
        return Ok(());
    }
    // In one order for everybody, so that nobody waits in a circle.
    known.sort_by_key(|(topic, _)| topic.id);
    let ask = "INSERT INTO threads (topic, org, uid, kind, status, desk, party, nickname, avatar, agent, created_at)
               SELECT u.topic, u.org, u.uid, u.kind, 'CHATTING', u.desk, u.party, coalesce(nullif(v.nickname, ''), u.nickname),
                 coalesce(nullif(v.avatar, ''), u.avatar), u.agent, u.at
               FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                 $9::text[], $10::bigint[]) u (topic, org, uid, kind, desk, party, nickname, avatar, agent, at)
               LEFT JOIN visitors v ON v.org = u.org AND v.uid = u.party ORDER BY u.topic ON CONFLICT DO NOTHING";
    let column = |of: fn(&NewThread) -> &str| known.iter().map(|(_, t)| text(of(t))).collect::<Vec<String>>();
    let put = sqlx::query(ask)
        .bind(known.iter().map(|(topic, _)| topic.id).collect::<Vec<_>>())
        .bind(column(|t| &t.org))
        .bind(column(|t| &t.uid))
        .bind(column(|t| t.kind))
        .bind(column(|t| &t.desk))
        .bind(column(|t| &t.party))
        .bind(column(|t| &t.nickname))
        .bind(column(|t| &t.avatar))
        .bind(
            known
                .iter()
                .map(|(_, t)| t.agent.as_deref().map(text))
                .collect::<Vec<_>>(),
        )
        .bind(known.iter().map(|(_, t)| int(t.at.0)).collect::<Vec<_>>());
    tx.run("entering threads", put).await.map(|_| ())
}

const OPENING: &str = "opening a thread";

impl Shared {
    async fn open_thread(&self, thread: &NewThread, assign: &[Assign]) -> Result<OpenedRow, StoreError> {
        let key = (thread.org.as_str(), thread.topic.as_str(), thread.partition);
        let topics = self.enter_topics(std::iter::once(key)).await?;
        let damaged = || StoreError::Damaged {
            table: "threads",
            what: "a row vanished".into(),
        };
        let topic = topics.get(key.0, key.1).ok_or_else(damaged)?;
        let mut tx = self.begin(OPENING).await?;
        let (created, agent) = make(&mut tx, topic, thread).await?.ok_or_else(damaged)?;
        let chosen = match agent {
            None if !assign.is_empty() => choose(&mut tx, &thread.org, assign).await?,
            _ => None,
        };
        if let Some(chosen) = chosen {
            give(&mut tx, topic, &thread.org, chosen).await?;
        }
        let (row, joined) = opened(&mut tx, topic).await?.ok_or_else(damaged)?;
        tx.commit(OPENING).await?;
        Ok(OpenedRow {
            thread: row,
            created,
            changed: chosen.is_some(),
            joined,
        })
    }
}

/// Makes the thread or brings its visitor's card up to date, and holds its row; whether it is new, and its agent.
async fn make(
    tx: &mut Conn<'_>,
    topic: Topic,
    thread: &NewThread,
) -> Result<Option<(bool, Option<String>)>, StoreError> {
    let ask = "INSERT INTO threads AS h (topic, org, uid, kind, status, desk, party, nickname, avatar, agent, created_at)
               VALUES ($1, $2, $3, $4, 'CHATTING', $5, $6,
                 coalesce((SELECT nullif(nickname, '') FROM visitors WHERE org = $2 AND uid = $6), $7),
                 coalesce((SELECT nullif(avatar, '') FROM visitors WHERE org = $2 AND uid = $6), $8), $9, $10)
               ON CONFLICT (topic) DO UPDATE SET nickname = $7, avatar = $8,
                 status = CASE h.status WHEN 'CLOSED' THEN 'CHATTING' ELSE h.status END
               RETURNING xmax = 0, agent";
    let put = sqlx::query(ask)
        .bind(topic.id)
        .bind(thread.org.as_str())
        .bind(&thread.uid)
        .bind(thread.kind)
        .bind(text(&thread.desk))
        .bind(text(&thread.party))
        .bind(text(&thread.nickname))
        .bind(text(&thread.avatar))
        .bind(thread.agent.as_deref().map(text))
        .bind(int(thread.at.0));
    let row = tx.row(OPENING, put).await?;
    let read = |row: PgRow| -> Result<_, sqlx::Error> { Ok((row.try_get(0)?, row.try_get(1)?)) };
    row.map(read).transpose().map_err(StoreError::postgres(OPENING))
}

async fn choose<'a>(
    tx: &mut Conn<'_>,
    org: &OrgId,
    assign: &'a [Assign],
) -> Result<Option<&'a Assign>, StoreError> {
    // Who counts waits for who counted before to commit: two threads opened at once go to two agents.
    let lock = sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('longwire.assign ' || $1, 0))");
    tx.run(OPENING, lock.bind(org.as_str())).await?;
    let who = candidates(assign);
    let ask = "SELECT (SELECT count(*) FROM threads h WHERE h.org = $1 AND h.agent = u.agent AND h.status <> 'CLOSED')
               FROM unnest($2::text[]) WITH ORDINALITY u (agent, ord) ORDER BY u.ord";
    let agents: Vec<&str> = who.iter().map(|a| a.agent.as_str()).collect();
    let rows = tx
        .rows(OPENING, sqlx::query(ask).bind(org.as_str()).bind(agents))
        .await?;
    let open = rows.iter().map(|row| row.try_get::<i64, _>(0));
    let open = open
        .collect::<Result<Vec<_>, _>>()
        .map_err(StoreError::postgres(OPENING))?;
    Ok(least_loaded(who.into_iter().zip(open)))
}

/// A thread that already has messages is seen whole by the agent that it is given to.
async fn give(tx: &mut Conn<'_>, topic: Topic, org: &OrgId, to: &Assign) -> Result<(), StoreError> {
    let ask = "WITH given AS (UPDATE threads SET agent = $3, version = version + 1 WHERE topic = $1)
               INSERT INTO members (org, member, topic, since, tell, announced) VALUES ($2, $3, $1, 0, $4, false)
               ON CONFLICT DO NOTHING";
    let put = sqlx::query(ask)
        .bind(topic.id)
        .bind(org.as_str())
        .bind(to.agent.as_str())
        .bind(to.user.as_str());
    tx.run(OPENING, put).await.map(|_| ())
}

/// The thread as it is now, and who is to be told of their membership.
async fn opened(tx: &mut Conn<'_>, topic: Topic) -> Result<Option<(ThreadRow, Vec<UserId>)>, StoreError> {
    const TEXT: &str = concat!(
        "SELECT ARRAY(SELECT DISTINCT tell FROM members WHERE topic = $1 AND NOT announced ORDER BY tell), ",
        thread_columns!(),
        " FROM threads h ",
        thread_joins!(),
        " WHERE h.topic = $1"
    );
    let row = tx.row(OPENING, sqlx::query(TEXT).bind(topic.id)).await?;
    let read = |row: PgRow| -> Result<_, sqlx::Error> {
        let joined: Vec<String> = row.try_get(0)?;
        Ok((
            thread_row(&row, 1)?,
            joined.into_iter().map(UserId::from).collect(),
        ))
    };
    row.map(read).transpose().map_err(StoreError::postgres(OPENING))
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
