//! What is kept in memory beside the database: every topic with its sums, and the index of the newest messages.
//!
//! Both are functions of the tables. The index of the newest messages (the *tail*) is what makes applying cheap: rows are
//! appended, and their scattered index entries are written later in large sorted runs (`merge.rs`). Readers take what they
//! need of the tail first and ask the database second, so that an entry on its way between the two is never missed.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use ahash::AHashMap;
use model::{OrgId, PartitionId, Position, TopicFilter, TopicName};
use smallvec::SmallVec;
use wire::Entry;

use crate::rules::sums::Voice;
use crate::{Flags, Service};

/// The number of a topic in the store.
pub(super) type TopicId = i64;

/// The sums of some topics.
pub(super) type TopicSums = Vec<(TopicId, Sums)>;

/// What follows from a topic's messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// The last position.
    pub head: u64,
    /// What the next comes after: the last that anybody is shown.
    pub prev: u64,
    /// Messages of their own in history.
    pub shown: u64,
    /// The last of these.
    pub last: i64,
    /// When it was accepted.
    pub updated_at: u64,
    /// When the visitor first spoke since staff last did; 0 = staff did.
    pub waiting_since: u64,
}

impl Sums {
    /// Takes one more message into account.
    pub fn add(&mut self, id: i64, position: u64, flags: Flags, entry: &Entry) {
        self.head = self.head.max(position);
        if entry.is_told() {
            self.prev = self.prev.max(position);
        }
        self.waiting_since = Voice::of(entry, flags).waiting_since(self.waiting_since, entry.accepted_at);
        if flags.has(Flags::SHOWN) {
            (self.shown, self.last, self.updated_at) = (self.shown + 1, id, entry.accepted_at);
        }
    }
}

/// A topic.
#[derive(Debug, Clone)]
pub(super) struct Topic {
    pub id: TopicId,
    pub name: TopicName,
    pub partition: PartitionId,
    pub sums: Sums,
    /// Whether the sums differ from the row.
    pub dirty: bool,
    /// The position of the last receipt that changed something.
    pub receipt_head: u64,
    pub retained: bool,
    pub thread: bool,
}

impl Topic {
    pub fn new(id: TopicId, name: TopicName, partition: PartitionId) -> Self {
        let (sums, dirty, receipt_head) = (Sums::default(), false, 0);
        Self {
            id,
            name,
            partition,
            sums,
            dirty,
            receipt_head,
            retained: false,
            thread: false,
        }
    }
}

#[derive(Debug, Default)]
struct Names {
    exact: AHashMap<TopicName, TopicId>,
    ordered: BTreeMap<TopicName, TopicId>,
}

/// Every topic.
#[derive(Debug, Default)]
pub(super) struct Topics {
    orgs: AHashMap<OrgId, Names>,
    by_id: Vec<Option<Topic>>,
}

impl Topics {
    pub fn id(&self, org: &str, topic: &str) -> Option<TopicId> {
        self.orgs.get(org)?.exact.get(topic).copied()
    }

    pub fn find(&self, org: &str, topic: &str) -> Option<&Topic> {
        self.get(self.id(org, topic)?)
    }

    pub fn get(&self, id: TopicId) -> Option<&Topic> {
        self.by_id.get(usize::try_from(id).ok()?)?.as_ref()
    }

    pub fn get_mut(&mut self, id: TopicId) -> Option<&mut Topic> {
        self.by_id.get_mut(usize::try_from(id).ok()?)?.as_mut()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Topic> {
        self.by_id.iter_mut().flatten()
    }

    /// Enters a topic; one that is there stays as it is.
    pub fn insert(&mut self, org: &OrgId, topic: Topic) {
        let Ok(slot) = usize::try_from(topic.id) else {
            return;
        };
        if self.by_id.len() <= slot {
            self.by_id.resize_with(slot + 1, || None);
        }
        if self.by_id[slot].is_none() {
            let names = self.orgs.entry(org.clone()).or_default();
            names.exact.insert(topic.name.clone(), topic.id);
            names.ordered.insert(topic.name.clone(), topic.id);
            self.by_id[slot] = Some(topic);
        }
    }

    /// The topics that a filter matches: one look-up, or a walk over those with its literal beginning.
    pub fn matching<'a>(
        &'a self,
        org: &str,
        filter: &'a TopicFilter,
    ) -> Box<dyn Iterator<Item = &'a Topic> + 'a> {
        let Some(names) = self.orgs.get(org) else {
            return Box::new(std::iter::empty());
        };
        if !filter.has_wildcard() {
            return Box::new(
                names
                    .exact
                    .get(filter.as_str())
                    .and_then(|id| self.get(*id))
                    .into_iter(),
            );
        }
        let prefix = filter.literal_prefix();
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let range = names
            .ordered
            .range::<str, _>(from)
            .take_while(move |(name, _)| name.starts_with(prefix));
        Box::new(
            range
                .filter(|(name, _)| filter.matches(name))
                .filter_map(|(_, id)| self.get(*id)),
        )
    }
}

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
            if let Some(topic) = mem.topics.get_mut(id) {
                (topic.sums, topic.dirty) = (sums, true);
            }
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
        let mut sums = Vec::new();
        for topic in self.topics.iter_mut().filter(|t| t.dirty) {
            topic.dirty = false;
            sums.push((topic.id, topic.sums));
        }
        Some((tail, sums))
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

    #[test]
    fn a_filter_walks_only_over_its_literal_beginning() {
        let (mut topics, org) = (Topics::default(), OrgId::new("o"));
        for (i, name) in ["a", "a/b", "a/b/c", "ab", "b"].into_iter().enumerate() {
            topics.insert(
                &org,
                Topic::new(i as i64 + 1, TopicName::trusted(name), PartitionId(0)),
            );
        }
        let of = |f: &str| {
            let filter = TopicFilter::new(f).unwrap();
            topics
                .matching("o", &filter)
                .map(|t| t.name.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(of("a/#"), ["a", "a/b", "a/b/c"]);
        assert_eq!(of("a/+"), ["a/b"]);
        assert_eq!(of("ab"), ["ab"]);
        assert_eq!(of("+"), ["a", "ab", "b"]);
        assert_eq!(of("x/#").len(), 0);
    }
}
