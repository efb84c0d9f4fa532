//! What is kept in memory beside the database: the topics in which something happens, with their sums, and the index of the newest
//! messages. (What is not in memory of topics: `topics.rs`.)
//!
//! Both are functions of the tables. The index of the newest messages (the *tail*) is what makes applying cheap: rows are
//! appended, and their scattered index entries are written later in large sorted runs (`merge.rs`). Readers take what they
//! need of the tail first and ask the database second, so that an entry on its way between the two is never missed.

use std::sync::Arc;

use ahash::AHashMap;
use model::{PartitionId, Position};
use smallvec::SmallVec;

use super::topics::{Sums, TopicId, TopicSums, Topics};
use crate::{Flags, Service};

/// Where a message of the tail stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub position: u64,
    pub id: i64,
    pub flags: Flags,
}

/// The index of a run of the newest messages.
#[derive(Debug, Default)]
pub(super) struct Tail {
    pub by_topic: AHashMap<TopicId, Vec<Slot>>,
    pub by_uid: AHashMap<u64, SmallVec<[i64; 1]>>,
    /// How many messages.
    pub len: usize,
    /// The last message.
    pub upto: i64,
}

impl Tail {
    pub fn push(&mut self, topic: TopicId, slot: Slot, uid: Option<u64>) {
        self.by_topic.entry(topic).or_default().push(slot);
        if let Some(uid) = uid {
            self.by_uid.entry(uid).or_default().push(slot.id);
        }
        (self.len, self.upto) = (self.len + 1, slot.id);
    }
}

/// Messages that were appended, for memory.
pub(super) struct Appended {
    pub slots: Vec<(TopicId, Slot, Option<u64>)>,
    pub sums: AHashMap<TopicId, Sums>,
}

impl Appended {
    pub fn len(&self) -> i64 {
        self.slots.len() as i64
    }

    pub fn publish(self, mem: &mut Mem) {
        for (topic, slot, uid) in self.slots {
            mem.active.push(topic, slot, uid);
        }
        for (id, sums) in self.sums {
            mem.topics
                .change(id, |topic| (topic.sums, topic.dirty) = (sums, true));
        }
    }
}

/// A topic's messages of the tail, as far as a reader asked for them.
#[derive(Debug, Default)]
pub(super) struct TailView {
    /// The first position of the topic that may not be in the database's index yet: everything before it is.
    pub first: Option<u64>,
    /// Those asked for, in ascending order.
    pub slots: Vec<Slot>,
}

/// Everything in memory.
#[derive(Debug, Default)]
pub(super) struct Mem {
    pub topics: Topics,
    pub active: Tail,
    /// The tail that is being written to the index.
    pub frozen: Option<Arc<Tail>>,
    pub progress: AHashMap<(u8, PartitionId), Position>,
}

impl Mem {
    pub fn applied(&self, service: Service, partition: PartitionId) -> Position {
        self.progress
            .get(&(service as u8, partition))
            .copied()
            .unwrap_or_default()
    }

    /// Sets the tail aside to be written to the index, with the sums of its topics as they are now, when it has at least
    /// this many messages.
    pub fn freeze(&mut self, at_least: usize) -> Option<(Arc<Tail>, TopicSums)> {
        if self.active.len < at_least.max(1) {
            return None;
        }
        let tail = Arc::new(std::mem::take(&mut self.active));
        self.frozen = Some(tail.clone());
        Some((tail, self.topics.clean()))
    }

    /// The tail that was set aside is in the index, with the sums of its topics.
    pub fn thaw(&mut self) {
        self.frozen = None;
        self.evict();
    }

    /// Lets topics go of which the database has everything, when there are too many.
    pub fn evict(&mut self) {
        let frozen = self.frozen.as_deref();
        self.topics
            .evict(|id| frozen.is_some_and(|tail| tail.by_topic.contains_key(&id)));
    }

    /// The candidates of a uid hash in the tail, oldest first.
    pub fn candidates(&self, uid: u64, into: &mut Vec<i64>) {
        for tail in self.tails() {
            into.extend(tail.by_uid.get(&uid).into_iter().flatten());
        }
    }

    fn tails(&self) -> impl Iterator<Item = &Tail> {
        self.frozen
            .as_deref()
            .into_iter()
            .chain(std::iter::once(&self.active))
    }

    fn runs(&self, topic: TopicId) -> impl DoubleEndedIterator<Item = &[Slot]> {
        let frozen = self.frozen.as_deref().and_then(|t| t.by_topic.get(&topic));
        let active = self.active.by_topic.get(&topic);
        [frozen, active].into_iter().flatten().map(Vec::as_slice)
    }

    /// The first `limit` of a topic's tail in (after, upto].
    pub fn tail_after(&self, topic: TopicId, after: u64, upto: u64, limit: usize) -> TailView {
        let mut view = self.view(topic);
        for run in self.runs(topic) {
            let from = run.partition_point(|s| s.position <= after);
            let room = limit.saturating_sub(view.slots.len());
            view.slots
                .extend(run[from..].iter().take_while(|s| s.position <= upto).take(room));
        }
        view
    }

    /// The last `limit` shown of a topic's tail before a position, in ascending order.
    pub fn tail_before(&self, topic: TopicId, before: u64, limit: usize) -> TailView {
        let mut view = self.view(topic);
        for run in self.runs(topic).rev() {
            let to = run.partition_point(|s| s.position < before);
            let shown = run[..to].iter().rev().filter(|s| s.flags.has(Flags::SHOWN));
            let room = limit.saturating_sub(view.slots.len());
            view.slots.extend(shown.take(room));
        }
        view.slots.reverse();
        view
    }

    /// The last of a topic's tail before a position, shown or not.
    pub fn last_before(&self, topic: TopicId, before: u64) -> TailView {
        let mut view = self.view(topic);
        let last = self.runs(topic).rev().find_map(|run| {
            let to = run.partition_point(|s| s.position < before);
            run[..to].last().copied()
        });
        view.slots.extend(last);
        view
    }

    fn view(&self, topic: TopicId) -> TailView {
        let first = self.runs(topic).find_map(|run| run.first()).map(|s| s.position);
        TailView {
            first,
            ..TailView::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(position: u64) -> Slot {
        Slot {
            position,
            id: position as i64,
            flags: Flags::SHOWN,
        }
    }

    #[test]
    fn both_runs_of_the_tail_are_read_as_one() {
        let mut frozen = Tail::default();
        let mut mem = Mem::default();
        for p in 1..=3 {
            frozen.push(7, slot(p), Some(1));
        }
        for p in 4..=6 {
            mem.active.push(7, slot(p), Some(1));
        }
        mem.frozen = Some(Arc::new(frozen));
        let positions = |v: TailView| v.slots.iter().map(|s| s.position).collect::<Vec<_>>();
        assert_eq!(positions(mem.tail_after(7, 1, 5, 10)), [2, 3, 4, 5]);
        assert_eq!(positions(mem.tail_after(7, 1, 9, 3)), [2, 3, 4]);
        assert_eq!(positions(mem.tail_before(7, 6, 3)), [3, 4, 5]);
        assert_eq!(positions(mem.last_before(7, 4)), [3]);
        assert_eq!(mem.view(7).first, Some(1));
        let mut ids = Vec::new();
        mem.candidates(1, &mut ids);
        assert_eq!(ids, [1, 2, 3, 4, 5, 6]);
    }
}
