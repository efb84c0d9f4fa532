//! What one partition remembers of its latest messages: enough to recognise a resend and to judge a recall or a receipt.

use std::collections::{HashMap, VecDeque};

use model::{Position, ReceiptKind, UnixMillis, UserId};
use smallvec::SmallVec;
use wire::Entry;
use wire::envelope::uid_key;

/// How far a client's clock may run ahead of ours, in milliseconds, for its resends still to be looked up. Beyond that a
/// resend older than the memory is fanned out again; the store keeps it out of history all the same.
const CLOCK_MARGIN: u64 = 2_000;
/// How long a message may be on its way into the log after an edge has accepted it (it may be held up, or the edge be
/// paused), in milliseconds: so much later than the first one that is remembered may one from before it have been accepted.
const APPEND_MARGIN: u64 = 120_000;

/// A message that was routed.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub position: Position,
    pub sender: UserId,
    pub author: UserId,
    pub topic: u128,
    pub digest: u64,
    pub accepted_at: UnixMillis,
    pub state: Option<ReceiptKind>,
}

/// What the memory says of an entry's uid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Not before; nothing older could be it either.
    New,
    /// Not among the remembered ones; it may be older than those.
    Unsure,
    /// The same message, there.
    Same(Position),
    /// Another message with the same uid, there.
    Other(Position),
}

/// The latest messages of a partition, bounded in number. The oldest are forgotten first, but only when told to: what was
/// looked up in the store beforehand, for want of memory, is all that may be unknown meanwhile.
#[derive(Debug)]
pub(crate) struct Memory {
    records: HashMap<u128, SmallVec<[Record; 1]>, ahash::RandomState>,
    order: VecDeque<(u128, Position)>,
    capacity: usize,
    /// Messages accepted up to this time are not all remembered; `None`: everything since the log began is.
    horizon: Option<UnixMillis>,
}

impl Memory {
    /// `complete`: it will be shown the log from its very beginning.
    pub fn new(capacity: usize, complete: bool) -> Self {
        let horizon = (!complete).then_some(UnixMillis(u64::MAX));
        Self {
            records: HashMap::default(),
            order: VecDeque::new(),
            capacity: capacity.max(1),
            horizon,
        }
    }

    /// Whether an entry's (org, sender, uid) was seen.
    pub fn seen(&self, entry: &Entry) -> Seen {
        match self
            .get(&entry.org, &entry.uid)
            .find(|r| r.sender.as_str() == entry.sender)
        {
            Some(r) if r.digest == entry.digest => Seen::Same(r.position),
            Some(r) => Seen::Other(r.position),
            None => self.absent(entry),
        }
    }

    fn absent(&self, entry: &Entry) -> Seen {
        match self.horizon {
            None => Seen::New,
            // What was forgotten was accepted before the horizon, and so written before it by any clock near ours.
            Some(h) if entry.client_time > h.0.saturating_add(CLOCK_MARGIN) => Seen::New,
            Some(_) => Seen::Unsure,
        }
    }

    /// The message of a topic that a recall or receipt means.
    pub fn target(&mut self, org: &str, topic: &str, uid: &str) -> Option<&mut Record> {
        let topic = topic_key(org, topic);
        self.records
            .get_mut(&uid_key(org, "", uid))?
            .iter_mut()
            .find(|r| r.topic == topic)
    }

    /// Whether a message that is not remembered may still exist.
    pub fn may_have_forgotten(&self) -> bool {
        self.horizon.is_some()
    }

    /// Remembers an accepted message. Call [`Self::forget_surplus`] now and then.
    pub fn remember(&mut self, entry: &Entry, position: Position) {
        let key = uid_key(&entry.org, "", &entry.uid);
        let record = Record {
            position,
            sender: UserId::new(&entry.sender),
            author: UserId::new(&entry.author),
            topic: topic_key(&entry.org, &entry.topic),
            digest: entry.digest,
            accepted_at: UnixMillis(entry.accepted_at),
            state: None,
        };
        if self.horizon.is_some_and(|h| h.0 == u64::MAX) {
            let unseen = record.accepted_at.0.saturating_add(APPEND_MARGIN);
            self.horizon = Some(UnixMillis(unseen));
        }
        self.records.entry(key).or_default().push(record);
        self.order.push_back((key, position));
    }

    /// Forgets what is more than it shall remember.
    pub fn forget_surplus(&mut self) {
        while self.order.len() > self.capacity {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((key, position)) = self.order.pop_front() else {
            return;
        };
        let Some(records) = self.records.get_mut(&key) else {
            return;
        };
        if let Some(i) = records.iter().position(|r| r.position == position) {
            // The log's order is not that of the times at which messages were accepted.
            let forgotten = records.swap_remove(i).accepted_at;
            self.horizon = self.horizon.max(Some(forgotten));
        }
        if records.is_empty() {
            self.records.remove(&key);
        }
    }

    fn get(&self, org: &str, uid: &str) -> impl Iterator<Item = &Record> {
        self.records.get(&uid_key(org, "", uid)).into_iter().flatten()
    }
}

pub(crate) fn topic_key(org: &str, topic: &str) -> u128 {
    uid_key(org, "", topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(uid: &str, sender: &str, digest: u64, at: u64) -> Entry {
        Entry {
            org: "o".into(),
            topic: "t".into(),
            uid: uid.into(),
            sender: sender.into(),
            digest,
            accepted_at: at,
            client_time: at,
            ..Entry::default()
        }
    }

    #[test]
    fn a_resend_is_the_same_sender_and_uid_and_a_conflict_is_another_payload() {
        let mut m = Memory::new(10, true);
        m.remember(&entry("1", "a", 7, 0), Position(5));
        assert_eq!(m.seen(&entry("1", "a", 7, 9)), Seen::Same(Position(5)));
        assert_eq!(m.seen(&entry("1", "a", 8, 9)), Seen::Other(Position(5)));
        assert_eq!(m.seen(&entry("1", "b", 7, 9)), Seen::New);
        assert!(m.target("o", "t", "1").is_some() && m.target("o", "u", "1").is_none());
    }

    #[test]
    fn what_is_older_than_the_memory_is_unsure() {
        let mut m = Memory::new(2, true);
        for i in 0..3u64 {
            m.remember(&entry(&i.to_string(), "a", 0, i * 1_000_000), Position(i + 1));
        }
        assert_eq!(m.seen(&entry("0", "a", 0, 0)), Seen::Same(Position(1)), "not yet");
        m.forget_surplus();
        assert_eq!(m.seen(&entry("0", "a", 0, 0)), Seen::Unsure);
        assert_eq!(m.seen(&entry("x", "a", 0, 2_000_000)), Seen::New);
        assert_eq!(
            m.seen(&Entry {
                client_time: 0,
                ..entry("x", "a", 0, 0)
            }),
            Seen::Unsure
        );
        assert_eq!(m.seen(&entry("2", "a", 0, 0)), Seen::Same(Position(3)));
        // One that was held up is forgotten: the time does not go back.
        m.remember(&entry("held up", "a", 0, 0), Position(4));
        m.remember(&entry("3", "a", 0, 3_000_000), Position(5));
        m.remember(&entry("4", "a", 0, 4_000_000), Position(6));
        m.forget_surplus();
        assert_eq!(m.seen(&entry("2", "a", 0, 2_000_000)), Seen::Unsure);
    }

    #[test]
    fn a_memory_that_did_not_see_the_beginning_is_unsure_until_it_has_seen_something() {
        let mut m = Memory::new(2, false);
        assert_eq!(m.seen(&entry("x", "a", 0, 5_000_000)), Seen::Unsure);
        m.remember(&entry("1", "a", 0, 1_000_000), Position(1));
        assert_eq!(m.seen(&entry("x", "a", 0, 5_000_000)), Seen::New);
    }
}
