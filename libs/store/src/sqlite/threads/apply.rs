//! What happens to threads, as the log has it.

use model::UserId;
use model::thread::{Change, Membership, ThreadStatus};
use rusqlite::{Connection, params};

use crate::rules::threads::{ended_by_topic, first_status, overrides};
use crate::sqlite::job::Ctx;
use crate::sqlite::shared::{int, sql};
use crate::sqlite::topics::TopicId;
use crate::{StoreError, ThreadEvent};

/// Applies one event. One that was applied changes nothing.
pub(in crate::sqlite) fn apply(ctx: &mut Ctx<'_>, event: &ThreadEvent) -> Result<(), StoreError> {
    let thread = &event.thread;
    let (id, _) = ctx.topic(&thread.org, &thread.topic, thread.partition)?;
    let doing = sql("changing a thread");
    match &event.change {
        None => spoken(ctx.conn, id, event).map_err(doing),
        Some(change) => {
            if changed(ctx.conn, id, event, change).map_err(&doing)? {
                members(ctx.conn, id, event, change).map_err(&doing)?;
                offers(ctx.conn, id, event, change).map_err(&doing)?;
                super::places::release(ctx.conn, &thread.org, &thread.topic).map_err(doing)?;
            }
            Ok(())
        }
    }
}

/// Somebody has spoken: in one that has a life and is not open that is to be decided on, from the first word on.
fn spoken(conn: &Connection, id: TopicId, event: &ThreadEvent) -> rusqlite::Result<()> {
    let text = "INSERT INTO threads (topic, org, partition, uid, kind, desk, party, nickname, avatar, created_at, has_life,
                  status, version, changed_at, pending, overridden)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 0, ?10, iif(?11, ?13, 0), 0)
                ON CONFLICT (topic) DO UPDATE SET pending = excluded.pending
                WHERE has_life AND (version = 0 OR status = 'CLOSED') AND pending = 0 AND ?13 > version";
    let t = &event.thread;
    let row = params![
        id,
        t.org.as_str(),
        t.partition.0,
        t.uid,
        t.kind,
        t.desk,
        t.party,
        t.nickname,
        t.avatar,
        int(t.at.0),
        t.has_life,
        first_status(t.has_life).as_str(),
        int(event.position.0)
    ];
    conn.prepare_cached(text)?.execute(row).map(|_| ())
}

/// The thread's own row; whether the change is new to it.
fn changed(conn: &Connection, id: TopicId, event: &ThreadEvent, change: &Change) -> rusqlite::Result<bool> {
    let text = "INSERT INTO threads (topic, org, partition, uid, kind, desk, party, nickname, avatar, created_at, has_life,
                  status, agent, version, changed_at, pending, overridden)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?10, 0, ?15)
                ON CONFLICT (topic) DO UPDATE SET status = excluded.status, agent = excluded.agent,
                  version = excluded.version, changed_at = excluded.changed_at,
                  pending = iif(excluded.status = 'CLOSED', pending, 0), overridden = max(overridden, excluded.overridden)
                WHERE version < excluded.version";
    let t = &event.thread;
    let row = params![
        id,
        t.org.as_str(),
        t.partition.0,
        t.uid,
        t.kind,
        t.desk,
        t.party,
        t.nickname,
        t.avatar,
        int(t.at.0),
        t.has_life,
        change.status.as_str(),
        change.agent.as_ref().map(UserId::as_str),
        int(event.position.0),
        overrides(event)
    ];
    conn.prepare_cached(text)?.execute(row).map(|rows| rows == 1)
}

fn members(conn: &Connection, id: TopicId, event: &ThreadEvent, change: &Change) -> rusqlite::Result<()> {
    let at = int(event.position.0);
    let mut end = conn.prepare_cached(
        "UPDATE members SET until = ?3, owed = ?3 WHERE topic = ?1 AND member = ?2 AND until = 9223372036854775807",
    )?;
    let mut begun: Vec<Membership> = change.joined.iter().map(|m| m.placed(event.position)).collect();
    for ended in &change.ended {
        if end.execute(params![id, ended.member.as_str(), at])? == 0 {
            begun.push(ended_by_topic(ended, event.position));
        }
    }
    let mut join =
        conn.prepare_cached("INSERT OR IGNORE INTO members VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?3)")?;
    for begun in begun {
        let Membership {
            member,
            user,
            since,
            until,
        } = begun;
        join.execute(params![
            id,
            member.as_str(),
            at,
            event.thread.org.as_str(),
            event.thread.partition.0,
            user.as_str(),
            int(since.0),
            int(until.0)
        ])?;
    }
    Ok(())
}

fn offers(conn: &Connection, id: TopicId, event: &ThreadEvent, change: &Change) -> rusqlite::Result<()> {
    let over = change.status == ThreadStatus::Closed;
    if over || change.settled.is_some() {
        conn.prepare_cached("DELETE FROM offers WHERE topic = ?1 AND (?2 OR uid = ?3)")?
            .execute(params![id, over, change.settled])?;
    }
    let Some(offer) = &change.offer else {
        return Ok(());
    };
    // A line a uid: one that has several lines is nobody's.
    let to = offer
        .to
        .iter()
        .map(UserId::as_str)
        .filter(|to| !to.contains('\n'));
    let row = params![
        id,
        offer.uid,
        int(event.position.0),
        offer.is_invitation,
        offer.from.as_str(),
        to.collect::<Vec<_>>().join("\n"),
        int(offer.expires_at.0)
    ];
    conn.prepare_cached("INSERT OR REPLACE INTO offers VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
        .execute(row)
        .map(|_| ())
}
