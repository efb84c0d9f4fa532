//! Uids: what a message is found by, and where the uids of the last days begin.

use contract::persistence::{SeenUid, UidPage};
use model::{Position, UnixMillis};
use wire::{Entry, Kind};

use crate::{Flags, Stored, TargetKey, Want};

/// The hash of a message's (org, uid) in the index of uids. Hits are compared with the row. Part of the storage format.
pub fn uid_hash(org: &str, uid: &str) -> u64 {
    wire::envelope::uid_key(org, "", uid) as u64
}

/// Where there is more under the uid of a message: later parts of a streamed answer, edits. There may be hundreds, and
/// most look for the message. Part of the storage format.
pub(crate) fn more_hash(org: &str, uid: &str) -> u64 {
    (wire::envelope::uid_key(org, "", uid) >> 64) as u64
}

/// How an entry stands in the index of uids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UidKey {
    /// A message of its own; `key` is the hash of (org, topic, uid).
    Message { hash: u64, key: u128 },
    /// More of one.
    More { hash: u64 },
}

impl UidKey {
    /// Of an entry; `None` for what nobody looks for.
    pub fn of(entry: &Entry, flags: Flags) -> Option<Self> {
        let uid = uid_of(entry);
        if uid.is_empty() {
            return None;
        }
        match entry.known_kind() {
            Kind::StreamPart if flags.has(Flags::PART) => Some(Self::more(entry, uid)),
            Kind::Edit => Some(Self::more(entry, uid)),
            Kind::Chat | Kind::Recall | Kind::StreamPart => Some(UidKey::Message {
                hash: uid_hash(&entry.org, uid),
                key: wire::envelope::uid_key(&entry.org, &entry.topic, uid),
            }),
            _ => None,
        }
    }

    fn more(entry: &Entry, uid: &str) -> Self {
        UidKey::More {
            hash: more_hash(&entry.org, uid),
        }
    }

    /// What the index has it under.
    pub fn hash(self) -> u64 {
        match self {
            UidKey::Message { hash, .. } | UidKey::More { hash } => hash,
        }
    }

    /// The hash of (org, topic, uid) of a message of its own.
    pub fn message(self) -> Option<u128> {
        match self {
            UidKey::Message { key, .. } => Some(key),
            UidKey::More { .. } => None,
        }
    }
}

/// The uid under which an entry stands: that of the message it edits, or its own.
pub fn uid_of(entry: &Entry) -> &str {
    match entry.known_kind() {
        Kind::Edit => &entry.target,
        _ => &entry.uid,
    }
}

impl TargetKey {
    /// The hashes under which the index has what is wanted.
    pub(crate) fn hashes(&self) -> impl Iterator<Item = u64> {
        let all = (self.want == Want::All).then(|| more_hash(&self.org, &self.uid));
        std::iter::once(uid_hash(&self.org, &self.uid)).chain(all)
    }

    /// Whether a row found under one of the hashes is wanted.
    pub(crate) fn means(&self, row: &Stored) -> bool {
        let (entry, kind) = (&row.entry, row.entry.known_kind());
        let kind = match &self.want {
            Want::First => true,
            Want::Stream => kind == Kind::StreamPart,
            Want::All => kind != Kind::Recall,
        };
        kind && uid_of(entry) == self.uid
            && entry.topic == self.topic.as_str()
            && entry.org == self.org.as_str()
    }
}

impl Want {
    /// How many of the messages found are wanted, the earliest first.
    pub(crate) fn most(self) -> usize {
        match self {
            Want::First | Want::Stream => 1,
            Want::All => usize::MAX,
        }
    }
}

/// Those of the messages found under a uid's hashes that are of that uid in the tenant, the earliest first: as they
/// were accepted, where the clocks of those who accepted them agree, and in the order of the log where it has one.
pub(crate) fn of_uid(mut found: Vec<Stored>, org: &str, uid: &str) -> Vec<Stored> {
    found.retain(|row| row.entry.org == org && uid_of(&row.entry) == uid);
    found.sort_by_key(|row| (row.entry.accepted_at, row.position));
    found
}

/// A page of a partition's uids: where it ends, given how far its rows were read and, when there are no more, how far
/// the log was applied before they were read.
pub(crate) fn page(uids: Vec<SeenUid>, read: Position, applied: Position, more: bool) -> UidPage {
    let next = if more { read } else { read.max(applied) };
    UidPage { uids, next, more }
}

/// Finds where the rows begin that were accepted at or after a time, by asking for single rows: `place` is any number
/// that grows in the order of the log. Times grow with it but for the differences of the edges' clocks, so the answer is
/// as exact as these are.
#[derive(Debug)]
pub(crate) struct Bisect {
    since: UnixMillis,
    /// Everything at or before this is older.
    low: u64,
    /// The first row after this is not older, or there is none.
    high: u64,
}

impl Bisect {
    /// Looks between two places; `high` is at or after the last row.
    pub fn new(low: u64, high: u64, since: UnixMillis) -> Self {
        let high = high.max(low);
        Self { since, low, high }
    }

    /// The place whose next row is to be told; `None` when it is found.
    pub fn ask(&self) -> Option<u64> {
        (self.low < self.high).then(|| self.low + (self.high - self.low) / 2)
    }

    /// The first row after what [`Self::ask`] gave: its place and when it was accepted.
    pub fn tell(&mut self, asked: u64, row: Option<(u64, UnixMillis)>) {
        match row {
            Some((place, at)) if at < self.since => self.low = place.max(asked + 1),
            _ => self.high = asked,
        }
    }

    /// The rows after this are not older than asked.
    pub fn found(&self) -> u64 {
        self.low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: Kind, uid: &str, target: &str) -> Entry {
        Entry {
            kind: kind.into(),
            org: "o".into(),
            topic: "t".into(),
            uid: uid.into(),
            target: target.into(),
            ..Entry::default()
        }
    }

    #[test]
    fn more_of_a_message_stands_beside_it_and_is_no_message() {
        let key = |kind, flags| UidKey::of(&entry(kind, "u", "t"), flags);
        let message = UidKey::Message {
            hash: uid_hash("o", "u"),
            key: wire::envelope::uid_key("o", "t", "u"),
        };
        for kind in [Kind::Chat, Kind::Recall, Kind::StreamPart] {
            assert_eq!(key(kind, Flags::SHOWN), Some(message));
        }
        let hash = more_hash("o", "u");
        assert_eq!(key(Kind::StreamPart, Flags::PART), Some(UidKey::More { hash }));
        let hash = more_hash("o", "t");
        assert_eq!(key(Kind::Edit, Flags::default()), Some(UidKey::More { hash }));
        assert_eq!(key(Kind::Receipt, Flags::default()), None);
        assert_eq!(UidKey::of(&entry(Kind::Chat, "", ""), Flags::SHOWN), None);
    }

    #[test]
    fn a_uid_is_of_its_tenant_and_the_earliest_comes_first() {
        let row = |org: &str, uid: &str, accepted_at: u64, position: u64| Stored {
            id: crate::MessageId { topic: 1, at: 1 },
            position: Position(position),
            flags: Flags::SHOWN,
            entry: Entry {
                org: org.into(),
                uid: uid.into(),
                accepted_at,
                ..Entry::default()
            },
            stream: None,
            state: None,
        };
        let found = vec![
            row("o", "u", 20, 1),
            row("o", "u", 10, 8),
            row("p", "u", 1, 2),
            row("o", "v", 1, 3),
            row("o", "u", 10, 7),
        ];
        let places = of_uid(found, "o", "u")
            .iter()
            .map(|row| row.position.0)
            .collect::<Vec<_>>();
        assert_eq!(places, [7, 8, 1]);
    }

    #[test]
    fn a_page_without_more_goes_up_to_where_the_log_is_applied() {
        let (read, applied) = (Position(5), Position(9));
        assert_eq!(page(Vec::new(), read, applied, true).next, read);
        assert_eq!(page(Vec::new(), read, applied, false).next, applied);
        assert_eq!(page(Vec::new(), applied, read, false).next, applied);
    }

    #[test]
    fn the_window_begins_at_the_first_row_that_is_not_older() {
        // Places have gaps, as positions do.
        let rows: Vec<(u64, UnixMillis)> = (1..=200).map(|n| (n * 7, UnixMillis(n * 10))).collect();
        for since in 0..2100 {
            let mut bisect = Bisect::new(0, 200 * 7, UnixMillis(since));
            let mut asked = 0;
            while let Some(place) = bisect.ask() {
                let next = rows.iter().find(|(at, _)| *at > place).copied();
                bisect.tell(place, next);
                asked += 1;
            }
            let first = rows.iter().find(|(place, _)| *place > bisect.found());
            let want = rows.iter().find(|(_, at)| at.0 >= since);
            assert_eq!(first, want, "since {since}");
            assert!(asked <= 12, "{asked} rows were asked for");
        }
    }
}
