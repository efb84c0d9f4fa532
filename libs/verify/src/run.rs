//! A run in the background.

mod people;
mod recording;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cast::{self, Cast};
use crate::client::{Counts, Ledger, Phase, Shared};
use crate::director::{self, Diary};
use crate::plan::Plan;
use crate::record::StatusSeen;
use crate::target::Target;
use crate::token::Token;
use crate::verdict::Verdict;
use crate::{Error, check, history};

/// How long everybody may take to connect at first.
const GATHER: Duration = Duration::from_secs(30);
/// Between two looks whether everything is where it belongs.
const LOOK: Duration = Duration::from_millis(250);

/// What has happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Messages written, each counted once.
    pub sent: u64,
    /// Messages acknowledged.
    pub acknowledged: u64,
    /// Deliveries, copies included.
    pub delivered: u64,
    /// Connections lost and made again.
    pub reconnects: u64,
    /// Closings acknowledged.
    pub closings: u64,
    /// Transfers acknowledged.
    pub transfers: u64,
    /// Clients connected now. Some are away of themselves at any time while writing goes on.
    pub connected: usize,
    /// Clients in all.
    pub clients: usize,
}

/// Clients at work. Dropping it ends them.
#[derive(Debug)]
pub struct Run {
    shared: Arc<Shared>,
    ledgers: Vec<Arc<Mutex<Ledger>>>,
    tasks: JoinSet<()>,
    watcher: JoinSet<()>,
    directors: JoinSet<()>,
    diary: Arc<Mutex<Diary>>,
    statuses: Arc<Mutex<Vec<StatusSeen>>>,
    baselines: Vec<u64>,
    unread: Vec<(usize, usize, u64)>,
}

impl Run {
    /// Opens the conversations, connects everybody and begins to write.
    ///
    /// # Errors
    /// When the installation does not let them.
    pub async fn start(mut target: Target, tokens: Vec<Token>, plan: Plan) -> Result<Self, Error> {
        cast::find_websocket(&mut target).await?;
        let cast = cast::gather(&target, tokens, &plan).await?;
        let shared = Arc::new(shared(target, plan, cast));
        let ledgers = Vec::new();
        let mut run = Self {
            shared,
            ledgers,
            tasks: JoinSet::new(),
            watcher: JoinSet::new(),
            directors: JoinSet::new(),
            diary: Arc::default(),
            statuses: Arc::default(),
            baselines: Vec::new(),
            unread: Vec::new(),
        };
        run.people().await?;
        run.gather().await?;
        run.baselines = run.heads().await?;
        for (user, topic) in run.counters() {
            let before = history::unread(&run.shared, user, topic).await;
            run.unread
                .push((user, topic, before.map_err(|why| refused("a counter", why))?));
        }
        run.watcher
            .spawn(history::watch(run.shared.clone(), run.statuses.clone()));
        run.shared.phase.send_replace(Phase::Writing);
        director::begin(&run.shared, &run.baselines, &run.diary, &mut run.directors);
        Ok(run)
    }

    /// What has happened so far.
    pub fn progress(&self) -> Progress {
        let counts = &self.shared.counts;
        let connected = self.ledgers.iter().filter(|ledger| ledger.lock().connected);
        Progress {
            sent: counts.sent.load(Relaxed),
            acknowledged: counts.acknowledged.load(Relaxed),
            delivered: counts.delivered.load(Relaxed),
            reconnects: counts.reconnects.load(Relaxed),
            closings: counts.closings.load(Relaxed),
            transfers: counts.transfers.load(Relaxed),
            connected: connected.count(),
            clients: self.ledgers.len(),
        }
    }

    /// Writes no more, lets everything settle, and judges. What is not where it belongs at the end of
    /// [`Plan::settle`] is lost.
    pub async fn stop(mut self) -> Verdict {
        let began = Instant::now();
        self.shared.phase.send_replace(Phase::Settling);
        let deadline = began + self.shared.plan.settle;
        while !self.settled() && Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
        }
        self.watcher.shutdown().await;
        self.directors.shutdown().await;
        let mut verdict = loop {
            let verdict = check(&self.record().await);
            let heals =
                verdict.findings.iter().any(|finding| finding.may_heal) || !verdict.unproven.is_empty();
            if !heals || Instant::now() >= deadline {
                break verdict;
            }
            tokio::time::sleep(LOOK).await;
        };
        verdict.seed = self.shared.plan.seed;
        verdict.figures.settled_ms = began.elapsed().as_millis() as u32;
        verdict.figures.reconnects = self.shared.counts.reconnects.load(Relaxed);
        let longest = self.ledgers.iter().map(|ledger| ledger.lock().longest).max();
        verdict.figures.longest_reconnect_ms = longest.unwrap_or_default();
        self.shared.phase.send_replace(Phase::Done);
        let going = async { while self.tasks.join_next().await.is_some() {} };
        let _stuck = tokio::time::timeout(Duration::from_secs(10), going).await;
        verdict
    }

    /// Waits until everybody has been connected once.
    async fn gather(&self) -> Result<(), Error> {
        let deadline = Instant::now() + GATHER;
        loop {
            let missing = self.ledgers.iter().find(|ledger| !ledger.lock().ready);
            let Some(missing) = missing else { return Ok(()) };
            if Instant::now() > deadline {
                let missing = missing.lock();
                return Err(Error::NotConnected {
                    name: missing.observer.name.clone(),
                    why: missing.trouble.clone(),
                });
            }
            tokio::time::sleep(LOOK / 10).await;
        }
    }

    async fn heads(&self) -> Result<Vec<u64>, Error> {
        let mut heads = Vec::new();
        for topic in 0..self.shared.conversations.len() {
            let head = history::head(&self.shared, topic).await;
            heads.push(head.map_err(|why| refused("a history", why))?);
        }
        Ok(heads)
    }

    /// Whose counters are compared: of the two who talk, in each conversation.
    fn counters(&self) -> Vec<(usize, usize)> {
        let conversations = self.shared.conversations.iter().enumerate();
        // What an agent has not read of a conversation that it has a part of only is not said anywhere.
        conversations
            .flat_map(|(topic, c)| [(c.agent, topic), (c.visitor, topic)])
            .filter(|(user, topic)| self.shared.has_all_of(*user, *topic))
            .collect()
    }

    /// Whether everybody is there, owes nothing, and has everything that was acknowledged.
    fn settled(&mut self) -> bool {
        while self.directors.try_join_next().is_some() {}
        if !self.directors.is_empty() {
            return false;
        }
        let mut acked: Vec<(usize, usize, Vec<bool>)> = Vec::new();
        for ledger in &self.ledgers {
            let ledger = ledger.lock();
            if !ledger.connected || ledger.owed > 0 {
                return false;
            }
            for (writer, w) in &ledger.writers {
                acked.push((
                    *writer,
                    w.topic,
                    w.texts.iter().map(|sent| sent.acked.is_some()).collect(),
                ));
            }
        }
        self.ledgers.iter().all(|ledger| {
            let ledger = ledger.lock();
            let user = ledger.observer.user;
            let listens = |topic: usize| ledger.observer.heard.iter().any(|(t, _)| *t == topic);
            // Of what somebody has a part of only, the judge says what is missing.
            let entitled = |topic: usize| listens(topic) && self.shared.has_all_of(user, topic);
            acked
                .iter()
                .filter(|(_, topic, _)| entitled(*topic))
                .all(|(writer, _, texts)| {
                    let mut texts = texts.iter().enumerate();
                    texts.all(|(seq, acked)| !acked || ledger.has(*writer, seq))
                })
        })
    }
}

fn refused(what: &str, why: String) -> Error {
    Error::Refused {
        what: what.to_owned(),
        why,
    }
}

fn shared(target: Target, plan: Plan, cast: Cast) -> Shared {
    let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch = epoch.as_millis() as u64;
    // Unlike any other run's, also one that began in the same millisecond.
    let run = format!("vf{epoch:x}{:04x}", rand::random::<u16>());
    Shared {
        plan,
        target,
        run,
        started: Instant::now(),
        epoch,
        users: cast.users,
        conversations: cast.conversations,
        phase: watch::channel(Phase::Gathering).0,
        counts: Counts::default(),
    }
}
