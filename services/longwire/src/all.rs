//! `longwire all`: every service in one process, over the embedded seams: a cluster of one.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use backplane::bus::EmbeddedBus;
use backplane::checkpoint::EmbeddedCheckpoints;
use backplane::journal::{EmbeddedJournal, JournalConfig};
use backplane::lease::EmbeddedLeases;
use backplane::presence::EmbeddedPresence;
use model::Partitioning;
use store::{SqliteStore, Store};

use crate::config::{Config, Profile};
use crate::listeners::Bound;
use crate::start::{Identity, Parts, Process, Seams, Services};

/// The store's file in the data folder.
pub(crate) const STORE_FILE: &str = "store.db";
/// What owners know of uids, in the data folder.
const CHECKPOINT_DIR: &str = "checkpoints";
/// The journal's folder in the data folder.
const JOURNAL_DIR: &str = "journal";

/// Runs until told to stop.
pub(crate) fn run(config: Config) -> anyhow::Result<ExitCode> {
    runtime::telemetry::init(&config.log)?;
    let data = prepare_data(&config)?;
    let store = open_store(&data)?;
    let journal = open_journal(&config, &data)?;
    let checkpoints =
        EmbeddedCheckpoints::open(data.join(CHECKPOINT_DIR)).context("opening the checkpoints")?;
    crate::block_on(serve(config, store, journal, Arc::new(checkpoints)))
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
        format!("starting on the data in {}", data.display())
    })?))
}

async fn serve(
    config: Config,
    store: Arc<dyn Store>,
    journal: Arc<EmbeddedJournal>,
    checkpoints: Arc<EmbeddedCheckpoints>,
) -> anyhow::Result<u8> {
    let process = Process::begin(config).await?;
    let parts = Parts {
        process: &process,
        seams: Seams {
            journal: journal.clone(),
            bus: Arc::new(EmbeddedBus::default()),
            leases: Arc::new(EmbeddedLeases::new()),
            presence: Arc::new(EmbeddedPresence::new()),
            checkpoints,
        },
        partitioning: Partitioning::new(process.config.journal.partitions),
        holder: format!("all-{}", uuid::Uuid::now_v7().simple()),
    };
    let identity = Identity::start(&process)?;
    let owners = routing::Owners::new(parts.partitioning);
    // Before anything is accepted: both services look again, as in a cluster, but edges are there by then.
    for service in [store::Service::Persistence, store::Service::Receipts] {
        consumer::check_log(&*store, &*parts.seams.journal, parts.partitioning, service)
            .await
            .with_context(|| format!("the data folder {}", process.config.data.display()))?;
    }
    let persistence = parts
        .start_persistence(store.clone(), owners.clone(), true)
        .await?;
    let receipts = parts.start_receipts(store);
    parts.start_routing(owners.clone(), &persistence);
    let services = Services {
        routing: owners,
        persistence,
    };
    let (mqtt, ws) = parts.start_mqtt(&identity, &services).await?;
    let gateway = parts.start_gateway(&identity, &services, receipts)?;
    let stomp = parts.start_stomp(&identity, &services)?;
    let http = gateway.and(stomp).serve(&process).await?;
    let bound = Bound {
        mqtt: Some(mqtt),
        ws: Some(ws),
        http: Some(http),
        rpc: None,
        ops: process.ops,
    };
    process.started();
    bound.announce("all", &process.config);
    let code = process.stopped().await?;
    tokio::task::spawn_blocking(move || journal.close()).await?;
    Ok(code)
}
