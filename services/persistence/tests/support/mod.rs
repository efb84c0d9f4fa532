//! A persistence service over a real store and a real log, with a clock that moves when told.
#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    reason = "each test file uses its part, and fails by panicking"
)]

mod owner;
mod shelf;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backplane::bus::{BusLimits, EmbeddedBus};
use backplane::journal::{EmbeddedJournal, FrameId, Journal, JournalConfig, OpenError};
use backplane::lease::{EmbeddedLeases, Leases};
use backplane::presence::{EmbeddedPresence, Entered, Presence, PresenceBook};
use bytes::Bytes;
use contract::persistence::Persistence;
use contract::routing::Routing;
use model::{EdgeId, FrameSeq, OrgId, PartitionId, Partitioning, Position, Role, TopicName};
use persistence::{Config, Deps, Service, ThreadRules};
use runtime::clock::{Clock, ManualClock};
use runtime::health::Health;
use runtime::lifecycle::Stop;
use store::{LogStore, Options, SqliteStore};
use tokio::task::JoinHandle;
use wire::{Entry, Frame, Kind, Message, User};

pub use owner::{Refusing, Told};
pub use shelf::Shelf;

pub const ORG: &str = "o";
pub const NOW: u64 = 1_700_000_000_000;

pub fn partitioning() -> Partitioning {
    Partitioning::new(4)
}

/// An agent has two threads at a time.
fn rules() -> ThreadRules {
    ThreadRules {
        max_threads_per_agent: 2,
        new_threads_per_visitor: 4,
        ..ThreadRules::default()
    }
}

pub struct World {
    pub store: SqliteStore,
    pub journal: Arc<EmbeddedJournal>,
    pub bus: Arc<EmbeddedBus>,
    pub api: Arc<dyn Persistence>,
    pub hand: ManualClock,
    pub clock: Clock,
    pub stop: Stop,
    pub running: JoinHandle<()>,
    pub checkpoints: Arc<Shelf>,
    pub metrics: runtime::metrics::Metrics,
    pub presence: Arc<EmbeddedPresence>,
    pub told: Told,
    frames: AtomicU64,
}

impl World {
    pub async fn open(dir: &Path) -> Self {
        Self::with(dir, Config::default()).await
    }

    pub async fn with(dir: &Path, config: Config) -> Self {
        Self::owned_by(dir, config, |journal, told| {
            Arc::new(owner::Owner::new(journal, told))
        })
        .await
    }

    /// One in which nothing happens that nobody asks for: another keeps threads and sessions.
    pub async fn quiet(dir: &Path, config: Config) -> Self {
        let leases = EmbeddedLeases::new();
        let hour = Duration::from_secs(3600);
        leases
            .acquire("persistence/keeper", "another", hour)
            .await
            .unwrap();
        Self::built(dir, config, leases, |journal, told| {
            Arc::new(owner::Owner::new(journal, told))
        })
        .await
    }

    /// One whose partitions have such owners.
    pub async fn owned_by(
        dir: &Path,
        config: Config,
        owners: impl FnOnce(Arc<EmbeddedJournal>, Told) -> Arc<dyn Routing>,
    ) -> Self {
        Self::built(dir, config, EmbeddedLeases::new(), owners).await
    }

    async fn built(
        dir: &Path,
        config: Config,
        leases: EmbeddedLeases,
        owners: impl FnOnce(Arc<EmbeddedJournal>, Told) -> Arc<dyn Routing>,
    ) -> Self {
        let path = dir.join("store.db");
        SqliteStore::migrate(&path).unwrap();
        let store = SqliteStore::open(
            &path,
            Options {
                tail: 64,
                ..Options::default()
            },
        )
        .unwrap();
        let config_of_log = JournalConfig {
            partitions: 4,
            ..JournalConfig::default()
        };
        // What was submitted last in a world that has ended may not have been answered: that holds the log.
        let journal = loop {
            match EmbeddedJournal::open(dir.join("log"), config_of_log.clone()) {
                Err(OpenError::Locked { .. }) => tokio::time::sleep(Duration::from_millis(1)).await,
                opened => break Arc::new(opened.unwrap()),
            }
        };
        let bus = Arc::new(EmbeddedBus::new(BusLimits::default()));
        let (clock, hand) = Clock::manual(NOW);
        let checkpoints = Arc::new(Shelf::open(&dir.join("checkpoints")));
        let metrics = runtime::metrics::Metrics::new();
        let presence = Arc::new(EmbeddedPresence::new());
        let told = Told::default();
        let deps = Deps {
            presence: presence.clone(),
            rules: rules(),
            store: Arc::new(store.clone()),
            routing: owners(journal.clone(), told.clone()),
            checkpoints: checkpoints.clone(),
            journal: journal.clone(),
            leases: Arc::new(leases),
            bus: bus.clone(),
            clock: clock.clone(),
            partitioning: partitioning(),
            holder: "test".into(),
            embedded: true,
            metrics: metrics.clone(),
            health: Health::new(),
        };
        let service = Service::build(config, deps).await.unwrap();
        let (api, stop) = (service.handle(), Stop::new());
        let running = tokio::spawn({
            let stop = stop.clone();
            async move { service.run(stop).await.unwrap() }
        });
        Self {
            store,
            journal,
            bus,
            api,
            hand,
            clock,
            stop,
            running,
            checkpoints,
            metrics,
            presence,
            told,
            frames: AtomicU64::new(1),
        }
    }

    /// A user comes, or goes.
    pub async fn is_there(&self, user: &str, is_there: bool) {
        let (org, edge) = (OrgId::new("df_org_uid"), EdgeId::new("edge"));
        if !is_there {
            let user = user.into();
            let gone = self.presence.remove(&org, &user, "c", &edge, Duration::ZERO);
            return gone.await.unwrap();
        }
        let entered = Entered {
            org,
            user: user.into(),
            at: Presence {
                edge,
                connection: "c".into(),
                protocol: "mqtt".into(),
                staff: true,
            },
            card: String::new(),
        };
        self.presence
            .enter(&[entered], Duration::from_secs(600))
            .await
            .unwrap();
    }

    /// Stops everything and closes the files.
    pub async fn close(self) {
        self.stop.stop_softly();
        self.running.await.unwrap();
        self.journal.close();
    }

    /// Appends one frame per entry; gives their positions.
    pub async fn append(&self, entries: &[Entry]) -> Vec<Position> {
        let mut positions = Vec::new();
        for entry in entries {
            let partition = entry.partition(partitioning());
            let seq = self.append_frame(partition, vec![entry.to_bytes()]).await;
            positions.push(Position::new(seq, 0));
        }
        positions
    }

    /// Appends one frame; gives its number.
    pub async fn append_frame(&self, partition: PartitionId, entries: Vec<Bytes>) -> FrameSeq {
        let number = self.frames.fetch_add(1, Ordering::Relaxed);
        let frame = Frame {
            epoch: 1,
            number,
            entries,
            ..Frame::default()
        };
        let id = FrameId {
            writer: EdgeId::new(format!("e{}", self.clock.unix_millis())),
            number,
        };
        self.journal
            .append(partition, None, id, wire::frame::encode(&frame))
            .await
            .unwrap()
    }

    /// Waits until everything durable is applied.
    pub async fn settle(&self) {
        for partition in partitioning().all() {
            let head = self.journal.head(partition).await.unwrap();
            self.applied(partition, head).await;
        }
    }

    async fn applied(&self, partition: PartitionId, head: FrameSeq) {
        let (service, upto) = (store::Service::Persistence, Position::end_of(head));
        if head == FrameSeq(0) {
            return;
        }
        let at = self
            .store
            .wait_applied(service, partition, upto, Duration::from_secs(20))
            .await
            .unwrap();
        assert!(at >= upto, "partition {partition} is applied up to {at}");
    }
}

/// A chat message.
pub fn chat(topic: &str, uid: &str, sender: &str, role: Role, content: &str) -> Entry {
    typed("TEXT", Kind::Chat, topic, uid, sender, role, content)
}

pub fn typed(
    message_type: &str,
    kind: Kind,
    topic: &str,
    uid: &str,
    sender: &str,
    role: Role,
    content: &str,
) -> Entry {
    let user = User {
        uid: sender.into(),
        nickname: format!("nick of {sender}"),
        ..User::default()
    };
    let message = Message {
        uid: uid.into(),
        r#type: message_type.into(),
        content: content.into(),
        user: Some(user),
        ..Message::default()
    };
    Entry {
        kind: kind.into(),
        org: ORG.into(),
        topic: topic.into(),
        sender: sender.into(),
        sender_role: role.number(),
        author: sender.into(),
        uid: uid.into(),
        r#type: message_type.into(),
        accepted_at: NOW,
        digest: wire::envelope::digest(message_type, content, topic),
        payload: wire::envelope::encode(&wire::envelope::normalise(message)),
        ..Entry::default()
    }
}

pub fn recall(topic: &str, uid: &str, target: &str, sender: &str, role: Role, at: u64) -> Entry {
    let entry = typed("RECALL", Kind::Recall, topic, uid, sender, role, target);
    Entry {
        target: target.into(),
        accepted_at: at,
        ..entry
    }
}

pub fn generic(topic: &str, payload: &str, qos: u32, retain: bool) -> Entry {
    Entry {
        kind: Kind::Generic.into(),
        org: ORG.into(),
        topic: topic.into(),
        sender: "u".into(),
        accepted_at: NOW,
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        qos,
        retain,
        ..Entry::default()
    }
}

pub fn org() -> OrgId {
    OrgId::new(ORG)
}

pub fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

/// What a stored chat entry says.
pub fn content(entry: &Bytes) -> String {
    let entry = wire::frame::decode_entry(entry.clone()).unwrap();
    wire::frame::decode::<Message>(entry.payload).unwrap().content
}
