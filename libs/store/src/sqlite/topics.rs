//! The topics in which something happens. They are in memory; the others are in the table alone, see `cold.rs`.

use std::collections::BTreeMap;
use std::ops::Bound;

use ahash::AHashMap;
use model::{OrgId, PartitionId, TopicFilter, TopicName};
use rusqlite::Row;
use wire::Entry;

use crate::Flags;
use crate::rules::sums::Voice;

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
    /// When something happened last, counted in evictions.
    used: u64,
}

impl Topic {
    /// Whether there is something behind a position.
    pub fn has_news(&self, after: u64) -> bool {
        self.sums.head > after || self.receipt_head > after
    }
}

/// The columns of a topic's row.
macro_rules! columns {
    () => {
        "id, partition, head, shown, last, updated_at, waiting_since, receipt_head, prev, topic"
    };
}
pub(super) use columns;

/// Reads [`columns`].
pub(super) fn topic(row: &Row<'_>) -> rusqlite::Result<Topic> {
    let number = |i: usize| row.get::<_, i64>(i).map(|n| n as u64);
    Ok(Topic {
        id: row.get(0)?,
        partition: PartitionId(row.get(1)?),
        sums: Sums {
            head: number(2)?,
            shown: number(3)?,
            last: row.get(4)?,
            updated_at: number(5)?,
            waiting_since: number(6)?,
            prev: number(8)?,
        },
        receipt_head: number(7)?,
        name: TopicName::trusted(row.get_ref(9)?.as_str()?),
        dirty: false,
        used: 0,
    })
}

#[derive(Debug, Default)]
struct Names {
    exact: AHashMap<TopicName, TopicId>,
    ordered: BTreeMap<TopicName, TopicId>,
}

/// The topics in memory.
#[derive(Debug)]
pub(super) struct Topics {
    orgs: AHashMap<OrgId, Names>,
    by_id: AHashMap<TopicId, (OrgId, Topic)>,
    /// So many stay, though nothing happens in them.
    most: usize,
    /// Beyond so many it is tried to let some go, whatever is being written.
    crowded: usize,
    /// Evictions so far.
    evictions: u64,
}

impl Default for Topics {
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

impl Topics {
    /// None yet; `most` stay though nothing happens in them.
    pub fn new(most: usize) -> Self {
        Self {
            orgs: AHashMap::default(),
            by_id: AHashMap::default(),
            most,
            crowded: most,
            evictions: 0,
        }
    }

    /// How many there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn id(&self, org: &str, topic: &str) -> Option<TopicId> {
        self.orgs.get(org)?.exact.get(topic).copied()
    }

    pub fn find(&self, org: &str, topic: &str) -> Option<&Topic> {
        self.get(self.id(org, topic)?)
    }

    pub fn get(&self, id: TopicId) -> Option<&Topic> {
        self.by_id.get(&id).map(|(_, topic)| topic)
    }

    /// Something happens in a topic, if it is here.
    pub fn change(&mut self, id: TopicId, change: impl FnOnce(&mut Topic)) {
        if let Some((_, topic)) = self.by_id.get_mut(&id) {
            topic.used = self.evictions;
            change(topic);
        }
    }

    /// Enters a topic; one that is there stays as it is.
    pub fn insert(&mut self, org: &OrgId, mut topic: Topic) {
        if self.by_id.contains_key(&topic.id) {
            return;
        }
        topic.used = self.evictions;
        let names = self.orgs.entry(org.clone()).or_default();
        names.exact.insert(topic.name.clone(), topic.id);
        names.ordered.insert(topic.name.clone(), topic.id);
        self.by_id.insert(topic.id, (org.clone(), topic));
    }

    /// The sums that differ from their rows; they are taken to be written.
    pub fn clean(&mut self) -> TopicSums {
        let dirty = self
            .by_id
            .values_mut()
            .map(|(_, topic)| topic)
            .filter(|t| t.dirty);
        let clean = |topic: &mut Topic| {
            topic.dirty = false;
            (topic.id, topic.sums)
        };
        dirty.map(clean).collect()
    }

    /// Lets topics go when there are too many, but for those that are dirty or that have to stay: first those in which nothing has
    /// happened since the last time, then any.
    pub fn evict(&mut self, stays: impl Fn(TopicId) -> bool) {
        if self.by_id.len() <= self.most {
            return;
        }
        let (since, most) = (self.evictions, self.most / 2);
        self.evictions += 1;
        let mut surplus = self.by_id.len().saturating_sub(most);
        for only_idle in [true, false] {
            let idle = |topic: &Topic| !(topic.dirty || only_idle && topic.used >= since);
            let (orgs, mut left) = (&mut self.orgs, surplus);
            self.by_id.retain(|id, (org, topic)| {
                let goes = left > 0 && idle(topic) && !stays(*id);
                if goes {
                    left -= 1;
                    if let Some(names) = orgs.get_mut(org) {
                        names.exact.remove(&topic.name);
                        names.ordered.remove(&topic.name);
                    }
                }
                !goes
            });
            surplus = left;
        }
        self.orgs.retain(|_, names| !names.exact.is_empty());
        self.by_id.shrink_to(self.most);
        // Where most have to stay it is not tried again at once.
        self.crowded = self.most.max(self.by_id.len() * 2);
    }

    /// Whether there are so many that some should go now.
    pub fn is_crowded(&self) -> bool {
        self.by_id.len() > self.crowded
    }

    /// Those here that a filter matches: one look-up, or a walk over those with its literal beginning.
    pub fn matching<'a>(
        &'a self,
        org: &str,
        filter: &'a TopicFilter,
    ) -> Box<dyn Iterator<Item = &'a Topic> + 'a> {
        let Some(names) = self.orgs.get(org) else {
            return Box::new(std::iter::empty());
        };
        if !filter.has_wildcard() {
            let id = names.exact.get(filter.as_str());
            return Box::new(id.and_then(|id| self.get(*id)).into_iter());
        }
        let prefix = filter.literal_prefix();
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let range = names
            .ordered
            .range::<str, _>(from)
            .take_while(move |(name, _)| name.starts_with(prefix));
        let matches = range.filter(|(name, _)| filter.matches(name));
        Box::new(matches.filter_map(|(_, id)| self.get(*id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(id: TopicId, name: &str) -> Topic {
        Topic {
            id,
            name: TopicName::trusted(name),
            partition: PartitionId(0),
            sums: Sums::default(),
            dirty: false,
            receipt_head: 0,
            used: 0,
        }
    }

    #[test]
    fn a_filter_walks_only_over_its_literal_beginning() {
        let (mut topics, org) = (Topics::default(), OrgId::new("o"));
        for (i, name) in ["a", "a/b", "a/b/c", "ab", "b"].into_iter().enumerate() {
            topics.insert(&org, named(i as i64 + 1, name));
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

    #[test]
    fn topics_in_which_nothing_happens_go_and_those_the_table_does_not_have_stay() {
        let (mut topics, org) = (Topics::new(8), OrgId::new("o"));
        let has = |topics: &Topics| {
            (1..=20)
                .filter(|id| topics.get(*id).is_some())
                .collect::<Vec<_>>()
        };
        for id in 1..=8 {
            topics.insert(&org, named(id, &format!("t/{id}")));
        }
        topics.evict(|_| false);
        assert_eq!(has(&topics).len(), 8, "there is room");
        topics.insert(&org, named(9, "t/9"));
        topics.change(1, |t| t.dirty = true);
        topics.evict(|id| id == 2);
        assert_eq!((has(&topics).len(), &has(&topics)[..2]), (4, &[1, 2][..]));
        // What is used goes last.
        for id in 10..=14 {
            topics.insert(&org, named(id, &format!("t/{id}")));
        }
        topics.evict(|_| false);
        let left = has(&topics);
        assert!(left.len() == 4 && left[0] == 1 && left[1] > 9, "{left:?}");
        let all = TopicFilter::new("#").unwrap();
        assert_eq!(topics.matching("o", &all).count(), 4, "their names go with them");
        assert_eq!(topics.clean().len(), 1);
    }
}
