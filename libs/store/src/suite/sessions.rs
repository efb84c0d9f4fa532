//! Sessions and wills, against a model that decides by the rules.

use std::collections::{BTreeMap, BTreeSet};

use contract::persistence::{CloseSession, OpenSession, SaveSession, SessionKey, Will};
use model::{EdgeId, UnixMillis, UserId};

use super::*;
use crate::rules::sessions::{self, Before};

const CLIENTS: [&str; 3] = ["a", "b", "c"];
const EDGES: [&str; 2] = ["e", "f"];

/// A session of the model.
struct Held {
    epoch: u64,
    began: u64,
    edge: &'static str,
    before: Before,
    will: Option<Bytes>,
    state: Bytes,
}

struct World {
    store: Arc<dyn Store>,
    random: Random,
    now: UnixMillis,
    sessions: BTreeMap<&'static str, Held>,
    /// Whose, when due, and the entry.
    wills: Vec<(&'static str, UnixMillis, Bytes)>,
    /// The last epoch of each client but one.
    stale: BTreeMap<&'static str, u64>,
    number: u64,
}

fn key(client: &str) -> SessionKey {
    SessionKey {
        org: org(),
        user: "u".into(),
        client: client.into(),
    }
}

impl World {
    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.random.below(all.len() as u64) as usize]
    }

    fn bytes(&mut self) -> Bytes {
        self.number += 1;
        Bytes::from(self.number.to_string())
    }

    /// An epoch to act under: mostly the current one.
    fn epoch(&mut self, client: &'static str) -> u64 {
        let current = self.sessions.get(client).map(|held| held.epoch);
        let stale = self.stale.get(client).copied();
        match self.random.below(4) {
            0 => stale.or(current).unwrap_or(1),
            _ => current.or(stale).unwrap_or(1),
        }
    }

    fn holds(&self, client: &str, epoch: u64) -> bool {
        let held = self.sessions.get(client);
        held.is_some_and(|held| held.epoch == epoch && held.before.connected)
    }

    async fn open(&mut self, client: &'static str) {
        let (clean_start, edge) = (self.random.below(4) == 0, self.one_of(&EDGES));
        let (expiry, delay) = (
            self.one_of(&[0, 3, 60]),
            self.one_of(&[None, Some(0), Some(2), Some(10)]),
        );
        let entry = self.bytes();
        let will = delay.map(|delay| Will {
            entry: entry.clone(),
            delay,
        });
        let open = OpenSession {
            key: key(client),
            clean_start,
            expiry,
            will,
            edge: edge.into(),
            identities: Vec::new(),
        };
        let opened = self.store.open_session(open, self.now).await.unwrap();
        let held = self.sessions.remove(client);
        let opening = sessions::open(held.as_ref().map(|held| held.before), clean_start, self.now);
        let previous = held.as_ref().filter(|held| held.before.connected);
        assert_eq!(opened.previous_edge, previous.map(|held| held.edge.into()));
        if let (true, Some(will)) = (
            opening.leaves_will,
            held.as_ref().and_then(|held| held.will.clone()),
        ) {
            self.wills.push((client, self.now, will));
        }
        for (_, due, _) in self
            .wills
            .iter_mut()
            .filter(|(of, due, _)| *of == client && *due > self.now)
        {
            *due = if opening.goes_on {
                UnixMillis(u64::MAX)
            } else {
                self.now
            };
        }
        self.wills.retain(|(_, due, _)| due.0 < u64::MAX);
        let held = held.filter(|_| opening.goes_on);
        let state = held.as_ref().map(|held| held.state.clone()).unwrap_or_default();
        assert_eq!((opened.present, &opened.state), (!state.is_empty(), &state));
        let last = self.stale.insert(client, opened.epoch);
        assert!(last.is_none_or(|last| last < opened.epoch));
        let (epoch, began) = (opened.epoch, held.map_or(opened.epoch, |held| held.began));
        let before = Before {
            connected: true,
            expiry,
            expires_at: None,
            will_delay: delay,
        };
        let will = delay.map(|_| entry);
        let held = Held {
            epoch,
            began,
            edge,
            before,
            will,
            state,
        };
        self.sessions.insert(client, held);
    }

    async fn save(&mut self, client: &'static str) {
        let (epoch, state) = (self.epoch(client), self.bytes());
        let save = SaveSession {
            key: key(client),
            epoch,
            state: state.clone(),
        };
        let holds = self.holds(client, epoch);
        assert_eq!(self.store.save_sessions(vec![save]).await.unwrap(), [holds]);
        if let (true, Some(held)) = (holds, self.sessions.get_mut(client)) {
            held.state = state;
        }
    }

    async fn close(&mut self, client: &'static str) {
        let epoch = self.epoch(client);
        let asked = self.sessions.get(client).map_or(0, |held| held.before.expiry);
        let expiry = if asked == 0 { 0 } else { self.one_of(&[0, 3, 60]) };
        let (publish_will, state) = (self.random.below(2) == 0, self.bytes());
        let close = CloseSession {
            key: key(client),
            epoch,
            state: state.clone(),
            expiry,
            at: self.now,
            publish_will,
        };
        self.store.close_session(close).await.unwrap();
        if self.holds(client, epoch) {
            self.end(client, expiry, publish_will);
            if let Some(held) = self.sessions.get_mut(client) {
                held.state = state;
            }
        }
    }

    /// The connection of a session has ended.
    fn end(&mut self, client: &'static str, expiry: u32, publish_will: bool) {
        let Some(mut held) = self.sessions.remove(client) else {
            return;
        };
        let ending = sessions::end(self.now, expiry, held.before.will_delay.filter(|_| publish_will));
        let will = held.will.take();
        self.wills.extend(
            ending
                .will_due_at
                .zip(will)
                .map(|(due, will)| (client, due, will)),
        );
        if let Some(expires_at) = ending.expires_at {
            held.before = Before {
                connected: false,
                expiry,
                expires_at: Some(expires_at),
                will_delay: None,
            };
            self.sessions.insert(client, held);
        }
    }

    async fn abandon(&mut self, edge: Option<&'static str>) {
        let connected = self.sessions.iter().filter(|(_, held)| held.before.connected);
        let of = connected.filter(|(_, held)| edge.is_none_or(|edge| held.edge == edge));
        let ended: Vec<_> = of.map(|(client, held)| (*client, held.before.expiry)).collect();
        let count = match edge {
            Some(edge) => self.store.abandon_edge(&edge.into(), self.now).await,
            None => self.store.abandon_sessions(self.now).await,
        };
        assert_eq!(count.unwrap(), ended.len());
        for (client, expiry) in &ended {
            self.end(client, *expiry, true);
        }
        // Whoever held them is fenced.
        for row in self.store.sessions_of(&org(), vec!["u".into()]).await.unwrap() {
            let fenced = ended
                .iter()
                .find(|(client, _)| row.key.client == (*client).into());
            if let Some(held) = fenced.and_then(|(client, _)| self.sessions.get_mut(client)) {
                assert!(row.epoch > held.epoch);
                held.epoch = row.epoch;
            }
        }
    }

    async fn expire(&mut self) {
        let before = self.sessions.len();
        let now = self.now;
        let lasts = |held: &Held| held.before.expires_at.is_none_or(|at| at > now);
        self.sessions.retain(|_, held| lasts(held));
        let expired = self.store.expire_sessions(now, 99).await.unwrap();
        assert_eq!(expired, before - self.sessions.len());
    }

    async fn check(&mut self) {
        let rows = self
            .store
            .sessions_of(&org(), vec![UserId::new("u")])
            .await
            .unwrap();
        assert_eq!(rows.len(), self.sessions.len());
        for (row, (client, held)) in rows.iter().zip(&self.sessions) {
            let before = held.before;
            assert_eq!((&row.key, row.edge.as_str()), (&key(client), held.edge));
            assert_eq!(
                (row.epoch, row.began_at),
                (held.epoch, sessions::began_at(held.began as i64))
            );
            assert_eq!((row.connected, row.expiry), (before.connected, before.expiry));
            assert_eq!(row.expires_at, before.expires_at);
            // That of one that ends with its connection is of no use to anybody.
            assert!(row.state == held.state || (before.connected && before.expiry == 0));
        }
        let connected = self.sessions.values().filter(|held| held.before.connected);
        let edges: BTreeSet<EdgeId> = connected.map(|held| held.edge.into()).collect();
        let mut found = self.store.connected_edges().await.unwrap();
        found.sort_unstable();
        assert_eq!(found, edges.into_iter().collect::<Vec<_>>());

        let due = self.store.due_wills(self.now, 99).await.unwrap();
        let mut found: Vec<Bytes> = due.iter().map(|will| will.entry.clone()).collect();
        let wanted = self.wills.iter().filter(|(_, due, _)| *due <= self.now);
        let mut wanted: Vec<Bytes> = wanted.map(|(.., entry)| entry.clone()).collect();
        found.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(found, wanted);
        if self.random.below(3) == 0 {
            let ids = due.iter().map(|will| will.id).collect();
            self.store.forget_wills(ids).await.unwrap();
            self.wills.retain(|(_, due, _)| *due > self.now);
        }
    }
}

/// Whatever connections begin, end, are replaced or die with their edge, under current and stale epochs: what is
/// stored and answered is what the rules say.
pub async fn sessions_become_what_the_rules_say(fixture: &impl Fixture) {
    let mut world = World {
        store: fixture.open().await,
        random: Random(23),
        now: UnixMillis(1_000_000),
        sessions: BTreeMap::new(),
        wills: Vec::new(),
        stale: BTreeMap::new(),
        number: 0,
    };
    for _ in 0..600 {
        world.now.0 += world.random.below(2500);
        let client = world.one_of(&CLIENTS);
        match world.random.below(10) {
            0..=3 => world.open(client).await,
            4 => world.save(client).await,
            5..=7 => world.close(client).await,
            8 => {
                let edge = world.one_of(&[Some("e"), Some("f"), None]);
                world.abandon(edge).await;
            }
            _ => world.expire().await,
        }
        world.check().await;
    }
}
