//! Retained messages.

use contract::persistence::Retained;
use model::{OrgId, TopicFilter, TopicName, UnixMillis};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::backlog::Reach;
use super::shared::{Shared, int, position};
use crate::StoreError;

const DOING: &str = "reading retained messages";

pub(super) async fn retained(
    shared: &Shared,
    org: &OrgId,
    filter: &TopicFilter,
    now: UnixMillis,
) -> Result<Vec<Retained>, StoreError> {
    let text = "SELECT t.topic, r.position, r.entry FROM (
                  SELECT r.topic FROM unnest($2::text[], $3::text[]) u (low, high)
                    JOIN branches b ON b.org = $1 AND b.name >= u.low AND b.name <= u.high JOIN retained r ON r.branch = b.id
                  UNION SELECT t.id FROM unnest($4::text[]) n (topic) JOIN topics t ON t.org = $1 AND t.topic = n.topic) f
                JOIN retained r ON r.topic = f.topic JOIN topics t ON t.id = r.topic
                WHERE r.expires_at IS NULL OR r.expires_at > $5 ORDER BY t.topic";
    let reach = Reach::of(std::iter::once(filter));
    let mut conn = shared.conn(DOING).await?;
    let ask = sqlx::query(text)
        .bind(org.as_str())
        .bind(&reach.low)
        .bind(&reach.high)
        .bind(&reach.topics)
        .bind(int(now.0));
    let rows = conn.rows(DOING, ask).await?;
    let read = |row: &PgRow| -> Result<Retained, sqlx::Error> {
        Ok(Retained {
            topic: TopicName::trusted(row.try_get::<&str, _>(0)?),
            position: position(row.try_get(1)?),
            entry: row.try_get::<Vec<u8>, _>(2)?.into(),
        })
    };
    let mut found = rows
        .iter()
        .map(read)
        .collect::<Result<Vec<_>, _>>()
        .map_err(StoreError::postgres(DOING))?;
    found.retain(|r| filter.matches(&r.topic));
    Ok(found)
}
