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
/// Of one thread, so many memberships that have ended: of more, the first to end are forgotten. Every edge knows of them by
/// then.
const ENDED: usize = 64;

#[derive(Debug, Clone)]
struct Latest {
    at: Position,
    /// Memberships that have ended and not begun again, in the order in which they ended.
    ended: SmallVec<[Ended; 1]>,
}

#[derive(Debug, Clone)]
struct Ended {
    member: String,
    /// The user behind it; `None` while that takes part by another of its identities.
    user: Option<String>,
}

impl Latest {
    /// What follows from a change for who may write.
    fn take(&mut self, topic: &str, change: &ThreadChange) {
        let visitor = ChatTopic::parse(topic).and_then(|topic| topic.visitor());
        // A visitor may always speak in its own thread: what it says opens it again.
        for m in change.ended.iter().filter(|m| Some(m.member.as_str()) != visitor) {
            self.ended.retain(|e| e.member != m.member);
            self.ended.push(Ended {
                member: m.member.clone(),
                user: Some(m.user.clone()).filter(|user| !change.staying.contains(user)),
            });
        }
        for m in &change.joined {
            self.ended.retain(|e| e.member != m.member);
            let of_user = self.ended.iter_mut().filter(|e| e.user.as_ref() == Some(&m.user));
            of_user.for_each(|e| e.user = None);
        }
        let surplus = self.ended.len().saturating_sub(ENDED);
        self.ended.drain(..surplus);
    }

    /// Whether somebody may write no more: as this author, or at all.
    fn silences(&self, entry: &Entry) -> bool {
        self.ended
            .iter()
            .any(|e| e.member == entry.author || e.user.as_ref() == Some(&entry.sender))
    }
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
        latest.is_some_and(|l| l.silences(entry))
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
        let mut latest = before.clone().unwrap_or(Latest {
            at: position,
            ended: SmallVec::new(),
        });
        latest.at = position;
        latest.take(&entry.topic, change);
        self.undo.push((key, before));
        self.latest.insert(key, latest);
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
            staying: Vec::new(),
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
    fn who_takes_part_by_another_identity_goes_on_as_that() {
        let mut changes = Changes::new(Position::START);
        let as_one = |at: u64, joined: &[&str], ended: &[&str], staying: &[&str]| {
            let mut entry = change("t", at, 0, joined, ended);
            let change = entry.change.as_mut().unwrap();
            let members = change.joined.iter_mut().chain(&mut change.ended);
            members.for_each(|m| m.user = "u".into());
            change.staying = staying.iter().map(ToString::to_string).collect();
            entry
        };
        let silent =
            |changes: &Changes| ["u", "a", "b"].map(|author| changes.has_ended(&by("t", "u", author)));
        changes.remember(&as_one(0, &[], &["a"], &["u"]), Position(5));
        assert_eq!(silent(&changes), [false, true, false]);
        changes.remember(&as_one(5, &[], &["b"], &[]), Position(6));
        assert_eq!(silent(&changes), [true; 3]);
        changes.remember(&as_one(6, &["b"], &[], &[]), Position(7));
        assert_eq!(silent(&changes), [false, true, false]);
    }

    #[test]
    fn of_many_who_have_left_the_last_write_no_more() {
        let mut changes = Changes::new(Position::START);
        let names: Vec<_> = (0..=ENDED + 9).rev().map(|n| format!("{n:03}")).collect();
        for (n, name) in names.iter().enumerate() {
            let n = n as u64;
            changes.remember(&change("t", n, 0, &[], &[name]), Position(n + 1));
        }
        let (first, last) = (&names[0], names.last().unwrap());
        assert!(changes.has_ended(&by("t", &format!("user-{last}"), last)));
        assert!(
            !changes.has_ended(&by("t", &format!("user-{first}"), first)),
            "bounded"
        );
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
