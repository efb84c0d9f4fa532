//! A cluster in one process: edges, routing and persistence over the embedded seams, each of which can be stopped alone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use auth::{Acl, Claims, KeyRing, Signer, Verifier};
use backplane::bus::EmbeddedBus;
use backplane::checkpoint::EmbeddedCheckpoints;
use backplane::journal::{EmbeddedJournal, JournalConfig};
use backplane::lease::{EmbeddedLeases, Leases};
use backplane::presence::EmbeddedPresence;
use contract::persistence::Persistence;
use edge::{Core, Outside};
use jiff::tz::TimeZone;
use model::{Partitioning, Role};
use mqtt_edge::{Config, Deps, Service};
use runtime::clock::Clock;
use runtime::config::{HumanDuration, Listen, Secret};
use runtime::health::Health;
use runtime::lifecycle::{OnError, Stop, Tasks};
use runtime::metrics::Metrics;
use store::{Options, SqliteStore, Store};
use tempfile::TempDir;
use testkit::mqtt::{Mqtt, Options as Client, Refused};

use crate::fence::Line;

pub const PARTITIONS: u16 = 4;
const RECALL_WINDOW: Duration = Duration::from_secs(120);

pub struct Rig {
    _dir: TempDir,
    journal: Arc<EmbeddedJournal>,
    owners: Arc<routing::Owners>,
    checkpoints: Arc<EmbeddedCheckpoints>,
    bus: Arc<EmbeddedBus>,
    leases: Arc<EmbeddedLeases>,
    presence: Arc<EmbeddedPresence>,
    pub persistence: Arc<dyn Persistence>,
    pub auth: auth::Config,
    pub edge_config: edge::Config,
    routing: Option<Tasks>,
    tasks: Tasks,
    clock: Clock,
}

pub struct Edge {
    pub core: Arc<Core>,
    pub tcp: SocketAddr,
    pub ws: SocketAddr,
    tasks: Tasks,
}

impl Rig {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.db");
        SqliteStore::migrate(&path).unwrap();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, Options::default()).unwrap());
        let settings = JournalConfig {
            partitions: PARTITIONS,
            segment_size: 8 << 20,
            ..JournalConfig::default()
        };
        let journal = Arc::new(EmbeddedJournal::open(dir.path().join("log"), settings).unwrap());
        let (bus, leases) = (Arc::new(EmbeddedBus::default()), Arc::new(EmbeddedLeases::new()));
        let (tasks, clock) = (Tasks::new(Stop::new()), Clock::system());
        let owners = routing::Owners::new(Partitioning::new(PARTITIONS));
        let checkpoints = Arc::new(EmbeddedCheckpoints::open(dir.path().join("checkpoints")).unwrap());
        let presence = Arc::new(EmbeddedPresence::new());
        let deps = persistence::Deps {
            presence: presence.clone(),
            rules: persistence::ThreadRules::default(),
            store,
            routing: owners.clone(),
            checkpoints: checkpoints.clone(),
            journal: journal.clone(),
            leases: leases.clone(),
            bus: bus.clone(),
            clock: clock.clone(),
            partitioning: Partitioning::new(PARTITIONS),
            holder: "persistence".into(),
            embedded: true,
            metrics: Metrics::new(),
            health: Health::new(),
        };
        let service = persistence::Service::build(persistence::Config::default(), deps)
            .await
            .unwrap();
        let persistence = service.handle();
        // Agents that have been there before.
        let desks = ["a1", "a2", "desk", "desk1", "desk2", "elsewhere"].map(model::Principal::staff_mark);
        persistence
            .prove(&"df_org_uid".into(), desks.to_vec())
            .await
            .unwrap();
        tasks.spawn_last(
            "persistence",
            OnError::StopProcess,
            service.run(tasks.stop().clone()),
        );
        let mut auth = auth::Config {
            secret: Secret::new("0123456789abcdef0123456789abcdef"),
            ..auth::Config::default()
        };
        auth.apply_dev();
        let mut rig = Self {
            _dir: dir,
            journal,
            owners,
            checkpoints,
            bus,
            leases,
            presence,
            persistence,
            auth,
            edge_config: edge::Config::default(),
            routing: None,
            tasks,
            clock,
        };
        rig.start_routing();
        rig
    }

    pub fn start_routing(&mut self) {
        let tasks = Tasks::new(Stop::new());
        let config = routing::Config {
            lease: HumanDuration::from_secs(1),
            ..routing::Config::default()
        };
        let deps = routing::Deps {
            journal: self.journal.clone(),
            owners: self.owners.clone(),
            checkpoints: self.checkpoints.clone(),
            salt: 7,
            bus: self.bus.clone(),
            leases: self.leases.clone(),
            persistence: self.persistence.clone(),
            partitioning: Partitioning::new(PARTITIONS),
            recall_window: u64::try_from(RECALL_WINDOW.as_millis()).unwrap(),
            holder: testkit::chat::uid(),
            clock: self.clock.clone(),
            metrics: Metrics::new().service("routing"),
        };
        routing::Service::new(config, deps).start(&tasks);
        self.routing = Some(tasks);
    }

    /// As kill -9 would.
    pub fn kill_routing(&mut self) {
        self.routing.take().unwrap().kill();
    }

    pub async fn edge(&self) -> Edge {
        self.edge_with(|_| {}).await
    }

    /// An edge whose way to the leases can be cut.
    pub async fn edge_behind_a_line(&self) -> (Edge, Arc<Line>) {
        let line = Arc::new(Line {
            leases: self.leases.clone(),
            cut: AtomicBool::new(false),
        });
        (self.edge_over(line.clone(), |_| {}).await, line)
    }

    pub async fn edge_with(&self, configure: impl FnOnce(&mut Config)) -> Edge {
        self.edge_over(self.leases.clone(), configure).await
    }

    async fn edge_over(&self, leases: Arc<dyn Leases>, configure: impl FnOnce(&mut Config)) -> Edge {
        let tasks = Tasks::new(Stop::new());
        let keys = Arc::new(KeyRing::build(&self.auth).unwrap());
        let metrics = Metrics::new();
        let outside = Outside {
            journal: self.journal.clone(),
            routing: self.owners.clone(),
            bus: self.bus.clone(),
            leases,
            presence: self.presence.clone(),
            persistence: self.persistence.clone(),
            verifier: Arc::new(Verifier::new(&self.auth, keys, self.clock.clone())),
            acl: Acl::new(&self.auth.acl),
            partitioning: Partitioning::new(PARTITIONS),
            zone: TimeZone::UTC,
            clock: self.clock.clone(),
            health: runtime::health::Health::new(),
            metrics: metrics.service("core"),
            role: "mqtt-edge",
        };
        let core = Core::new(self.edge_config.clone(), outside);
        core.start(&tasks);
        let mut config = Config {
            tcp_listen: Listen::loopback(0),
            ws_listen: Listen::loopback(0),
            ..Config::default()
        };
        configure(&mut config);
        let deps = Deps {
            core: core.clone(),
            auth: self.auth.clone(),
            metrics: metrics.service("mqtt_edge"),
        };
        let service = Service::bind(config, deps).await.unwrap();
        let (tcp, ws) = (service.tcp_addr(), service.ws_addr());
        service.start(&tasks);
        Edge { core, tcp, ws, tasks }
    }

    pub fn token(&self, user: &str, role: Role, aliases: &[&str]) -> String {
        let mut claims = Claims::new(user, role).valid_for(self.clock.unix_millis() / 1000, 3600);
        claims.aliases = aliases.iter().map(|a| (*a).into()).collect();
        Signer::new(&self.auth).unwrap().sign(&claims)
    }

    /// An agent that says nothing about sessions, on a device of its own.
    pub fn agent(&self, user: &str, version: testkit::mqtt::Version) -> Client {
        let token = self.token(user, Role::Agent, &[]);
        Client::new(version, &format!("{user}/web/{}", testkit::chat::uid())).token(&token)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.routing.iter().for_each(Tasks::kill);
        self.tasks.kill();
    }
}

impl Edge {
    pub async fn connect(&self, options: Client) -> Mqtt {
        self.try_connect(options).await.unwrap()
    }

    pub async fn try_connect(&self, options: Client) -> Result<Mqtt, Refused> {
        let at = if options.websocket.is_some() {
            self.ws
        } else {
            self.tcp
        };
        Mqtt::connect_to(at, options).await
    }

    /// As kill -9 would.
    pub fn kill(&self) {
        self.tasks.kill();
    }

    /// As SIGTERM would.
    pub fn drain(&self) {
        self.tasks.stop().stop_softly();
    }

    pub fn running(&self) -> Vec<String> {
        self.tasks.running()
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.kill();
    }
}
