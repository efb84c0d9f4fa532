//! The ids of recent frames: a retried append is stored once.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ahash::AHashMap;
use model::EdgeId;

/// How long an id is remembered.
pub(super) const AGE: Duration = Duration::from_secs(180);
/// How many ids are remembered at most, whatever their age: some 40 MiB. More than 4,300 frames a second shorten the window to
/// less than the two minutes that are promised; batches come long before.
pub(super) const LIMIT: usize = 512 << 10;

/// A frame id, its writer abbreviated. An id belongs to one partition.
pub(super) type Key = (u32, u16, u64);

/// Writers by number.
#[derive(Default)]
struct Writers(AHashMap<EdgeId, u32>);

impl Writers {
    fn number(&mut self, writer: &str) -> u32 {
        match self.0.get(writer) {
            Some(known) => *known,
            None => {
                let new = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
                self.0.insert(EdgeId::new(writer), new);
                new
            }
        }
    }
}

/// The latest ids of one segment, in the order of their frames.
#[derive(Default)]
pub(super) struct Ids {
    writers: Writers,
    stored: VecDeque<(Key, u64)>,
}

impl Ids {
    pub fn add(&mut self, partition: u16, writer: &str, number: u64, seq: u64) {
        if self.stored.len() == LIMIT {
            self.stored.pop_front();
        }
        let writer = self.writers.number(writer);
        self.stored.push_back(((writer, partition, number), seq));
    }
}

/// What was stored lately.
#[derive(Default)]
pub(super) struct Window {
    writers: Writers,
    stored: AHashMap<Key, u64>,
    by_age: VecDeque<(Instant, Key)>,
}

impl Window {
    pub fn key(&mut self, partition: u16, writer: &str, number: u64) -> Key {
        let writer = self.writers.number(writer);
        (writer, partition, number)
    }

    pub fn get(&self, key: &Key) -> Option<u64> {
        self.stored.get(key).copied()
    }

    /// Takes what a segment holds, as if it had been stored now: when it was is not known that well, and longer does no harm.
    pub fn absorb(&mut self, ids: Ids, now: Instant) {
        let numbers = ids.writers.0.into_iter();
        let numbers: AHashMap<u32, u32> = numbers
            .map(|(writer, number)| (number, self.writers.number(&writer)))
            .collect();
        for ((writer, partition, number), seq) in ids.stored {
            if let Some(writer) = numbers.get(&writer) {
                self.insert((*writer, partition, number), seq, now);
            }
        }
    }

    pub fn insert(&mut self, key: Key, seq: u64, now: Instant) {
        self.stored.insert(key, seq);
        self.by_age.push_back((now, key));
        while let Some((stored, key)) = self.by_age.front() {
            if self.by_age.len() <= LIMIT && now.duration_since(*stored) < AGE {
                break;
            }
            self.stored.remove(key);
            self.by_age.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_remembered_for_more_than_two_minutes_and_not_for_ever() {
        let (mut window, start) = (Window::default(), Instant::now());
        let first = window.key(0, "e", 1);
        window.insert(first, 10, start);
        assert_ne!(first, window.key(0, "other", 1));
        let second = window.key(0, "e", 2);
        window.insert(second, 11, start + Duration::from_secs(130));
        assert_eq!(window.get(&first), Some(10));
        let third = window.key(0, "e", 3);
        window.insert(third, 12, start + Duration::from_secs(200));
        assert_eq!((window.get(&first), window.get(&second)), (None, Some(11)));
    }

    #[test]
    fn ids_of_segments_are_those_of_their_writers() {
        let (mut window, now) = (Window::default(), Instant::now());
        for (writers, seq) in [(["a", "b"], 1), (["b", "a"], 3)] {
            let mut ids = Ids::default();
            ids.add(0, writers[0], seq, seq);
            ids.add(0, writers[1], seq, seq + 1);
            window.absorb(ids, now);
        }
        for (writer, number, seq) in [("a", 1, 1), ("b", 1, 2), ("b", 3, 3), ("a", 3, 4)] {
            let key = window.key(0, writer, number);
            assert_eq!(window.get(&key), Some(seq), "{writer} {number}");
        }
    }

    #[test]
    fn the_number_of_ids_is_bounded() {
        let (mut window, now) = (Window::default(), Instant::now());
        for i in 0..LIMIT as u64 + 10 {
            let key = window.key(0, "e", i);
            window.insert(key, i, now);
        }
        assert_eq!(window.stored.len(), LIMIT);
        assert_eq!(window.get(&(0, 0, 9)), None);
        assert_eq!(window.get(&(0, 0, 10)), Some(10));
    }
}
