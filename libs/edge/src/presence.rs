//! Which of this edge's clients are online: entered into the address book, kept there, struck out, and told to those
//! they talk to.
//!
//! One task writes for all connections, in batches and in order: what is struck out cannot be entered again by a renewal
//! that was under way. Thousands of connections cost a few questions to the book every [`RENEW`]; a book that was emptied
//! is complete again after that, one that was away as soon as it is back.

mod news;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ahash::{AHashMap, AHashSet};
pub use backplane::presence::Presence;
use backplane::presence::{Entered, PresenceBook, PresenceError};
use futures::{StreamExt, stream};
use model::{ClientId, EdgeId, OrgId, Principal, UserId};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use runtime::lifecycle::Stop;
use runtime::metrics::ServiceMetrics;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::{debug, info, warn};

use news::Teller;
pub(crate) use news::{With, is_news};

/// How often every connection is entered anew; more often where its time to live is short.
const RENEW: Duration = Duration::from_secs(10);
/// How often it is asked who has gone, and how soon a book that failed is tried again.
const TURN: Duration = Duration::from_secs(1);
/// Connections that are handed to the book at a time.
const BATCH: usize = 1024;
/// Connections that are struck out at a time.
const STRIKES: usize = 64;
/// What is left of a process that ends to strike out what it held.
const LAST: Duration = Duration::from_secs(1);

/// The presence of the connections of one edge.
pub struct Keeper {
    edge: EdgeId,
    book: Arc<dyn PresenceBook>,
    ttl: Duration,
    linger: Duration,
    here: Mutex<Here>,
    changed: Notify,
    next_number: AtomicU64,
    metrics: Metrics,
}

/// (org, address of the user, connection).
type Key = (OrgId, UserId, ClientId);

#[derive(Default)]
struct Here {
    connections: AHashMap<Key, Held>,
    /// Not in the book yet.
    fresh: Vec<Key>,
    /// To be struck out.
    left: Vec<Key>,
}

struct Held {
    number: u64,
    who: Arc<Principal>,
    protocol: &'static str,
}

struct Metrics {
    present: Gauge,
    failures: Counter,
}

/// A connection's place in the address book: it is struck out when this is dropped, unless another connection of the same
/// name has taken the place.
#[must_use = "dropping it is going offline"]
pub struct Present {
    keeper: Arc<Keeper>,
    key: Key,
    number: u64,
}

impl Drop for Present {
    fn drop(&mut self) {
        self.keeper.leave(&self.key, self.number);
    }
}

impl Keeper {
    pub(crate) fn new(
        edge: EdgeId,
        book: Arc<dyn PresenceBook>,
        config: &crate::Config,
        m: &ServiceMetrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            edge,
            book,
            ttl: config.presence_ttl.get(),
            linger: config.presence_linger.get(),
            here: Mutex::default(),
            changed: Notify::new(),
            next_number: AtomicU64::new(1),
            metrics: Metrics {
                present: m.gauge(
                    "present_connections",
                    "Connections that are kept in the address book",
                ),
                failures: m.counter(
                    "presence_failures",
                    "Times that the address book could not be written or asked",
                ),
            },
        })
    }

    /// Puts a connection into the address book, soon, for as long as what is returned lives. `connection` is unique among
    /// the user's; of two with the same name on this edge the later one stands there.
    pub fn enter(
        self: &Arc<Self>,
        who: &Arc<Principal>,
        connection: &str,
        protocol: &'static str,
    ) -> Present {
        let key = (who.org.clone(), who.address(), ClientId::new(connection));
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let held = Held {
            number,
            who: who.clone(),
            protocol,
        };
        let mut here = self.here.lock();
        here.connections.insert(key.clone(), held);
        here.fresh.push(key.clone());
        drop(here);
        self.metrics.present.inc();
        self.changed.notify_one();
        Present {
            keeper: self.clone(),
            key,
            number,
        }
    }

    fn leave(&self, key: &Key, number: u64) {
        self.metrics.present.dec();
        let mut here = self.here.lock();
        if here
            .connections
            .get(key)
            .is_some_and(|held| held.number == number)
        {
            here.connections.remove(key);
            here.left.push(key.clone());
            drop(here);
            self.changed.notify_one();
        }
    }

    /// Writes what changes, and all of it again and again, until the hard stop; then strikes out what is left.
    pub(crate) async fn run(self: Arc<Self>, with: With, stop: Stop) {
        let mut teller = Teller::new(with);
        tokio::select! {
            () = stop.hard().cancelled() => {}
            () = self.keep(|who, online| teller.tell(who, online)) => {}
        }
        self.leave_all();
        if !matches!(timeout(LAST, self.strike()).await, Ok(Ok(()))) {
            info!("presence of the last connections is left to run out");
        }
    }

    async fn keep(&self, mut tell: impl FnMut(Arc<Principal>, bool)) {
        let renew = RENEW.min(self.ttl / 3);
        let mut turns = interval(TURN);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut due, mut known) = (Instant::now() + renew, true);
        loop {
            let tick = tokio::select! {
                _ = turns.tick() => true,
                () = self.changed.notified(), if known => false,
            };
            let all = !known || Instant::now() >= due;
            match self.turn(all, tick, &mut tell).await {
                Ok(()) if all => due = Instant::now() + renew,
                Ok(()) => {}
                Err(error) => {
                    self.metrics.failures.inc();
                    if known {
                        warn!(%error, "the address book cannot be written; who is online here is unknown to others");
                    }
                    known = false;
                    continue;
                }
            }
            if !known {
                info!("the address book is written again");
            }
            known = true;
        }
    }

    async fn turn(
        &self,
        all: bool,
        tick: bool,
        tell: &mut impl FnMut(Arc<Principal>, bool),
    ) -> Result<(), PresenceError> {
        self.strike().await?;
        self.write(all, tell).await?;
        if tick {
            let departed = self.book.departed(BATCH).await?;
            let gone = departed.into_iter().filter_map(news::principal);
            gone.for_each(|who| tell(Arc::new(who), false));
        }
        Ok(())
    }

    /// Enters what is new, or everything; tells of the users who come with it.
    async fn write(
        &self,
        all: bool,
        tell: &mut impl FnMut(Arc<Principal>, bool),
    ) -> Result<(), PresenceError> {
        let (keys, fresh) = {
            let mut here = self.here.lock();
            let fresh = std::mem::take(&mut here.fresh);
            let keys = match all {
                true => here.connections.keys().cloned().collect(),
                false => fresh.clone(),
            };
            (keys, fresh)
        };
        let fresh: AHashSet<Key> = fresh.into_iter().collect();
        for (n, keys) in keys.chunks(BATCH).enumerate() {
            let (entered, whose) = self.entered(keys);
            match self.book.enter(&entered, self.ttl).await {
                Ok(came) => {
                    let came = whose.iter().zip(came).filter(|(_, came)| *came);
                    came.filter(|((key, _), _)| fresh.contains(key))
                        .for_each(|((_, who), _)| tell(who.clone(), true));
                }
                Err(error) => {
                    // A part of the new ones may be in the book; they are entered with all the others next.
                    debug!(%error, done = n * BATCH, of = keys.len(), "entering connections");
                    self.not_yet(fresh);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Those of the connections that are still here.
    fn entered(&self, keys: &[Key]) -> (Vec<Entered>, Vec<(Key, Arc<Principal>)>) {
        let here = self.here.lock();
        let held = keys
            .iter()
            .filter_map(|key| Some((key, here.connections.get(key)?)));
        let one = |(key, held): (&Key, &Held)| {
            let entered = Entered {
                org: key.0.clone(),
                user: key.1.clone(),
                at: Presence {
                    edge: self.edge.clone(),
                    connection: key.2.to_string(),
                    protocol: held.protocol.to_owned(),
                    staff: held.who.is_staff(),
                },
                card: news::card(&held.who),
            };
            (entered, (key.clone(), held.who.clone()))
        };
        held.map(one).unzip()
    }

    fn not_yet(&self, fresh: AHashSet<Key>) {
        let mut here = self.here.lock();
        let still = fresh.into_iter().filter(|key| here.connections.contains_key(key));
        let still: Vec<Key> = still.collect();
        here.fresh.extend(still);
    }

    /// Strikes out who has left. Those that cannot be struck out run out.
    async fn strike(&self) -> Result<(), PresenceError> {
        let left = std::mem::take(&mut self.here.lock().left);
        let strike = |key: Key| async move {
            let (org, user, connection) = &key;
            let removing = self.book.remove(org, user, connection, &self.edge, self.linger);
            removing.await
        };
        let mut striking = stream::iter(left).map(strike).buffer_unordered(STRIKES);
        while let Some(struck) = striking.next().await {
            struck?;
        }
        Ok(())
    }

    fn leave_all(&self) {
        let mut here = self.here.lock();
        let all: Vec<Key> = here.connections.drain().map(|(key, _)| key).collect();
        here.left.extend(all);
    }
}
