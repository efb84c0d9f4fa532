//! Threads, members, visitors.

use async_trait::async_trait;
use contract::persistence::{MemberTopic, UserCard};
use model::{Membership, OrgId, Position, TopicName, UnixMillis, UserId};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::SqliteStore;
use super::job::{Change, Ctx, Mode};
use super::mem::{Sums, TopicId};
use super::shared::{int, sql};
use crate::rules::threads::{candidates, least_loaded};
use crate::{Assign, NewThread, OpenedRow, StoreError, ThreadQuery, ThreadRow, ThreadStore};

#[async_trait]
impl ThreadStore for SqliteStore {
    async fn open_thread(&self, thread: NewThread, assign: Vec<Assign>) -> Result<OpenedRow, StoreError> {
        self.write(Mode::Sync, move |ctx| open(ctx, &thread, &assign))
            .await
    }

    async fn announced(&self, org: &OrgId, topic: &TopicName, users: Vec<UserId>) -> Result<(), StoreError> {
        let Some(id) = self.shared.mem.read().topics.id(org, topic) else {
            return Ok(());
        };
        self.write(Mode::Sync, move |ctx| {
            let text = "UPDATE members SET announced = 1 WHERE topic = ?1 AND tell = ?2";
            let mut update = ctx
                .conn
                .prepare_cached(text)
                .map_err(sql("marking members as told"))?;
            let mut told = |user: &UserId| update.execute(params![id, user.as_str()]).map(|_| ());
            users
                .iter()
                .try_for_each(&mut told)
                .map_err(sql("marking members as told"))
        })
        .await
    }

    async fn membership(&self, org: &OrgId, topic: &TopicName) -> Result<Membership, StoreError> {
        let Some(id) = self.shared.mem.read().topics.id(org, topic) else {
            return Ok(Membership::default());
        };
        self.read(move |conn, _| membership(conn, id).map_err(sql("reading a membership")))
            .await
    }

    async fn member_topics(
        &self,
        org: &OrgId,
        identities: Vec<UserId>,
    ) -> Result<Vec<MemberTopic>, StoreError> {
        let org = org.clone();
        self.read(move |conn, mem| {
            let rows = member_rows(conn, &org, &identities).map_err(sql("reading memberships"))?;
            let mem = mem.read();
            let topic = |(id, since): (TopicId, u64)| {
                let topic = mem.topics.get(id)?;
                let (topic, partition) = (topic.name.clone(), topic.partition);
                Some(MemberTopic {
                    topic,
                    partition,
                    since: Position(since),
                })
            };
            Ok(rows.into_iter().filter_map(topic).collect())
        })
        .await
    }

    async fn threads(&self, query: ThreadQuery) -> Result<(Vec<ThreadRow>, u64), StoreError> {
        self.read(move |conn, mem| {
            let ids: Vec<TopicId> = taking_part(conn, &query.org, &query.identities)
                .map_err(sql("reading threads"))?
                .into_iter()
                .map(|(id, _)| id)
                .collect();
            let mut found: Vec<(TopicId, Sums)> = {
                let mem = mem.read();
                ids.iter()
                    .filter_map(|id| mem.topics.get(*id).map(|t| (*id, t.sums)))
                    .collect()
            };
            found.retain(|(_, sums)| !query.unreplied || sums.waiting_since != 0);
            let total = found.len() as u64;
            found.sort_unstable_by_key(|(id, sums)| std::cmp::Reverse((sums.updated_at, *id)));
            let mut rows = Vec::new();
            for (id, sums) in found.into_iter().skip(query.offset).take(query.limit) {
                let read = { mem.read().topics.get(id).map(|t| (t.name.clone(), t.partition)) };
                if let Some((name, partition)) = read {
                    let row = row(conn, id, name, partition, sums).map_err(sql("reading threads"))?;
                    rows.extend(row);
                }
            }
            Ok((rows, total))
        })
        .await
    }

    async fn visitor(&self, org: &OrgId, card: UserCard) -> Result<UserCard, StoreError> {
        let org = org.clone();
        self.write(Mode::Sync, move |ctx| {
            enter_visitor(ctx.conn, &org, &card).map_err(sql("entering a visitor"))
        })
        .await
    }
}

/// The threads that any of the identities takes part in (see `rules/threads.rs`), with the position from which. Each
/// once.
pub(super) fn taking_part(
    conn: &Connection,
    org: &str,
    identities: &[UserId],
) -> rusqlite::Result<Vec<(TopicId, u64)>> {
    let ways = [
        ("desk", "kind <> 'WORKGROUP'"),
        ("party", "true"),
        ("agent", "kind = 'AGENT'"),
    ];
    let mut found: ahash::AHashMap<TopicId, u64> = ahash::AHashMap::new();
    for who in identities {
        for (column, only) in ways {
            let text = format!("SELECT topic FROM threads WHERE org = ?1 AND {column} = ?2 AND {only}");
            let mut select = conn.prepare_cached(&text)?;
            for id in select.query_map((org, who.as_str()), |r| r.get(0))? {
                found.insert(id?, 0);
            }
        }
    }
    for (id, since) in member_rows(conn, org, identities)? {
        found
            .entry(id)
            .and_modify(|at| *at = since.min(*at))
            .or_insert(since);
    }
    Ok(found.into_iter().collect())
}

fn member_rows(conn: &Connection, org: &str, identities: &[UserId]) -> rusqlite::Result<Vec<(TopicId, u64)>> {
    let mut select =
        conn.prepare_cached("SELECT topic, since FROM members WHERE org = ?1 AND member = ?2")?;
    let mut found = Vec::new();
    for who in identities {
        let row = |r: &Row<'_>| Ok((r.get(0)?, r.get::<_, i64>(1)? as u64));
        for row in select.query_map((org, who.as_str()), row)? {
            found.push(row?);
        }
    }
    Ok(found)
}

fn membership(conn: &Connection, topic: TopicId) -> rusqlite::Result<Membership> {
    let version = conn
        .prepare_cached("SELECT version FROM threads WHERE topic = ?1")?
        .query_row([topic], |r| r.get::<_, i64>(0))
        .optional()?
        .unwrap_or(0) as u64;
    let members = conn
        .prepare_cached("SELECT member FROM members WHERE topic = ?1 ORDER BY member")?
        .query_map([topic], |r| r.get::<_, String>(0).map(UserId::from))?
        .collect::<Result<_, _>>()?;
    Ok(Membership { version, members })
}

/// Makes a thread when it is not there; whether it did.
pub(super) fn enter(ctx: &mut Ctx<'_>, thread: &NewThread) -> Result<(TopicId, bool), StoreError> {
    let doing = sql("entering a thread");
    let id = ctx.topic(&thread.org, &thread.topic, thread.partition)?;
    let text = "INSERT INTO threads (topic, org, uid, kind, status, desk, party, nickname, avatar, agent, created_at)
                VALUES (?1, ?2, ?3, ?4, 'CHATTING', ?5, ?6,
                  coalesce((SELECT nullif(nickname, '') FROM visitors WHERE org = ?2 AND uid = ?6), ?7),
                  coalesce((SELECT nullif(avatar, '') FROM visitors WHERE org = ?2 AND uid = ?6), ?8), ?9, ?10)
                ON CONFLICT DO NOTHING";
    let row = params![
        id,
        thread.org.as_str(),
        thread.uid,
        thread.kind,
        thread.desk,
        thread.party,
        thread.nickname,
        thread.avatar,
        thread.agent,
        int(thread.at.0)
    ];
    let created = ctx
        .conn
        .prepare_cached(text)
        .and_then(|mut s| s.execute(row))
        .map_err(doing)?
        == 1;
    ctx.changes.push(Change::Thread(id));
    Ok((id, created))
}

fn open(ctx: &mut Ctx<'_>, thread: &NewThread, assign: &[Assign]) -> Result<OpenedRow, StoreError> {
    let doing = sql("opening a thread");
    let (id, created) = enter(ctx, thread)?;
    let sums = ctx
        .shared
        .mem
        .read()
        .topics
        .get(id)
        .map(|t| t.sums)
        .unwrap_or_default();
    let conn = ctx.conn;
    if !created {
        let text = "UPDATE threads SET nickname = ?2, avatar = ?3, status = iif(status = 'CLOSED', 'CHATTING', status)
                    WHERE topic = ?1 AND (nickname <> ?2 OR avatar <> ?3 OR status = 'CLOSED')";
        conn.prepare_cached(text)
            .and_then(|mut s| s.execute(params![id, thread.nickname, thread.avatar]))
            .map_err(&doing)?;
    }
    let agent: Option<String> = conn
        .prepare_cached("SELECT agent FROM threads WHERE topic = ?1")
        .and_then(|mut s| s.query_row([id], |r| r.get(0)))
        .map_err(&doing)?;
    let chosen = if agent.is_none() {
        choose(conn, &thread.org, assign).map_err(&doing)?
    } else {
        None
    };
    if let Some(chosen) = chosen {
        // A thread that already has messages is seen whole by the agent that it is given to.
        give(conn, id, &thread.org, chosen, 0).map_err(&doing)?;
    }
    let joined = conn
        .prepare_cached("SELECT DISTINCT tell FROM members WHERE topic = ?1 AND announced = 0 ORDER BY tell")
        .and_then(|mut s| {
            s.query_map([id], |r| r.get::<_, String>(0).map(UserId::from))?
                .collect()
        })
        .map_err(&doing)?;
    let row = row(conn, id, thread.topic.clone(), thread.partition, sums).map_err(&doing)?;
    let thread = row.ok_or_else(|| StoreError::Damaged {
        table: "threads",
        what: "a row vanished".into(),
    })?;
    Ok(OpenedRow {
        thread,
        created,
        changed: chosen.is_some(),
        joined,
    })
}

fn choose<'a>(conn: &Connection, org: &str, assign: &'a [Assign]) -> rusqlite::Result<Option<&'a Assign>> {
    let text = "SELECT count(*) FROM threads WHERE org = ?1 AND agent = ?2 AND status <> 'CLOSED'";
    let mut count = conn.prepare_cached(text)?;
    let mut open = Vec::new();
    for candidate in candidates(assign) {
        let threads: i64 = count.query_row((org, candidate.agent.as_str()), |r| r.get(0))?;
        open.push((candidate, threads));
    }
    Ok(least_loaded(open))
}

fn give(conn: &Connection, topic: TopicId, org: &str, to: &Assign, since: u64) -> rusqlite::Result<()> {
    conn.prepare_cached("UPDATE threads SET agent = ?2, version = version + 1 WHERE topic = ?1")?
        .execute(params![topic, to.agent.as_str()])?;
    conn.prepare_cached("INSERT INTO members VALUES (?1, ?2, ?3, ?4, ?5, 0) ON CONFLICT DO NOTHING")?
        .execute(params![
            org,
            to.agent.as_str(),
            topic,
            int(since),
            to.user.as_str()
        ])?;
    Ok(())
}

fn row(
    conn: &Connection,
    id: TopicId,
    topic: TopicName,
    partition: model::PartitionId,
    sums: Sums,
) -> rusqlite::Result<Option<ThreadRow>> {
    let last = conn
        .prepare_cached(
            "SELECT m.position, coalesce(s.entry, m.entry) FROM messages m
                         LEFT JOIN streams s ON s.message = m.id WHERE m.id = ?1",
        )?
        .query_row([sums.last], |r| {
            Ok((
                Position(r.get::<_, i64>(0)? as u64),
                r.get::<_, Vec<u8>>(1)?.into(),
            ))
        })
        .optional()?;
    let text = "SELECT uid, kind, status, desk, party, nickname, avatar, agent, created_at FROM threads WHERE topic = ?1";
    let read = |r: &Row<'_>| {
        let created_at = r.get::<_, i64>(8)? as u64;
        Ok(ThreadRow {
            topic,
            partition,
            uid: r.get(0)?,
            kind: r.get(1)?,
            status: r.get(2)?,
            desk: r.get::<_, String>(3)?.into(),
            visitor: UserCard {
                uid: r.get::<_, String>(4)?.into(),
                nickname: r.get(5)?,
                avatar: r.get(6)?,
            },
            agent: r.get::<_, Option<String>>(7)?.map(UserId::from),
            last,
            updated_at: UnixMillis(sums.updated_at.max(created_at)),
            waiting_since: (sums.waiting_since != 0).then_some(UnixMillis(sums.waiting_since)),
        })
    };
    conn.prepare_cached(text)?.query_row([id], read).optional()
}

fn enter_visitor(conn: &Connection, org: &str, card: &UserCard) -> rusqlite::Result<UserCard> {
    let text = "INSERT INTO visitors VALUES (?1, ?2, ?3, ?4) ON CONFLICT (org, uid) DO UPDATE SET
                  nickname = iif(excluded.nickname = '', nickname, excluded.nickname),
                  avatar = iif(excluded.avatar = '', avatar, excluded.avatar)
                RETURNING nickname, avatar";
    conn.prepare_cached(text)?
        .query_row(params![org, card.uid.as_str(), card.nickname, card.avatar], |r| {
            Ok(UserCard {
                uid: card.uid.clone(),
                nickname: r.get(0)?,
                avatar: r.get(1)?,
            })
        })
}
