//! Writes the tail to the index: in sorted order, so that each page of the index is dirtied once for many entries, and in
//! slices, so that nobody waits long. A crash between two slices costs nothing: entries are written again as they are.

use rusqlite::{Connection, params};

use super::mem::{Slot, Tail};
use super::shared::{int, sql};
use super::topics::{Sums, TopicId};
use crate::StoreError;

/// Index entries a slice.
const SLICE: usize = 4096;

pub(super) struct Merge {
    topics: Vec<(TopicId, Slot)>,
    uids: Vec<(i64, i64)>,
    sums: Vec<(TopicId, Sums)>,
    upto: i64,
}

impl Merge {
    /// Sorts a tail that was set aside; `sums` are those of its topics as they were then.
    pub fn new(tail: &Tail, sums: Vec<(TopicId, Sums)>) -> Self {
        let runs = tail.by_topic.iter();
        let mut topics: Vec<_> = runs.flat_map(|(t, run)| run.iter().map(|s| (*t, *s))).collect();
        let runs = tail.by_uid.iter();
        let mut uids: Vec<_> = runs
            .flat_map(|(uid, ids)| ids.iter().map(|id| (int(*uid), *id)))
            .collect();
        // Descending: slices are taken from the end.
        topics.sort_unstable_by_key(|(t, s)| std::cmp::Reverse((*t, s.position)));
        uids.sort_unstable_by(|a, b| b.cmp(a));
        Self {
            topics,
            uids,
            sums,
            upto: tail.upto,
        }
    }

    /// Writes a slice; true when it was the last. On an error it may be called again.
    pub fn step(&mut self, conn: &Connection) -> Result<bool, StoreError> {
        let doing = sql("writing the index");
        conn.execute_batch("BEGIN IMMEDIATE").map_err(&doing)?;
        match self.write(conn) {
            Ok((topics, uids)) => {
                conn.execute_batch("COMMIT").map_err(&doing)?;
                let last = self.topics.is_empty() && self.uids.is_empty();
                self.topics.truncate(topics);
                self.uids.truncate(uids);
                Ok(last)
            }
            Err(error) => {
                // SQLite may have done so itself.
                let _nothing_left = conn.execute_batch("ROLLBACK");
                Err(doing(error))
            }
        }
    }

    /// Gives how many are left of each.
    fn write(&self, conn: &Connection) -> rusqlite::Result<(usize, usize)> {
        let (topics, uids) = (self.topics.len(), self.uids.len());
        if topics > 0 {
            let left = topics.saturating_sub(SLICE);
            let mut insert =
                conn.prepare_cached("INSERT OR IGNORE INTO topic_index VALUES (?1, ?2, ?3, ?4)")?;
            for (topic, slot) in self.topics[left..].iter().rev() {
                insert.execute(params![topic, int(slot.position), slot.id, slot.flags.0])?;
            }
            return Ok((left, uids));
        }
        if uids > 0 {
            let left = uids.saturating_sub(SLICE);
            let mut insert = conn.prepare_cached("INSERT OR IGNORE INTO uid_index VALUES (?1, ?2)")?;
            for (uid, id) in self.uids[left..].iter().rev() {
                insert.execute(params![uid, id])?;
            }
            return Ok((0, left));
        }
        let mut update = conn.prepare_cached(
            "UPDATE topics SET head = ?2, shown = ?3, last = ?4, updated_at = ?5, waiting_since = ?6, prev = ?7,
               news = max(news, ?2) WHERE id = ?1",
        )?;
        for (id, s) in &self.sums {
            update.execute(params![
                id,
                int(s.head),
                int(s.shown),
                s.last,
                int(s.updated_at),
                int(s.waiting_since),
                int(s.prev)
            ])?;
        }
        conn.prepare_cached("UPDATE meta SET value = ?1 WHERE name = 'indexed'")?
            .execute([self.upto])?;
        Ok((0, 0))
    }
}
