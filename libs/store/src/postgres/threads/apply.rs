//! What happens to threads, as the log has it.

use std::collections::BTreeMap;

use model::UserId;
use model::thread::{Change, Membership, ThreadStatus};
use sqlx::Row;

use crate::postgres::conn::Conn;
use crate::postgres::known::Topics;
use crate::postgres::shared::{int, text};
use crate::postgres::write::entered;
use crate::rules::threads::{ended_by_topic, first_status, overrides};
use crate::{NewThread, StoreError, ThreadEvent};

const DOING: &str = "changing threads";

/// The threads of a run in which nothing changes but that somebody speaks, with where. In one order for everybody, so that
/// nobody waits in a circle.
type Spoken<'a> = BTreeMap<i64, (&'a NewThread, Vec<i64>)>;

/// Applies events in their order. Those that were applied change nothing.
pub(in crate::postgres) async fn apply(
    tx: &mut Conn<'_>,
    topics: &Topics,
    events: &[ThreadEvent],
) -> Result<(), StoreError> {
    let mut run = Spoken::new();
    for event in events {
        let thread = &event.thread;
        let topic = topics
            .get(&thread.org, &thread.topic)
            .ok_or_else(|| entered(&thread.topic))?;
        match &event.change {
            None => {
                let (_, places) = run.entry(topic.id).or_insert_with(|| (thread, Vec::new()));
                places.push(int(event.position.0));
            }
            Some(change) => {
                if run.contains_key(&topic.id) {
                    spoken(tx, &std::mem::take(&mut run)).await?;
                }
                changed(tx, topic.id, event, change).await?;
            }
        }
    }
    spoken(tx, &run).await
}

/// Somebody has spoken: in one that has a life and is not open that is to be decided on, from the first word on.
async fn spoken(tx: &mut Conn<'_>, run: &Spoken<'_>) -> Result<(), StoreError> {
    if run.is_empty() {
        return Ok(());
    }
    let put = "WITH s AS (SELECT * FROM unnest($12::bigint[], $13::bigint[]) s (topic, position)),
               first AS (SELECT h.topic, min(s.position) AS position FROM s JOIN threads h ON h.topic = s.topic
                 WHERE h.has_life AND (h.version = 0 OR h.status = 'CLOSED') AND h.pending = 0 AND s.position > h.version
                 GROUP BY h.topic),
               known AS (UPDATE threads h SET pending = first.position FROM first WHERE h.topic = first.topic)
               INSERT INTO threads (topic, org, partition, uid, kind, desk, party, nickname, avatar, created_at, has_life, status,
                 version, changed_at, pending, overridden)
               SELECT u.topic, u.org, u.partition, u.uid, u.kind, u.desk, u.party, u.nickname, u.avatar, u.at, u.status = 'NEW',
                 u.status, 0, u.at, CASE u.status WHEN 'NEW' THEN (SELECT min(s.position) FROM s WHERE s.topic = u.topic)
                 ELSE 0 END, false
               FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                 $9::text[], $10::bigint[], $11::text[])
                 u (topic, org, partition, uid, kind, desk, party, nickname, avatar, at, status)
               WHERE NOT EXISTS (SELECT FROM threads h WHERE h.topic = u.topic) ORDER BY u.topic ON CONFLICT DO NOTHING";
    let column = |of: fn(&NewThread) -> &str| run.values().map(|(t, _)| text(of(t))).collect::<Vec<String>>();
    let places = || {
        run.iter()
            .flat_map(|(id, (_, places))| places.iter().map(move |at| (*id, *at)))
    };
    let put = sqlx::query(put)
        .bind(run.keys().copied().collect::<Vec<_>>())
        .bind(column(|t| &t.org))
        .bind(
            run.values()
                .map(|(t, _)| i64::from(t.partition.0))
                .collect::<Vec<_>>(),
        )
        .bind(column(|t| &t.uid))
        .bind(column(|t| t.kind))
        .bind(column(|t| &t.desk))
        .bind(column(|t| &t.party))
        .bind(column(|t| &t.nickname))
        .bind(column(|t| &t.avatar))
        .bind(run.values().map(|(t, _)| int(t.at.0)).collect::<Vec<_>>())
        .bind(column(|t| first_status(t.has_life).as_str()))
        .bind(places().map(|(id, _)| id).collect::<Vec<_>>())
        .bind(places().map(|(_, at)| at).collect::<Vec<_>>());
    tx.run(DOING, put).await.map(|_| ())
}

async fn changed(
    tx: &mut Conn<'_>,
    topic: i64,
    event: &ThreadEvent,
    change: &Change,
) -> Result<(), StoreError> {
    let put = "INSERT INTO threads AS h (topic, org, partition, uid, kind, desk, party, nickname, avatar, created_at, has_life,
                 status, agent, version, changed_at, pending, overridden)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $10, 0, $15)
               ON CONFLICT (topic) DO UPDATE SET status = excluded.status, agent = excluded.agent,
                 version = excluded.version, changed_at = excluded.changed_at,
                 pending = CASE excluded.status WHEN 'CLOSED' THEN h.pending ELSE 0 END,
                 overridden = h.overridden OR excluded.overridden
               WHERE h.version < excluded.version";
    let t = &event.thread;
    let put = sqlx::query(put)
        .bind(topic)
        .bind(t.org.as_str())
        .bind(i64::from(t.partition.0))
        .bind(text(&t.uid))
        .bind(t.kind)
        .bind(text(&t.desk))
        .bind(text(&t.party))
        .bind(text(&t.nickname))
        .bind(text(&t.avatar))
        .bind(int(t.at.0))
        .bind(t.has_life)
        .bind(change.status.as_str())
        .bind(change.agent.as_ref().map(|agent| text(agent)))
        .bind(int(event.position.0))
        .bind(overrides(event));
    if tx.run(DOING, put).await? == 0 {
        return Ok(());
    }
    members(tx, topic, event, change).await?;
    offers(tx, topic, event, change).await?;
    super::places::release(tx, &t.org, &t.topic).await
}

async fn members(
    tx: &mut Conn<'_>,
    topic: i64,
    event: &ThreadEvent,
    change: &Change,
) -> Result<(), StoreError> {
    let at = int(event.position.0);
    let mut begun: Vec<Membership> = change.joined.iter().map(|m| m.placed(event.position)).collect();
    if !change.ended.is_empty() {
        let end = "UPDATE members SET until = $3, owed = $3
                   WHERE topic = $1 AND member = ANY($2) AND until = 9223372036854775807 RETURNING member";
        let who: Vec<String> = change.ended.iter().map(|m| text(&m.member)).collect();
        let end = sqlx::query(end).bind(topic).bind(who).bind(at);
        let rows = tx.rows(DOING, end).await?;
        let ended: Result<Vec<String>, sqlx::Error> = rows.iter().map(|row| row.try_get(0)).collect();
        let ended = ended.map_err(StoreError::postgres(DOING))?;
        let had_none = change.ended.iter().filter(|m| !ended.contains(&text(&m.member)));
        begun.extend(had_none.map(|m| ended_by_topic(m, event.position)));
    }
    if begun.is_empty() {
        return Ok(());
    }
    let join = "INSERT INTO members (topic, member, began, org, partition, usr, since, until, owed)
                SELECT $1, u.member, $2, $3, $4, u.usr, u.since, u.until, $2
                FROM unnest($5::text[], $6::text[], $7::bigint[], $8::bigint[]) u (member, usr, since, until)
                ON CONFLICT DO NOTHING";
    let join = sqlx::query(join)
        .bind(topic)
        .bind(at)
        .bind(event.thread.org.as_str())
        .bind(i64::from(event.thread.partition.0))
        .bind(begun.iter().map(|m| text(&m.member)).collect::<Vec<_>>())
        .bind(begun.iter().map(|m| text(&m.user)).collect::<Vec<_>>())
        .bind(begun.iter().map(|m| int(m.since.0)).collect::<Vec<_>>())
        .bind(begun.iter().map(|m| int(m.until.0)).collect::<Vec<_>>());
    tx.run(DOING, join).await.map(|_| ())
}

async fn offers(
    tx: &mut Conn<'_>,
    topic: i64,
    event: &ThreadEvent,
    change: &Change,
) -> Result<(), StoreError> {
    let over = change.status == ThreadStatus::Closed;
    if over || change.settled.is_some() {
        let delete = sqlx::query("DELETE FROM offers WHERE topic = $1 AND ($2 OR uid = $3)")
            .bind(topic)
            .bind(over)
            .bind(change.settled.as_deref().map(text));
        tx.run(DOING, delete).await?;
    }
    let Some(offer) = &change.offer else {
        return Ok(());
    };
    let put = "INSERT INTO offers (topic, uid, position, invitation, sender, receivers, expires_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (topic, uid) DO UPDATE SET position = excluded.position,
                 invitation = excluded.invitation, sender = excluded.sender, receivers = excluded.receivers,
                 expires_at = excluded.expires_at";
    let put = sqlx::query(put)
        .bind(topic)
        .bind(text(&offer.uid))
        .bind(int(event.position.0))
        .bind(offer.is_invitation)
        .bind(text(&offer.from))
        .bind(offer.to.iter().map(UserId::as_str).map(text).collect::<Vec<_>>())
        .bind(int(offer.expires_at.0));
    tx.run(DOING, put).await.map(|_| ())
}
