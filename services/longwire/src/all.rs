//! `longwire all`: every service in one process, over the embedded seams. The composition root: it builds each part once
//! and hands it to those that need it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use auth::{Acl, KeyRing, Signer, Verifier};
use backplane::bus::{Bus, EmbeddedBus};
use backplane::journal::{EmbeddedJournal, JournalConfig};
use backplane::lease::{EmbeddedLeases, Leases};
use backplane::presence::{EmbeddedPresence, PresenceBook};
use edge::{Core, Outside};
use jiff::tz::TimeZone;
use model::Partitioning;
use rpc::persistence::Persistence;
use rpc::receipts::Receipts;
use runtime::clock::Clock;
use runtime::health::Health;
use runtime::lifecycle::{OnError, Shutdown, Tasks};
use runtime::metrics::Metrics;
use runtime::ops::OpsServer;
use store::{SqliteStore, Store};
use tracing::info;

use crate::config::{Config, Profile};
use crate::listeners::Bound;

/// The store's file in the data folder.
pub(crate) const STORE_FILE: &str = "store.db";
/// The journal's folder in the data folder.
const JOURNAL_DIR: &str = "journal";

/// Runs until told to stop.
pub(crate) fn run(config: Config) -> anyhow::Result<ExitCode> {
    runtime::telemetry::init(&config.log)?;
    let data = prepare_data(&config)?;
    let store = open_store(&data)?;
    let journal = open_journal(&config, &data)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let code = runtime.block_on(serve(config, store, journal))?;
    // Blocking reads that are under way do not hold the process up.
    runtime.shutdown_background();
    Ok(ExitCode::from(code))
}

/// Makes the data folder, which only its owner may look into.
pub(crate) fn prepare_data(config: &Config) -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&config.data);
    made.with_context(|| format!("making the data folder {}", config.data.display()))?;
    Ok(config.data.clone())
}

/// The identity settings with a secret: the configured one, or in dev the one of the data folder.
pub(crate) fn with_secret(config: &Config) -> anyhow::Result<auth::Config> {
    let mut auth = config.auth.clone();
    if config.profile == Profile::Dev && !auth.has_keys() {
        auth.secret = auth::dev_secret(&prepare_data(config)?)?;
    }
    Ok(auth)
}

fn open_store(data: &Path) -> anyhow::Result<Arc<dyn Store>> {
    let path = data.join(STORE_FILE);
    SqliteStore::migrate(&path).with_context(|| format!("bringing up {}", path.display()))?;
    let store = SqliteStore::open(&path, store::Options::default());
    Ok(Arc::new(
        store.with_context(|| format!("opening {}", path.display()))?,
    ))
}

fn open_journal(config: &Config, data: &Path) -> anyhow::Result<Arc<EmbeddedJournal>> {
    let settings = JournalConfig {
        partitions: config.journal.partitions,
        segment_size: config.journal.segment_size.get(),
        retention: config.journal.retention.get(),
        reserve: config.journal.reserve.get(),
        ..JournalConfig::default()
    };
    let dir = data.join(JOURNAL_DIR);
    let journal = EmbeddedJournal::open(&dir, settings);
    Ok(Arc::new(journal.with_context(|| {
        format!("opening the journal in {}", dir.display())
    })?))
}

/// What more than one service is built from.
struct Parts {
    config: Config,
    auth: auth::Config,
    store: Arc<dyn Store>,
    journal: Arc<EmbeddedJournal>,
    bus: Arc<dyn Bus>,
    leases: Arc<dyn Leases>,
    presence: Arc<dyn PresenceBook>,
    verifier: Arc<Verifier>,
    partitioning: Partitioning,
    holder: String,
    clock: Clock,
    health: Health,
    metrics: Metrics,
}

async fn serve(config: Config, store: Arc<dyn Store>, journal: Arc<EmbeddedJournal>) -> anyhow::Result<u8> {
    let (health, metrics) = (Health::new(), Metrics::with_process());
    let shutdown = Shutdown::new(config.grace.get());
    shutdown.listen().context("listening for signals")?;
    let tasks = shutdown.tasks().clone();
    let ops = OpsServer::bind(&config.ops.listen, health.clone(), metrics.clone())
        .await
        .with_context(|| format!("listening on ops.listen {}", config.ops.listen))?;
    let ops_addr = ops.local_addr()?;
    let parts = parts(config, store, journal, health, metrics, &tasks)?;
    let persistence = start_persistence(&parts, &tasks).await?;
    let receipts = start_receipts(&parts, &tasks);
    start_routing(&parts, &persistence, &tasks);
    let (mqtt, ws) = start_mqtt(&parts, &persistence, &tasks).await?;
    let http = start_http(&parts, &persistence, receipts, &tasks).await?;
    let stop = tasks.stop().clone();
    tasks.spawn_last("ops", OnError::Log, async move { ops.run(stop).await });
    parts.health.set_started();
    announce(
        &Bound {
            mqtt,
            ws,
            http,
            ops: ops_addr,
        },
        &parts.config,
    );
    let code = shutdown.run().await;
    info!(code, "stopped");
    tokio::task::spawn_blocking(move || parts.journal.close()).await?;
    Ok(code)
}

fn parts(
    config: Config,
    store: Arc<dyn Store>,
    journal: Arc<EmbeddedJournal>,
    health: Health,
    metrics: Metrics,
    tasks: &Tasks,
) -> anyhow::Result<Parts> {
    let auth = with_secret(&config)?;
    let clock = Clock::system();
    let keys = KeyRing::build(&auth)?;
    let keys = Arc::new(keys);
    let (refreshed, stop) = (keys.clone(), tasks.stop().clone());
    tasks.spawn_last("auth/keys", OnError::StopProcess, async move {
        tokio::select! {
            () = stop.hard().cancelled() => {}
            () = refreshed.run() => {}
        }
    });
    let verifier = Arc::new(Verifier::new(&auth, keys, clock.clone()));
    let partitioning = Partitioning::new(config.journal.partitions);
    Ok(Parts {
        bus: Arc::new(EmbeddedBus::default()),
        leases: Arc::new(EmbeddedLeases::new()),
        presence: Arc::new(EmbeddedPresence::new()),
        holder: format!("all-{}", std::process::id()),
        config,
        auth,
        store,
        journal,
        verifier,
        partitioning,
        clock,
        health,
        metrics,
    })
}

async fn start_persistence(parts: &Parts, tasks: &Tasks) -> anyhow::Result<Arc<dyn Persistence>> {
    let deps = persistence::Deps {
        store: parts.store.clone(),
        journal: parts.journal.clone(),
        leases: parts.leases.clone(),
        bus: parts.bus.clone(),
        clock: parts.clock.clone(),
        partitioning: parts.partitioning,
        holder: parts.holder.clone(),
        recall_window: parts.config.chat.recall_window.get(),
        embedded: true,
        metrics: parts.metrics.clone(),
        health: parts.health.clone(),
    };
    let service = persistence::Service::build(parts.config.persistence.clone(), deps).await?;
    let handle = service.handle();
    let stop = tasks.stop().clone();
    tasks.spawn_last("persistence", OnError::StopProcess, service.run(stop));
    Ok(handle)
}

fn start_routing(parts: &Parts, persistence: &Arc<dyn Persistence>, tasks: &Tasks) {
    let deps = routing::Deps {
        journal: parts.journal.clone(),
        bus: parts.bus.clone(),
        leases: parts.leases.clone(),
        persistence: persistence.clone(),
        partitioning: parts.partitioning,
        recall_window: parts.config.chat.recall_window.as_millis(),
        holder: parts.holder.clone(),
        clock: parts.clock.clone(),
        metrics: parts.metrics.service("routing"),
    };
    routing::Service::new(parts.config.routing.clone(), deps).start(tasks);
}

/// What one edge is built from. Each has its own: they are different processes in a cluster.
fn core(
    parts: &Parts,
    role: &'static str,
    persistence: &Arc<dyn Persistence>,
    tasks: &Tasks,
) -> anyhow::Result<Arc<Core>> {
    let outside = Outside {
        journal: parts.journal.clone(),
        bus: parts.bus.clone(),
        presence: parts.presence.clone(),
        persistence: persistence.clone(),
        verifier: parts.verifier.clone(),
        acl: Acl::new(&parts.auth.acl),
        partitioning: parts.partitioning,
        zone: parts.zone()?,
        clock: parts.clock.clone(),
        metrics: parts.metrics.service(&format!("{role}_core")),
        role,
    };
    let core = Core::new(parts.config.edge.clone(), outside);
    core.start(tasks);
    Ok(core)
}

async fn start_mqtt(
    parts: &Parts,
    persistence: &Arc<dyn Persistence>,
    tasks: &Tasks,
) -> anyhow::Result<(std::net::SocketAddr, std::net::SocketAddr)> {
    let deps = mqtt_edge::Deps {
        core: core(parts, "mqtt-edge", persistence, tasks)?,
        auth: parts.auth.clone(),
        metrics: parts.metrics.service("mqtt_edge"),
    };
    let service = mqtt_edge::Service::bind(parts.config.mqtt.clone(), deps).await?;
    let bound = (service.tcp_addr(), service.ws_addr());
    service.start(tasks);
    Ok(bound)
}

/// Tells whoever started the process where it can be reached.
fn announce(bound: &Bound, config: &Config) {
    let text = match std::env::var_os("LONGWIRE_READY_JSON") {
        Some(_) => bound.to_json(),
        None => bound.to_text(config),
    };
    crate::say(&mut std::io::stdout(), &text);
}

fn start_receipts(parts: &Parts, tasks: &Tasks) -> Arc<dyn Receipts> {
    let deps = receipts::Deps {
        store: parts.store.clone(),
        journal: parts.journal.clone(),
        leases: parts.leases.clone(),
        partitioning: parts.partitioning,
        holder: parts.holder.clone(),
        metrics: parts.metrics.clone(),
        health: parts.health.clone(),
    };
    let service = receipts::Service::build(parts.config.receipts.clone(), deps);
    let handle = service.handle();
    let stop = tasks.stop().clone();
    tasks.spawn_last("receipts", OnError::StopProcess, service.run(stop));
    handle
}

/// STOMP and the HTTP calls share a listener.
async fn start_http(
    parts: &Parts,
    persistence: &Arc<dyn Persistence>,
    receipts: Arc<dyn Receipts>,
    tasks: &Tasks,
) -> anyhow::Result<std::net::SocketAddr> {
    let deps = gateway::Deps {
        core: core(parts, "gateway", persistence, tasks)?,
        receipts,
        signer: Signer::new(&parts.auth).ok().map(Arc::new),
        default_org: parts.auth.default_org.clone().into(),
        anonymous_visitors: parts.auth.allows_anonymous_visitors(),
        zone: parts.zone()?,
        stop: tasks.stop().clone(),
        metrics: parts.metrics.service("gateway"),
    };
    let gateway = gateway::Service::new(parts.config.gateway.clone(), deps);
    let deps = stomp_edge::Deps {
        core: core(parts, "stomp-edge", persistence, tasks)?,
        auth: parts.auth.clone(),
        metrics: parts.metrics.service("stomp_edge"),
    };
    let stomp = stomp_edge::Service::new(parts.config.stomp.clone(), deps);
    stomp.start(tasks);
    let at = &parts.config.http.listen;
    let listener = at
        .bind()
        .await
        .with_context(|| format!("listening on http.listen {at}"))?;
    let bound = listener.local_addr()?;
    let app = gateway.router().merge(stomp.router(tasks));
    let all = tasks.clone();
    tasks.spawn("http", OnError::StopProcess, async move {
        runtime::http::serve(listener, app, runtime::http::Limits::default(), &all).await;
    });
    Ok(bound)
}

impl Parts {
    fn zone(&self) -> anyhow::Result<TimeZone> {
        TimeZone::get(&self.config.compat.time_zone).context("compat.time_zone")
    }
}
