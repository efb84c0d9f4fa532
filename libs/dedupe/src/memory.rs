//! The latest messages of a partition, exactly: enough to recognise a resend, and to judge a recall or a receipt.

use std::collections::VecDeque;

use ahash::RandomState;
use hashbrown::HashTable;
use model::{MessageKind, Position, ReceiptKind, UnixMillis, UserId};

use crate::people::{People, Person};

/// What is remembered of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it is in the log.
    pub position: Position,
    /// The principal that sent it.
    pub sender: UserId,
    /// The uid that it speaks as.
    pub author: UserId,
    /// Tells its content from another.
    pub digest: u64,
    /// When it was accepted.
    pub accepted_at: UnixMillis,
    /// How it is treated.
    pub kind: MessageKind,
    /// How far it has come, as far as is remembered.
    pub state: Option<ReceiptKind>,
}

/// How much is remembered. The oldest are forgotten when either is exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Messages.
    pub records: usize,
    /// Bytes, by what a record takes in memory.
    pub bytes: usize,
}

/// A record as it is held.
#[derive(Debug)]
struct Slot {
    // A u128 would be aligned to 16 bytes.
    key: [u64; 2],
    position: Position,
    digest: u64,
    accepted_at: UnixMillis,
    sender: Person,
    author: Person,
    kind: MessageKind,
    state: Option<ReceiptKind>,
}

/// What a record takes: the slot, and its place in the index, which is full to between 7/16 and 7/8.
const COST: usize = size_of::<Slot>() + 8;

/// The latest accepted messages by key, bounded. The first one of a key stays: what comes later under it is a part of
/// the same stream.
#[derive(Debug)]
pub struct Memory {
    limits: Limits,
    slots: VecDeque<Slot>,
    /// The number of the oldest slot; they are numbered in order, and may begin again at 0.
    first: u32,
    /// Numbers of slots.
    index: HashTable<u32>,
    hasher: RandomState,
    people: People,
    forgotten: Position,
    /// How many of the newest are not settled.
    unsettled: usize,
    /// What the unsettled frame changed: slots by number, and what they were.
    changed: Vec<(u32, Option<ReceiptKind>)>,
}

impl Memory {
    /// Remembers what it will be shown: everything after `forgotten`, which is [`Position::START`] for a log read from
    /// its beginning.
    pub fn new(limits: Limits, forgotten: Position) -> Self {
        let most = limits.records.min(limits.bytes / COST).min(u32::MAX as usize / 2);
        Self {
            limits,
            // Room for all of them, which the system gives when it is used: growing later would stop the owner for as
            // long as it takes to move them.
            slots: VecDeque::with_capacity(most),
            first: 0,
            index: HashTable::with_capacity(most),
            hasher: RandomState::new(),
            people: People::default(),
            forgotten,
            unsettled: 0,
            changed: Vec::new(),
        }
    }

    /// The message of a key, if it is remembered.
    pub fn get(&self, key: u128) -> Option<Record> {
        let slot = self.slot(self.find(split(key))?);
        Some(Record {
            position: slot.position,
            sender: self.people.user(slot.sender).clone(),
            author: self.people.user(slot.author).clone(),
            digest: slot.digest,
            accepted_at: slot.accepted_at,
            kind: slot.kind,
            state: slot.state,
        })
    }

    /// Everything accepted after this is remembered. What is not may have been accepted up to there: that is how far
    /// whoever looks it up must have applied the log.
    pub fn forgotten_up_to(&self) -> Position {
        self.forgotten
    }

    /// Remembers a message of the frame that is being built. Whether it is the first of its key that is remembered; if
    /// not, nothing changes. Messages come in the order of their positions.
    pub fn remember(&mut self, key: u128, record: &Record) -> bool {
        let key = split(key);
        if self.find(key).is_some() {
            return false;
        }
        let slot = Slot {
            key,
            position: record.position,
            digest: record.digest,
            accepted_at: record.accepted_at,
            sender: self.people.hire(&record.sender),
            author: self.people.hire(&record.author),
            kind: record.kind,
            state: record.state,
        };
        self.slots.push_back(slot);
        let number = self.number_of(self.slots.len() - 1);
        let (slots, hasher, first) = (&self.slots, &self.hasher, self.first);
        self.index.insert_unique(hasher.hash_one(key), number, |number| {
            hasher.hash_one(slots[place(*number, first)].key)
        });
        self.unsettled += 1;
        true
    }

    /// Notes how far a message has come; whether that is further than what is remembered. `false` also when it is not
    /// remembered.
    pub fn advance(&mut self, key: u128, state: ReceiptKind) -> bool {
        let Some(number) = self.find(split(key)) else {
            return false;
        };
        let at = place(number, self.first);
        let before = self.slots[at].state;
        if before >= Some(state) {
            return false;
        }
        self.slots[at].state = Some(state);
        self.changed.push((number, before));
        true
    }

    /// The frame is in the log. Forgets what is too much: only here, so that what was looked up for want of memory,
    /// before the frame was built, is all that it lacked.
    pub fn settle(&mut self) {
        self.unsettled = 0;
        self.changed.clear();
        while self.slots.len() > self.limits.records || self.bytes() > self.limits.bytes {
            let Some(slot) = self.slots.front() else {
                return;
            };
            self.unlink(slot.key, self.first);
            if let Some(slot) = self.slots.pop_front() {
                self.first = self.first.wrapping_add(1);
                self.forgotten = slot.position;
                self.dismiss(&slot);
            }
        }
    }

    /// The frame is certainly not in the log: nothing of it is remembered.
    pub fn undo(&mut self) {
        for (number, before) in std::mem::take(&mut self.changed).into_iter().rev() {
            let at = place(number, self.first);
            self.slots[at].state = before;
        }
        for _ in 0..std::mem::take(&mut self.unsettled) {
            let number = self.number_of(self.slots.len() - 1);
            let Some(key) = self.slots.back().map(|slot| slot.key) else {
                return;
            };
            self.unlink(key, number);
            if let Some(slot) = self.slots.pop_back() {
                self.dismiss(&slot);
            }
        }
    }

    /// How many messages are remembered.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        self.slots.len() * COST + self.people.bytes()
    }

    fn find(&self, key: [u64; 2]) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        let is_it = |number: &u32| self.slot(*number).key == key;
        self.index.find(hash, is_it).copied()
    }

    fn slot(&self, number: u32) -> &Slot {
        &self.slots[place(number, self.first)]
    }

    fn number_of(&self, at: usize) -> u32 {
        self.first
            .wrapping_add(u32::try_from(at).expect("fewer than 2^31 are remembered"))
    }

    fn unlink(&mut self, key: [u64; 2], number: u32) {
        let hash = self.hasher.hash_one(key);
        if let Ok(found) = self.index.find_entry(hash, |found| *found == number) {
            found.remove();
        }
    }

    fn dismiss(&mut self, slot: &Slot) {
        self.people.dismiss(slot.sender);
        self.people.dismiss(slot.author);
    }
}

/// Where the slot of a number stands.
fn place(number: u32, first: u32) -> usize {
    number.wrapping_sub(first) as usize
}

fn split(key: u128) -> [u64; 2] {
    [(key >> 64) as u64, key as u64]
}

#[cfg(test)]
mod tests;
