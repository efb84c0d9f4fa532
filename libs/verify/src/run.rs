//! A run in the background.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mqtt_codec::Version;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cast::{self, Cast};
use crate::client::{Counts, Ledger, Part, Phase, Shared, mqtt::Mqtt, poll::Poll, stomp::Stomp};
use crate::key::Names;
use crate::plan::Plan;
use crate::record::{Observer, Record, StatusSeen, Topic, Unread, Writer};
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

    /// Everybody comes on, with what they are to write.
    async fn people(&mut self) -> Result<(), Error> {
        let shared = self.shared.clone();
        let heads = self.heads().await?;
        for (user, u) in shared.users.iter().enumerate() {
            if u.topics.is_empty() {
                continue;
            }
            let clients = match (u.token.is_agent, user % 3) {
                (true, _) => shared.plan.agent_clients.max(1),
                (false, 2) => 1,
                (false, _) => shared.plan.visitor_pages.max(1),
            };
            for number in 0..clients {
                let part = self.enter(user, number, clients);
                let device = format!("{}-{number}", shared.run);
                let client_id = format!("{}/verify/{device}", u.token.sub);
                match (u.token.is_agent, user % 3, number % 3) {
                    (true, _, 1) => self
                        .tasks
                        .spawn(part.live(Mqtt::new(Version::V5, true, client_id))),
                    (true, _, other) => {
                        let mqtt = Mqtt::new(Version::V311, other == 2, client_id);
                        self.tasks.spawn(part.live(mqtt))
                    }
                    (false, 2, _) => {
                        let cursors = u.topics.iter().map(|topic| (*topic, heads[*topic])).collect();
                        self.tasks.spawn(part.live(Poll::new(cursors)))
                    }
                    (false, ..) => self.tasks.spawn(part.live(Stomp::new(device))),
                };
            }
        }
        Ok(())
    }

    /// A client of a user, the `number`th of `clients`. The third kind is mostly away, and does not write.
    fn enter(&mut self, user: usize, number: usize, clients: usize) -> Part {
        let shared = &self.shared;
        let u = &shared.users[user];
        let away = u.token.is_agent && number % 3 == 2;
        let mut ledger = Ledger {
            names: Names::new(&shared.run),
            observer: Observer {
                name: self.name(user, number),
                user,
                heard: u.topics.iter().map(|topic| (*topic, Vec::new())).collect(),
                ..Observer::default()
            },
            ..Ledger::default()
        };
        let index = self.ledgers.len();
        for topic in &u.topics {
            let conversation = &shared.conversations[*topic];
            let own = if u.token.is_agent {
                let writing = (0..clients).filter(|n| n % 3 != 2).count();
                conversation.agent == user && number == nth_writing(topic % writing)
            } else {
                number == 0
            };
            if own {
                let writer = Writer {
                    user,
                    client: index,
                    topic: *topic,
                    ..Writer::default()
                };
                ledger
                    .writers
                    .push((2 * topic + usize::from(u.token.is_agent), writer));
            }
        }
        let ledger = Arc::new(Mutex::new(ledger));
        self.ledgers.push(ledger.clone());
        let absence = if away {
            (Duration::from_secs(2), shared.plan.long_absence)
        } else {
            (shared.plan.absence_every, shared.plan.absence)
        };
        Part::new(shared, index, user, ledger, absence)
    }

    fn name(&self, user: usize, number: usize) -> String {
        let token = &self.shared.users[user].token;
        let kind = match (token.is_agent, user % 3, number % 3) {
            (true, _, 0) => "MQTT 3.1.1 page",
            (true, _, 1) => "MQTT 5 client",
            (true, ..) => "MQTT 3.1.1 client mostly away",
            (false, 2, _) => "HTTP poll",
            (false, ..) => "STOMP page",
        };
        format!("{} ({kind} {number})", token.sub)
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

    /// Whose counters are compared: of the two who write, in each conversation.
    fn counters(&self) -> Vec<(usize, usize)> {
        let conversations = self.shared.conversations.iter().enumerate();
        conversations
            .flat_map(|(topic, c)| [(c.agent, topic), (c.visitor, topic)])
            .collect()
    }

    /// Whether everybody is there, owes nothing, and has everything that was acknowledged.
    fn settled(&self) -> bool {
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
            let entitled = |topic: usize| ledger.observer.heard.iter().any(|(t, _)| *t == topic);
            acked
                .iter()
                .filter(|(_, topic, _)| entitled(*topic))
                .all(|(writer, _, texts)| {
                    let mut texts = texts.iter().enumerate();
                    texts.all(|(seq, acked)| !acked || ledger.has(*writer, seq))
                })
        })
    }

    /// Everything that was seen, with the histories and counters as they are now.
    async fn record(&self) -> Record {
        let shared = &self.shared;
        let mut record = Record {
            names: Names::new(&shared.run),
            writers: vec![Writer::default(); 2 * shared.conversations.len()],
            ..Record::default()
        };
        for (topic, conversation) in shared.conversations.iter().enumerate() {
            let baseline = self.baselines[topic];
            let mut histories = Vec::new();
            for reader in [conversation.agent, conversation.visitor] {
                match history::read(shared, &mut record.names, reader, topic, baseline).await {
                    Ok(history) => histories.push(history),
                    Err(why) => record
                        .unproven
                        .push(format!("a history could not be read: {why}")),
                }
            }
            if histories.len() < 2 {
                histories.clear();
            }
            record.topics.push(Topic {
                name: conversation.thread.topic.clone(),
                baseline,
                histories,
            });
        }
        for (user, topic, before) in &self.unread {
            match history::unread(shared, *user, *topic).await {
                Ok(after) => record.unread.push(Unread {
                    user: *user,
                    name: shared.users[*user].token.sub.clone(),
                    topic: *topic,
                    before: *before,
                    after,
                }),
                Err(why) => record
                    .unproven
                    .push(format!("a counter could not be read: {why}")),
            }
        }
        record.statuses.clone_from(&self.statuses.lock());
        for ledger in &self.ledgers {
            let ledger = ledger.lock();
            for (index, writer) in &ledger.writers {
                record.writers[*index] = writer.clone();
            }
            let mut observer = ledger.observer.clone();
            if !ledger.connected {
                observer.away = Some(ledger.trouble.clone());
            }
            let foreign = observer.heard.iter_mut().flat_map(|(topic, list)| {
                let baseline = self.baselines[*topic];
                list.retain(|delivery| delivery.position > baseline);
                list.iter()
            });
            let unknown: Vec<String> = foreign
                .filter(|d| d.key.uid("").is_none())
                .map(|d| ledger.names.uid(d.key))
                .collect();
            for uid in unknown {
                record.names.key(&uid);
            }
            record.observers.push(observer);
        }
        record
    }
}

/// The number of the `nth` client of an agent that writes.
fn nth_writing(nth: usize) -> usize {
    nth / 2 * 3 + nth % 2
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_mostly_away_does_not_write() {
        let writing: Vec<usize> = (0..4).map(nth_writing).collect();
        assert_eq!(writing, [0, 1, 3, 4]);
    }
}
