//! What the writer is given to do, and what it does it with.

use ahash::AHashSet;
use contract::persistence::SessionKey;
use model::{EdgeId, OrgId, PartitionId, Position};
use rusqlite::{Connection, params};

use super::cold;
use super::mem::Appended;
use super::shared::{Shared, int, sql};
use super::topics::{Sums, Topic, TopicId, columns, topic};
use crate::{Service, StoreError};

/// How a job is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Durable on return.
    Sync,
    /// Durable some time later, in order.
    Lazy,
    /// Lazy, in a transaction of its own: it appends messages.
    Log,
    /// Lazy; the whole tail is written to the index first.
    Indexed,
}

/// What memory learns when the transaction is committed.
pub(super) enum Change {
    /// One that memory did not have, as its row is.
    Topic(OrgId, Topic),
    ReceiptHead(TopicId, u64),
    Progress(Service, PartitionId, Position),
    Appended(Appended),
    /// A connected session of which nothing is stored: its epoch and edge, or that it is none any more.
    Transient(SessionKey, Option<(u64, EdgeId)>),
}

/// What a job works with.
pub(super) struct Ctx<'a> {
    pub conn: &'a Connection,
    pub shared: &'a Shared,
    pub changes: Vec<Change>,
    /// What the jobs before it in the same transaction changed: memory learns it when that is committed.
    pub pending: &'a [Change],
    /// The id of the next message.
    pub next: i64,
}

impl Ctx<'_> {
    /// A connected session of which nothing is stored, as this transaction leaves it.
    pub fn transient(&self, key: &SessionKey) -> Option<(u64, EdgeId)> {
        let changed = self.pending.iter().rev().find_map(|change| match change {
            Change::Transient(of, session) if of == key => Some(session.clone()),
            _ => None,
        });
        changed.unwrap_or_else(|| self.shared.transient.lock().get(key).cloned())
    }

    /// Those of an edge, or all.
    pub fn transient_of(&self, edge: Option<&EdgeId>) -> Vec<SessionKey> {
        let mut held: AHashSet<SessionKey> = self.shared.transient.lock().keys().cloned().collect();
        held.extend(self.pending.iter().filter_map(|change| match change {
            Change::Transient(key, Some(_)) => Some(key.clone()),
            _ => None,
        }));
        let of = |by: EdgeId| edge.is_none_or(|edge| by == *edge);
        held.retain(|key| self.transient(key).is_some_and(|(_, by)| of(by)));
        held.into_iter().collect()
    }

    /// The number of a topic, which is entered when it is new, and its sums as they are committed. It is in memory afterwards.
    pub fn topic(
        &mut self,
        org: &str,
        name: &str,
        partition: PartitionId,
    ) -> Result<(TopicId, Sums), StoreError> {
        const ENTER: &str = concat!(
            "INSERT INTO topics (org, topic, partition) VALUES (?1, ?2, ?3) RETURNING ",
            columns!()
        );
        if let Some(topic) = self.shared.mem.read().topics.find(org, name) {
            return Ok((topic.id, topic.sums));
        }
        let topic = match cold::stored(self.conn, org, name)? {
            Some(topic) => topic,
            None => self
                .conn
                .prepare_cached(ENTER)
                .and_then(|mut s| s.query_row(params![org, name, partition.0], topic))
                .map_err(sql("entering a topic"))?,
        };
        let known = (topic.id, topic.sums);
        self.changes.push(Change::Topic(OrgId::new(org), topic));
        Ok(known)
    }

    /// Moves a service's progress, if it stands where the caller believes.
    pub fn advance(&mut self, service: Service, step: crate::Advance) -> Result<(), StoreError> {
        let stored = self.shared.mem.read().applied(service, step.partition);
        if stored != step.from {
            let (partition, assumed) = (step.partition, step.from);
            return Err(StoreError::Misplaced {
                partition,
                stored,
                assumed,
            });
        }
        let text = "INSERT INTO progress VALUES (?1, ?2, ?3)
                    ON CONFLICT (service, partition) DO UPDATE SET position = excluded.position";
        let mut update = self.conn.prepare_cached(text).map_err(sql("storing progress"))?;
        let row = params![service as i64, step.partition.0, int(step.to.0)];
        update.execute(row).map_err(sql("storing progress"))?;
        self.changes
            .push(Change::Progress(service, step.partition, step.to));
        Ok(())
    }
}

/// Something that the writer does.
pub(super) trait Job: Send {
    fn mode(&self) -> Mode;
    /// Does the work; whether it succeeded.
    fn run(&mut self, ctx: &mut Ctx<'_>) -> bool;
    /// Answers: with what the work gave, or with why the transaction failed.
    fn finish(self: Box<Self>, failed: Option<StoreError>);
}
