//! The parts of an edge, put together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use auth::{Acl, Verifier};
use backplane::bus::{Bus, BusError, Subscription};
use backplane::journal::Journal;
use backplane::lease::Leases;
use backplane::presence::PresenceBook;
use contract::persistence::Persistence;
use contract::routing::{Announcement, Outcome, Routing};
use jiff::tz::TimeZone;
use model::{EdgeId, OrgId, PartitionId, Partitioning, Position, TopicName, UnixMillis};
use runtime::clock::Clock;
use runtime::health::Health;
use runtime::lifecycle::{OnError, Tasks};
use runtime::metrics::ServiceMetrics;
use tokio::sync::{oneshot, watch};
use tracing::warn;
use wire::Entry;

use crate::Config;
use crate::access::Gate;
use crate::attach::Attachments;
use crate::dispatch::Dispatcher;
use crate::ingest::Ingest;
use crate::lease::{self, EdgeLease};
use crate::line::{LOOK, Line, Ticket, With};
use crate::metrics::Metrics;
use crate::presence::{self, Keeper};
use crate::proofs::Proofs;
use crate::registry::Registry;
use crate::saver::Saver;

/// The subject on which changes of membership are told: payload is org, a zero byte, topic.
pub const ACCESS_SUBJECT: &str = "access";
/// How long to wait before something that must not be missing is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What an edge is built with.
pub struct Outside {
    /// The log; asked only where it stands.
    pub journal: Arc<dyn Journal>,
    /// The owners of the log's partitions.
    pub routing: Arc<dyn Routing>,
    /// What is told to other services, at most once.
    pub bus: Arc<dyn Bus>,
    /// Which edges live.
    pub leases: Arc<dyn Leases>,
    /// Who is online.
    pub presence: Arc<dyn PresenceBook>,
    /// History, sessions, threads.
    pub persistence: Arc<dyn Persistence>,
    /// Tokens.
    pub verifier: Arc<Verifier>,
    /// Rules for ordinary topics.
    pub acl: Acl,
    /// How topics are spread.
    pub partitioning: Partitioning,
    /// The zone of `createdAt`.
    pub zone: TimeZone,
    /// Time.
    pub clock: Clock,
    /// Where it reports whether it may act for its clients.
    pub health: Health,
    /// Where its series go.
    pub metrics: ServiceMetrics,
    /// `mqtt-edge`, `stomp-edge` or `gateway`; part of the edge's id.
    pub role: &'static str,
}

/// One edge: everything its connections share.
pub struct Core {
    /// Its id, new at every start.
    pub id: EdgeId,
    /// Settings.
    pub config: Config,
    /// How topics are spread.
    pub partitioning: Partitioning,
    /// Who may do what.
    pub gate: Arc<Gate>,
    /// From payloads to entries.
    pub ingest: Arc<Ingest>,
    /// The lines to the owners: into the log and out of it.
    pub attachments: Arc<Attachments>,
    /// Whether this edge may act for its clients.
    pub lease: Arc<EdgeLease>,
    /// Sessions held here.
    pub registry: Registry,
    /// Progress of sessions.
    pub saver: Arc<Saver>,
    /// Tokens.
    pub verifier: Arc<Verifier>,
    /// Who may be the user it says it is.
    pub proofs: Proofs,
    /// History, sessions, threads.
    pub persistence: Arc<dyn Persistence>,
    /// Who is online.
    pub presence: Arc<dyn PresenceBook>,
    /// Who of them is connected here.
    pub present: Arc<Keeper>,
    /// What is told to other services, at most once.
    pub bus: Arc<dyn Bus>,
    /// Time.
    pub clock: Clock,
    routing: Arc<dyn Routing>,
    journal: Arc<dyn Journal>,
    leases: Arc<dyn Leases>,
    dispatcher: Arc<Dispatcher>,
    next_connection: AtomicU64,
    /// How many partitions it is known of where they stand.
    begun: watch::Sender<usize>,
}

pub(crate) async fn retry(subject: &str, error: &BusError) {
    warn!(subject, %error, "the bus is not to be had; trying again");
    tokio::time::sleep(RETRY).await;
}

impl Core {
    /// Puts an edge together; [`Self::start`] makes it live.
    pub fn new(config: Config, outside: Outside) -> Arc<Self> {
        let Outside {
            journal,
            routing,
            bus,
            leases,
            presence,
            persistence,
            verifier,
            acl,
            partitioning,
            zone,
            clock,
            health,
            metrics,
            role,
        } = outside;
        let id = EdgeId::new(format!("{role}-{}", uuid::Uuid::now_v7().simple()));
        let series = Metrics::new(&metrics);
        let attachments = Arc::new(Attachments::new(partitioning, &config, &series.waiting));
        let gate = Arc::new(Gate::new(acl, persistence.clone(), config.membership_ttl.get()));
        let dispatcher = Dispatcher::new(attachments.clone(), gate.clone(), series);
        Arc::new(Self {
            gate,
            ingest: Arc::new(Ingest::new(zone)),
            saver: Saver::new(persistence.clone(), config.save_interval.get()),
            lease: Arc::new(EdgeLease::new(health.require(format!("{role}/lease")))),
            present: Keeper::new(id.clone(), presence.clone(), &config, &metrics),
            registry: Registry::default(),
            proofs: Proofs::new(persistence.clone(), config.claim_check.get()),
            next_connection: AtomicU64::new(1),
            begun: watch::Sender::new(0),
            routing,
            journal,
            leases,
            id,
            config,
            partitioning,
            attachments,
            verifier,
            persistence,
            presence,
            bus,
            clock,
            dispatcher,
        })
    }

    /// Spawns what an edge runs besides its connections. They end last, so that connections can finish.
    pub fn start(self: &Arc<Self>, tasks: &Tasks) {
        let of_lease = lease::With {
            edge: self.id.clone(),
            lease: self.lease.clone(),
            leases: self.leases.clone(),
            attachments: self.attachments.clone(),
            ttl: self.config.lease.get(),
            fence_after: self.config.fence_after.get(),
        };
        let keep = lease::keep(of_lease, tasks.stop().clone());
        tasks.spawn_last("edge/lease", OnError::StopProcess, keep);
        let of_presence = presence::With {
            persistence: self.persistence.clone(),
            book: self.presence.clone(),
            ingest: self.ingest.clone(),
            attachments: self.attachments.clone(),
            clock: self.clock.clone(),
        };
        let present = self.present.clone().run(of_presence, tasks.stop().clone());
        tasks.spawn_last("edge/presence", OnError::StopProcess, present);
        for partition in self.partitioning.all() {
            let core = self.clone();
            self.spawn(tasks, "edge/line", async move { core.keep_line(partition).await });
        }
        let core = self.clone();
        self.spawn(tasks, "edge/sweep", async move {
            loop {
                tokio::time::sleep(LOOK).await;
                core.attachments.lines().iter().for_each(Line::sweep);
            }
        });
        self.spawn(tasks, "edge/save", self.saver.clone().run());
        let core = self.clone();
        self.spawn(tasks, "edge/owners", async move { core.hear_of_owners().await });
        let core = self.clone();
        self.spawn(tasks, "edge/access", async move { core.hear_of_access().await });
        let core = self.clone();
        self.spawn(
            tasks,
            "edge/takeovers",
            async move { core.hear_of_takeovers().await },
        );
    }

    /// Waits until the edge holds its lease and knows where each partition of the log stands: nothing may be attached
    /// before that, or it would begin at the beginning of the log. Accept nobody before.
    pub async fn ready(&self) {
        self.lease.joined().await;
        let (mut begun, all) = (self.begun.subscribe(), usize::from(self.partitioning.count()));
        let _known = begun.wait_for(|n| *n >= all).await;
    }

    async fn keep_line(&self, partition: PartitionId) {
        let Some(line) = self.attachments.line(partition) else {
            return;
        };
        let head = loop {
            match self.journal.head(partition).await {
                Ok(head) => break head,
                Err(error) => {
                    warn!(%partition, %error, "where the log stands cannot be read; trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        };
        self.attachments.begin(partition, Position::end_of(head));
        self.begun.send_modify(|n| *n += 1);
        line.keep(With {
            edge: &self.id,
            routing: &*self.routing,
            listener: &*self.dispatcher,
        })
        .await;
    }

    /// Whether so much that was submitted to a partition waits that who publishes there should not be read. `None`: has not
    /// published yet.
    pub fn is_full(&self, partition: Option<PartitionId>) -> bool {
        let line = partition.and_then(|p| self.attachments.line(p));
        line.is_some_and(Line::is_full)
    }

    /// Waits until there is room.
    pub async fn room(&self, partition: Option<PartitionId>) {
        if let Some(line) = partition.and_then(|p| self.attachments.line(p)) {
            line.room().await;
        }
    }

    /// Submits an entry for the log: see [`Line::submit`].
    pub fn submit(&self, entry: impl Into<Arc<Entry>>, ticket: Ticket) {
        let entry = entry.into();
        let line = self.attachments.line_of(&entry);
        line.submit(entry, ticket);
    }

    /// Submits an entry and waits for what becomes of it.
    pub async fn submit_and_wait(&self, entry: impl Into<Arc<Entry>>) -> Outcome {
        let (waiter, outcome) = oneshot::channel();
        self.submit(entry, Ticket::Waiter(waiter));
        outcome.await.unwrap_or(Outcome::Unknown)
    }

    async fn listen(&self, subject: &str) -> Box<dyn Subscription> {
        loop {
            match self.bus.subscribe(subject).await {
                Ok(subscription) => return subscription,
                Err(error) => retry(subject, &error).await,
            }
        }
    }

    /// Until there is no more time; what was handed to the saver by then is written.
    fn spawn(
        self: &Arc<Self>,
        tasks: &Tasks,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let stop = tasks.stop().clone();
        tasks.spawn_last(name, OnError::StopProcess, async move {
            tokio::select! {
                () = stop.hard().cancelled() => {}
                () = work => {}
            }
        });
    }

    /// The server's wall clock.
    pub fn now(&self) -> UnixMillis {
        UnixMillis(self.clock.unix_millis())
    }

    /// A number for a new connection, unique on this edge.
    pub fn connection_number(&self) -> u64 {
        self.next_connection.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends what is not in the log (typing, QoS 0 on ordinary topics) to whoever is online. May be lost.
    pub fn send_transient(&self, entry: impl Into<Arc<Entry>>) {
        let entry = entry.into();
        let line = self.attachments.line_of(&entry);
        line.transient(entry);
    }

    async fn hear_of_owners(&self) {
        let mut owners = self.listen(Announcement::SUBJECT).await;
        while let Some(messages) = owners.next().await {
            for message in messages {
                if let Some(Announcement { partition, epoch }) = Announcement::from_bytes(&message.payload)
                    && let Some(line) = self.attachments.line(partition)
                {
                    line.owner_announced(epoch);
                }
            }
        }
    }

    async fn hear_of_access(&self) {
        let mut changes = self.listen(ACCESS_SUBJECT).await;
        while let Some(messages) = changes.next().await {
            for message in messages {
                let text = String::from_utf8_lossy(&message.payload);
                let Some((org, topic)) = text.split_once('\0') else {
                    continue;
                };
                let (org, topic) = (OrgId::new(org), TopicName::trusted(topic));
                self.gate.forget(&org, &topic);
            }
        }
    }
}
