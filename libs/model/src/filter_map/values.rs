//! The values under one filter: a set that is cheap while it is small, as most are, and stays so when it is large.

use std::collections::HashMap;
use std::hash::Hash;

/// From so many values on, they are found by an index: thousands of connections may want one topic.
const INDEXED: usize = 16;

#[derive(Debug)]
pub(super) struct Values<V> {
    values: Vec<V>,
    /// Where each value stands; only of a set that has been large.
    #[allow(
        clippy::box_collection,
        reason = "most sets have none, and there may be millions"
    )]
    index: Option<Box<HashMap<V, usize, ahash::RandomState>>>,
}

impl<V> Default for Values<V> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            index: None,
        }
    }
}

impl<V: Clone + Eq + Hash> Values<V> {
    /// Whether it is new. Expected time does not grow with the set.
    pub fn insert(&mut self, value: V) -> bool {
        if self.position(&value).is_some() {
            return false;
        }
        if let Some(index) = &mut self.index {
            index.insert(value.clone(), self.values.len());
        }
        self.values.push(value);
        if self.index.is_none() && self.values.len() >= INDEXED {
            let places = self.values.iter().cloned().zip(0..);
            self.index = Some(Box::new(places.collect()));
        }
        true
    }

    /// Whether it was there. Expected time does not grow with the set.
    pub fn remove(&mut self, value: &V) -> bool {
        let Some(at) = self.position(value) else {
            return false;
        };
        self.values.swap_remove(at);
        if let Some(index) = &mut self.index {
            index.remove(value);
            // The last one stands where the removed one stood.
            if let Some(moved) = self.values.get(at) {
                index.insert(moved.clone(), at);
            }
            // Not at once below the mark, so that one that comes and goes does not build it each time.
            if self.values.len() < INDEXED / 2 {
                self.index = None;
            }
        }
        true
    }

    fn position(&self, value: &V) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(value).copied(),
            None => self.values.iter().position(|v| v == value),
        }
    }

    pub fn iter(&self) -> std::slice::Iter<'_, V> {
        self.values.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;
    use std::collections::BTreeSet;
    use std::rc::Rc;

    /// Counts how often it is compared.
    #[derive(Debug, Clone)]
    struct Counted(u32, Rc<Cell<usize>>);

    impl PartialEq for Counted {
        fn eq(&self, other: &Self) -> bool {
            self.1.set(self.1.get() + 1);
            self.0 == other.0
        }
    }

    impl Eq for Counted {}

    impl Hash for Counted {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            self.0.hash(state);
        }
    }

    #[test]
    fn to_enter_and_to_leave_compares_no_more_in_a_large_set() {
        let (compared, mut values) = (Rc::new(Cell::new(0)), Values::default());
        let most = |n: u32, f: &mut dyn FnMut(Counted)| {
            compared.set(0);
            (0..n).for_each(|i| f(Counted(i, compared.clone())));
            compared.get()
        };
        let entering = most(10_000, &mut |v| assert!(values.insert(v)));
        let leaving = most(10_000, &mut |v| assert!(values.remove(&v)));
        // The small beginning is searched; an index compares each with those of the same hash tag only.
        assert!(entering < 20_000 && leaving < 50_000, "{entering}, {leaving}");
        assert!(values.is_empty() && values.index.is_none());
    }

    proptest! {
        #[test]
        fn it_is_a_set_whatever_its_size(ops in proptest::collection::vec((0_u8..40, any::<bool>()), 0..300)) {
            let (mut values, mut want) = (Values::default(), BTreeSet::new());
            for (value, enters) in ops {
                if enters {
                    prop_assert_eq!(values.insert(value), want.insert(value));
                } else {
                    prop_assert_eq!(values.remove(&value), want.remove(&value));
                }
                prop_assert_eq!(values.iter().copied().collect::<BTreeSet<_>>(), want.clone());
                prop_assert_eq!(values.iter().len(), want.len());
            }
        }
    }
}
