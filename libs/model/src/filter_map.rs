//! Values under topic filters, found by topic: what routing and the edges ask for every entry.

mod values;

use std::collections::HashMap;
use std::hash::Hash;

use smol_str::SmolStr;

use crate::TopicFilter;
use values::Values;

/// Values kept under topic filters. Looking up a topic costs one hash for filters without wildcards, and a walk over the
/// topic's levels only if there are filters with wildcards. Entering and leaving cost a look-up for each level, however many
/// values there are under a filter.
#[derive(Debug)]
pub struct FilterMap<V> {
    exact: HashMap<SmolStr, Values<V>, ahash::RandomState>,
    wild: Node<V>,
    wild_count: usize,
}

#[derive(Debug)]
struct Node<V> {
    here: Values<V>,
    rest: Values<V>,
    literal: HashMap<SmolStr, Node<V>, ahash::RandomState>,
    plus: Option<Box<Node<V>>>,
}

impl<V> Default for Node<V> {
    fn default() -> Self {
        Self {
            here: Values::default(),
            rest: Values::default(),
            literal: HashMap::default(),
            plus: None,
        }
    }
}

impl<V> Default for FilterMap<V> {
    fn default() -> Self {
        Self {
            exact: HashMap::default(),
            wild: Node::default(),
            wild_count: 0,
        }
    }
}

impl<V: Clone + Eq + Hash> FilterMap<V> {
    /// Puts a value under a filter. The same value under the same filter stands there once.
    /// Returns whether it is new.
    pub fn insert(&mut self, filter: &TopicFilter, value: V) -> bool {
        let wild = filter.has_wildcard();
        let values = if wild {
            self.wild.slot(filter)
        } else {
            self.exact.entry(SmolStr::new(filter.as_str())).or_default()
        };
        let new = values.insert(value);
        self.wild_count += usize::from(wild && new);
        new
    }

    /// Takes a value from under a filter. Returns whether it was there.
    pub fn remove(&mut self, filter: &TopicFilter, value: &V) -> bool {
        if filter.has_wildcard() {
            let mut levels: Vec<&str> = filter.split('/').collect();
            levels.reverse();
            let removed = self.wild.remove(&mut levels, value);
            self.wild_count -= usize::from(removed);
            return removed;
        }
        let Some(values) = self.exact.get_mut(filter.as_str()) else {
            return false;
        };
        let removed = values.remove(value);
        if values.is_empty() {
            self.exact.remove(filter.as_str());
        }
        removed
    }

    /// Calls `found` with every value under a filter that matches. A value under several matching filters comes
    /// several times.
    pub fn for_each<'s>(&'s self, topic: &str, mut found: impl FnMut(&'s V)) {
        if let Some(values) = self.exact.get(topic) {
            values.iter().for_each(&mut found);
        }
        if self.wild_count > 0 {
            self.wild.walk(topic, topic.starts_with('$'), &mut found);
        }
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wild_count == 0
    }
}

impl<V: Clone + Eq + Hash> Node<V> {
    fn slot(&mut self, filter: &str) -> &mut Values<V> {
        let mut node = self;
        for level in filter.split('/') {
            node = match level {
                "#" => return &mut node.rest,
                "+" => node.plus.get_or_insert_default(),
                l => node.literal.entry(SmolStr::new(l)).or_default(),
            };
        }
        &mut node.here
    }

    fn remove(&mut self, levels: &mut Vec<&str>, value: &V) -> bool {
        match levels.pop() {
            None => self.here.remove(value),
            Some("#") => self.rest.remove(value),
            Some("+") => {
                let Some(next) = &mut self.plus else { return false };
                let removed = next.remove(levels, value);
                if next.is_empty() {
                    self.plus = None;
                }
                removed
            }
            Some(l) => {
                let Some(next) = self.literal.get_mut(l) else {
                    return false;
                };
                let removed = next.remove(levels, value);
                if next.is_empty() {
                    self.literal.remove(l);
                }
                removed
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.here.is_empty() && self.rest.is_empty() && self.literal.is_empty() && self.plus.is_none()
    }

    /// `system`: the topic begins with `$`, which a leading wildcard does not match [MQTT-4.7.2-1].
    fn walk<'s>(&'s self, topic: &str, system: bool, found: &mut impl FnMut(&'s V)) {
        if !system {
            self.rest.iter().for_each(&mut *found);
        }
        let (level, rest) = match topic.split_once('/') {
            Some((level, rest)) => (level, Some(rest)),
            None => (topic, None),
        };
        let plus = self.plus.as_deref().filter(|_| !system);
        for next in self.literal.get(level).into_iter().chain(plus) {
            match rest {
                Some(rest) => next.walk(rest, false, found),
                None => {
                    next.here.iter().for_each(&mut *found);
                    // `a/#` matches `a` as well.
                    next.rest.iter().for_each(&mut *found);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filter() -> impl Strategy<Value = TopicFilter> {
        let level = prop_oneof![Just("a"), Just("b"), Just("+"), Just("")];
        (proptest::collection::vec(level, 1..4), any::<bool>()).prop_filter_map(
            "no filter",
            |(mut levels, rest)| {
                if rest {
                    levels.push("#");
                }
                TopicFilter::new(&levels.join("/")).ok()
            },
        )
    }

    proptest! {
        #[test]
        fn a_lookup_finds_what_matching_one_by_one_finds(
            filters in proptest::collection::vec(filter(), 0..12),
            removed in proptest::collection::vec(any::<bool>(), 12),
            topic in proptest::collection::vec(prop_oneof![Just("a"), Just("b"), Just("$c"), Just("")], 1..5),
        ) {
            let topic = topic.join("/");
            let mut map = FilterMap::default();
            for (i, f) in filters.iter().enumerate() {
                prop_assert!(map.insert(f, i));
                prop_assert!(!map.insert(f, i));
            }
            for (i, f) in filters.iter().enumerate().filter(|(i, _)| removed[*i]) {
                prop_assert!(map.remove(f, &i) && !map.remove(f, &i));
            }
            let mut want: Vec<usize> = filters.iter().enumerate()
                .filter(|(i, f)| !removed[*i] && f.matches(&topic)).map(|(i, _)| i).collect();
            let mut got = Vec::new();
            map.for_each(&topic, |i| got.push(*i));
            got.sort_unstable();
            want.sort_unstable();
            prop_assert_eq!(got, want);
            for (i, f) in filters.iter().enumerate() {
                map.remove(f, &i);
            }
            prop_assert!(map.is_empty() && map.wild.is_empty());
        }
    }
}
