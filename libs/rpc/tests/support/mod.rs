//! A service that does as it is told, and servers that can be killed.
#![allow(dead_code, clippy::unwrap_used)]

use std::any::Any;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use contract::persistence::*;
use contract::receipts::Receipts;
use contract::{ErrorKind, RpcError};
use model::thread::Members;
use model::{EdgeId, OrgId, PartitionId, Position, TopicFilter, TopicName, UserId};
use parking_lot::Mutex;
use rpc::{Config, Metrics, Services};
use runtime::config::HumanDuration;
use runtime::health::Health;
use runtime::lifecycle::Stop;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

/// What a fake does with a call.
#[derive(Clone, Default)]
pub enum Mode {
    /// Answers what it was given to answer, or its number.
    #[default]
    Answer,
    /// Never answers.
    Hang,
    /// Says no.
    Refuse(RpcError),
}

/// Both services. Remembers what it was asked last.
#[derive(Default)]
pub struct Fake {
    pub number: u64,
    pub mode: Mutex<Mode>,
    asked: Mutex<Option<Box<dyn Any + Send>>>,
    answers: Mutex<VecDeque<Box<dyn Any + Send>>>,
    /// Calls that began, and those that were given up before they had an answer.
    pub begun: AtomicUsize,
    pub given_up: AtomicUsize,
}

struct GivenUp<'a>(&'a Fake, bool);

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        if self.1 {
            self.0.given_up.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Fake {
    pub fn numbered(number: u64) -> Arc<Self> {
        Arc::new(Self {
            number,
            ..Self::default()
        })
    }

    pub fn set(&self, mode: Mode) {
        *self.mode.lock() = mode;
    }

    pub fn will_answer<A: Any + Send>(&self, answer: A) {
        self.answers.lock().push_back(Box::new(answer));
    }

    pub fn was_asked<Q: Any>(&self) -> Q {
        let asked = self.asked.lock().take().expect("something was asked");
        *asked.downcast().expect("that is what was asked")
    }

    pub fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    pub fn given_up(&self) -> usize {
        self.given_up.load(Ordering::SeqCst)
    }

    async fn meet<Q: Any + Send, A: Any>(&self, asked: Q) -> Result<A, RpcError> {
        *self.asked.lock() = Some(Box::new(asked));
        self.begun.fetch_add(1, Ordering::SeqCst);
        let mut given_up = GivenUp(self, true);
        let mode = self.mode.lock().clone();
        let result = match mode {
            Mode::Hang => std::future::pending().await,
            Mode::Refuse(error) => Err(error),
            Mode::Answer => match self.answers.lock().pop_front() {
                Some(answer) => Ok(*answer.downcast().expect("that is what is to be answered")),
                None => {
                    let by_itself: Box<dyn Any> = Box::new(self.number);
                    let by_itself = by_itself.downcast().or_else(|_| -> Result<Box<A>, Box<dyn Any>> {
                        (Box::new(opened(self.number)) as Box<dyn Any>).downcast()
                    });
                    by_itself
                        .map(|a| *a)
                        .map_err(|_| RpcError::new(ErrorKind::Internal, "nothing to answer"))
                }
            },
        };
        given_up.1 = false;
        result
    }
}

pub fn opened(epoch: u64) -> OpenedSession {
    OpenedSession {
        epoch,
        present: false,
        state: Bytes::new(),
        previous_edge: None,
        threads: Vec::new(),
    }
}

pub fn key() -> SessionKey {
    SessionKey {
        org: "o".into(),
        user: "u".into(),
        client: "c".into(),
    }
}

pub fn open() -> OpenSession {
    OpenSession {
        key: key(),
        clean_start: false,
        expiry: 60,
        will: None,
        edge: EdgeId::from("e"),
        identities: Vec::new(),
    }
}

/// Asks for a number.
pub async fn ask(receipts: &Arc<dyn Receipts>) -> Result<u64, RpcError> {
    receipts
        .unread(&OrgId::from("o"), vec![UserId::from("u")], None)
        .await
}

#[async_trait]
impl Receipts for Fake {
    async fn unread(&self, org: &OrgId, who: Vec<UserId>, topic: Option<TopicName>) -> Result<u64, RpcError> {
        self.meet((org.clone(), who, topic)).await
    }
    async fn recount(
        &self,
        org: &OrgId,
        who: Vec<UserId>,
        topic: Option<TopicName>,
    ) -> Result<u64, RpcError> {
        self.meet((org.clone(), who, topic)).await
    }
}

#[async_trait]
impl Directory for Fake {
    async fn identify(&self, org: &OrgId, uid: &UserId) -> Result<Option<DirectoryUid>, RpcError> {
        self.meet((org.clone(), uid.clone())).await
    }
    async fn agents_of(&self, org: &OrgId, who: Vec<UserId>) -> Result<Vec<AgentCard>, RpcError> {
        self.meet((org.clone(), who)).await
    }
    async fn list_agents(&self, org: &OrgId, page: u32, size: u32) -> Result<Listed<AgentCard>, RpcError> {
        self.meet((org.clone(), page, size)).await
    }
    async fn list_desks(&self, org: &OrgId, page: u32, size: u32) -> Result<Listed<DeskEntry>, RpcError> {
        self.meet((org.clone(), page, size)).await
    }
    async fn change_directory(&self, org: &OrgId, change: DirectoryChange) -> Result<Option<Desk>, RpcError> {
        self.meet((org.clone(), change)).await
    }
}

#[async_trait]
impl Persistence for Fake {
    async fn open_session(&self, open: OpenSession) -> Result<OpenedSession, RpcError> {
        self.meet(open).await
    }
    async fn save_sessions(&self, saves: Vec<SaveSession>) -> Result<Vec<bool>, RpcError> {
        self.meet(saves).await
    }
    async fn close_session(&self, close: CloseSession) -> Result<(), RpcError> {
        self.meet(close).await
    }
    async fn backlog(&self, request: BacklogRequest) -> Result<BacklogPage, RpcError> {
        self.meet(request).await
    }
    async fn retained(
        &self,
        org: &OrgId,
        filter: &TopicFilter,
        upto: Vec<BacklogLane>,
    ) -> Result<Vec<Retained>, RpcError> {
        self.meet((org.clone(), filter.clone(), upto)).await
    }
    async fn find(
        &self,
        partition: PartitionId,
        keys: Vec<MessageKey>,
        applied: Position,
    ) -> Result<Vec<Option<Found>>, RpcError> {
        self.meet((partition, keys, applied)).await
    }
    async fn uids_since(
        &self,
        partition: PartitionId,
        after: Position,
        limit: u32,
    ) -> Result<UidPage, RpcError> {
        self.meet((partition, after, limit)).await
    }
    async fn last_before(
        &self,
        org: &OrgId,
        topic: &TopicName,
        before: Position,
    ) -> Result<Option<Position>, RpcError> {
        self.meet((org.clone(), topic.clone(), before)).await
    }
    async fn history(&self, request: HistoryRequest) -> Result<HistoryPage, RpcError> {
        self.meet(request).await
    }
    async fn members(&self, org: &OrgId, topic: &TopicName, known_to: Position) -> Result<Members, RpcError> {
        self.meet((org.clone(), topic.clone(), known_to)).await
    }
    async fn memberships(
        &self,
        org: &OrgId,
        identities: Vec<UserId>,
        reached: Vec<(PartitionId, Position)>,
    ) -> Result<Vec<MemberTopic>, RpcError> {
        self.meet((org.clone(), identities, reached)).await
    }
    async fn admit(&self, org: &OrgId, topic: &TopicName) -> Result<(), RpcError> {
        self.meet((org.clone(), topic.clone())).await
    }
    async fn change_thread(&self, change: ChangeThread) -> Result<ThreadCard, RpcError> {
        self.meet(change).await
    }
    async fn desk(&self, org: &OrgId, uid: &UserId) -> Result<Desk, RpcError> {
        self.meet((org.clone(), uid.clone())).await
    }
    async fn open_thread(&self, open: OpenThread) -> Result<OpenedThread, RpcError> {
        self.meet(open).await
    }
    async fn threads(&self, request: ThreadsRequest) -> Result<ThreadPage, RpcError> {
        self.meet(request).await
    }
    async fn visitor(&self, org: &OrgId, card: UserCard) -> Result<UserCard, RpcError> {
        self.meet((org.clone(), card)).await
    }
    async fn explain(&self, request: ExplainRequest) -> Result<Vec<Explained>, RpcError> {
        self.meet(request).await
    }
    async fn standing(&self, org: &OrgId, uid: &UserId) -> Result<Standing, RpcError> {
        self.meet((org.clone(), uid.clone())).await
    }
    async fn prove(&self, org: &OrgId, uids: Vec<UserId>) -> Result<(), RpcError> {
        self.meet((org.clone(), uids)).await
    }
}

/// A process with both services, as far as its callers can tell: it has a runtime of its own.
pub struct Replica {
    pub fake: Arc<Fake>,
    pub address: SocketAddr,
    pub stop: Stop,
    pub metrics: runtime::metrics::Metrics,
    /// Told when [`rpc::serve`] returned.
    pub ended: Option<oneshot::Receiver<()>>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Replica {
    pub fn start(number: u64) -> Self {
        Self::start_at(number, "127.0.0.1:0".parse().unwrap(), quick())
    }

    pub fn start_at(number: u64, at: SocketAddr, config: Config) -> Self {
        let fake = Fake::numbered(number);
        let services = Services {
            persistence: Some(fake.clone()),
            receipts: Some(fake.clone()),
            routing: None,
        };
        Self::start_with(fake, services, at, config)
    }

    pub fn start_with(fake: Arc<Fake>, services: Services, at: SocketAddr, config: Config) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let stop = Stop::new();
        let metrics = runtime::metrics::Metrics::new();
        let listener = std::net::TcpListener::bind(at).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, ended) = oneshot::channel();
        let (told, series) = (stop.clone(), Metrics::new(&metrics));
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            rpc::serve(listener, config, services, series, told)
                .await
                .unwrap();
            let _ = tell.send(());
        });
        Self {
            fake,
            address,
            stop,
            metrics,
            ended: Some(ended),
            runtime: Some(runtime),
        }
    }

    /// As kill -9: every socket is closed, nothing is said.
    pub fn kill(mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Settings for tests: everything is noticed soon.
pub fn quick() -> Config {
    Config {
        deadline: HumanDuration::from_secs(10),
        connect_timeout: HumanDuration::from_millis(500),
        keep_alive: HumanDuration::from_millis(200),
        resolve_interval: HumanDuration::from_millis(200),
        ..Config::default()
    }
}

/// A caller, with what it reports.
pub struct Caller {
    pub persistence: Arc<dyn Persistence>,
    pub receipts: Arc<dyn Receipts>,
    pub metrics: runtime::metrics::Metrics,
    pub health: Health,
}

impl Caller {
    pub fn of(addresses: &[SocketAddr]) -> Self {
        Self::with(addresses, quick())
    }

    pub fn with(addresses: &[SocketAddr], config: Config) -> Self {
        Self::named(addresses.iter().map(SocketAddr::to_string).collect(), config)
    }

    pub fn named(names: Vec<String>, config: Config) -> Self {
        let config = Config {
            persistence: names.clone(),
            receipts: names,
            ..config
        };
        config.validate().unwrap();
        let (metrics, health) = (runtime::metrics::Metrics::new(), Health::new());
        let series = Metrics::new(&metrics);
        Self {
            persistence: rpc::connect_persistence(&config, &series, health.require("persistence")),
            receipts: rpc::connect_receipts(&config, &series, health.require("receipts")),
            metrics,
            health,
        }
    }

    /// Waits until `ready` replicas of each service are connected.
    pub async fn sees(&self, ready: usize) {
        until("the replicas are seen", || {
            let text = self.metrics.encode();
            ["persistence", "receipts"].into_iter().all(|service| {
                let line =
                    format!("longwire_rpc_replicas{{service=\"{service}\",state=\"Ready\"}} {ready}\n");
                text.contains(&line)
            })
        })
        .await;
    }
}

/// Waits for a condition, 10 s at most.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < limit, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Stands before a replica and can be frozen: the peer is still there and says nothing, as one that is stopped.
pub struct Ice {
    pub address: SocketAddr,
    frozen: watch::Sender<bool>,
}

impl Ice {
    pub async fn before(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (frozen, is_frozen) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                let Ok(to) = TcpStream::connect(target).await else {
                    continue;
                };
                let ((fr, fw), (tr, tw)) = (from.into_split(), to.into_split());
                tokio::spawn(carry(fr, tw, is_frozen.clone()));
                tokio::spawn(carry(tr, fw, is_frozen.clone()));
            }
        });
        Self { address, frozen }
    }

    pub fn freeze(&self) {
        self.frozen.send_replace(true);
    }
}

async fn carry(
    from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut frozen: watch::Receiver<bool>,
) {
    let mut buffer = [0; 16 * 1024];
    loop {
        if frozen.wait_for(|frozen| !frozen).await.is_err() || from.readable().await.is_err() {
            return;
        }
        if *frozen.borrow() {
            continue;
        }
        match from.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => {
                if to.write_all(&buffer[..n]).await.is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
