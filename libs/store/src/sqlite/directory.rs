//! The directory of agents and desks.

use async_trait::async_trait;
use contract::persistence::{AgentCard, DeskEntry, DirectoryChange, UserCard};
use model::{OrgId, UserId};
use rusqlite::{Connection, Row, params};

use super::SqliteStore;
use super::job::Mode;
use super::shared::{int, sql};
use crate::rules::directory::{Known, NAMED, judge, kind, named, seeded, status};
use crate::{DirectoryNews, DirectoryStore, OrgDirectory, Refusal, StoreError};

const CHANGING: &str = "changing the directory";
const READING: &str = "reading the directory";

#[async_trait]
impl DirectoryStore for SqliteStore {
    async fn change_directory(
        &self,
        org: &OrgId,
        change: DirectoryChange,
    ) -> Result<Result<(), Refusal>, StoreError> {
        let org = org.clone();
        self.write(Mode::Sync, move |ctx| {
            let known = known(ctx.conn, &org, &change).map_err(sql(CHANGING))?;
            let judged = judge(&change, known);
            if judged.is_ok() {
                make(ctx.conn, &org, &change).map_err(sql(CHANGING))?;
            }
            Ok(judged)
        })
        .await
    }

    async fn seed_directory(&self, seed: Vec<(OrgId, DirectoryChange)>) -> Result<usize, StoreError> {
        self.write(Mode::Sync, move |ctx| {
            let mut entered = 0;
            for (org, change) in seed {
                entered += usize::from(enter(ctx.conn, &org, change).map_err(sql(CHANGING))?);
            }
            Ok(entered)
        })
        .await
    }

    async fn directory_since(&self, version: u64) -> Result<DirectoryNews, StoreError> {
        self.read_snapshot(move |conn, _| {
            let (now, changed) = changed(conn, version).map_err(sql(READING))?;
            let mut orgs = Vec::with_capacity(changed.len());
            for org in changed {
                let whole = OrgDirectory {
                    agents: agents(conn, &org)?,
                    desks: desks(conn, &org)?,
                };
                orgs.push((OrgId::from(org), whole));
            }
            Ok(DirectoryNews { version: now, orgs })
        })
        .await
    }
}

fn known(conn: &Connection, org: &str, change: &DirectoryChange) -> rusqlite::Result<Known> {
    let uid = change.uid().as_str();
    let is_there = |text, uid: &str| conn.prepare_cached(text)?.exists((org, uid));
    let (agent, desk) = (
        "SELECT 1 FROM agents WHERE org = ?1 AND uid = ?2",
        "SELECT 1 FROM desks WHERE org = ?1 AND uid = ?2",
    );
    let count = |text| {
        let count = conn
            .prepare_cached(text)?
            .query_row([org], |r| r.get::<_, i64>(0));
        count.map(|n| n as usize)
    };
    let mut missing = Vec::new();
    for uid in named(change) {
        if !is_there(agent, uid)? {
            missing.push(uid.clone());
        }
    }
    let naming = "SELECT DISTINCT desk FROM desk_agents WHERE org = ?1 AND agent = ?2 ORDER BY desk LIMIT ?3";
    let named_by = conn
        .prepare_cached(naming)?
        .query_map((org, uid, NAMED as i64), |r| {
            r.get::<_, String>(0).map(UserId::from)
        })?
        .collect::<Result<_, _>>()?;
    Ok(Known {
        is_agent: is_there(agent, uid)?,
        is_desk: is_there(desk, uid)?,
        agents: count("SELECT count(*) FROM agents WHERE org = ?1")?,
        desks: count("SELECT count(*) FROM desks WHERE org = ?1")?,
        missing,
        named_by,
    })
}

/// Makes a change that fits, and numbers it if it changes anything.
fn make(conn: &Connection, org: &str, change: &DirectoryChange) -> rusqlite::Result<()> {
    let run = |text: &str, row: &[&dyn rusqlite::ToSql]| conn.prepare_cached(text)?.execute(row);
    let changed = match change {
        DirectoryChange::PutAgent(agent) => put_agent(conn, org, agent)?,
        DirectoryChange::PutDesk(desk) => put_desk(conn, org, desk)?,
        DirectoryChange::RemoveAgent(uid) => run(
            "DELETE FROM agents WHERE org = ?1 AND uid = ?2",
            &[&org, &uid.as_str()],
        )?,
        DirectoryChange::RemoveDesk(uid) => {
            run(
                "DELETE FROM desk_agents WHERE org = ?1 AND desk = ?2",
                &[&org, &uid.as_str()],
            )?;
            run(
                "DELETE FROM desks WHERE org = ?1 AND uid = ?2",
                &[&org, &uid.as_str()],
            )?
        }
        DirectoryChange::SetStatus(uid, status) => run(
            "UPDATE agents SET status = ?3 WHERE org = ?1 AND uid = ?2 AND status <> ?3",
            &[&org, &uid.as_str(), &status.name()],
        )?,
    };
    if changed > 0 {
        let text = "INSERT INTO directory VALUES (?1, (SELECT coalesce(max(version), 0) + 1 FROM directory))
                    ON CONFLICT (org) DO UPDATE SET version = excluded.version";
        run(text, &[&org])?;
    }
    Ok(())
}

fn put_agent(conn: &Connection, org: &str, agent: &AgentCard) -> rusqlite::Result<usize> {
    let text = "INSERT INTO agents VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (org, uid) DO UPDATE SET
                  user = excluded.user, nickname = excluded.nickname, avatar = excluded.avatar,
                  max_threads = excluded.max_threads";
    let card = &agent.card;
    conn.prepare_cached(text)?.execute(params![
        org,
        card.uid.as_str(),
        agent.user.as_str(),
        card.nickname,
        card.avatar,
        agent.status.name(),
        agent.max_threads
    ])
}

fn put_desk(conn: &Connection, org: &str, desk: &DeskEntry) -> rusqlite::Result<usize> {
    let (card, uid) = (&desk.card, desk.card.uid.as_str());
    let text = "INSERT INTO desks VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (org, uid) DO UPDATE SET
                  kind = excluded.kind, nickname = excluded.nickname, avatar = excluded.avatar";
    let put = conn.prepare_cached(text)?.execute(params![
        org,
        uid,
        desk.kind.name(),
        card.nickname,
        card.avatar
    ])?;
    conn.prepare_cached("DELETE FROM desk_agents WHERE org = ?1 AND desk = ?2")?
        .execute((org, uid))?;
    let mut name = conn.prepare_cached("INSERT INTO desk_agents VALUES (?1, ?2, ?3, ?4)")?;
    for (place, agent) in desk.agents.iter().enumerate() {
        name.execute(params![org, uid, place as i64, agent.as_str()])?;
    }
    Ok(put)
}

/// Enters a seed that was not entered before; whether it is there by that.
fn enter(conn: &Connection, org: &str, seed: DirectoryChange) -> rusqlite::Result<bool> {
    let text = "INSERT INTO directory_seeds VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    let is_new = conn.prepare_cached(text)?.execute((org, seed.uid().as_str()))? == 1;
    if !is_new {
        return Ok(false);
    }
    let known = known(conn, org, &seed)?;
    match seeded(seed, &known) {
        Some(change) => make(conn, org, &change).map(|()| true),
        None => Ok(false),
    }
}

fn changed(conn: &Connection, version: u64) -> rusqlite::Result<(u64, Vec<String>)> {
    let now: i64 = conn
        .prepare_cached("SELECT coalesce(max(version), 0) FROM directory")?
        .query_row([], |r| r.get(0))?;
    let orgs = conn
        .prepare_cached("SELECT org FROM directory WHERE version > ?1 ORDER BY org")?
        .query_map([int(version)], |r| r.get(0))?
        .collect::<Result<_, _>>()?;
    Ok((now as u64, orgs))
}

fn agents(conn: &Connection, org: &str) -> Result<Vec<AgentCard>, StoreError> {
    let text =
        "SELECT uid, nickname, avatar, user, status, max_threads FROM agents WHERE org = ?1 ORDER BY uid";
    let read = |r: &Row<'_>| {
        Ok((
            card(r)?,
            r.get::<_, String>(3)?,
            r.get::<_, String>(4)?,
            r.get(5)?,
        ))
    };
    let rows: Vec<_> = conn
        .prepare_cached(text)
        .and_then(|mut s| s.query_map([org], read)?.collect::<Result<_, _>>())
        .map_err(sql(READING))?;
    let agent = |(card, user, word, max_threads): (UserCard, String, String, Option<u32>)| {
        Ok(AgentCard {
            card,
            user: user.into(),
            status: status(&word)?,
            max_threads,
        })
    };
    rows.into_iter().map(agent).collect()
}

fn desks(conn: &Connection, org: &str) -> Result<Vec<DeskEntry>, StoreError> {
    let text = "SELECT uid, nickname, avatar, kind FROM desks WHERE org = ?1 ORDER BY uid";
    let read = |r: &Row<'_>| Ok((card(r)?, r.get::<_, String>(3)?));
    let rows: Vec<(UserCard, String)> = conn
        .prepare_cached(text)
        .and_then(|mut s| s.query_map([org], read)?.collect::<Result<_, _>>())
        .map_err(sql(READING))?;
    let mut names = conn
        .prepare_cached("SELECT agent FROM desk_agents WHERE org = ?1 AND desk = ?2 ORDER BY place")
        .map_err(sql(READING))?;
    let desk = |(card, word): (UserCard, String)| {
        let agents = names
            .query_map((org, card.uid.as_str()), |r| {
                r.get::<_, String>(0).map(UserId::from)
            })
            .and_then(Iterator::collect)
            .map_err(sql(READING))?;
        let kind = kind(&word)?;
        Ok(DeskEntry { card, kind, agents })
    };
    rows.into_iter().map(desk).collect()
}

/// The card in the first three columns.
fn card(r: &Row<'_>) -> rusqlite::Result<UserCard> {
    Ok(UserCard {
        uid: r.get::<_, String>(0)?.into(),
        nickname: r.get(1)?,
        avatar: r.get(2)?,
    })
}
