//! What is submitted and not decided yet: in the order of its coming, but for what is held.
//!
//! A message of which it is not known whether it was accepted before is held, before it has a position, and with it
//! everything that its sender sends to the same topic after it; nobody else's. After a while all of these are refused, to be
//! sent again. Bounded in bytes and in time.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::Duration;

use contract::routing::Submission;
use model::EdgeId;
use tokio::time::Instant;
use wire::envelope::uid_key;
use wire::{Entry, Kind};

use super::gather::is_message;
use super::lookups::Ticket;
use crate::inbox::LineId;

/// One submission.
#[derive(Debug)]
pub(crate) struct Queued {
    pub line: LineId,
    pub edge: EdgeId,
    pub submission: Submission,
    /// Since when it has been held.
    pub held: Option<Instant>,
    /// Of what the store is asked for it.
    pub asks: Vec<Ticket>,
}

/// Whose messages of which topic keep their order: what is held holds back these.
fn sender_key(entry: &Entry) -> u128 {
    uid_key(&entry.org, &entry.topic, &entry.sender)
}

/// The queue of one partition.
#[derive(Default)]
pub(crate) struct Queue {
    ready: VecDeque<Queued>,
    held: BTreeMap<u128, VecDeque<Queued>>,
    held_bytes: usize,
}

impl Queue {
    pub fn push(&mut self, queued: Queued) {
        self.ready.push_back(queued);
    }

    pub fn pop(&mut self) -> Option<Queued> {
        self.ready.pop_front()
    }

    /// It did not fit into the frame: it is the first of the next.
    pub fn push_back_to_front(&mut self, queued: Queued) {
        self.ready.push_front(queued);
    }

    /// How many wait to be decided.
    pub fn len(&self) -> usize {
        self.ready.len()
    }

    /// Whether there is more than receipts among them.
    pub fn has_message(&self) -> bool {
        self.ready
            .iter()
            .any(|queued| is_message(&queued.submission.entry))
    }

    /// Whether earlier ones of its sender in its topic are held, so that it has to wait as well. Receipts never are: they
    /// only ever move forward, whatever order they come in.
    pub fn must_wait(&self, entry: &Entry) -> bool {
        !self.held.is_empty()
            && entry.known_kind() != Kind::Receipt
            && self.held.contains_key(&sender_key(entry))
    }

    /// Holds a submission; it comes back when there is no room.
    pub fn hold(&mut self, mut queued: Queued, limit: usize) -> Option<Queued> {
        let size = queued.submission.entry.size();
        if self.held_bytes + size > limit {
            return Some(queued);
        }
        queued.held.get_or_insert_with(Instant::now);
        self.held_bytes += size;
        let key = sender_key(&queued.submission.entry);
        self.held.entry(key).or_default().push_back(queued);
        None
    }

    /// Lets go what is held, to be judged again, before everything that has come since. What cannot be decided yet is held again.
    pub fn release(&mut self) {
        let mut all: Vec<_> = std::mem::take(&mut self.held).into_values().collect();
        self.held_bytes = 0;
        // Senders among themselves have no order to keep; the longest waiting goes first.
        all.sort_by_key(|held| std::cmp::Reverse(held.front().and_then(|q| q.held)));
        for mut held in all {
            while let Some(queued) = held.pop_back() {
                self.ready.push_front(queued);
            }
        }
    }

    /// Drops what came on lines that have ended: their edges send it again on others, or are gone. What it held back is
    /// let go.
    pub fn forget(&mut self, ended: &HashSet<LineId>) {
        let stays = |queued: &Queued| !ended.contains(&queued.line);
        self.ready.retain(stays);
        let mut free = Vec::new();
        for (key, held) in &mut self.held {
            let before = held.len();
            held.retain(|queued| {
                let stays = stays(queued);
                if !stays {
                    self.held_bytes -= queued.submission.entry.size();
                }
                stays
            });
            if held.len() < before {
                free.push(*key);
            }
        }
        for key in free {
            let mut held = self.held.remove(&key).unwrap_or_default();
            while let Some(queued) = held.pop_back() {
                self.held_bytes -= queued.submission.entry.size();
                self.ready.push_front(queued);
            }
        }
    }

    /// Takes everything of those senders whose first has been held for so long.
    pub fn overdue(&mut self, limit: Duration) -> Vec<Queued> {
        let late = |q: &Queued| q.held.is_some_and(|since| since.elapsed() >= limit);
        let overdue: Vec<_> = self
            .held
            .extract_if(.., |_, held| held.front().is_some_and(late))
            .flat_map(|(_, held)| held)
            .collect();
        let bytes: usize = overdue.iter().map(|q| q.submission.entry.size()).sum();
        self.held_bytes -= bytes;
        overdue
    }

    /// When the first of those that are held becomes overdue.
    pub fn next_overdue(&self, limit: Duration) -> Option<Instant> {
        let first = self.held.values().filter_map(|held| held.front()?.held).min()?;
        Some(first + limit)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::Position;

    use super::*;

    fn queued(sender: &str, number: u64) -> Queued {
        let entry = Entry {
            sender: sender.into(),
            topic: "t".into(),
            ..Entry::default()
        };
        Queued {
            line: 1,
            edge: EdgeId::new("e"),
            submission: Submission {
                number,
                entry: Arc::new(entry),
                seen: Position::START,
                again: false,
            },
            held: None,
            asks: Vec::new(),
        }
    }

    fn numbers(queue: &mut Queue) -> Vec<u64> {
        std::iter::from_fn(|| queue.pop())
            .map(|q| q.submission.number)
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_holds_back_its_senders_later_ones_and_nobody_elses() {
        let mut queue = Queue::default();
        assert!(queue.hold(queued("a", 1), 1000).is_none());
        assert!(queue.must_wait(&queued("a", 2).submission.entry));
        assert!(!queue.must_wait(&queued("b", 3).submission.entry));
        let receipt = Entry {
            kind: Kind::Receipt.into(),
            ..(*queued("a", 2).submission.entry).clone()
        };
        assert!(!queue.must_wait(&receipt));
        assert!(queue.hold(queued("a", 2), 1000).is_none());
        queue.push(queued("a", 4));
        queue.release();
        assert_eq!(numbers(&mut queue), [1, 2, 4]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_for_too_long_goes_with_all_that_it_held_back() {
        let mut queue = Queue::default();
        let limit = Duration::from_secs(2);
        assert!(queue.hold(queued("a", 1), 1000).is_none());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(queue.hold(queued("a", 2), 1000).is_none());
        assert!(queue.hold(queued("b", 3), 1000).is_none());
        assert!(queue.overdue(limit).is_empty());
        assert_eq!(
            queue.next_overdue(limit),
            Some(Instant::now() + Duration::from_secs(1))
        );
        tokio::time::advance(Duration::from_secs(1)).await;
        let overdue: Vec<_> = queue.overdue(limit).iter().map(|q| q.submission.number).collect();
        assert_eq!(overdue, [1, 2]);
        assert!(queue.must_wait(&queued("b", 9).submission.entry));
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_on_a_line_that_has_ended_holds_nothing_back_any_more() {
        let mut queue = Queue::default();
        let on = |line: LineId, queued: Queued| Queued { line, ..queued };
        let size = queued("a", 1).submission.entry.size();
        for held in [
            on(1, queued("a", 1)),
            on(2, queued("a", 2)),
            on(2, queued("b", 3)),
        ] {
            assert!(queue.hold(held, 3 * size).is_none());
        }
        queue.push(on(1, queued("c", 4)));
        queue.push(on(2, queued("c", 5)));
        queue.forget(&HashSet::from([1]));
        assert_eq!(numbers(&mut queue), [2, 5]);
        assert!(queue.must_wait(&queued("b", 6).submission.entry));
        assert!(!queue.must_wait(&queued("a", 6).submission.entry));
        for number in [7, 8] {
            assert!(
                queue.hold(queued("b", number), 3 * size).is_none(),
                "there is room"
            );
        }
        queue.forget(&HashSet::from([1, 2]));
        assert!(queue.len() == 0 && queue.held.is_empty() && queue.held_bytes == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_held_than_there_is_room_for() {
        let mut queue = Queue::default();
        let size = queued("a", 1).submission.entry.size();
        assert!(queue.hold(queued("a", 1), size).is_none());
        assert!(queue.hold(queued("a", 2), size).is_some());
        queue.release();
        assert!(queue.hold(queued("a", 3), size).is_none());
    }
}
