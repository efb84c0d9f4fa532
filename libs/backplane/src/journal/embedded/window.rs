//! The ids of recent frames: a retried append is stored once.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ahash::AHashMap;
use model::EdgeId;

/// How long an id is remembered.
const AGE: Duration = Duration::from_secs(180);
/// How many ids are remembered at most, whatever their age: some 40 MiB. More than 4,300 frames a second shorten the window to
/// less than the two minutes that are promised; batches come long before.
const LIMIT: usize = 512 << 10;

/// A frame id, its writer abbreviated. An id belongs to one partition.
pub(super) type Key = (u32, u16, u64);

/// What was stored lately.
#[derive(Default)]
pub(super) struct Window {
    writers: AHashMap<EdgeId, u32>,
    stored: AHashMap<Key, u64>,
    by_age: VecDeque<(Instant, Key)>,
}

impl Window {
    pub fn key(&mut self, partition: u16, writer: &str, number: u64) -> Key {
        let writer = match self.writers.get(writer) {
            Some(known) => *known,
            None => {
                let new = u32::try_from(self.writers.len()).unwrap_or(u32::MAX);
                self.writers.insert(EdgeId::new(writer), new);
                new
            }
        };
        (writer, partition, number)
    }

    pub fn get(&self, key: &Key) -> Option<u64> {
        self.stored.get(key).copied()
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
