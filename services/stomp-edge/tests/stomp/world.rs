//! Everything an edge needs, in one process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use auth::{Acl, AclConfig, Action, Claims, KeyRing, Signer, Verifier};
use axum::serve::ListenerExt;
use backplane::bus::{BusLimits, EmbeddedBus};
use backplane::checkpoint::EmbeddedCheckpoints;
use backplane::journal::{EmbeddedJournal, JournalConfig};
use backplane::lease::EmbeddedLeases;
use backplane::presence::EmbeddedPresence;
use edge::{Core, Outside};
use jiff::tz::TimeZone;
use model::{Partitioning, Role};
use runtime::clock::Clock;
use runtime::config::Secret;
use runtime::health::Health;
use runtime::lifecycle::{OnError, Stop, Tasks};
use runtime::metrics::Metrics;
use stomp_edge::{Config, Deps, Service};
use store::{Options, SqliteStore};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::lagging::Lagging;

pub const ORG: &str = "df_org_uid";
pub const THREAD: &str = "org/agent/a1/v1";
const PARTITIONS: u16 = 4;

pub struct World {
    pub journal: Arc<EmbeddedJournal>,
    owners: Arc<routing::Owners>,
    pub bus: Arc<EmbeddedBus>,
    leases: Arc<EmbeddedLeases>,
    pub presence: Arc<EmbeddedPresence>,
    pub persistence: Arc<Lagging>,
    pub clock: Clock,
    pub auth: auth::Config,
    signer: Signer,
    _tasks: Tasks,
    _dir: TempDir,
}

pub struct Server {
    pub at: SocketAddr,
    pub core: Arc<Core>,
    pub tasks: Tasks,
    pub metrics: Metrics,
}

impl World {
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.db");
        SqliteStore::migrate(&path).unwrap();
        let store = SqliteStore::open(&path, Options::default()).unwrap();
        let config = JournalConfig {
            partitions: PARTITIONS,
            ..JournalConfig::default()
        };
        let journal = Arc::new(EmbeddedJournal::open(dir.path().join("log"), config).unwrap());
        let bus = Arc::new(EmbeddedBus::new(BusLimits::default()));
        let leases = Arc::new(EmbeddedLeases::new());
        let (clock, tasks, metrics) = (Clock::system(), Tasks::new(Stop::new()), Metrics::new());
        let partitioning = Partitioning::new(PARTITIONS);
        let owners = routing::Owners::new(partitioning);
        let checkpoints = Arc::new(EmbeddedCheckpoints::open(dir.path().join("checkpoints")).unwrap());
        let presence = Arc::new(EmbeddedPresence::new());
        let service = persistence::Service::build(
            persistence::Config::default(),
            persistence::Deps {
                presence: presence.clone(),
                rules: persistence::ThreadRules::default(),
                store: Arc::new(store),
                routing: owners.clone(),
                checkpoints: checkpoints.clone(),
                journal: journal.clone(),
                leases: leases.clone(),
                bus: bus.clone(),
                clock: clock.clone(),
                partitioning,
                holder: "test".into(),
                embedded: true,
                metrics: metrics.clone(),
                health: Health::new(),
            },
        );
        let service = service.await.unwrap();
        // An agent that has been there before.
        let desk = vec![model::Principal::staff_mark("a1")];
        service.handle().prove(&ORG.into(), desk).await.unwrap();
        let persistence = Arc::new(Lagging {
            real: service.handle(),
            old: parking_lot::Mutex::default(),
            blind: AtomicBool::new(false),
        });
        tasks.spawn(
            "persistence",
            OnError::StopProcess,
            service.run(tasks.stop().clone()),
        );
        let deps = routing::Deps {
            journal: journal.clone(),
            owners: owners.clone(),
            checkpoints: checkpoints.clone(),
            salt: 7,
            bus: bus.clone(),
            leases: leases.clone(),
            persistence: persistence.clone(),
            partitioning,
            recall_window: 120_000,
            holder: "test".into(),
            clock: clock.clone(),
            metrics: metrics.service("routing"),
        };
        routing::Service::new(routing::Config::default(), deps).start(&tasks);
        let mut auth = auth::Config {
            secret: Secret::new("0123456789abcdef0123456789abcdef"),
            ..auth::Config::default()
        };
        auth.apply_dev();
        Self {
            signer: Signer::new(&auth).unwrap(),
            presence,
            auth,
            journal,
            owners,
            bus,
            leases,
            persistence,
            clock,
            _tasks: tasks,
            _dir: dir,
        }
    }

    /// One edge as it comes.
    pub async fn server(&self) -> Server {
        self.server_with(Config::default()).await
    }

    pub async fn server_with(&self, config: Config) -> Server {
        self.server_on(config, edge::Config::default(), &self.auth).await
    }

    pub async fn server_on(&self, config: Config, of_edge: edge::Config, auth: &auth::Config) -> Server {
        let (tasks, metrics) = (Tasks::new(Stop::new()), Metrics::new());
        let acl = Acl::new(&AclConfig {
            default: Some(Action::Allow),
            rules: Vec::new(),
        });
        let keys = Arc::new(KeyRing::build(auth).unwrap());
        let core = Core::new(
            of_edge,
            Outside {
                journal: self.journal.clone(),
                routing: self.owners.clone(),
                bus: self.bus.clone(),
                leases: self.leases.clone(),
                presence: self.presence.clone(),
                persistence: self.persistence.clone(),
                verifier: Arc::new(Verifier::new(auth, keys, self.clock.clone())),
                acl,
                partitioning: Partitioning::new(PARTITIONS),
                zone: TimeZone::get("Asia/Shanghai").unwrap(),
                clock: self.clock.clone(),
                health: runtime::health::Health::new(),
                metrics: metrics.service("edge"),
                role: "stomp-edge",
            },
        );
        core.start(&tasks);
        config.validate().unwrap();
        let deps = Deps {
            core: core.clone(),
            auth: auth.clone(),
            metrics: metrics.service("stomp_edge"),
        };
        let service = Service::new(config, deps);
        service.start(&tasks);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (router, stop) = (service.router(&tasks), tasks.stop().clone());
        let listener = listener.tap_io(|tcp| tcp.set_nodelay(true).unwrap());
        tasks.spawn("serve", OnError::StopProcess, async move {
            let stopped = async move { stop.soft().cancelled().await };
            axum::serve(listener, router)
                .with_graceful_shutdown(stopped)
                .await
        });
        Server {
            at,
            core,
            tasks,
            metrics,
        }
    }

    pub fn token(&self, claims: &Claims) -> String {
        self.signer.sign(claims)
    }

    /// A token of agent `u1`, who answers as `a1`.
    pub fn agent(&self) -> String {
        self.token(&Claims {
            aliases: vec!["a1".into()],
            ..Claims::new("u1", Role::Agent)
        })
    }
}

impl Server {
    /// The value of a series, 0 when there is none.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.metrics.encode();
        let line = text
            .lines()
            .find(|l| l.starts_with(&format!("longwire_stomp_edge_{name} ")));
        line.and_then(|l| l.rsplit_once(' '))
            .map_or(0.0, |(_, v)| v.parse().unwrap())
    }
}

/// Waits until something is so.
pub async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(crate::client::DEADLINE, waiting).await;
    assert!(waited.is_ok(), "{what} does not happen");
}
