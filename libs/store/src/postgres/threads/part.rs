//! Who takes part in what: see `rules/threads.rs`.

use std::collections::BTreeMap;

use contract::persistence::MemberTopic;
use model::thread::Membership;
use model::{OrgId, PartitionId, Position, TopicName, UserId};
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::StoreError;
use crate::postgres::shared::{Shared, int, position};
use crate::rules::threads::ascending;

/// `part`: the topics that any of the identities `$2` of the tenant `$1` takes part in, with the position from which messages
/// count; `$more` gives further ones.
macro_rules! taking_part {
    () => {
        taking_part!("")
    };
    ($more:literal) => {
        concat!(
            "part AS (SELECT p.topic, min(p.since) AS since FROM (
               SELECT topic, 0::bigint AS since FROM threads
                 WHERE org = $1 AND desk = ANY($2) AND NOT overridden AND kind <> 'WORKGROUP'
               UNION ALL SELECT topic, 0 FROM threads WHERE org = $1 AND party = ANY($2)
               UNION ALL SELECT topic, since FROM members
                 WHERE org = $1 AND member = ANY($2) AND until = 9223372036854775807 ",
            $more,
            ") p GROUP BY p.topic)"
        )
    };
}
pub(in crate::postgres) use taking_part;

/// The same with those that any of them has left.
macro_rules! listed {
    () => {
        taking_part!(
            "UNION ALL SELECT topic, since FROM members
               WHERE org = $1 AND member = ANY($2) AND until < 9223372036854775807"
        )
    };
}
pub(super) use listed;

/// `part`: the open topics that any of the identities `$2` of the tenant `$1` takes part in.
macro_rules! open {
    () => {
        "part AS (SELECT topic FROM threads
             WHERE org = $1 AND desk = ANY($2) AND NOT overridden AND status <> 'CLOSED' AND kind <> 'WORKGROUP'
           UNION SELECT topic FROM threads WHERE org = $1 AND party = ANY($2) AND status <> 'CLOSED'
           UNION SELECT topic FROM members WHERE org = $1 AND member = ANY($2) AND until = 9223372036854775807)"
    };
}
pub(super) use open;

/// Memberships that last, and the open threads of own desks that others have had, without one; of the identities `$who`.
macro_rules! lasting {
    ($who:literal) => {
        concat!(
            "SELECT topic, member, usr, since, until FROM members
               WHERE org = $1 AND member = ANY(",
            $who,
            ") AND until = 9223372036854775807
             UNION ALL SELECT topic, NULL, NULL, NULL, NULL FROM threads
               WHERE org = $1 AND desk = ANY(",
            $who,
            ") AND overridden AND status <> 'CLOSED'"
        )
    };
}
pub(in crate::postgres) use lasting;

/// With those that have ended after the places `$4` of the partitions `$3`. Where somebody has got in a partition is looked up
/// by itself, whatever the planner thinks of it.
const MEMBERSHIPS: &str = concat!(
    "WITH r AS (SELECT who.uid, r.partition, r.place FROM unnest($2::text[]) who (uid),
                unnest($3::bigint[], $4::bigint[]) r (partition, place))
     SELECT t.topic, t.partition, f.member, f.usr, f.since, f.until FROM (",
    lasting!("$2"),
    " UNION ALL SELECT m.* FROM r CROSS JOIN LATERAL (SELECT topic, member, usr, since, until FROM members
        WHERE org = $1 AND member = r.uid AND partition = r.partition AND until > r.place
          AND until < 9223372036854775807 OFFSET 0) m
      UNION ALL SELECT h.topic, NULL, NULL, NULL, NULL FROM r CROSS JOIN LATERAL (SELECT topic FROM threads
        WHERE org = $1 AND desk = r.uid AND partition = r.partition AND version > r.place
          AND overridden AND status = 'CLOSED' OFFSET 0) h) f JOIN topics t ON t.id = f.topic"
);

/// What a session of these identities has to know that has got so far.
pub(super) async fn memberships(
    shared: &Shared,
    org: &OrgId,
    identities: Vec<UserId>,
    reached: Vec<(PartitionId, Position)>,
) -> Result<Vec<MemberTopic>, StoreError> {
    let doing = "reading memberships";
    let ask = sqlx::query(MEMBERSHIPS)
        .bind(org.as_str())
        .bind(identities.iter().map(UserId::as_str).collect::<Vec<_>>())
        .bind(reached.iter().map(|(p, _)| i64::from(p.0)).collect::<Vec<_>>())
        .bind(reached.iter().map(|(_, at)| int(at.0)).collect::<Vec<_>>());
    let rows = shared.conn(doing).await?.rows(doing, ask).await?;
    let read = |row: &PgRow| -> Result<_, sqlx::Error> {
        let membership = match row.try_get::<Option<String>, _>(2)? {
            Some(member) => Some(membership(row, member, 3)?),
            None => None,
        };
        Ok((row.try_get(0)?, row.try_get(1)?, membership))
    };
    let rows = rows.iter().map(read).collect::<Result<Vec<_>, _>>();
    Ok(member_topics(rows.map_err(StoreError::postgres(doing))?))
}

/// Reads the membership of a member whose other columns begin at `i`.
pub(super) fn membership(row: &PgRow, member: String, i: usize) -> Result<Membership, sqlx::Error> {
    Ok(Membership {
        member: member.into(),
        user: row.try_get::<String, _>(i)?.into(),
        since: position(row.try_get(i + 1)?),
        until: position(row.try_get(i + 2)?),
    })
}

/// Each thread once, from topics with their partitions and a membership or none.
pub(in crate::postgres) fn member_topics(
    rows: impl IntoIterator<Item = (String, i64, Option<Membership>)>,
) -> Vec<MemberTopic> {
    let mut found: BTreeMap<String, MemberTopic> = BTreeMap::new();
    for (name, partition, membership) in rows {
        let topic = TopicName::trusted(&name);
        let thread = found.entry(name).or_insert_with(|| MemberTopic {
            topic,
            partition: PartitionId(partition as u16),
            memberships: Vec::new(),
        });
        thread.memberships.extend(membership);
    }
    found.into_values().map(ascending).collect()
}
