//! What every client has in common: what it wrote and heard, what it still owes, and how it comes back.

mod hearing;
mod ledger;
pub(crate) mod link;
pub(crate) mod mqtt;
mod outbox;
pub(crate) mod poll;
mod sending;
pub(crate) mod stomp;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::envelope::Thread;
use crate::key::Key;
use crate::plan::Plan;
use crate::record::{AckKind, Handed};
use crate::target::Target;
use crate::token::Token;

pub(crate) use ledger::Ledger;
use ledger::with_sent;
pub(crate) use outbox::{Item, Outbox};

/// What a run is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Everybody connects; nothing is written.
    Gathering,
    /// Writing.
    Writing,
    /// Nothing new; what is owed is sent, and who is away comes back.
    Settling,
    /// Everybody goes.
    Done,
}

/// A user of the installation.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) token: Token,
    /// The conversations it takes part in, by index.
    pub(crate) topics: Vec<usize>,
}

impl User {
    /// Whether it acts under this uid.
    pub(crate) fn is(&self, uid: &str) -> bool {
        self.token.sub == uid || self.token.aliases.iter().any(|alias| alias == uid)
    }
}

/// A conversation.
#[derive(Debug, Clone)]
pub(crate) struct Conversation {
    pub(crate) thread: Thread,
    /// The uid that the agent acts under in it.
    pub(crate) desk: String,
    pub(crate) agent: usize,
    pub(crate) visitor: usize,
    /// Whether it is opened, closed and given to agents: its desk is known.
    pub(crate) has_life: bool,
    /// With whom its agent has it in turn. Then its visitor alone writes.
    pub(crate) pair: Option<Pair>,
}

/// The other agent of a conversation that is handed over.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) agent: usize,
    /// The uid that it acts under.
    pub(crate) desk: String,
    /// Whether it has the conversation when the run begins.
    pub(crate) has_it: bool,
}

impl Conversation {
    /// Between whom it is handed over.
    pub(crate) fn handed(&self) -> Option<Handed> {
        self.pair.as_ref().map(|pair| Handed {
            agents: [self.agent, pair.agent],
            first: usize::from(pair.has_it),
        })
    }

    /// Who reads its history, first one who sees all of it.
    pub(crate) fn readers(&self) -> Vec<usize> {
        match &self.pair {
            Some(pair) => vec![self.visitor, self.agent, pair.agent],
            None => vec![self.agent, self.visitor],
        }
    }
}

/// What all clients of a run know.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) target: Target,
    pub(crate) run: String,
    pub(crate) started: Instant,
    /// The same moment, Unix ms.
    pub(crate) epoch: u64,
    pub(crate) users: Vec<User>,
    pub(crate) conversations: Vec<Conversation>,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) counts: Counts,
}

/// Counters of a running run.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) sent: AtomicU64,
    pub(crate) acknowledged: AtomicU64,
    pub(crate) delivered: AtomicU64,
    pub(crate) reconnects: AtomicU64,
    pub(crate) closings: AtomicU64,
    pub(crate) transfers: AtomicU64,
}

impl Shared {
    /// Whether somebody sees all of a conversation, not its stretches only.
    pub(crate) fn has_all_of(&self, user: usize, topic: usize) -> bool {
        let handed = self.conversations[topic].handed();
        handed.is_none_or(|handed| !handed.agents.contains(&user))
    }

    /// Who sees all of a conversation, and is asked for its history.
    pub(crate) fn reader(&self, topic: usize) -> usize {
        self.conversations[topic].readers()[0]
    }

    /// Milliseconds since the run began.
    pub(crate) fn now(&self) -> u32 {
        u32::try_from(self.started.elapsed().as_millis()).unwrap_or(u32::MAX)
    }
}

/// How a life ends.
#[derive(Debug)]
pub(crate) enum End {
    /// The client goes away for a while.
    Away(Duration),
    /// The connection is lost, or could not be made.
    Broken(String),
    /// The run is over.
    Done,
}

/// A client of either protocol: one connection at a time.
pub(crate) trait Protocol {
    /// Connects and lives until the connection ends.
    async fn life(&mut self, part: &mut Part) -> End;
    /// Takes back what it left on the server, as far as it can.
    async fn clean_up(&mut self, _part: &mut Part) {}
}

/// One client's share of the run.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) shared: Arc<Shared>,
    /// The user, by index.
    pub(crate) user: usize,
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    pub(crate) outbox: Outbox,
    pub(crate) rng: StdRng,
    pub(crate) phase: watch::Receiver<Phase>,
    /// On average: how often it goes away, for how long.
    pub(crate) absence: (Duration, Duration),
    life: u32,
}

impl Part {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        index: usize,
        user: usize,
        ledger: Arc<Mutex<Ledger>>,
        absence: (Duration, Duration),
    ) -> Self {
        let outbox = Outbox::new(shared, &ledger.lock());
        Self {
            shared: shared.clone(),
            user,
            ledger,
            outbox,
            rng: StdRng::seed_from_u64(
                shared
                    .plan
                    .seed
                    .wrapping_mul(1_000_003)
                    .wrapping_add(index as u64),
            ),
            phase: shared.phase.subscribe(),
            absence,
            life: 0,
        }
    }

    /// Lives again and again until the run is over.
    pub(crate) async fn live(mut self, mut protocol: impl Protocol) {
        let mut failures = 0;
        loop {
            let end = protocol.life(&mut self).await;
            let was_connected = self.disconnected(&end);
            match end {
                End::Done => break,
                End::Away(time) => self.wait(time, false).await,
                End::Broken(_) => {
                    failures = if was_connected { 0 } else { failures + 1 };
                    let most = 100 << failures.min(5);
                    let pause = self.rng.random_range(most / 2..=most);
                    self.wait(Duration::from_millis(pause), true).await;
                }
            }
            if self.phase() == Phase::Done {
                break;
            }
        }
        protocol.clean_up(&mut self).await;
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    pub(crate) fn token(&self) -> &Token {
        &self.shared.users[self.user].token
    }

    /// A new connection is there; from now on deliveries are its.
    pub(crate) fn born(&mut self) {
        let mut ledger = self.ledger.lock();
        self.life = ledger.observer.lives.len() as u32;
        let now = self.shared.now();
        ledger.observer.lives.push(now);
    }

    /// It is attached: everything from now on is sure to come.
    pub(crate) fn connected(&mut self) {
        let mut ledger = self.ledger.lock();
        let back = ledger.ready && !ledger.connected;
        if back && self.phase() == Phase::Writing && self.rng.random_bool(self.shared.plan.repeats) {
            self.outbox.repeat(&mut ledger, &mut self.rng);
        }
        (ledger.connected, ledger.ready) = (true, true);
        ledger.trouble.clear();
        if let Some(lost) = ledger.lost.take() {
            let pause = lost.elapsed().as_millis() as u32;
            ledger.longest = ledger.longest.max(pause);
            self.shared.counts.reconnects.fetch_add(1, Relaxed);
        }
    }

    /// Whether it had been connected.
    fn disconnected(&mut self, end: &End) -> bool {
        self.outbox.land();
        let mut ledger = self.ledger.lock();
        if let End::Broken(why) = end {
            ledger.trouble.clone_from(why);
            ledger.lost.get_or_insert_with(Instant::now);
        }
        // Who goes at the end was there.
        if matches!(end, End::Done) {
            return true;
        }
        std::mem::take(&mut ledger.connected)
    }

    /// Waits, not longer than the phase lasts. A page whose socket is down sends over HTTP meanwhile.
    async fn wait(&mut self, time: Duration, fall_back: bool) {
        let end = Instant::now() + time;
        let phase = self.phase();
        if fall_back && phase != Phase::Gathering {
            let _late = tokio::time::timeout_at(end, self.fall_back()).await;
            self.outbox.land();
        }
        if phase == Phase::Settling {
            // There is no other phase to wait for but the end.
            tokio::time::sleep_until(end).await;
        } else {
            let _early = tokio::time::timeout_at(end, self.phase.wait_for(|now| *now != phase)).await;
        }
    }

    /// Writes what is due.
    pub(crate) fn write_due(&mut self) {
        if self.phase() == Phase::Writing {
            let mut ledger = self.ledger.lock();
            let written = self.outbox.write_due(&self.shared, &mut ledger, &mut self.rng);
            self.shared.counts.sent.fetch_add(written, Relaxed);
        }
    }

    /// An item is on its way.
    pub(crate) fn took_off(&mut self, key: Key) {
        self.outbox.took_off(key);
        with_sent(&mut self.ledger.lock(), key, |sent| {
            sent.tries = sent.tries.saturating_add(1);
            sent.repeats = sent.repeats.saturating_add(sent.acked.is_some().into());
        });
    }

    pub(crate) fn acked(&mut self, key: Key, by: AckKind, position: u64) {
        let at = self.shared.now();
        let mut ledger = self.ledger.lock();
        let mut new = false;
        with_sent(&mut ledger, key, |sent| {
            new = sent.acked.is_none();
            let acked = sent
                .acked
                .get_or_insert(crate::record::Acked { at, position, by });
            if position != 0 && acked.position == 0 {
                acked.position = position;
            } else if position != 0 && acked.position != position {
                sent.elsewhere = Some(position);
            }
        });
        if new && key.as_text().is_some() {
            self.shared.counts.acknowledged.fetch_add(1, Relaxed);
        }
        self.outbox.settle(key);
        ledger.owed = self.outbox.len();
    }

    pub(crate) fn refused(&mut self, key: Key, why: &str) {
        let mut ledger = self.ledger.lock();
        with_sent(&mut ledger, key, |sent| sent.refused = Some(why.to_owned()));
        self.outbox.settle(key);
        ledger.owed = self.outbox.len();
    }

    /// When it goes away next.
    pub(crate) fn next_absence(&mut self) -> Instant {
        let every = self.absence.0.as_secs_f64() * self.rng.random_range(0.5..1.5);
        Instant::now() + Duration::from_secs_f64(every)
    }

    /// For how long.
    pub(crate) fn absence(&mut self) -> Duration {
        Duration::from_secs_f64(self.absence.1.as_secs_f64() * self.rng.random_range(0.5..1.5))
    }
}
