//! The directory of agents and desks. Whoever changes it holds one lock until the change is committed: no two are judged
//! by the same state, and their numbers are committed in order, so that no news is missed.

use async_trait::async_trait;
use contract::persistence::{AgentCard, DeskEntry, DirectoryChange, UserCard};
use model::{OrgId, UserId};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::PostgresStore;
use super::conn::Conn;
use super::shared::{Shared, int, text};
use crate::rules::directory::{Known, NAMED, judge, kind, named, seeded, status};
use crate::{DirectoryNews, DirectoryStore, OrgDirectory, Refusal, StoreError};

const CHANGING: &str = "changing the directory";
const READING: &str = "reading the directory";

#[async_trait]
impl DirectoryStore for PostgresStore {
    async fn change_directory(
        &self,
        org: &OrgId,
        change: DirectoryChange,
    ) -> Result<Result<(), Refusal>, StoreError> {
        let mut tx = self.shared.alone_in_directory().await?;
        let known = known(&mut tx, org, &change).await?;
        if let Err(refusal) = judge(&change, known) {
            tx.roll_back().await;
            return Ok(Err(refusal));
        }
        make(&mut tx, org, &change).await?;
        tx.commit(CHANGING).await.map(Ok)
    }

    async fn seed_directory(&self, seed: Vec<(OrgId, DirectoryChange)>) -> Result<usize, StoreError> {
        // Nearly every start finds everything entered.
        if !self.shared.is_anything_new(&seed).await? {
            return Ok(0);
        }
        let mut tx = self.shared.alone_in_directory().await?;
        let mut entered = 0;
        for (org, change) in seed {
            entered += usize::from(enter(&mut tx, &org, change).await?);
        }
        tx.commit(CHANGING).await?;
        Ok(entered)
    }

    async fn directory_since(&self, version: u64) -> Result<DirectoryNews, StoreError> {
        let mut conn = self.shared.conn(READING).await?;
        let ask = "SELECT coalesce((SELECT max(version) FROM directory), 0),
                   ARRAY(SELECT org FROM directory WHERE version > $1 ORDER BY org)";
        let row = conn.row(READING, sqlx::query(ask).bind(int(version))).await?;
        let read = |row: PgRow| Ok((row.try_get::<i64, _>(0)?, row.try_get::<Vec<String>, _>(1)?));
        let (now, changed) = row
            .ok_or(sqlx::Error::RowNotFound)
            .and_then(read)
            .map_err(StoreError::postgres(READING))?;
        let orgs = match changed.is_empty() {
            true => Vec::new(),
            false => whole(&mut conn, changed).await?,
        };
        Ok(DirectoryNews {
            version: now as u64,
            orgs,
        })
    }
}

impl Shared {
    /// A transaction of the only one that changes the directory.
    async fn alone_in_directory(&self) -> Result<Conn<'_>, StoreError> {
        let mut tx = self.begin(CHANGING).await?;
        let lock = "SELECT pg_advisory_xact_lock(hashtextextended('longwire.directory', 0))";
        tx.run(CHANGING, sqlx::query(lock)).await?;
        Ok(tx)
    }

    async fn is_anything_new(&self, seed: &[(OrgId, DirectoryChange)]) -> Result<bool, StoreError> {
        let ask = "SELECT EXISTS (SELECT FROM unnest($1::text[], $2::text[]) u (org, uid)
                     WHERE NOT EXISTS (SELECT FROM directory_seeds s WHERE s.org = u.org AND s.uid = u.uid))";
        let orgs: Vec<&str> = seed.iter().map(|(org, _)| org.as_str()).collect();
        let uids: Vec<&str> = seed.iter().map(|(_, change)| change.uid().as_str()).collect();
        let ask = sqlx::query(ask).bind(orgs).bind(uids);
        let row = self.conn(READING).await?.row(READING, ask).await?;
        row.map_or(Ok(false), |row| row.try_get(0))
            .map_err(StoreError::postgres(READING))
    }
}

async fn known(tx: &mut Conn<'_>, org: &OrgId, change: &DirectoryChange) -> Result<Known, StoreError> {
    let ask = "SELECT EXISTS (SELECT FROM agents WHERE org = $1 AND uid = $2),
                 EXISTS (SELECT FROM desks WHERE org = $1 AND uid = $2),
                 (SELECT count(*) FROM agents WHERE org = $1), (SELECT count(*) FROM desks WHERE org = $1),
                 ARRAY(SELECT u.uid FROM unnest($3::text[]) WITH ORDINALITY u (uid, ord)
                   WHERE NOT EXISTS (SELECT FROM agents a WHERE a.org = $1 AND a.uid = u.uid) ORDER BY u.ord),
                 ARRAY(SELECT DISTINCT desk FROM desk_agents WHERE org = $1 AND agent = $2 ORDER BY desk LIMIT $4)";
    let agents: Vec<&str> = named(change).iter().map(UserId::as_str).collect();
    let ask = sqlx::query(ask)
        .bind(org.as_str())
        .bind(change.uid().as_str())
        .bind(agents)
        .bind(NAMED as i64);
    let row = tx.row(CHANGING, ask).await?;
    let read = |row: PgRow| -> Result<Known, sqlx::Error> {
        let uids = |i| {
            Ok::<_, sqlx::Error>(
                row.try_get::<Vec<String>, _>(i)?
                    .into_iter()
                    .map(UserId::from)
                    .collect(),
            )
        };
        Ok(Known {
            is_agent: row.try_get(0)?,
            is_desk: row.try_get(1)?,
            agents: row.try_get::<i64, _>(2)? as usize,
            desks: row.try_get::<i64, _>(3)? as usize,
            missing: uids(4)?,
            named_by: uids(5)?,
        })
    };
    row.ok_or(sqlx::Error::RowNotFound)
        .and_then(read)
        .map_err(StoreError::postgres(CHANGING))
}

/// Makes a change that fits, and numbers it if it changes anything.
async fn make(tx: &mut Conn<'_>, org: &OrgId, change: &DirectoryChange) -> Result<(), StoreError> {
    let of = |text: &'static str, uid: &UserId| sqlx::query(text).bind(org.to_string()).bind(uid.to_string());
    let changed = match change {
        DirectoryChange::PutAgent(agent) => put_agent(tx, org, agent).await?,
        DirectoryChange::PutDesk(desk) => put_desk(tx, org, desk).await?,
        DirectoryChange::RemoveAgent(uid) => {
            tx.run(
                CHANGING,
                of("DELETE FROM agents WHERE org = $1 AND uid = $2", uid),
            )
            .await?
        }
        DirectoryChange::RemoveDesk(uid) => {
            tx.run(
                CHANGING,
                of("DELETE FROM desk_agents WHERE org = $1 AND desk = $2", uid),
            )
            .await?;
            tx.run(CHANGING, of("DELETE FROM desks WHERE org = $1 AND uid = $2", uid))
                .await?
        }
        DirectoryChange::SetStatus(uid, status) => {
            let set = "UPDATE agents SET status = $3 WHERE org = $1 AND uid = $2 AND status <> $3";
            tx.run(CHANGING, of(set, uid).bind(status.name())).await?
        }
    };
    if changed > 0 {
        let number =
            "INSERT INTO directory VALUES ($1, (SELECT coalesce(max(version), 0) + 1 FROM directory))
                      ON CONFLICT (org) DO UPDATE SET version = excluded.version";
        tx.run(CHANGING, sqlx::query(number).bind(org.as_str())).await?;
    }
    Ok(())
}

async fn put_agent(tx: &mut Conn<'_>, org: &OrgId, agent: &AgentCard) -> Result<u64, StoreError> {
    let put = "INSERT INTO agents VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (org, uid) DO UPDATE SET
                 usr = excluded.usr, nickname = excluded.nickname, avatar = excluded.avatar,
                 max_threads = excluded.max_threads";
    let put = sqlx::query(put)
        .bind(org.as_str())
        .bind(agent.card.uid.as_str())
        .bind(agent.user.as_str())
        .bind(text(&agent.card.nickname))
        .bind(text(&agent.card.avatar))
        .bind(agent.status.name())
        .bind(agent.max_threads.map(i64::from));
    tx.run(CHANGING, put).await
}

async fn put_desk(tx: &mut Conn<'_>, org: &OrgId, desk: &DeskEntry) -> Result<u64, StoreError> {
    let put = "INSERT INTO desks VALUES ($1, $2, $3, $4, $5) ON CONFLICT (org, uid) DO UPDATE SET
                 kind = excluded.kind, nickname = excluded.nickname, avatar = excluded.avatar";
    let put = sqlx::query(put)
        .bind(org.as_str())
        .bind(desk.card.uid.as_str())
        .bind(desk.kind.name())
        .bind(text(&desk.card.nickname))
        .bind(text(&desk.card.avatar));
    let changed = tx.run(CHANGING, put).await?;
    let of = |text: &'static str| sqlx::query(text).bind(org.as_str()).bind(desk.card.uid.as_str());
    tx.run(
        CHANGING,
        of("DELETE FROM desk_agents WHERE org = $1 AND desk = $2"),
    )
    .await?;
    let name = "INSERT INTO desk_agents SELECT $1, $2, u.place, u.agent
                FROM unnest($3::text[]) WITH ORDINALITY u (agent, place)";
    let agents: Vec<&str> = desk.agents.iter().map(UserId::as_str).collect();
    tx.run(CHANGING, of(name).bind(agents)).await?;
    Ok(changed)
}

/// Enters a seed that was not entered before; whether it is there by that.
async fn enter(tx: &mut Conn<'_>, org: &OrgId, seed: DirectoryChange) -> Result<bool, StoreError> {
    let mark = "INSERT INTO directory_seeds VALUES ($1, $2) ON CONFLICT DO NOTHING";
    let mark = sqlx::query(mark).bind(org.as_str()).bind(seed.uid().as_str());
    if tx.run(CHANGING, mark).await? == 0 {
        return Ok(false);
    }
    let known = known(tx, org, &seed).await?;
    match seeded(seed, &known) {
        Some(change) => make(tx, org, &change).await.map(|()| true),
        None => Ok(false),
    }
}

/// The directories of these organisations, in the order given.
async fn whole(conn: &mut Conn<'_>, orgs: Vec<String>) -> Result<Vec<(OrgId, OrgDirectory)>, StoreError> {
    let agents = "SELECT org, uid, nickname, avatar, usr, status, max_threads FROM agents
                  WHERE org = ANY($1) ORDER BY org, uid";
    let agents = conn.rows(READING, sqlx::query(agents).bind(&orgs)).await?;
    let desks = "SELECT org, uid, nickname, avatar, kind, ARRAY(SELECT agent FROM desk_agents a
                   WHERE a.org = d.org AND a.desk = d.uid ORDER BY a.place) FROM desks d
                 WHERE org = ANY($1) ORDER BY org, uid";
    let desks = conn.rows(READING, sqlx::query(desks).bind(&orgs)).await?;
    let mut found: Vec<_> = orgs
        .into_iter()
        .map(|org| (OrgId::from(org), OrgDirectory::default()))
        .collect();
    for row in &agents {
        let agent = agent(row)?;
        of(&mut found, row)?.agents.push(agent);
    }
    for row in &desks {
        let desk = desk(row)?;
        of(&mut found, row)?.desks.push(desk);
    }
    Ok(found)
}

/// The directory that a row belongs to; `found` is in the order of organisations.
fn of<'a>(found: &'a mut [(OrgId, OrgDirectory)], row: &PgRow) -> Result<&'a mut OrgDirectory, StoreError> {
    let org: &str = row.try_get(0).map_err(StoreError::postgres(READING))?;
    let at = found.binary_search_by(|(other, _)| other.as_str().cmp(org));
    let place = at.ok().and_then(|i| found.get_mut(i)).map(|(_, whole)| whole);
    place.ok_or_else(|| StoreError::Damaged {
        table: "directory",
        what: format!("{org:?} was not asked for"),
    })
}

fn agent(row: &PgRow) -> Result<AgentCard, StoreError> {
    let read = || -> Result<_, sqlx::Error> {
        let (user, word): (String, &str) = (row.try_get(4)?, row.try_get(5)?);
        Ok((card(row)?, user, word, row.try_get::<Option<i64>, _>(6)?))
    };
    let (card, user, word, max_threads) = read().map_err(StoreError::postgres(READING))?;
    Ok(AgentCard {
        card,
        user: user.into(),
        status: status(word)?,
        max_threads: max_threads.and_then(|n| u32::try_from(n).ok()),
    })
}

fn desk(row: &PgRow) -> Result<DeskEntry, StoreError> {
    let read = || -> Result<_, sqlx::Error> {
        Ok((
            card(row)?,
            row.try_get::<&str, _>(4)?,
            row.try_get::<Vec<String>, _>(5)?,
        ))
    };
    let (card, word, agents) = read().map_err(StoreError::postgres(READING))?;
    let agents = agents.into_iter().map(UserId::from).collect();
    let kind = kind(word)?;
    Ok(DeskEntry { card, kind, agents })
}

/// The card in the columns after the first.
fn card(row: &PgRow) -> Result<UserCard, sqlx::Error> {
    Ok(UserCard {
        uid: row.try_get::<String, _>(1)?.into(),
        nickname: row.try_get(2)?,
        avatar: row.try_get(3)?,
    })
}
