//! What a process knows of the database: how far the log is applied, which only grows, and the numbers of topics, which
//! never change.
//!
//! A database that crashed has lost what was committed lazily, and with it progress that was told here. Its
//! connections are gone then: each new one compares, and what the database lost is forgotten. Somebody may have been
//! told just before; so what was told is remembered for a moment as a claim, and whoever acts on it checks that the
//! database still keeps it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use ahash::{AHashMap, AHashSet};
use model::{OrgId, PartitionId, Position, TopicName};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::{Service, StoreError};

/// Topics known at once; more than that and all are forgotten.
const KNOWN: usize = 100_000;
/// How long after it was told somebody may act on it.
const CLAIM: Duration = Duration::from_secs(10);

/// All of it.
#[derive(Default)]
pub(super) struct Known {
    pub topics: TopicCache,
    pub progress: Progress,
}

/// A topic as the other tables name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Topic {
    pub id: i64,
    pub branch: i64,
    pub partition: PartitionId,
}

#[derive(Default)]
pub(super) struct TopicCache(RwLock<Topics>);

/// The topics of some tenants.
#[derive(Default, Clone)]
pub(super) struct Topics {
    orgs: AHashMap<OrgId, AHashMap<TopicName, Topic>>,
    count: usize,
}

impl Topics {
    pub fn get(&self, org: &str, topic: &str) -> Option<Topic> {
        self.orgs.get(org)?.get(topic).copied()
    }

    pub fn put(&mut self, org: &str, name: &str, topic: Topic) {
        let org = self.orgs.entry(OrgId::new(org)).or_default();
        let before = org.insert(TopicName::trusted(name), topic);
        self.count += usize::from(before.is_none());
    }
}

impl TopicCache {
    /// What is known of the topics, and which are not.
    pub fn split<'a>(
        &self,
        keys: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> (Topics, AHashSet<(&'a str, &'a str)>) {
        let (mut found, mut missing) = (Topics::default(), AHashSet::new());
        let known = self.0.read();
        for (org, name) in keys {
            if found.get(org, name).is_some() {
                continue;
            }
            match known.get(org, name) {
                Some(topic) => found.put(org, name, topic),
                None => {
                    missing.insert((org, name));
                }
            }
        }
        (found, missing)
    }

    /// There is a new connection: the database may not be what it was.
    pub fn forget(&self) {
        *self.0.write() = Topics::default();
    }

    pub fn put(&self, org: &str, name: &str, topic: Topic) {
        let mut all = self.0.write();
        if all.count >= KNOWN {
            *all = Topics::default();
        }
        all.put(org, name, topic);
    }
}

/// Service and partition.
pub(super) type Key = (u8, PartitionId);

pub(super) fn key(service: Service, partition: PartitionId) -> Key {
    (service as u8, partition)
}

#[derive(Default)]
pub(super) struct Progress {
    known: Mutex<AHashMap<Key, Position>>,
    claims: Mutex<AHashMap<Key, (Position, Instant)>>,
    pub changed: watch::Sender<u64>,
    pub waiting: AtomicUsize,
    pub wake: Notify,
    /// Askers so far, and which of them the last answer serves.
    pub asked: AtomicU64,
    pub answered: tokio::sync::Mutex<u64>,
}

impl Progress {
    pub fn get(&self, key: Key) -> Position {
        self.known.lock().get(&key).copied().unwrap_or_default()
    }

    /// Takes what one service has committed, or was read of it.
    pub fn applied(&self, service: Service, steps: impl Iterator<Item = (PartitionId, Position)>) {
        self.reached(steps.map(|(partition, to)| (key(service, partition), to)));
    }

    /// Takes what was committed or read.
    pub fn reached(&self, steps: impl Iterator<Item = (Key, Position)>) {
        let mut known = self.known.lock();
        for (key, to) in steps {
            let at = known.entry(key).or_default();
            *at = to.max(*at);
        }
        drop(known);
        self.changed.send_modify(|n| *n += 1);
    }

    /// There is a new connection: the database may not be what it was. When it is behind what is known, that is
    /// forgotten.
    pub fn connected(&self, stored: AHashMap<Key, Position>) {
        let mut known = self.known.lock();
        let kept = |(key, at): (&Key, &Position)| stored.get(key).is_some_and(|stored| stored >= at);
        if !known.iter().all(kept) {
            known.clear();
        }
        known.extend(stored);
    }

    pub fn claim(&self, key: Key, upto: Position) {
        let mut claims = self.claims.lock();
        let (at, since) = claims.entry(key).or_insert((upto, Instant::now()));
        // Extending the older claim by the newer one errs on the side of checking.
        (*at, *since) = (upto.max(*at), Instant::now());
    }

    /// Whether something that was told is not so: the first such partition with what is stored and what was told.
    pub fn broken(
        &self,
        service: Service,
        stored: &[(PartitionId, Position)],
        upto: impl Fn(PartitionId) -> Position,
    ) -> Option<StoreError> {
        let mut claims = self.claims.lock();
        claims.retain(|_, (_, since)| since.elapsed() < CLAIM);
        let mine = claims.iter().filter(|((s, _), _)| *s == service as u8);
        for ((_, partition), (told, _)) in mine {
            let of = stored.iter().find(|(p, _)| p == partition);
            let (stored, told) = (
                of.map_or(Position::START, |(_, at)| *at),
                upto(*partition).min(*told),
            );
            if stored < told {
                let partition = *partition;
                return Some(StoreError::WentBack {
                    partition,
                    stored,
                    told,
                });
            }
        }
        None
    }

    pub fn has_claims(&self) -> bool {
        !self.claims.lock().is_empty()
    }
}

/// Somebody waits: the database is asked while this lives.
pub(super) struct Waiting<'a>(&'a Progress);

impl<'a> Waiting<'a> {
    pub fn new(progress: &'a Progress) -> Self {
        progress.waiting.fetch_add(1, Ordering::AcqRel);
        progress.wake.notify_one();
        Self(progress)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}
