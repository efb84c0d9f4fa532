//! The latest change of each thread, as far as the owner has seen it: a later one must know it, and whose membership it ended
//! may write no more.
//!
//! Memory is bounded: the oldest changes are forgotten. So of a thread that is not remembered it is known only that nothing
//! changed in it after [`Changes::forgotten_up_to`]. Whoever proposes a change says how far it knew the log; one that knew
//! less than that must look again. Whose membership ended before that is known to every edge by now.

use std::collections::VecDeque;

use ahash::AHashMap;
use model::{ChatTopic, Position};
use smallvec::SmallVec;
use wire::envelope::uid_key;
use wire::{Entry, ThreadChange};

/// Threads that are remembered.
const LIMIT: usize = 20_000;
/// Of one thread, so many uids whose membership has ended: more at once are not remembered.
const ENDED: usize = 64;

#[derive(Debug, Clone)]
struct Latest {
    at: Position,
    /// The uids, of members and of the users behind them, whose membership has ended and not begun again.
    ended: SmallVec<[String; 2]>,
}

/// What one owner knows of changes.
#[derive(Debug)]
pub(crate) struct Changes {
    latest: AHashMap<u128, Latest>,
    /// In the order of the log. A thread stands here once for each of its changes.
    order: VecDeque<(Position, u128)>,
    forgotten: Position,
    /// What the threads of the frame that is being built were before it.
    undo: Vec<(u128, Option<Latest>)>,
    limit: usize,
}

fn key(entry: &Entry) -> u128 {
    uid_key(&entry.org, "thread", &entry.topic)
}

impl Changes {
    /// It is shown the log after `since`.
    pub fn new(since: Position) -> Self {
        Self {
            latest: AHashMap::new(),
            order: VecDeque::new(),
            forgotten: since,
            undo: Vec::new(),
            limit: LIMIT,
        }
    }

    /// Whether a change was decided on what the thread is now.
    pub fn is_latest(&self, entry: &Entry, change: &ThreadChange) -> bool {
        match self.latest.get(&key(entry)) {
            Some(latest) => latest.at.0 == change.expects,
            None => change.known >= self.forgotten.0,
        }
    }

    /// Whether the sender's membership of the thread has ended. The side channel of a thread has the thread's members.
    pub fn has_ended(&self, entry: &Entry) -> bool {
        if self.latest.is_empty() {
            return false;
        }
        let thread = ChatTopic::thread(&entry.topic);
        let latest = self.latest.get(&uid_key(&entry.org, "thread", thread));
        latest.is_some_and(|l| {
            l.ended
                .iter()
                .any(|uid| *uid == entry.author || *uid == entry.sender)
        })
    }

    /// An entry is accepted, or stands in the log.
    pub fn remember(&mut self, entry: &Entry, position: Position) {
        let Some(change) = &entry.change else { return };
        if change.act == 0 {
            // The notice of one.
            return;
        }
        let key = key(entry);
        let before = self.latest.get(&key).cloned();
        let mut ended = before.as_ref().map(|l| l.ended.clone()).unwrap_or_default();
        let visitor = ChatTopic::parse(&entry.topic).and_then(|topic| topic.visitor());
        // A visitor may always speak in its own thread: what it says opens it again.
        for member in change.ended.iter().filter(|m| Some(m.member.as_str()) != visitor) {
            ended.extend([&member.member, &member.user].map(Clone::clone));
        }
        ended.retain(|uid| {
            let mut joined = change.joined.iter();
            !joined.any(|m| m.member == *uid || m.user == *uid)
        });
        ended.sort_unstable();
        ended.dedup();
        ended.truncate(ENDED);
        self.undo.push((key, before));
        self.latest.insert(key, Latest { at: position, ended });
        self.order.push_back((position, key));
    }

    /// The frame is in the log.
    pub fn settle(&mut self) {
        self.undo.clear();
        while self.latest.len() > self.limit || self.order.len() > self.limit.saturating_mul(4) {
            let Some((at, key)) = self.order.pop_front() else {
                return;
            };
            // Only its latest change is forgotten with the thread.
            if self.latest.get(&key).is_some_and(|l| l.at == at) {
                self.latest.remove(&key);
                self.forgotten = at;
            }
        }
    }

    /// The frame is certainly not in the log.
    pub fn undo(&mut self) {
        for (key, before) in self.undo.drain(..).rev() {
            self.order.pop_back();
            match before {
                Some(before) => self.latest.insert(key, before),
                None => self.latest.remove(&key),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::thread::{Act, Change, Membership, ThreadStatus};

    fn change(topic: &str, expects: u64, known: u64, joined: &[&str], ended: &[&str]) -> Entry {
        let members = |names: &[&str]| {
            let member =
                |name: &&str| Membership::from((*name).into(), format!("user-{name}").into(), Position(0));
            names.iter().map(member).collect()
        };
        let change = Change {
            act: Act::Accepted,
            expects: Position(expects),
            status: ThreadStatus::Chatting,
            agent: None,
            joined: members(joined),
            ended: members(ended),
            offer: None,
            settled: None,
        };
        Entry {
            org: "o".into(),
            topic: topic.into(),
            change: Some(ThreadChange::of(&change, Position(known))),
            ..Entry::default()
        }
    }

    fn by(topic: &str, sender: &str, author: &str) -> Entry {
        Entry {
            org: "o".into(),
            topic: topic.into(),
            sender: sender.into(),
            author: author.into(),
            ..Entry::default()
        }
    }

    fn is_latest(changes: &Changes, entry: &Entry) -> bool {
        changes.is_latest(entry, entry.change.as_ref().unwrap())
    }

    #[test]
    fn of_two_changes_that_know_the_same_one_is_accepted() {
        let mut changes = Changes::new(Position::START);
        let first = change("t", 0, 0, &["a"], &[]);
        assert!(is_latest(&changes, &first));
        changes.remember(&first, Position(5));
        assert!(!is_latest(&changes, &change("t", 0, 9, &["b"], &[])));
        assert!(is_latest(&changes, &change("t", 5, 0, &["b"], &[])));
        assert!(is_latest(&changes, &change("other", 0, 0, &["b"], &[])));
        // The frame was not stored.
        changes.undo();
        assert!(is_latest(&changes, &first));
    }

    #[test]
    fn whose_membership_has_ended_writes_no_more_until_it_begins_again() {
        let mut changes = Changes::new(Position::START);
        changes.remember(&change("t", 0, 0, &["b"], &["a"]), Position(5));
        for (topic, sender, author, ended) in [
            ("t", "user-a", "a", true),
            ("t", "user-a", "other", true),
            ("t_internal", "user-a", "a", true),
            ("t", "user-b", "b", false),
            ("u", "user-a", "a", false),
        ] {
            assert_eq!(
                changes.has_ended(&by(topic, sender, author)),
                ended,
                "{topic} {sender} {author}"
            );
        }
        changes.remember(&change("t", 5, 0, &["a"], &["b"]), Position(9));
        assert!(!changes.has_ended(&by("t", "user-a", "a")) && changes.has_ended(&by("t", "user-b", "b")));
    }

    #[test]
    fn a_closed_thread_is_still_its_visitors_to_speak_in() {
        let (mut changes, topic) = (Changes::new(Position::START), "org/workgroup/w/v");
        changes.remember(&change(topic, 0, 0, &[], &["v", "a"]), Position(5));
        assert!(!changes.has_ended(&by(topic, "v", "v")) && changes.has_ended(&by(topic, "user-a", "a")));
    }

    #[test]
    fn what_is_forgotten_is_not_taken_for_unchanged() {
        let mut changes = Changes::new(Position(3));
        changes.limit = 2;
        assert!(
            !is_latest(&changes, &change("t", 0, 2, &[], &[])),
            "it may have changed before it looked"
        );
        assert!(is_latest(&changes, &change("t", 0, 3, &[], &[])));
        for (n, topic) in [(5, "a"), (6, "b"), (7, "c")] {
            changes.remember(&change(topic, 0, 4, &[], &[]), Position(n));
            changes.settle();
        }
        assert!(!is_latest(&changes, &change("a", 0, 4, &[], &[])));
        assert!(
            is_latest(&changes, &change("a", 5, 5, &[], &[])),
            "known up to the last that was forgotten"
        );
        // Many changes of one thread do not grow.
        for n in 0..100 {
            changes.remember(&change("c", 0, 4, &[], &[]), Position(10 + n));
            changes.settle();
        }
        assert!(changes.order.len() <= 8);
        assert!(is_latest(&changes, &change("c", 109, 0, &[], &[])));
    }
}
