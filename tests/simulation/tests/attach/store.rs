//! Persistence: applies the log when it gets to it, answers backlogs from what it has applied, and keeps sessions with
//! their epochs.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use contract::persistence::*;
use contract::{ErrorKind, RpcError};
use model::thread::{Members, Membership};
use model::{EdgeId, OrgId, PartitionId, Partitioning, Position, TopicFilter, TopicName, UnixMillis, UserId};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, sleep, sleep_until, timeout};

use crate::chance::Chance;
use crate::life::{Life, THREADS};
use crate::log::{Log, edit_of};
use crate::process::Process;
use wire::Kind;

/// How long a backlog waits for the log to be applied.
const WAIT: Duration = Duration::from_secs(3);

#[derive(Default, Clone)]
struct Stored {
    epoch: u64,
    state: Bytes,
    present: bool,
    edge: Option<EdgeId>,
}

/// What is stored.
pub struct Store {
    chance: Arc<Chance>,
    log: Arc<Log>,
    partitioning: Partitioning,
    applied: Mutex<Vec<Position>>,
    progress: Notify,
    stalled_until: Mutex<Instant>,
    sessions: Mutex<BTreeMap<String, Stored>>,
}

impl Store {
    pub fn new(chance: Arc<Chance>, log: Arc<Log>, partitioning: Partitioning) -> Arc<Self> {
        Arc::new(Self {
            chance,
            log,
            partitioning,
            applied: Mutex::new(vec![Position::START; usize::from(partitioning.count())]),
            progress: Notify::new(),
            stalled_until: Mutex::new(Instant::now()),
            sessions: Mutex::default(),
        })
    }

    /// Applies nothing for a while.
    pub fn stall(&self, time: Duration) {
        *self.stalled_until.lock() = Instant::now() + time;
    }

    /// Applies the log, some of it at a time. Never returns.
    pub async fn run(self: Arc<Self>) {
        loop {
            let behind = |(p, at): (PartitionId, &Position)| self.log.head(p) > *at;
            let any = self
                .partitioning
                .all()
                .zip(self.applied.lock().iter())
                .any(behind);
            if !any {
                self.log.grown().await;
            }
            sleep(Duration::from_millis(1 + self.chance.below(20)) + self.chance.delay()).await;
            let stalled = *self.stalled_until.lock();
            sleep_until(stalled).await;
            for p in self.partitioning.all() {
                let head = self.log.head(p);
                if self.chance.below(4) > 0 {
                    self.applied.lock()[usize::from(p.0)] = head;
                }
            }
            self.progress.notify_waiters();
        }
    }

    fn is_applied(&self, lanes: &[BacklogLane]) -> bool {
        let applied = self.applied.lock();
        lanes
            .iter()
            .all(|l| applied[usize::from(l.partition.0)] >= l.upto)
    }

    async fn applied(&self, lanes: &[BacklogLane]) {
        while !self.is_applied(lanes) {
            self.progress.notified().await;
        }
    }

    /// How far a partition is applied.
    pub fn applied_in(&self, p: PartitionId) -> Position {
        self.applied.lock()[usize::from(p.0)]
    }

    /// The threads of whoever goes by these uids: those in which it takes part, and those in which it did after it had got so far.
    fn memberships(&self, identities: &[UserId], reached: &[(PartitionId, Position)]) -> Vec<MemberTopic> {
        let of = |topic: &str| {
            let topic = TopicName::trusted(topic);
            let partition = self.partitioning.of("o", &topic);
            let life = Life::of(&self.log, partition, &topic, self.applied_in(partition));
            let upto = reached.iter().find(|(p, _)| *p == partition).map(|(_, at)| *at);
            let counts = |m: &Membership| m.lasts() || upto.is_some_and(|upto| m.until > upto);
            let mut memberships = life.memberships(identities);
            memberships.retain(counts);
            memberships.sort_by_key(|m| m.since);
            (!memberships.is_empty()).then_some(MemberTopic {
                topic,
                partition,
                memberships,
            })
        };
        THREADS.iter().filter_map(|topic| of(topic)).collect()
    }

    fn page(&self, r: &BacklogRequest) -> BacklogPage {
        let mut page = BacklogPage::default();
        for lane in &r.lanes {
            let wanted = |topic: &str, at: Position| {
                r.filters.iter().any(|f| {
                    let start = f.start.iter().find(|(p, _)| *p == lane.partition);
                    f.filter.matches(topic) && start.is_none_or(|(_, start)| at > *start)
                })
            };
            let mut covered = lane.upto;
            self.log.after(lane.partition, lane.after, |entries| {
                for e in entries.iter().take_while(|e| e.position <= lane.upto) {
                    if !wanted(&e.entry.topic, e.position) {
                        continue;
                    }
                    if page.entries.len() >= r.max_entries {
                        covered = e.position.before();
                        break;
                    }
                    page.entries.push(BacklogEntry {
                        partition: lane.partition,
                        position: e.position,
                        prev: e.prev,
                        entry: e.bytes.clone(),
                    });
                }
            });
            page.covered.push((lane.partition, covered));
        }
        page
    }
}

/// A process that asks persistence.
pub struct StoreRpc {
    pub store: Arc<Store>,
    pub process: Arc<Process>,
}

fn unavailable<T>(detail: &str) -> Result<T, RpcError> {
    Err(RpcError::new(ErrorKind::Unavailable, detail))
}

fn name(key: &SessionKey) -> String {
    format!("{}/{}/{}", key.org, key.user, key.client)
}

impl StoreRpc {
    async fn there(&self) -> Result<(), RpcError> {
        self.process.pass().await;
        let chance = &self.store.chance;
        chance.pause().await;
        self.process.pass().await;
        if self.process.is_cut() || chance.happens(chance.faults().failed) {
            sleep(Duration::from_millis(500)).await;
            self.process.pass().await;
            return unavailable("not to be reached");
        }
        Ok(())
    }

    async fn back<T>(&self, answer: T) -> Result<T, RpcError> {
        let chance = &self.store.chance;
        chance.pause().await;
        self.process.pass().await;
        if self.process.is_cut() || chance.happens(chance.faults().failed / 2) {
            sleep(Duration::from_millis(500)).await;
            self.process.pass().await;
            return unavailable("the answer is lost");
        }
        Ok(answer)
    }

    fn found(&self, partition: PartitionId, topic: &TopicName, uid: &str) -> Option<Found> {
        let applied = self.store.applied.lock()[usize::from(partition.0)];
        self.store.log.with_uid(partition, topic, uid, |found| {
            let placed = found.filter(|placed| placed.position <= applied)?;
            Some(Found {
                position: placed.position,
                topic: topic.clone(),
                sender: placed.entry.sender.as_str().into(),
                author: placed.entry.author.as_str().into(),
                digest: placed.entry.digest,
                accepted_at: UnixMillis(placed.entry.accepted_at),
                kind: match placed.entry.known_kind() {
                    Kind::StreamPart => FoundKind::Stream,
                    Kind::Recall => FoundKind::Recall,
                    _ => FoundKind::Chat,
                },
                r#type: placed.entry.r#type.clone(),
                recalled: false,
                state: None,
            })
        })
    }

    /// A message as it is shown: one that was answered as its answer.
    fn shown(&self, partition: PartitionId, topic: &TopicName, uid: &str) -> Option<Found> {
        let message = self.found(partition, topic, uid)?;
        match self.found(partition, topic, &edit_of(uid)) {
            Some(answer) => Some(Found {
                position: message.position,
                accepted_at: message.accepted_at,
                ..answer
            }),
            None => Some(message),
        }
    }
}

#[async_trait]
impl Directory for StoreRpc {
    async fn identify(&self, _: &OrgId, _: &UserId) -> Result<Option<DirectoryUid>, RpcError> {
        unavailable("not modelled")
    }
    async fn agents_of(&self, _: &OrgId, _: Vec<UserId>) -> Result<Vec<AgentCard>, RpcError> {
        unavailable("not modelled")
    }
    async fn list_agents(&self, _: &OrgId, _: u32, _: u32) -> Result<Listed<AgentCard>, RpcError> {
        unavailable("not modelled")
    }
    async fn list_desks(&self, _: &OrgId, _: u32, _: u32) -> Result<Listed<DeskEntry>, RpcError> {
        unavailable("not modelled")
    }
    async fn change_directory(&self, _: &OrgId, _: DirectoryChange) -> Result<Option<Desk>, RpcError> {
        unavailable("not modelled")
    }
}

#[async_trait]
impl Persistence for StoreRpc {
    async fn open_session(&self, open: OpenSession) -> Result<OpenedSession, RpcError> {
        self.there().await?;
        let opened = {
            let mut sessions = self.store.sessions.lock();
            let session = sessions.entry(name(&open.key)).or_default();
            session.epoch += 1;
            OpenedSession {
                epoch: session.epoch,
                present: session.present,
                state: session.state.clone(),
                previous_edge: session.edge.replace(open.edge),
                threads: self.store.memberships(&open.identities, &[]),
            }
        };
        let edge = self.process.number;
        self.store
            .chance
            .note("open", [edge, opened.epoch, u64::from(opened.present), 0]);
        self.back(opened).await
    }

    async fn save_sessions(&self, saves: Vec<SaveSession>) -> Result<Vec<bool>, RpcError> {
        self.there().await?;
        let mut kept = Vec::new();
        for save in saves {
            let mut sessions = self.store.sessions.lock();
            let session = sessions
                .get_mut(&name(&save.key))
                .filter(|s| s.epoch == save.epoch);
            kept.push(session.is_some());
            if let Some(session) = session {
                (session.state, session.present) = (save.state, true);
            }
        }
        self.store
            .chance
            .note("save", [self.process.number, kept.len() as u64, 0, 0]);
        self.back(kept).await
    }

    async fn close_session(&self, close: CloseSession) -> Result<(), RpcError> {
        self.there().await?;
        {
            let mut sessions = self.store.sessions.lock();
            let session = sessions
                .get_mut(&name(&close.key))
                .filter(|s| s.epoch == close.epoch);
            if let Some(session) = session {
                (session.state, session.present, session.edge) = (close.state, true, None);
            }
        }
        self.back(()).await
    }

    async fn backlog(&self, request: BacklogRequest) -> Result<BacklogPage, RpcError> {
        self.there().await?;
        if timeout(WAIT, self.store.applied(&request.lanes)).await.is_err() {
            self.process.pass().await;
            return unavailable("the log is not applied so far");
        }
        let page = self.store.page(&request);
        self.back(page).await
    }

    async fn find(
        &self,
        partition: PartitionId,
        keys: Vec<MessageKey>,
        applied: Position,
    ) -> Result<Vec<Option<Found>>, RpcError> {
        self.there().await?;
        let lane = BacklogLane {
            partition,
            after: Position::START,
            upto: applied,
        };
        if timeout(WAIT, self.store.applied(&[lane])).await.is_err() {
            self.process.pass().await;
            return unavailable("the log is not applied so far");
        }
        let found = keys.iter().map(|key| self.shown(partition, &key.topic, &key.uid));
        let found = found.collect();
        self.back(found).await
    }

    async fn retained(
        &self,
        _: &OrgId,
        _: &TopicFilter,
        _: Vec<BacklogLane>,
    ) -> Result<Vec<Retained>, RpcError> {
        unavailable("not modelled")
    }
    async fn uids_since(&self, p: PartitionId, after: Position, limit: u32) -> Result<UidPage, RpcError> {
        self.there().await?;
        let applied = self.store.applied.lock()[usize::from(p.0)];
        let page = self.store.log.after(p, after, |entries| {
            let there = entries.iter().take_while(|e| e.position <= applied);
            let mut unique =
                there.filter(|e| e.entry.is_unique() || e.entry.known_kind() == Kind::StreamPart);
            let uids: Vec<SeenUid> = unique
                .by_ref()
                .take(usize::try_from(limit.min(3)).unwrap_or(1))
                .map(|e| SeenUid {
                    position: e.position,
                    key: wire::envelope::uid_key(&e.entry.org, &e.entry.topic, &e.entry.uid),
                    accepted_at: UnixMillis(e.entry.accepted_at),
                })
                .collect();
            let more = unique.next().is_some();
            let last = uids.last().map(|uid| uid.position);
            UidPage {
                next: if more {
                    last.unwrap_or(after)
                } else {
                    applied.max(after)
                },
                more,
                uids,
            }
        });
        self.back(page).await
    }
    async fn last_before(&self, _: &OrgId, _: &TopicName, _: Position) -> Result<Option<Position>, RpcError> {
        unavailable("not modelled")
    }
    async fn history(&self, _: HistoryRequest) -> Result<HistoryPage, RpcError> {
        unavailable("not modelled")
    }
    async fn members(&self, _: &OrgId, _: &TopicName, _: Position) -> Result<Members, RpcError> {
        unavailable("not modelled")
    }
    async fn memberships(
        &self,
        _: &OrgId,
        identities: Vec<UserId>,
        reached: Vec<(PartitionId, Position)>,
    ) -> Result<Vec<MemberTopic>, RpcError> {
        self.there().await?;
        self.back(self.store.memberships(&identities, &reached)).await
    }
    async fn admit(&self, _: &OrgId, _: &TopicName) -> Result<(), RpcError> {
        Ok(())
    }
    async fn change_thread(&self, _: ChangeThread) -> Result<ThreadCard, RpcError> {
        unavailable("not modelled")
    }
    async fn desk(&self, _: &OrgId, _: &UserId) -> Result<Desk, RpcError> {
        unavailable("not modelled")
    }
    async fn open_thread(&self, _: OpenThread) -> Result<OpenedThread, RpcError> {
        unavailable("not modelled")
    }
    async fn threads(&self, _: ThreadsRequest) -> Result<ThreadPage, RpcError> {
        unavailable("not modelled")
    }
    async fn visitor(&self, _: &OrgId, _: UserCard) -> Result<UserCard, RpcError> {
        unavailable("not modelled")
    }
    async fn explain(&self, _: ExplainRequest) -> Result<Vec<Explained>, RpcError> {
        unavailable("not modelled")
    }
    async fn standing(&self, _: &OrgId, _: &UserId) -> Result<Standing, RpcError> {
        unavailable("not modelled")
    }
    async fn prove(&self, _: &OrgId, _: Vec<UserId>) -> Result<(), RpcError> {
        unavailable("not modelled")
    }
}
