//! The numbers of topics: entered once, never changed, so what is known of them stays true.

use ahash::AHashSet;
use model::PartitionId;
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::conn::Conn;
use super::known::{Topic, Topics};
use super::shared::Shared;
use crate::StoreError;

const DOING: &str = "entering topics";

/// Everything but the last level.
pub(super) fn branch(topic: &str) -> &str {
    topic.rsplit_once('/').map_or("", |(branch, _)| branch)
}

impl Shared {
    /// Looks up topics; those that are not stored are not in the answer.
    pub async fn find_topics<'a>(
        &self,
        keys: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Topics, StoreError> {
        let (mut found, missing) = self.known.topics.split(keys);
        if !missing.is_empty() {
            let mut conn = self.conn(DOING).await?;
            self.read_topics(&mut conn, missing, &mut found).await?;
        }
        Ok(found)
    }

    /// The same on a connection that the caller has.
    pub async fn find_topics_on<'a>(
        &self,
        conn: &mut Conn<'_>,
        keys: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Topics, StoreError> {
        let (mut found, missing) = self.known.topics.split(keys);
        if !missing.is_empty() {
            self.read_topics(conn, missing, &mut found).await?;
        }
        Ok(found)
    }

    /// One topic, if it is stored.
    pub async fn topic(&self, org: &str, topic: &str) -> Result<Option<Topic>, StoreError> {
        let found = self.find_topics(std::iter::once((org, topic))).await?;
        Ok(found.get(org, topic))
    }

    /// Looks up topics with their partitions, and enters those that are not stored: durable on return, as others will
    /// refer to them from memory.
    pub async fn enter_topics<'a>(
        &self,
        keys: impl Iterator<Item = (&'a str, &'a str, PartitionId)> + Clone,
    ) -> Result<Topics, StoreError> {
        let (mut found, missing) = self
            .known
            .topics
            .split(keys.clone().map(|(org, topic, _)| (org, topic)));
        if missing.is_empty() {
            return Ok(found);
        }
        let mut conn = self.conn(DOING).await?;
        self.read_topics(&mut conn, missing, &mut found).await?;
        let mut new: Vec<_> = keys
            .filter(|(org, topic, _)| found.get(org, topic).is_none())
            .collect();
        if new.is_empty() {
            return Ok(found);
        }
        // In one order for everybody, so that nobody waits in a circle.
        new.sort_unstable();
        new.dedup_by_key(|(org, topic, _)| (*org, *topic));
        let orgs: Vec<&str> = new.iter().map(|(org, ..)| *org).collect();
        let names: Vec<&str> = new.iter().map(|(_, name, _)| *name).collect();
        let branches: Vec<&str> = names.iter().map(|name| branch(name)).collect();
        let partitions: Vec<i64> = new.iter().map(|(.., p)| i64::from(p.0)).collect();
        let text = "INSERT INTO branches (org, name) SELECT DISTINCT u.org, u.name FROM unnest($1::text[], $2::text[]) u (org, name)
                    WHERE NOT EXISTS (SELECT FROM branches b WHERE b.org = u.org AND b.name = u.name)
                    ORDER BY u.org, u.name ON CONFLICT DO NOTHING";
        conn.run(DOING, sqlx::query(text).bind(&orgs).bind(&branches))
            .await?;
        let text = "INSERT INTO topics (org, topic, branch, partition) SELECT u.org, u.topic, b.id, u.partition
                    FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) u (org, topic, branch, partition)
                    JOIN branches b ON b.org = u.org AND b.name = u.branch ORDER BY u.org, u.topic
                    ON CONFLICT (org, topic) DO UPDATE SET partition = excluded.partition
                    RETURNING org, topic, id, branch, partition";
        let entered = sqlx::query(text)
            .bind(&orgs)
            .bind(&names)
            .bind(&branches)
            .bind(&partitions);
        let rows = conn.rows(DOING, entered).await?;
        self.remember(&rows, &mut found)?;
        Ok(found)
    }

    async fn read_topics(
        &self,
        conn: &mut Conn<'_>,
        missing: AHashSet<(&str, &str)>,
        found: &mut Topics,
    ) -> Result<(), StoreError> {
        let (orgs, names): (Vec<&str>, Vec<&str>) = missing.into_iter().unzip();
        let text = "SELECT t.org, t.topic, t.id, t.branch, t.partition FROM unnest($1::text[], $2::text[]) u (org, topic)
                    JOIN topics t ON t.org = u.org AND t.topic = u.topic";
        let rows = conn
            .rows(DOING, sqlx::query(text).bind(&orgs).bind(&names))
            .await?;
        self.remember(&rows, found)
    }

    fn remember(&self, rows: &[PgRow], found: &mut Topics) -> Result<(), StoreError> {
        for row in rows {
            let read = || -> Result<_, sqlx::Error> {
                let topic = Topic {
                    id: row.try_get(2)?,
                    branch: row.try_get(3)?,
                    partition: PartitionId(row.try_get::<i64, _>(4)? as u16),
                };
                Ok((row.try_get::<&str, _>(0)?, row.try_get::<&str, _>(1)?, topic))
            };
            let (org, name, topic) = read().map_err(StoreError::postgres(DOING))?;
            found.put(org, name, topic);
            self.known.topics.put(org, name, topic);
        }
        Ok(())
    }
}
