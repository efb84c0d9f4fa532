//! What the owner of a partition knows of messages: the latest exactly, and of all others for days whether their uid was accepted.

use contract::persistence::{Found, FoundKind};
use dedupe::{Filter, Limits, Lookup, Memory, Record};
use model::{MessageKind, Position, ReceiptKind, UnixMillis, UserId};
use wire::envelope::uid_key;
use wire::{Entry, Kind};

/// The key of the message that an entry is: (org, topic, uid), whoever sent it.
pub(crate) fn key_of(entry: &Entry) -> u128 {
    uid_key(&entry.org, &entry.topic, &entry.uid)
}

/// The key of the message that a recall, a receipt or an edit means.
pub(crate) fn target_of(entry: &Entry) -> u128 {
    uid_key(&entry.org, &entry.topic, &entry.target)
}

/// The key of what an edit makes of its target: there is one.
pub(crate) fn edit_key(entry: &Entry) -> u128 {
    uid_key(&entry.org, &entry.topic, &[&entry.target, "\0edit"].concat())
}

/// The key under which it is remembered that a message was taken back.
pub(crate) fn recall_key(org: &str, topic: &str, uid: &str) -> u128 {
    uid_key(org, topic, &[uid, "\0recall"].concat())
}

/// The record of an accepted entry.
pub(crate) fn record_of(entry: &Entry, position: Position) -> Record {
    Record {
        position,
        sender: UserId::new(&entry.sender),
        author: UserId::new(&entry.author),
        digest: entry.digest,
        accepted_at: UnixMillis(entry.accepted_at),
        kind: match entry.known_kind() {
            Kind::StreamPart => MessageKind::StreamPart,
            Kind::Recall => MessageKind::Recall,
            _ => MessageKind::Ordinary,
        },
        state: None,
    }
}

/// The record of a message that the store has.
pub(crate) fn record_found(found: &Found) -> Record {
    Record {
        position: found.position,
        sender: found.sender.clone(),
        author: found.author.clone(),
        digest: found.digest,
        accepted_at: found.accepted_at,
        kind: match found.kind {
            FoundKind::Chat => MessageKind::Ordinary,
            FoundKind::Stream => MessageKind::StreamPart,
            FoundKind::Recall => MessageKind::Recall,
        },
        state: found.state,
    }
}

/// What is known of a message.
#[derive(Debug)]
pub(crate) enum Seen {
    /// It was accepted.
    Accepted(Record),
    /// It was not.
    Fresh,
    /// It may have been, before what is remembered exactly.
    Likely,
}

/// What one owner knows.
pub(crate) struct Known {
    memory: Memory,
    /// Which uids were accepted, for more than a week.
    pub filter: Filter,
}

impl Known {
    /// It is shown the log after `since`; the filter knows what was before, or says that it does not.
    pub fn new(limits: Limits, since: Position, filter: Filter) -> Self {
        Self {
            memory: Memory::new(limits, since),
            filter,
        }
    }

    /// Whether a message was accepted.
    pub fn seen(&self, key: u128) -> Seen {
        if let Some(record) = self.memory.get(key) {
            return Seen::Accepted(record);
        }
        // Whoever has seen the log from its beginning and forgotten nothing needs no filter.
        if self.memory.forgotten_up_to() == Position::START || self.filter.lookup(key) == Lookup::Fresh {
            return Seen::Fresh;
        }
        Seen::Likely
    }

    /// Whether a message is remembered exactly.
    pub fn remembers(&self, key: u128) -> bool {
        self.memory.get(key).is_some()
    }

    /// Up to here messages are forgotten: what is not found in the store is new only if the store has applied so much.
    pub fn forgotten_up_to(&self) -> Position {
        self.memory.forgotten_up_to()
    }

    /// Remembers an accepted message of the frame that is being built. `now` is the owner's clock (milliseconds since
    /// 1970), which alone says for how long the filter knows it: an edge whose clock is wrong has no say in that.
    pub fn remember(&mut self, key: u128, record: &Record, now: u64) {
        if self.memory.remember(key, record) {
            self.filter.insert(key, now);
        }
    }

    /// The same without the filter, which has it already or need not know it.
    pub fn remember_exactly(&mut self, key: u128, record: &Record) {
        self.memory.remember(key, record);
    }

    /// Whether a receipt of `sender` and `author` says more of a message than is known; then that is known.
    pub fn advance(&mut self, key: u128, state: ReceiptKind, sender: &str, author: &str) -> bool {
        match self.memory.get(key) {
            Some(record) if record.sender.as_str() == sender || record.author.as_str() == author => false,
            Some(_) => self.memory.advance(key, state),
            None => true,
        }
    }

    /// The frame is in the log.
    pub fn settle(&mut self) {
        self.memory.settle();
        self.filter.settle();
    }

    /// The frame is certainly not in the log.
    pub fn undo(&mut self) {
        self.memory.undo();
        self.filter.undo();
    }
}
