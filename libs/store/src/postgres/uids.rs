//! The uids of a partition, in the order of the log.

use contract::persistence::{SeenUid, UidPage};
use model::{PartitionId, Position, UnixMillis};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::conn::Conn;
use super::shared::{Shared, at_most, int, position};
use crate::rules::uids::{self, Bisect};
use crate::{Service, StoreError};

const DOING: &str = "reading uids";

pub(super) async fn uids_since(
    shared: &Shared,
    partition: PartitionId,
    after: Position,
    since: UnixMillis,
    limit: usize,
) -> Result<UidPage, StoreError> {
    let limit = limit.max(1);
    let mut conn = shared.conn(DOING).await?;
    // First, and not from memory, which a database that crashed may be behind: all up to here is read below.
    let applied = applied(&mut conn, partition).await?;
    let begin = begin(&mut conn, partition, after, since).await?;
    let text = "SELECT position, accepted_at, key_high, key_low FROM uids
                WHERE partition = $1 AND position > $2 AND key_high IS NOT NULL AND accepted_at >= $3
                ORDER BY position LIMIT $4";
    let ask = sqlx::query(text)
        .bind(i64::from(partition.0))
        .bind(int(begin))
        .bind(int(since.0))
        .bind(at_most(limit));
    let rows = conn.rows(DOING, ask).await?;
    let uids = rows.iter().map(seen).collect::<Result<Vec<_>, _>>();
    let uids = uids.map_err(StoreError::postgres(DOING))?;
    let (last, more) = (uids.last().map_or(after, |uid| uid.position), uids.len() == limit);
    Ok(uids::page(uids, last, applied, more))
}

async fn applied(conn: &mut Conn<'_>, partition: PartitionId) -> Result<Position, StoreError> {
    let text = "SELECT position FROM progress WHERE service = $1 AND partition = $2";
    let ask = sqlx::query(text)
        .bind(Service::Persistence as i64)
        .bind(i64::from(partition.0));
    let row = conn.row(DOING, ask).await?;
    row.map_or(Ok(Position::START), |row| row.try_get(0).map(position))
        .map_err(StoreError::postgres(DOING))
}

/// Where to begin: years of older uids are not walked over. A page that goes on from another asks for one row.
async fn begin(
    conn: &mut Conn<'_>,
    partition: PartitionId,
    after: Position,
    since: UnixMillis,
) -> Result<u64, StoreError> {
    if first_after(conn, partition, after.0)
        .await?
        .is_none_or(|(_, at)| at >= since)
    {
        return Ok(after.0);
    }
    let text = "SELECT position FROM uids WHERE partition = $1 AND key_high IS NOT NULL ORDER BY position DESC LIMIT 1";
    let last = conn
        .row(DOING, sqlx::query(text).bind(i64::from(partition.0)))
        .await?;
    let last = last.map(|row| row.try_get::<i64, _>(0)).transpose();
    let last = last.map_err(StoreError::postgres(DOING))?.unwrap_or(0);
    let mut bisect = Bisect::new(after.0, last as u64, since);
    while let Some(place) = bisect.ask() {
        bisect.tell(place, first_after(conn, partition, place).await?);
    }
    Ok(bisect.found())
}

/// The first uid of a partition after a place: where it stands, and when it was accepted.
async fn first_after(
    conn: &mut Conn<'_>,
    partition: PartitionId,
    place: u64,
) -> Result<Option<(u64, UnixMillis)>, StoreError> {
    let text = "SELECT position, accepted_at FROM uids WHERE partition = $1 AND position > $2 AND key_high IS NOT NULL
                ORDER BY position LIMIT 1";
    let ask = sqlx::query(text).bind(i64::from(partition.0)).bind(int(place));
    let row = conn.row(DOING, ask).await?;
    let read = |row: PgRow| -> Result<_, sqlx::Error> {
        let at = UnixMillis(row.try_get::<i64, _>(1)? as u64);
        Ok((row.try_get::<i64, _>(0)? as u64, at))
    };
    row.map(read).transpose().map_err(StoreError::postgres(DOING))
}

fn seen(row: &PgRow) -> Result<SeenUid, sqlx::Error> {
    let (high, low) = (row.try_get::<i64, _>(2)? as u64, row.try_get::<i64, _>(3)? as u64);
    Ok(SeenUid {
        position: position(row.try_get(0)?),
        key: u128::from(high) << 64 | u128::from(low),
        accepted_at: UnixMillis(row.try_get::<i64, _>(1)? as u64),
    })
}
