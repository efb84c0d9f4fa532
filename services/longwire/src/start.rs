//! The composition root: builds each service once and hands it what it needs, over whatever stands behind the seams.
//! `longwire all` and the roles of a cluster differ in what they give it, not in what it does.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use auth::{Acl, KeyRing, Signer, Verifier};
use backplane::bus::Bus;
use backplane::checkpoint::Checkpoints;
use backplane::journal::Journal;
use backplane::lease::Leases;
use backplane::presence::PresenceBook;
use contract::persistence::Persistence;
use contract::receipts::Receipts;
use contract::routing::Routing;
use edge::{Core, Outside};
use jiff::tz::TimeZone;
use model::Partitioning;
use runtime::clock::Clock;
use runtime::health::Health;
use runtime::lifecycle::{OnError, Shutdown, Tasks};
use runtime::metrics::Metrics;
use runtime::ops::OpsServer;
use store::Store;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::config::Config;

/// What stands behind the seams.
pub(crate) struct Seams {
    pub journal: Arc<dyn Journal>,
    pub bus: Arc<dyn Bus>,
    pub leases: Arc<dyn Leases>,
    pub presence: Arc<dyn PresenceBook>,
    pub checkpoints: Arc<dyn Checkpoints>,
}

/// A process on its way up: what answers operators is there already.
pub(crate) struct Process {
    pub config: Config,
    pub health: Health,
    pub metrics: Metrics,
    pub clock: Clock,
    pub tasks: Tasks,
    pub ops: SocketAddr,
    /// Obeys signals from the beginning, also while servers are still waited for.
    stopped: JoinHandle<u8>,
}

impl Process {
    /// Listens for signals and for operators.
    pub async fn begin(config: Config) -> anyhow::Result<Self> {
        let (health, metrics) = (Health::new(), Metrics::with_process());
        let shutdown = Shutdown::new(config.grace.get());
        shutdown.listen().context("listening for signals")?;
        let tasks = shutdown.tasks().clone();
        let ops = OpsServer::bind(&config.ops.listen, health.clone(), metrics.clone())
            .await
            .with_context(|| format!("listening on ops.listen {}", config.ops.listen))?;
        let ops_addr = ops.local_addr()?;
        let stop = tasks.stop().clone();
        tasks.spawn_last("ops", OnError::Log, async move { ops.run(stop).await });
        // A role may have nothing but tasks that end last, and they wait for the others.
        let soft = tasks.stop().soft().clone();
        tasks.spawn("process", OnError::Log, async move { soft.cancelled().await });
        Ok(Self {
            config,
            health,
            metrics,
            clock: Clock::system(),
            tasks,
            ops: ops_addr,
            stopped: tokio::spawn(shutdown.run()),
        })
    }

    /// Everything is there.
    pub fn started(&self) {
        self.health.set_started();
    }

    /// Waits until it has been told to stop and has stopped; the exit code.
    pub async fn stopped(self) -> anyhow::Result<u8> {
        self.stopped.await.context("stopping")
    }
}

/// What more than one service is built from.
pub(crate) struct Parts<'a> {
    pub process: &'a Process,
    pub seams: Seams,
    pub partitioning: Partitioning,
    /// The name under which this process holds leases: another one in each life.
    pub holder: String,
}

/// The services that edges use.
#[derive(Clone)]
pub(crate) struct Services {
    pub persistence: Arc<dyn Persistence>,
    pub routing: Arc<dyn Routing>,
}

/// What edges need besides: who clients are.
pub(crate) struct Identity {
    auth: auth::Config,
    verifier: Arc<Verifier>,
}

impl Identity {
    /// Keys are refreshed from now on.
    pub fn start(process: &Process) -> anyhow::Result<Self> {
        let auth = crate::all::with_secret(&process.config)?;
        let keys = Arc::new(KeyRing::build(&auth)?);
        let (refreshed, stop) = (keys.clone(), process.tasks.stop().clone());
        process
            .tasks
            .spawn_last("auth/keys", OnError::StopProcess, async move {
                tokio::select! {
                    () = stop.hard().cancelled() => {}
                    () = refreshed.run() => {}
                }
            });
        let verifier = Arc::new(Verifier::new(&auth, keys, process.clock.clone()));
        Ok(Self { auth, verifier })
    }
}

impl Parts<'_> {
    /// `embedded`: all edges live in this process.
    pub async fn start_persistence(
        &self,
        store: Arc<dyn Store>,
        routing: Arc<dyn Routing>,
        embedded: bool,
    ) -> anyhow::Result<Arc<dyn Persistence>> {
        let (seams, process) = (&self.seams, self.process);
        let deps = persistence::Deps {
            store,
            routing,
            checkpoints: seams.checkpoints.clone(),
            journal: seams.journal.clone(),
            leases: seams.leases.clone(),
            bus: seams.bus.clone(),
            presence: seams.presence.clone(),
            rules: thread_rules(&process.config)?,
            clock: process.clock.clone(),
            partitioning: self.partitioning,
            holder: self.holder.clone(),
            embedded,
            metrics: process.metrics.clone(),
            health: process.health.clone(),
        };
        let service = persistence::Service::build(process.config.persistence.clone(), deps).await?;
        let handle = service.handle();
        let run = service.run(process.tasks.stop().clone());
        process.tasks.spawn_last("persistence", OnError::StopProcess, run);
        Ok(handle)
    }

    pub fn start_receipts(&self, store: Arc<dyn Store>) -> Arc<dyn Receipts> {
        let (seams, process) = (&self.seams, self.process);
        let deps = receipts::Deps {
            store,
            journal: seams.journal.clone(),
            leases: seams.leases.clone(),
            partitioning: self.partitioning,
            holder: self.holder.clone(),
            metrics: process.metrics.clone(),
            health: process.health.clone(),
        };
        let service = receipts::Service::build(process.config.receipts.clone(), deps);
        let handle = service.handle();
        let run = service.run(process.tasks.stop().clone());
        process.tasks.spawn_last("receipts", OnError::StopProcess, run);
        handle
    }

    pub fn start_routing(&self, owners: Arc<routing::Owners>, persistence: &Arc<dyn Persistence>) {
        let (seams, process) = (&self.seams, self.process);
        let deps = routing::Deps {
            journal: seams.journal.clone(),
            owners,
            checkpoints: seams.checkpoints.clone(),
            salt: rand::random(),
            bus: seams.bus.clone(),
            leases: seams.leases.clone(),
            persistence: persistence.clone(),
            partitioning: self.partitioning,
            recall_window: process.config.chat.recall_window.as_millis(),
            holder: self.holder.clone(),
            clock: process.clock.clone(),
            metrics: process.metrics.service("routing"),
        };
        routing::Service::new(process.config.routing.clone(), deps).start(&process.tasks);
    }

    /// What one edge is built from. Each has its own: they are different processes in a cluster.
    fn core(
        &self,
        role: &'static str,
        identity: &Identity,
        services: &Services,
    ) -> anyhow::Result<Arc<Core>> {
        let (seams, process) = (&self.seams, self.process);
        let outside = Outside {
            journal: seams.journal.clone(),
            routing: services.routing.clone(),
            bus: seams.bus.clone(),
            leases: seams.leases.clone(),
            presence: seams.presence.clone(),
            persistence: services.persistence.clone(),
            verifier: identity.verifier.clone(),
            acl: Acl::new(&identity.auth.acl),
            partitioning: self.partitioning,
            zone: zone(&process.config)?,
            clock: process.clock.clone(),
            health: process.health.clone(),
            metrics: process.metrics.service(&format!("{role}_core")),
            role,
        };
        let core = Core::new(process.config.edge.clone(), outside);
        core.start(&process.tasks);
        Ok(core)
    }

    /// Where MQTT is served: over TCP, over WebSocket.
    pub async fn start_mqtt(
        &self,
        identity: &Identity,
        services: &Services,
    ) -> anyhow::Result<(SocketAddr, SocketAddr)> {
        let deps = mqtt_edge::Deps {
            core: self.core("mqtt-edge", identity, services)?,
            auth: identity.auth.clone(),
            metrics: self.process.metrics.service("mqtt_edge"),
        };
        let service = mqtt_edge::Service::bind(self.process.config.mqtt.clone(), deps).await?;
        let bound = (service.tcp_addr(), service.ws_addr());
        service.start(&self.process.tasks);
        Ok(bound)
    }

    /// The addresses of STOMP.
    pub fn start_stomp(&self, identity: &Identity, services: &Services) -> anyhow::Result<Http> {
        let core = self.core("stomp-edge", identity, services)?;
        let deps = stomp_edge::Deps {
            core: core.clone(),
            auth: identity.auth.clone(),
            metrics: self.process.metrics.service("stomp_edge"),
        };
        let stomp = stomp_edge::Service::new(self.process.config.stomp.clone(), deps);
        stomp.start(&self.process.tasks);
        Ok(Http {
            router: stomp.router(&self.process.tasks),
            cores: vec![core],
        })
    }

    /// The HTTP calls.
    pub fn start_gateway(
        &self,
        identity: &Identity,
        services: &Services,
        receipts: Arc<dyn Receipts>,
    ) -> anyhow::Result<Http> {
        let (process, auth) = (self.process, &identity.auth);
        let core = self.core("gateway", identity, services)?;
        let deps = gateway::Deps {
            core: core.clone(),
            receipts,
            signer: Signer::new(auth).ok().map(Arc::new),
            default_org: auth.default_org.clone().into(),
            anonymous_visitors: auth.allows_anonymous_visitors(),
            zone: zone(&process.config)?,
            stop: process.tasks.stop().clone(),
            metrics: process.metrics.service("gateway"),
        };
        let gateway = gateway::Service::new(process.config.gateway.clone(), deps);
        Ok(Http {
            router: gateway.router(),
            cores: vec![core],
        })
    }
}

/// What is served on the HTTP listener.
pub(crate) struct Http {
    router: axum::Router,
    cores: Vec<Arc<Core>>,
}

impl Http {
    /// Both on one listener.
    pub fn and(mut self, other: Http) -> Self {
        self.router = self.router.merge(other.router);
        self.cores.extend(other.cores);
        self
    }

    /// Binds, and answers as soon as what is served can be.
    pub async fn serve(self, process: &Process) -> anyhow::Result<SocketAddr> {
        let at = &process.config.http.listen;
        let listener: TcpListener = at
            .bind()
            .await
            .with_context(|| format!("listening on http.listen {at}"))?;
        let bound = listener.local_addr()?;
        let all = process.tasks.clone();
        process.tasks.spawn("http", OnError::StopProcess, async move {
            for core in &self.cores {
                tokio::select! {
                    () = all.stop().soft().cancelled() => return,
                    () = core.ready() => {}
                }
            }
            let limits = runtime::http::Limits::default();
            runtime::http::serve(listener, self.router, limits, &all).await;
        });
        Ok(bound)
    }
}

fn zone(config: &Config) -> anyhow::Result<TimeZone> {
    TimeZone::get(&config.compat.time_zone).context("compat.time_zone")
}

/// The rules of conversations that persistence keeps.
fn thread_rules(config: &Config) -> anyhow::Result<persistence::ThreadRules> {
    let chat = &config.chat;
    Ok(persistence::ThreadRules {
        auto_close: chat.auto_close.get(),
        offer_timeout: chat.offer_timeout.get(),
        max_threads_per_agent: chat.max_threads_per_agent,
        new_threads_per_visitor: chat.new_threads_per_visitor,
        new_threads_per_org: chat.new_threads_per_org,
        queue: config.gateway.queue.clone(),
        zone: zone(config)?,
    })
}
