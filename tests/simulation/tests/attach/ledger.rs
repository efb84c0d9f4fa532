//! What clients saw, sent and were told, and what must be true of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use edge::Outcome;
use model::{PartitionId, Partitioning, Position, TopicFilter};
use parking_lot::Mutex;

use crate::connection::principal;
use crate::life::{Life, THREADS};
use crate::log::{Log, Placed, edit_of, known_as};
use wire::Kind;

fn is_thread(topic: &str) -> bool {
    THREADS.contains(&topic)
}

/// A place in the whole log.
pub type Place = (PartitionId, Position);

/// One session as its client sees it.
#[derive(Default)]
struct Seen {
    ever: BTreeSet<Place>,
    /// Acknowledged, and stored as such: must not come again.
    done: BTreeSet<Place>,
    /// Filters, with the place from which on each is owed, per partition; while it is subscribed.
    owed: BTreeMap<TopicFilter, Vec<Position>>,
    /// Everything it was ever subscribed to.
    ever_subscribed: Vec<TopicFilter>,
    /// The connection that last ended each subscription.
    unsubscribed: BTreeMap<TopicFilter, u64>,
    connection: u64,
    /// Where the log was when it was first told that its connection stands: what its user is shown after that is owed.
    begun: Option<Vec<Position>>,
    /// In this connection, by topic: the last position.
    latest: BTreeMap<String, Place>,
}

/// One attempt to publish.
struct Attempt {
    partition: PartitionId,
    topic: String,
    sender: String,
    author: String,
    /// Whether it changes a thread.
    changes: bool,
    uid: String,
    /// As what it is known in its topic.
    known_as: String,
    kind: Kind,
    target: String,
    digest: u64,
    /// What it means was stored when it was begun, and may be taken back then.
    has_target: bool,
    /// Whether a resend of it is recognised.
    unique: bool,
    number: u64,
}

/// Which attempt brought an entry.
pub fn attempt_of(entry: &wire::Entry) -> u64 {
    entry.payload.as_ref().try_into().map_or(0, u64::from_be_bytes)
}

/// Everything that clients know.
pub struct Ledger {
    log: Arc<Log>,
    partitioning: Partitioning,
    sessions: Mutex<Vec<Seen>>,
    attempts: Mutex<Vec<(Attempt, Outcome)>>,
    /// Owners that have just begun know little of what was: of former members then only the gates of edges, which are not here.
    forgetful: bool,
    wrong: Mutex<Option<String>>,
}

impl Ledger {
    pub fn new(log: Arc<Log>, partitioning: Partitioning, sessions: usize, forgetful: bool) -> Self {
        Self {
            log,
            partitioning,
            sessions: Mutex::new((0..sessions).map(|_| Seen::default()).collect()),
            attempts: Mutex::default(),
            forgetful,
            wrong: Mutex::default(),
        }
    }

    /// The first thing that was wrong.
    pub fn wrong(&self) -> Option<String> {
        self.wrong.lock().clone().or_else(|| self.log.wrong())
    }

    pub fn fail(&self, what: String) {
        self.wrong.lock().get_or_insert(what);
    }

    /// Where the log ends now.
    pub fn heads(&self) -> Vec<Position> {
        self.partitioning.all().map(|p| self.log.head(p)).collect()
    }

    /// A client was told that its connection stands.
    pub fn connected(&self, session: usize, connection: u64, filters: &[TopicFilter]) {
        let heads = self.heads();
        let seen = &mut self.sessions.lock()[session];
        seen.connection = connection;
        seen.begun.get_or_insert_with(|| heads.clone());
        seen.latest.clear();
        for filter in filters {
            seen.owed.entry(filter.clone()).or_insert_with(|| heads.clone());
            if !seen.ever_subscribed.contains(filter) {
                seen.ever_subscribed.push(filter.clone());
            }
        }
    }

    /// A client subscribes: it may get these from now on.
    pub fn subscribes(&self, session: usize, filter: &TopicFilter) {
        let seen = &mut self.sessions.lock()[session];
        if !seen.ever_subscribed.contains(filter) {
            seen.ever_subscribed.push(filter.clone());
        }
    }

    /// A subscription was granted when the log was there, and is stored: it is owed from there on. A connection may hear that it
    /// is stored only after a later one has ended the subscription.
    pub fn subscribed(&self, session: usize, connection: u64, filter: &TopicFilter, heads: &[Position]) {
        let seen = &mut self.sessions.lock()[session];
        if seen.unsubscribed.get(filter).is_some_and(|by| *by > connection) {
            return;
        }
        seen.owed.entry(filter.clone()).or_insert_with(|| heads.to_vec());
    }

    pub fn unsubscribed(&self, session: usize, connection: u64, filter: &TopicFilter) {
        let seen = &mut self.sessions.lock()[session];
        seen.owed.remove(filter);
        seen.unsubscribed.insert(filter.clone(), connection);
    }

    /// These acknowledgements are stored.
    pub fn done(&self, session: usize, places: &[Place]) {
        self.sessions.lock()[session].done.extend(places);
    }

    /// A client got something.
    pub fn got(&self, session: usize, connection: u64, place: Place, uid: &str, prev: Option<Position>) {
        let mut sessions = self.sessions.lock();
        let seen = &mut sessions[session];
        let wrong = |what: &str| {
            Err(format!(
                "session {session}: {uid} at {}:{} {what}",
                place.0, place.1
            ))
        };
        let result = self.log.at(place.0, place.1, |found| {
            let Some(placed) = found.filter(|j| j.entry.uid == uid) else {
                return wrong("is not what the log has there");
            };
            if prev.is_some() && prev != placed.prev {
                return wrong(&format!("follows {:?}, but says {prev:?}", placed.prev));
            }
            let asked_for = |f: &TopicFilter| f.matches(&placed.entry.topic);
            if !is_thread(&placed.entry.topic) && !seen.ever_subscribed.iter().any(asked_for) {
                return wrong("was not asked for");
            }
            if seen.connection != connection {
                return wrong("comes on a connection that is over");
            }
            Ok(placed.entry.topic.clone())
        });
        let result = result.and_then(|topic| {
            if is_thread(&topic) && !self.is_shown(session, seen, &topic, place) {
                return wrong("is not its to see");
            }
            if let Some(last) = seen.latest.insert(topic.clone(), place)
                && last >= place
            {
                return wrong(&format!("comes after {}", last.1));
            }
            if seen.done.contains(&place) {
                return wrong("comes again though it was acknowledged and that was stored");
            }
            match self.missing(session, seen, place.0, Some((&topic, place.1))) {
                Some((at, missing)) => wrong(&format!("comes before {missing} at {at}")),
                None => Ok(topic),
            }
        });
        seen.ever.insert(place);
        drop(sessions);
        if let Err(what) = result {
            self.fail(what);
        }
    }

    /// Whether a place of a thread is shown to a session's user: to its visitor, and to members. To one whose membership ended while
    /// its session began it may be shown until it is told so: the store, which named its threads, did not know.
    fn is_shown(&self, session: usize, seen: &Seen, topic: &str, (p, at): Place) -> bool {
        let user = principal(session).user;
        let life = Life::of(&self.log, p, topic, Position::END);
        let begun = seen.begun.as_ref().map(|heads| heads[usize::from(p.0)]);
        topic.ends_with(user.as_str())
            || life.covers(&user, at)
            || begun.is_some_and(|begun| life.left_before(&user, begun))
    }

    /// The first entry that is owed and was not seen; of one topic and before a position, or of all.
    fn missing(
        &self,
        session: usize,
        seen: &Seen,
        p: PartitionId,
        before: Option<(&str, Position)>,
    ) -> Option<(Position, String)> {
        let from = seen.owed.values().map(|heads| heads[usize::from(p.0)]).min()?;
        let lives = THREADS.map(|topic| (topic, Life::of(&self.log, p, topic, Position::END)));
        let user = principal(session).user;
        self.log.after(p, from, |entries| {
            let until = before.map_or(Position(u64::MAX), |(_, at)| at);
            let mut owed = entries.iter().take_while(|e| e.position < until).filter(|e| {
                let at = e.position;
                let by_filter = || {
                    let mut owed = seen.owed.iter();
                    owed.any(|(filter, heads)| at > heads[usize::from(p.0)] && filter.matches(&e.entry.topic))
                };
                let by_membership = || {
                    let life = lives.iter().find(|(topic, _)| *topic == e.entry.topic);
                    let begun = seen
                        .begun
                        .as_ref()
                        .is_some_and(|heads| at > heads[usize::from(p.0)]);
                    begun && life.is_some_and(|(_, life)| life.covers(&user, at))
                };
                before.is_none_or(|(topic, _)| e.entry.topic == topic)
                    && e.entry.known_kind() != Kind::Membership
                    && !seen.ever.contains(&(p, at))
                    && (by_filter() || by_membership())
            });
            owed.next().map(|e| (e.position, e.entry.uid.clone()))
        })
    }

    /// What is still owed to anybody.
    pub fn owes(&self) -> Option<String> {
        let sessions = self.sessions.lock();
        sessions.iter().enumerate().find_map(|(i, seen)| {
            let missing = self
                .partitioning
                .all()
                .find_map(|p| Some((p, self.missing(i, seen, p, None)?)));
            missing.map(|(p, (at, uid))| format!("session {i} misses {uid} at {p}:{at}"))
        })
    }

    /// What became of an attempt to publish.
    pub fn outcome(&self, partition: PartitionId, entry: &wire::Entry, has_target: bool, outcome: Outcome) {
        let kind = entry.known_kind();
        let attempt = Attempt {
            known_as: known_as(entry).1,
            kind,
            target: entry.target.clone(),
            has_target,
            partition,
            topic: entry.topic.clone(),
            sender: entry.sender.clone(),
            author: entry.author.clone(),
            changes: entry.change.is_some(),
            uid: entry.uid.clone(),
            digest: entry.digest,
            unique: entry.is_unique() || kind == Kind::Edit,
            number: attempt_of(entry),
        };
        if let Err(what) = self.check_outcome(&attempt, &outcome) {
            self.fail(what);
        }
        self.attempts.lock().push((attempt, outcome));
    }

    fn check_outcome(&self, a: &Attempt, outcome: &Outcome) -> Result<(), String> {
        let of = |e: &Placed| (e.position, e.entry.digest, e.entry.sender.clone());
        let first = self
            .log
            .with_uid(a.partition, &a.topic, &a.known_as, |e| e.map(of));
        let means = a.kind == Kind::Edit || a.kind == Kind::Recall;
        let is = |uid: &str, f: &dyn Fn(&Placed) -> bool| {
            self.log
                .with_uid(a.partition, &a.topic, uid, |e| e.is_some_and(f))
        };
        let is_same = |(_, digest, sender): &(Position, u64, String)| {
            (*digest, sender.as_str()) == (a.digest, a.sender.as_str())
        };
        let wrong = |what: &str| {
            Err(format!(
                "{} of {} was answered {outcome:?}: {what}",
                a.uid, a.sender
            ))
        };
        match outcome {
            Outcome::Stored { position, duplicate } => {
                let own = |e: Option<&Placed>| e.is_some_and(|e| attempt_of(&e.entry) == a.number);
                let own = self.log.at(a.partition, *position, own);
                // The store knows where the prompt is, not its answer.
                let is_place = |at: Position| at == *position || a.kind == Kind::Edit && *duplicate;
                // One recall of a message is enough, whoever asks for it.
                let is_recalled =
                    a.kind == Kind::Recall && *duplicate && self.recalls(a, *position, &a.target);
                if a.unique && !is_recalled && !first.as_ref().is_some_and(|f| is_same(f) && is_place(f.0)) {
                    return wrong(&format!("the log has {first:?}"));
                }
                if !own && !*duplicate {
                    return wrong("another message is there");
                }
                if !a.changes && is_thread(&a.topic) && !self.forgetful {
                    let life = Life::of(&self.log, a.partition, &a.topic, *position);
                    if life.has_left(&a.author) && !a.topic.ends_with(&a.author) {
                        return wrong("who has left writes no more");
                    }
                }
            }
            // The store knows an answered prompt as its answer only: of a repetition it cannot tell that it is one.
            Outcome::Conflict if first.as_ref().is_none_or(is_same) && !self.is_answered(a) => {
                return wrong("there is no conflict");
            }
            Outcome::Conflict | Outcome::Unavailable(_) | Outcome::Unknown => {}
            Outcome::Rejected if means && !a.has_target => {}
            Outcome::Rejected if self.takes_nothing_more(a) => {}
            // It is another's, from the beginning or since it was answered.
            Outcome::Forbidden
                if a.kind == Kind::Recall
                    && (is(&edit_of(&a.target), &|_| true)
                        || is(&a.target, &|e| e.entry.sender != a.sender)) => {}
            Outcome::Outdated if a.changes => {}
            // It had left by then, though it may have come again.
            Outcome::Forbidden
                if is_thread(&a.topic)
                    && Life::of(&self.log, a.partition, &a.topic, Position::END).had_left(&a.author) => {}
            Outcome::Forbidden | Outcome::Rejected | Outcome::Outdated | Outcome::TooLarge => {
                return wrong("nothing says so");
            }
        }
        Ok(())
    }

    /// Whether a recall of a message stands there.
    fn recalls(&self, a: &Attempt, position: Position, target: &str) -> bool {
        let is = |e: &Placed| {
            e.entry.known_kind() == Kind::Recall && e.entry.topic == a.topic && e.entry.target == target
        };
        self.log.at(a.partition, position, |e| e.is_some_and(is))
    }

    /// Whether what it adds to, answers or takes back was taken back, or is a recall itself.
    fn takes_nothing_more(&self, a: &Attempt) -> bool {
        let meant = match a.kind {
            Kind::StreamPart => &a.uid,
            Kind::Edit | Kind::Recall => &a.target,
            _ => return false,
        };
        self.log.after(a.partition, Position::START, |entries| {
            entries.iter().any(|e| {
                let is_recall = e.entry.topic == a.topic && e.entry.known_kind() == Kind::Recall;
                is_recall && (e.entry.target == *meant || a.kind == Kind::Recall && e.entry.uid == *meant)
            })
        })
    }

    /// Whether somebody has answered a prompt.
    fn is_answered(&self, a: &Attempt) -> bool {
        let answer = edit_of(&a.uid);
        self.log.with_uid(a.partition, &a.topic, &answer, |e| e.is_some())
    }

    /// At the end: no attempt is in the log twice, and none that was told not to be stored is there.
    pub fn check_attempts(&self) -> Result<(), String> {
        let mut in_log: BTreeMap<u64, u64> = BTreeMap::new();
        for p in self.partitioning.all() {
            self.log.after(p, Position::START, |entries| {
                for e in entries {
                    *in_log.entry(attempt_of(&e.entry)).or_default() += 1;
                }
            });
        }
        if let Some((number, times)) = in_log.iter().find(|(_, times)| **times > 1) {
            return Err(format!("attempt {number} is in the log {times} times"));
        }
        for (a, outcome) in self.attempts.lock().iter() {
            let stored = in_log.contains_key(&a.number);
            let must = matches!(outcome, Outcome::Stored { duplicate: false, .. });
            let must_not = match outcome {
                // See `check_outcome`.
                Outcome::Conflict => !self.is_answered(a),
                Outcome::Unavailable(_) | Outcome::Rejected | Outcome::Outdated | Outcome::Forbidden => true,
                _ => false,
            };
            if must && !stored || must_not && stored {
                return Err(format!(
                    "attempt {} was answered {outcome:?}, in the log: {stored}",
                    a.number
                ));
            }
        }
        Ok(())
    }
}
