//! Which keys were accepted, at least eight days back.

use std::collections::{BTreeSet, HashSet};

use crate::generation::{Closed, Open, Stored};
use crate::manifest::Blob;
use crate::seal::{Sealed, Sealing};

/// How a filter is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Keys in a generation. The set of the newest takes about 15 bytes for each, a filter 2.26; every generation costs
    /// a look at each new message.
    pub capacity: usize,
    /// How long a generation takes keys, in milliseconds.
    pub max_age: u64,
    /// How long after its last key a generation is kept, in milliseconds. What is older than that is taken for new.
    pub retention: u64,
    /// From how many keys on those that are not stored yet become a blob of their own; fewer are written into the
    /// manifest each time.
    pub spill: usize,
    /// A number that clients cannot guess: they choose uids, and must not choose where those fall in a table.
    pub salt: u64,
}

const DAY: u64 = 24 * 3600 * 1000;

impl Config {
    /// The measures that 10 million messages a day in four partitions need: see docs/adr/0017-known-uids.md.
    pub fn new(salt: u64) -> Self {
        Self {
            capacity: 1_600_000,
            max_age: DAY,
            retention: 9 * DAY,
            spill: 16_384,
            salt,
        }
    }
}

/// What a filter says of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// It was never accepted within the retention. Certain.
    Fresh,
    /// It was accepted, or is one of the few that look like it, or the filter does not know: look it up.
    Likely,
}

/// Which keys were accepted. See the [crate] for the whole; here is what concerns one frame and time, in
/// `checkpoint.rs` and `restore.rs` how it outlives its owner.
#[derive(Debug)]
pub struct Filter {
    pub(crate) config: Config,
    /// Takes the keys.
    pub(crate) current: Open,
    /// Full, and exact until their filters are built. Oldest first.
    pub(crate) closing: Vec<Open>,
    /// Oldest first.
    pub(crate) closed: Vec<Closed>,
    /// What the unsettled frame brought that was not in the current generation before, in order.
    unsettled: Vec<u64>,
    /// What was accepted up to this time is not all here.
    pub(crate) missing: Option<u64>,
    /// Numbers generations and blobs.
    pub(crate) next: u64,
    /// The blobs that the last stored manifest names.
    pub(crate) stored: BTreeSet<Blob>,
    /// Counts checkpoints: only the latest can be confirmed.
    pub(crate) checkpoints: u64,
}

/// The half of a key that filters hold: they take 64 bits. Two messages that agree in it are told apart by looking them
/// up.
pub(crate) fn half(key: u128) -> u64 {
    (key >> 64) as u64
}

impl Filter {
    /// A filter that knows everything: nothing was accepted before.
    pub fn new(config: Config) -> Self {
        Self {
            current: Open::new(1, config.salt),
            closing: Vec::new(),
            closed: Vec::new(),
            unsettled: Vec::new(),
            missing: None,
            next: 2,
            stored: BTreeSet::new(),
            checkpoints: 0,
            config,
        }
    }

    /// A filter that knows nothing of what was accepted up to `at` (milliseconds since 1970): for want of a checkpoint
    /// that [joins](crate::Join::Joins) the log.
    pub fn ignorant(config: Config, at: u64) -> Self {
        let mut filter = Self::new(config);
        filter.miss(at);
        filter
    }

    /// What was accepted up to `at` is not all here: the log was trimmed behind the checkpoint.
    pub fn miss(&mut self, at: u64) {
        self.missing = self.missing.max(Some(at));
    }

    /// Until when something is missing that no blob will bring: [`crate::Rebuild`] it from the store.
    pub fn missing(&self) -> Option<u64> {
        self.missing
    }

    /// Everything accepted up to `at` has been adopted. Does nothing if more has been found missing since.
    pub fn rebuilt(&mut self, at: u64) {
        self.missing = self.missing.filter(|missing| *missing > at);
    }

    /// Whether it has all that it should know: it can say [`Lookup::Fresh`].
    pub fn is_complete(&self) -> bool {
        self.missing.is_none()
            && self.current.is_whole()
            && self.closing.iter().all(Open::is_whole)
            && self.closed.iter().all(|closed| closed.form.is_some())
    }

    /// Whether a key was accepted before. About 0.02 % of new keys look as if they were; all do while the filter is not
    /// complete.
    pub fn lookup(&self, key: u128) -> Lookup {
        if !self.may_contain(key) && self.is_complete() {
            Lookup::Fresh
        } else {
            Lookup::Likely
        }
    }

    /// Whether what is here has the key, or something like it.
    pub fn may_contain(&self, key: u128) -> bool {
        let key = half(key);
        self.current.set.contains(key)
            || self.closing.iter().any(|open| open.set.contains(key))
            // A resend is more often of today than of last week.
            || self.closed.iter().rev().any(|closed| closed.form.as_ref().is_some_and(|form| form.contains(key)))
    }

    /// Takes in a key of the frame that is being built, accepted at `at` (milliseconds since 1970).
    pub fn insert(&mut self, key: u128, at: u64) {
        let key = half(key);
        if self.current.set().insert(key) {
            self.unsettled.push(key);
        }
        self.current.span.widen(at);
    }

    /// The frame is in the log.
    pub fn settle(&mut self) {
        self.current.tail.append(&mut self.unsettled);
    }

    /// The frame is certainly not in the log, and never will be. Keys that were there before it stay.
    pub fn undo(&mut self) {
        for key in std::mem::take(&mut self.unsettled) {
            self.current.set().remove(key);
        }
    }

    /// These keys turned out to have been in the current generation before the unsettled frame: its end does not take
    /// them away.
    pub(crate) fn keep(&mut self, known: &HashSet<u64>) {
        self.unsettled.retain(|key| !known.contains(key));
    }

    /// Does what time asks for, between two frames: drops what is older than the retention, closes a generation that is
    /// full or old enough, and hands out what is to be sealed, one at a time. Cheap: call it after each
    /// [`Filter::settle`], and now and then while nothing comes.
    pub fn tend(&mut self, now: u64) -> Option<Sealing> {
        let retention = self.config.retention;
        let is_over = |to: u64| to.saturating_add(retention) < now;
        self.closed.retain(|closed| !is_over(closed.span.to));
        self.missing = self.missing.filter(|missing| !is_over(*missing));
        if self.is_due(now) {
            let id = self.number();
            let fresh = Open::new(id, self.config.salt);
            self.closing.push(std::mem::replace(&mut self.current, fresh));
        }
        if self.closing.iter().any(Open::is_being_sealed) {
            return None;
        }
        let ready = |open: &&Open| open.is_whole();
        self.closing.iter().find(ready).map(|open| Sealing {
            id: open.id,
            span: open.span,
            set: open.set.clone(),
            salt: self.config.salt,
        })
    }

    fn is_due(&self, now: u64) -> bool {
        let (current, config) = (&self.current, &self.config);
        // A frame that may be taken back stays in the generation that takes it back.
        self.unsettled.is_empty()
            && current.set.len() > 0
            && (current.set.len() >= config.capacity
                || current.span.from.saturating_add(config.max_age) <= now)
    }

    /// A filter takes the place of its set, or of what was missing.
    pub fn adopt(&mut self, sealed: Sealed) {
        let id = match sealed.replaces {
            Some(id) => {
                let Some(place) = self.closing.iter().position(|open| open.id == id) else {
                    return;
                };
                self.closing.remove(place);
                id
            }
            None => self.number(),
        };
        let closed = Closed {
            id,
            keys: sealed.keys,
            span: sealed.span,
            form: Some(sealed.form),
            stored: Stored::Not(sealed.bytes),
        };
        self.insert_closed(closed);
    }

    pub(crate) fn insert_closed(&mut self, closed: Closed) {
        let place = self
            .closed
            .partition_point(|before| before.span.to <= closed.span.to);
        self.closed.insert(place, closed);
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// Keys that it knows, those of generations that are not loaded included.
    pub fn len(&self) -> u64 {
        let open = self.closing.iter().chain([&self.current]);
        let open: u64 = open.map(|open| open.set.len() as u64).sum();
        open + self.closed.iter().map(|closed| closed.keys).sum::<u64>()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sealed generations.
    pub fn generations(&self) -> usize {
        self.closed.len()
    }

    /// Bytes allocated, but for a few hundred.
    pub fn bytes(&self) -> usize {
        let open = self.closing.iter().chain([&self.current]);
        let open = open.map(|open| open.set.bytes() + open.tail.capacity() * 8);
        let closed = self.closed.iter().map(|closed| {
            let waiting = match &closed.stored {
                Stored::Not(bytes) => bytes.len(),
                Stored::At(_) => 0,
            };
            closed.form.as_ref().map_or(0, crate::form::Form::bytes) + waiting
        });
        open.chain(closed).sum::<usize>() + self.unsettled.capacity() * 8
    }
}
