//! What names a message: small enough to be kept for each delivery of hundreds of thousands of messages.

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

/// A message. Ours by who wrote it and its number there; others by a hash of their uid.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(u64);

const FOREIGN: u64 = 1 << 63;
const READ: u64 = 1 << 62;
const SEQ_BITS: u32 = 40;

impl Key {
    /// The `seq`th text of a writer.
    pub fn text(writer: usize, seq: usize) -> Self {
        Self((writer as u64) << SEQ_BITS | seq as u64)
    }

    /// The `seq`th READ receipt of a writer.
    pub fn read(writer: usize, seq: usize) -> Self {
        Self(Self::text(writer, seq).0 | READ)
    }

    /// A message that is none of this run's.
    pub fn foreign(uid: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        uid.hash(&mut hasher);
        Self(hasher.finish() | FOREIGN)
    }

    /// Writer and number of a text of this run.
    pub fn as_text(self) -> Option<(usize, usize)> {
        (self.0 & (FOREIGN | READ) == 0).then(|| self.split())
    }

    /// Writer and number of a READ of this run.
    pub fn as_read(self) -> Option<(usize, usize)> {
        (self.0 & (FOREIGN | READ) == READ).then(|| self.split())
    }

    /// Whether it says when it was written. Every second message does not, as clients may leave it.
    pub fn is_dated(self) -> bool {
        self.split().1.is_multiple_of(2)
    }

    fn split(self) -> (usize, usize) {
        let id = self.0 & !(FOREIGN | READ);
        ((id >> SEQ_BITS) as usize, (id & ((1 << SEQ_BITS) - 1)) as usize)
    }

    /// Its uid in the run of this name; `None` of a foreign one.
    pub fn uid(self, run: &str) -> Option<String> {
        let (writer, seq) = self.split();
        match self.0 & (FOREIGN | READ) {
            0 => Some(format!("{run}-{writer}-{seq}")),
            READ => Some(format!("{run}-{writer}-{seq}-read")),
            _ => None,
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.uid("") {
            Some(uid) => f.write_str(&uid),
            None => write!(f, "foreign {:x}", self.0),
        }
    }
}

/// The uids of a run: to and from [`Key`]s.
#[derive(Debug, Clone, Default)]
pub struct Names {
    run: String,
    foreign: HashMap<Key, String>,
}

/// How many uids of others are kept for the evidence.
const FOREIGN_KEPT: usize = 10_000;

impl Names {
    /// The names of a run; `run` must be unlike those of all other runs.
    pub fn new(run: &str) -> Self {
        Self {
            run: run.to_owned(),
            foreign: HashMap::new(),
        }
    }

    /// The name of the run.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// The key of a uid.
    pub fn key(&mut self, uid: &str) -> Key {
        let key = self.parse(uid).unwrap_or_else(|| Key::foreign(uid));
        if key.0 & FOREIGN != 0 && self.foreign.len() < FOREIGN_KEPT {
            self.foreign.entry(key).or_insert_with(|| uid.to_owned());
        }
        key
    }

    fn parse(&self, uid: &str) -> Option<Key> {
        let rest = uid.strip_prefix(&self.run)?.strip_prefix('-')?;
        let (rest, read) = rest
            .strip_suffix("-read")
            .map_or((rest, false), |rest| (rest, true));
        let (writer, seq) = rest.split_once('-')?;
        let (writer, seq) = (writer.parse().ok()?, seq.parse().ok()?);
        // Numbers that would not come back as they were are somebody else's.
        let key = if read {
            Key::read(writer, seq)
        } else {
            Key::text(writer, seq)
        };
        (key.uid(&self.run)? == uid).then_some(key)
    }

    /// The uid of a key, as far as it is known.
    pub fn uid(&self, key: Key) -> String {
        let known = key.uid(&self.run).or_else(|| self.foreign.get(&key).cloned());
        known.unwrap_or_else(|| format!("{key:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_and_its_key_are_one() {
        let mut names = Names::new("vf-1");
        for key in [Key::text(0, 0), Key::text(3, 70_000), Key::read(9, 1)] {
            let uid = names.uid(key);
            assert_eq!(names.key(&uid), key, "{uid}");
        }
        assert_eq!(names.key("vf-1-3-5").as_text(), Some((3, 5)));
        assert_eq!(names.key("vf-1-3-5-read").as_read(), Some((3, 5)));
    }

    #[test]
    fn every_second_message_is_without_a_date() {
        let dated = [0, 1, 2, 3].map(|seq| (Key::text(5, seq).is_dated(), Key::read(5, seq).is_dated()));
        assert_eq!(dated, [true, false, true, false].map(|dated| (dated, dated)));
    }

    #[test]
    fn the_uid_of_somebody_else_is_kept_as_it_is() {
        let mut names = Names::new("vf-1");
        for uid in ["vf-2-3-5", "vf-1-3-05", "hello", "vf-1-3"] {
            let key = names.key(uid);
            assert_eq!((key.as_text(), key.as_read()), (None, None), "{uid}");
            assert_eq!(names.uid(key), uid);
        }
    }
}
