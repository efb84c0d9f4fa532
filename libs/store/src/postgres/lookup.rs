//! Finds messages by uid.

use bytes::Bytes;
use model::ReceiptKind;
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::conn::Conn;
use super::shared::{Shared, int, position};
use crate::log::decode;
use crate::rules::uids::{self, more_hash, uid_hash};
use crate::{Flags, MessageId, StoreError, Stored, TargetKey, Want};

const DOING: &str = "looking up uids";

/// Messages by hashes of uids, with the number of the question; `$states` says how to have their state, `$which` which
/// rows of `uids` are meant.
macro_rules! messages {
    ($state:literal, $states:literal, $which:literal) => {
        concat!(
            "SELECT k.ord, u.topic, u.position, m.flags, m.entry, s.entry, ",
            $state,
            " FROM ",
            $which,
            " JOIN messages m ON m.topic = u.topic AND m.position = u.position AND m.accepted_at = u.accepted_at
             LEFT JOIN streams s ON s.topic = u.topic AND s.position = u.position ",
            $states
        )
    };
    ($state:literal, $states:literal) => {
        messages!(
            $state,
            $states,
            "unnest($1::bigint[], $2::bigint[], $3::bigint[]) WITH ORDINALITY k (uid, topic, most, ord)
             CROSS JOIN LATERAL (SELECT * FROM uids u WHERE u.uid = k.uid AND u.topic = k.topic
               ORDER BY u.position LIMIT k.most) u"
        )
    };
}

const IN_TOPICS: &str = messages!("0::bigint", "");
const WITH_STATES: &str = messages!(
    "coalesce(r.state, 0)",
    "LEFT JOIN receipts r ON r.topic = u.topic AND r.message = u.position"
);
const ANYWHERE: &str = messages!(
    "0::bigint",
    "",
    "unnest($1::bigint[]) WITH ORDINALITY k (uid, ord) JOIN uids u ON u.uid = k.uid"
);

/// The messages of each key, earliest first; with how far each has come, when that is asked for.
pub(super) async fn lookup(
    shared: &Shared,
    conn: &mut Conn<'_>,
    keys: &[TargetKey],
    states: bool,
) -> Result<Vec<Vec<Stored>>, StoreError> {
    let named = keys.iter().map(|key| (key.org.as_str(), key.topic.as_str()));
    let topics = shared.find_topics_on(conn, named).await?;
    let (mut uids, mut of, mut most, mut asked) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (i, key) in keys.iter().enumerate() {
        let Some(topic) = topics.get(&key.org, &key.topic) else {
            continue;
        };
        for hash in key.hashes() {
            uids.push(int(hash));
            of.push(topic.id);
            // Two uids with one hash in one topic: the next one is not read, and a message not found. That is as likely as
            // that of any other hash here.
            most.push(if key.want == Want::First { 1 } else { i64::MAX });
            asked.push(i);
        }
    }
    let mut found = vec![Vec::new(); keys.len()];
    if uids.is_empty() {
        return Ok(found);
    }
    let text = if states { WITH_STATES } else { IN_TOPICS };
    let rows = conn
        .rows(DOING, sqlx::query(text).bind(&uids).bind(&of).bind(&most))
        .await?;
    for row in &rows {
        let number = row.try_get::<i64, _>(0).map_err(StoreError::postgres(DOING))?;
        let Some(question) = asked.get(number as usize - 1) else {
            continue;
        };
        found[*question].extend(Some(stored(row)?).filter(|row| keys[*question].means(row)));
    }
    for (key, hits) in keys.iter().zip(&mut found) {
        hits.sort_by_key(|hit| hit.position);
        hits.truncate(key.want.most());
    }
    Ok(found)
}

/// Every message of a uid in a tenant.
pub(super) async fn of_uid(conn: &mut Conn<'_>, org: &str, uid: &str) -> Result<Vec<Stored>, StoreError> {
    let uids = vec![int(uid_hash(org, uid)), int(more_hash(org, uid))];
    let rows = conn.rows(DOING, sqlx::query(ANYWHERE).bind(&uids)).await?;
    let found = rows.iter().map(stored).collect::<Result<Vec<_>, _>>()?;
    Ok(uids::of_uid(found, org, uid))
}

fn stored(row: &PgRow) -> Result<Stored, StoreError> {
    let read = || -> Result<_, sqlx::Error> {
        let id = MessageId {
            topic: row.try_get(1)?,
            at: row.try_get(2)?,
        };
        let flags = Flags(row.try_get::<i64, _>(3)? as u8);
        let stream = row.try_get::<Option<Vec<u8>>, _>(5)?.map(Bytes::from);
        let entry = Bytes::from(row.try_get::<Vec<u8>, _>(4)?);
        Ok((id, flags, entry, stream, row.try_get::<i64, _>(6)?))
    };
    let (id, flags, entry, stream, state) = read().map_err(StoreError::postgres(DOING))?;
    Ok(Stored {
        id,
        position: position(id.at),
        flags,
        entry: decode(entry, "messages")?,
        stream,
        state: ReceiptKind::from_number(state),
    })
}
