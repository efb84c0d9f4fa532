//! Finds messages by uid.

use bytes::Bytes;
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::conn::Conn;
use super::write::{parts_hash, sent_hash};
use super::{int, position};
use crate::log::decode;
use crate::{Flags, Lookup, MessageId, SentKey, StoreError, Stored, TargetKey, Want, uid_hash};

const DOING: &str = "looking up uids";
/// Every message of some hashes of uids, by the number of the question, the earliest first.
const TEXT: &str = "SELECT k.ord, u.topic, u.position, u.partition, m.flags, m.entry, s.entry
    FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY k (uid, sent, ord)
    JOIN uids u ON u.uid = k.uid AND (k.sent IS NULL OR u.sent = k.sent)
    JOIN messages m ON m.topic = u.topic AND m.position = u.position AND m.accepted_at = u.accepted_at
    LEFT JOIN streams s ON k.sent IS NULL AND s.topic = u.topic AND s.position = u.position
    ORDER BY k.ord, m.accepted_at, u.position";

pub(super) async fn lookup(
    conn: &mut Conn<'_>,
    sent: &[SentKey],
    targets: &[TargetKey],
) -> Result<Lookup, StoreError> {
    let (mut uids, mut senders, mut asked) = (Vec::new(), Vec::new(), Vec::new());
    for (i, key) in sent.iter().enumerate() {
        uids.push(int(uid_hash(&key.org, &key.uid)));
        senders.push(Some(sent_hash(&key.org, &key.sender, &key.uid)));
        asked.push(i);
    }
    for (i, key) in targets.iter().enumerate() {
        uids.push(int(uid_hash(&key.org, &key.uid)));
        senders.push(None);
        asked.push(sent.len() + i);
        if key.want == Want::All {
            uids.push(parts_hash(&key.org, &key.uid));
            senders.push(None);
            asked.push(sent.len() + i);
        }
    }
    let rows = conn
        .rows(DOING, sqlx::query(TEXT).bind(&uids).bind(&senders))
        .await?;
    let mut found = Lookup {
        sent: vec![None; sent.len()],
        targets: vec![Vec::new(); targets.len()],
    };
    for row in &rows {
        let number = row.try_get::<i64, _>(0).map_err(StoreError::postgres(DOING))?;
        let Some(question) = asked.get(number as usize - 1) else {
            continue;
        };
        match sent.get(*question) {
            Some(key) => {
                let partition = row.try_get::<i64, _>(3).map_err(StoreError::postgres(DOING))?;
                let here = key.partition.is_none_or(|p| i64::from(p.0) == partition);
                let hit = &mut found.sent[*question];
                if hit.is_none() && here {
                    *hit = Some(stored(row)?).filter(|row| key.means(&row.entry));
                }
            }
            None => {
                let (key, hits) = (
                    &targets[question - sent.len()],
                    &mut found.targets[question - sent.len()],
                );
                if hits.is_empty() || key.want == Want::All {
                    hits.extend(Some(stored(row)?).filter(|row| key.means(row)));
                }
            }
        }
    }
    found
        .targets
        .iter_mut()
        .for_each(|hits| hits.sort_by_key(|hit| hit.position));
    Ok(found)
}

/// Every message of a uid in a tenant.
pub(super) async fn of_uid(conn: &mut Conn<'_>, org: &str, uid: &str) -> Result<Vec<Stored>, StoreError> {
    let uids = vec![int(uid_hash(org, uid)), parts_hash(org, uid)];
    let senders: Vec<Option<i64>> = vec![None; 2];
    let rows = conn
        .rows(DOING, sqlx::query(TEXT).bind(&uids).bind(&senders))
        .await?;
    let mut found = rows.iter().map(stored).collect::<Result<Vec<_>, _>>()?;
    found.retain(|row| row.entry.org == org && row.entry.uid == uid);
    found.sort_by_key(|row| (row.entry.accepted_at, row.position));
    Ok(found)
}

fn stored(row: &PgRow) -> Result<Stored, StoreError> {
    let read = || -> Result<_, sqlx::Error> {
        let id = MessageId {
            topic: row.try_get(1)?,
            at: row.try_get(2)?,
        };
        let flags = Flags(row.try_get::<i64, _>(4)? as u8);
        let stream = row.try_get::<Option<Vec<u8>>, _>(6)?.map(Bytes::from);
        Ok((id, flags, Bytes::from(row.try_get::<Vec<u8>, _>(5)?), stream))
    };
    let (id, flags, entry, stream) = read().map_err(StoreError::postgres(DOING))?;
    Ok(Stored {
        id,
        position: position(id.at),
        flags,
        entry: decode(entry, "messages")?,
        stream,
    })
}
