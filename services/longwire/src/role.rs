//! `longwire mqtt-edge`, `longwire routing`, …: one role in this process, over NATS, Redis and PostgreSQL.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use backplane::bus::NatsBus;
use backplane::checkpoint::NatsCheckpoints;
use backplane::journal::{JetStreamJournal, Journal};
use backplane::lease::KvLeases;
use backplane::nats::{Nats, NatsError};
use backplane::presence::RedisPresence;
use contract::persistence::Persistence;
use contract::receipts::Receipts;
use contract::routing::Routing;
use model::Partitioning;
use rpc::{Metrics as Calls, Services as Served};
use runtime::lifecycle::OnError;
use store::{PostgresStore, Store};
use tracing::warn;

use crate::cli::Role;
use crate::config::Config;
use crate::listeners::Bound;
use crate::start::{Identity, Parts, Process, Seams, Services};

/// How long to wait before a server that is not there yet is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often it is looked at whether the log can be written.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is looked at whether what is acknowledged is durable.
const ATTEST: Duration = Duration::from_secs(60);

/// Runs until told to stop.
pub(crate) fn run(role: Role, config: Config) -> anyhow::Result<ExitCode> {
    runtime::telemetry::init(&config.log)?;
    crate::block_on(serve(role, config))
}

async fn serve(role: Role, config: Config) -> anyhow::Result<u8> {
    let process = Process::begin(config).await?;
    let stop = process.tasks.stop().clone();
    tokio::select! {
        // Told to stop while the servers are still waited for: there is nothing to hand back.
        () = stop.soft().cancelled() => {}
        started = begin(role, &process) => started?,
    }
    process.stopped().await
}

/// Starts the role when everything that it needs is there.
async fn begin(role: Role, process: &Process) -> anyhow::Result<()> {
    let seams = connect(process).await?;
    let parts = Parts {
        process,
        seams,
        partitioning: Partitioning::new(process.config.journal.partitions),
        holder: format!("{}-{}", role.name(), uuid::Uuid::now_v7().simple()),
    };
    let bound = start(role, &parts).await?;
    process.started();
    bound.announce(role.name(), &process.config);
    Ok(())
}

/// Connects to what the roles share. Servers that are not there yet are waited for: a cluster comes up in any order.
async fn connect(process: &Process) -> anyhow::Result<Seams> {
    let (config, name) = (&process.config, &process.config.cluster.name);
    let nats_check = process.health.require("nats");
    let nats = loop {
        match Nats::connect(&config.nats, name).await {
            Err(error) if error.is_temporary() => {
                warn!(%error, "NATS is not to be had yet");
                nats_check.fail(&error);
                tokio::time::sleep(RETRY).await;
            }
            connected => break connected.context("connecting to nats.servers")?,
        }
    };
    let (journal, leases, checkpoints) = loop {
        match open(&nats, config).await {
            Err(error) if error.is_temporary() => {
                warn!(%error, "JetStream is not ready yet");
                nats_check.fail(&error);
                tokio::time::sleep(RETRY).await;
            }
            opened => break opened.context("opening the log and the leases in NATS")?,
        }
    };
    nats_check.ok();
    watch(process, nats.clone(), journal.clone());
    let presence = RedisPresence::connect(&config.redis, name).context("redis")?;
    Ok(Seams {
        journal,
        bus: Arc::new(NatsBus::new(&nats)),
        leases: Arc::new(leases),
        presence: Arc::new(presence),
        checkpoints: Arc::new(checkpoints),
    })
}

async fn open(
    nats: &Nats,
    config: &Config,
) -> Result<(Arc<JetStreamJournal>, KvLeases, NatsCheckpoints), NatsError> {
    let journal = JetStreamJournal::open(nats, config.journal.partitions).await?;
    let leases = KvLeases::open(nats).await?;
    Ok((Arc::new(journal), leases, NatsCheckpoints::open(nats).await?))
}

/// Keeps an eye on the log: whether it takes appends, and whether it keeps what it acknowledges.
fn watch(process: &Process, nats: Nats, journal: Arc<JetStreamJournal>) {
    let writable = process.health.require("journal");
    let durable = process.health.advise("durability");
    let gauge = process.metrics.service("cluster").gauge(
        "durable",
        "1 when the log is known to survive the loss of a server and of power, else 0",
    );
    process.tasks.spawn_last("cluster/watch", OnError::Log, {
        let stop = process.tasks.stop().clone();
        async move {
            let (mut look, mut attest) = (tokio::time::interval(LOOK), tokio::time::interval(ATTEST));
            loop {
                tokio::select! {
                    () = stop.hard().cancelled() => return,
                    _ = look.tick() => writable.set_result(&journal.health()),
                    _ = attest.tick() => {
                        let attestation = nats.attest().await;
                        gauge.set(i64::from(attestation.durable));
                        match attestation.durable {
                            true => durable.ok(),
                            false => durable.fail(attestation.reasons.join("; ")),
                        }
                    }
                }
            }
        }
    });
}

async fn start(role: Role, parts: &Parts<'_>) -> anyhow::Result<Bound> {
    let process = parts.process;
    let mut bound = Bound {
        mqtt: None,
        ws: None,
        http: None,
        rpc: None,
        ops: process.ops,
    };
    let calls = Calls::new(&process.metrics);
    match role {
        Role::Persistence => {
            let (store, owners) = (open_store(process).await?, routing(process, &calls));
            let served = Served {
                persistence: Some(parts.start_persistence(store, owners, false).await?),
                ..Served::default()
            };
            bound.rpc = Some(serve_calls(process, served, calls).await?);
        }
        Role::Receipts => {
            let served = Served {
                receipts: Some(parts.start_receipts(open_store(process).await?)),
                ..Served::default()
            };
            bound.rpc = Some(serve_calls(process, served, calls).await?);
        }
        Role::Routing => {
            let owners = ::routing::Owners::new(parts.partitioning);
            parts.start_routing(owners.clone(), &persistence(process, &calls));
            let served = Served {
                routing: Some(owners),
                ..Served::default()
            };
            bound.rpc = Some(serve_calls(process, served, calls).await?);
        }
        Role::MqttEdge => {
            let identity = Identity::start(process)?;
            let (mqtt, ws) = parts.start_mqtt(&identity, &services(process, &calls)).await?;
            (bound.mqtt, bound.ws) = (Some(mqtt), Some(ws));
        }
        Role::StompEdge => {
            let identity = Identity::start(process)?;
            let http = parts.start_stomp(&identity, &services(process, &calls))?;
            bound.http = Some(http.serve(process).await?);
        }
        Role::Gateway => {
            let identity = Identity::start(process)?;
            let http =
                parts.start_gateway(&identity, &services(process, &calls), receipts(process, &calls))?;
            bound.http = Some(http.serve(process).await?);
        }
    }
    Ok(bound)
}

/// What edges call.
fn services(process: &Process, calls: &Calls) -> Services {
    Services {
        persistence: persistence(process, calls),
        routing: routing(process, calls),
    }
}

/// The owners of partitions in other processes. Without them nothing is taken in; what has an owner goes on.
fn routing(process: &Process, calls: &Calls) -> Arc<dyn Routing> {
    let check = process.health.advise("routing");
    rpc::connect_routing(&process.config.rpc, calls, check)
}

/// Without persistence live delivery goes on, so it is no reason to get no traffic; so without receipts. But nobody can
/// connect where it was never reached.
fn persistence(process: &Process, calls: &Calls) -> Arc<dyn Persistence> {
    let check = process.health.require_at_first("persistence");
    rpc::connect_persistence(&process.config.rpc, calls, check)
}

fn receipts(process: &Process, calls: &Calls) -> Arc<dyn Receipts> {
    let check = process.health.advise("receipts");
    rpc::connect_receipts(&process.config.rpc, calls, check)
}

/// A database of an unknown schema is refused; one that is not there yet is waited for.
async fn open_store(process: &Process) -> anyhow::Result<Arc<dyn Store>> {
    let check = process.health.require("store");
    loop {
        let opened = PostgresStore::open(&process.config.postgres).await;
        match opened {
            Err(error) if error.is_temporary() => {
                warn!(%error, "PostgreSQL is not to be had yet");
                check.fail(&error);
                tokio::time::sleep(RETRY).await;
            }
            opened => {
                let store = opened.context("opening the database")?;
                check.ok();
                return Ok(Arc::new(store));
            }
        }
    }
}

async fn serve_calls(process: &Process, served: Served, calls: Calls) -> anyhow::Result<SocketAddr> {
    let config = process.config.rpc.clone();
    let at = &config.listen;
    let listener = at
        .bind()
        .await
        .with_context(|| format!("listening on rpc.listen {at}"))?;
    let bound = listener.local_addr()?;
    let serve = rpc::serve(listener, config, served, calls, process.tasks.stop().clone());
    process.tasks.spawn_last("rpc", OnError::StopProcess, serve);
    Ok(bound)
}
