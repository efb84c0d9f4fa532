//! How far messages come, over a real store and a real log.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backplane::journal::{EmbeddedJournal, FrameId, Journal, JournalConfig};
use backplane::lease::EmbeddedLeases;
use bytes::Bytes;
use contract::persistence::{BacklogFilter, BacklogLane, BacklogRequest, HistoryRange};
use contract::receipts::Receipts;
use model::{EdgeId, OrgId, Partitioning, Position, ReceiptKind, TopicFilter, TopicName, UnixMillis, UserId};
use receipts::{Config, Deps, Service};
use runtime::health::Health;
use runtime::lifecycle::Stop;
use store::{Advance, Flags, LogBatch, LogStore, MessageStore, NewMessage, Options, SqliteStore};
use tokio::task::JoinHandle;
use wire::{Entry, Frame, Kind};

const THREAD: &str = "org/member/a/b";

struct World {
    store: SqliteStore,
    journal: Arc<EmbeddedJournal>,
    api: Arc<dyn Receipts>,
    stop: Stop,
    running: JoinHandle<()>,
    frames: AtomicU64,
}

impl World {
    async fn open(dir: &Path) -> Self {
        let path = dir.join("store.db");
        SqliteStore::migrate(&path).unwrap();
        let store = SqliteStore::open(
            &path,
            Options {
                tail: 8,
                ..Options::default()
            },
        )
        .unwrap();
        let config = JournalConfig {
            partitions: 1,
            ..JournalConfig::default()
        };
        let journal = Arc::new(EmbeddedJournal::open(dir.join("log"), config).unwrap());
        let deps = Deps {
            store: Arc::new(store.clone()),
            journal: journal.clone(),
            leases: Arc::new(EmbeddedLeases::new()),
            partitioning: Partitioning::new(1),
            holder: "test".into(),
            metrics: runtime::metrics::Metrics::new(),
            health: Health::new(),
        };
        let service = Service::build(Config::default(), deps);
        let (api, stop) = (service.handle(), Stop::new());
        let running = tokio::spawn({
            let stop = stop.clone();
            async move { service.run(stop).await.unwrap() }
        });
        Self {
            store,
            journal,
            api,
            stop,
            running,
            frames: AtomicU64::new(1),
        }
    }

    /// Appends an entry, and applies it as persistence does; gives its position.
    async fn append(&self, entry: Entry) -> Position {
        let number = self.frames.fetch_add(1, Ordering::Relaxed);
        let frame = Frame {
            epoch: 1,
            number,
            entries: vec![entry.to_bytes()],
            ..Frame::default()
        };
        let partition = entry.partition(Partitioning::new(1));
        let id = FrameId {
            writer: EdgeId::new("e"),
            number,
        };
        let seq = self
            .journal
            .append(partition, None, id, wire::frame::encode(&frame))
            .await
            .unwrap();
        let position = Position::new(seq, 0);
        let from = self.store.progress(store::Service::Persistence).await.unwrap();
        let from = from.first().map_or(Position::START, |(_, at)| *at);
        let mut batch = LogBatch {
            advances: vec![Advance {
                partition,
                from,
                to: Position::end_of(seq),
            }],
            ..LogBatch::default()
        };
        let flags = match entry.known_kind() {
            Kind::Chat if entry.upto != 0 => Some(Flags::SHOWN.with(Flags::EDITED)),
            Kind::Chat => Some(Flags::SHOWN.with(Flags::COUNTABLE)),
            Kind::Recall => Some(Flags::SHOWN),
            Kind::Edit => Some(Flags::COUNTABLE),
            _ => None,
        };
        if let Some(flags) = flags {
            let bytes = entry.to_bytes();
            batch.messages.push(NewMessage {
                partition,
                position,
                flags,
                entry,
                bytes,
            });
        }
        self.store.apply(Arc::new(batch)).await.unwrap();
        position
    }

    async fn unread(&self, identities: &[&str]) -> u64 {
        let (org, topic) = (OrgId::new("o"), TopicName::trusted(THREAD));
        let who: Vec<UserId> = identities.iter().map(|u| (*u).into()).collect();
        let unread = self
            .api
            .unread(&org, who.clone(), Some(topic.clone()))
            .await
            .unwrap();
        assert_eq!(self.api.recount(&org, who, Some(topic)).await.unwrap(), unread);
        unread
    }

    async fn states(&self) -> Vec<Option<ReceiptKind>> {
        let range = HistoryRange::After {
            position: Position::START,
            limit: 100,
        };
        let page = self
            .store
            .history(&OrgId::new("o"), &TopicName::trusted(THREAD), range)
            .await
            .unwrap();
        page.entries.iter().map(|e| e.state).collect()
    }

    async fn close(self) {
        self.stop.stop_softly();
        self.running.await.unwrap();
        self.journal.close();
    }
}

fn entry(kind: Kind, uid: &str, sender: &str) -> Entry {
    Entry {
        kind: kind.into(),
        org: "o".into(),
        topic: THREAD.into(),
        sender: sender.into(),
        sender_role: 1,
        author: format!("alias-{sender}"),
        uid: uid.into(),
        r#type: "TEXT".into(),
        accepted_at: 1,
        payload: Bytes::from_static(b"x"),
        ..Entry::default()
    }
}

fn receipt(sender: &str, target: &str, state: ReceiptKind) -> Entry {
    let uid = format!("{}-{sender}-{target}", state.as_str());
    Entry {
        target: target.into(),
        state: state as u32,
        ..entry(Kind::Receipt, &uid, sender)
    }
}

fn delivered_upto(sender: &str, upto: Position) -> Entry {
    Entry {
        upto: upto.0,
        state: 1,
        ..entry(Kind::Receipt, "", sender)
    }
}

#[tokio::test]
async fn receipts_move_forward_only_and_never_by_the_author() {
    use ReceiptKind::{Delivered, Read};
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    for uid in ["1", "2", "3"] {
        world.append(entry(Kind::Chat, uid, "a")).await;
    }
    world.append(receipt("a", "1", Read)).await;
    world.append(receipt("b", "unknown", Read)).await;
    assert_eq!(
        (world.unread(&["b"]).await, world.states().await),
        (3, vec![None; 3])
    );
    world.append(receipt("b", "2", Read)).await;
    world.append(receipt("b", "2", Delivered)).await;
    world.append(receipt("b", "1", Delivered)).await;
    assert_eq!(world.unread(&["b"]).await, 2);
    assert_eq!(world.states().await, [Some(Delivered), Some(Read), None]);
    world.append(receipt("b", "1", Read)).await;
    assert_eq!(world.unread(&["b"]).await, 1);
    assert_eq!(
        (
            world.unread(&["a"]).await,
            world.unread(&["other", "alias-a"]).await
        ),
        (0, 0)
    );
    world.close().await;

    let world = World::open(dir.path()).await;
    assert_eq!(
        (world.unread(&["b"]).await, world.states().await),
        (1, vec![Some(Read), Some(Read), None])
    );
    world.close().await;
}

/// The form that a visitor filled in stands at the place of the prompt, and was news where it was sent.
#[tokio::test]
async fn who_reads_an_edited_message_has_read_the_edit_and_a_recall_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let upto = Position::new(model::FrameSeq(2), 0);
    let prompt = Entry {
        upto: upto.0,
        ..entry(Kind::Chat, "p", "a")
    };
    world.append(prompt).await;
    let edit = Entry {
        target: "p".into(),
        ..entry(Kind::Edit, "p", "a")
    };
    assert_eq!(world.append(edit).await, upto);
    world.append(entry(Kind::Recall, "r", "a")).await;
    assert_eq!(world.unread(&["b"]).await, 1);
    world.append(receipt("b", "p", ReceiptKind::Read)).await;
    world.append(receipt("b", "r", ReceiptKind::Read)).await;
    assert_eq!(world.unread(&["b"]).await, 0);
    assert_eq!(world.states().await, [Some(ReceiptKind::Read), None]);
    world.close().await;
}

#[tokio::test]
async fn an_acknowledgement_delivers_everything_by_others_up_to_it() {
    use ReceiptKind::Delivered;
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let mut positions = Vec::new();
    for (uid, sender) in [("1", "a"), ("2", "b"), ("3", "a"), ("4", "a")] {
        positions.push(world.append(entry(Kind::Chat, uid, sender)).await);
    }
    world.append(delivered_upto("b", positions[2])).await;
    world.append(delivered_upto("b", positions[0])).await;
    assert_eq!(world.unread(&["b"]).await, 3);
    assert_eq!(
        world.states().await,
        [Some(Delivered), None, Some(Delivered), None]
    );
    world.append(delivered_upto("a", Position(u64::MAX >> 1))).await;
    assert_eq!(world.unread(&["a"]).await, 1);
    assert_eq!(
        world.states().await,
        [Some(Delivered), Some(Delivered), Some(Delivered), None]
    );
    world.close().await;
}

#[tokio::test]
async fn a_backlog_has_the_latest_receipt_of_each_message_once() {
    use ReceiptKind::{Delivered, Read};
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let mut messages = Vec::new();
    for uid in ["1", "2"] {
        messages.push(world.append(entry(Kind::Chat, uid, "a")).await);
    }
    let mut receipts = Vec::new();
    for (uid, state) in [("1", Delivered), ("2", Delivered), ("1", Read)] {
        receipts.push(world.append(receipt("b", uid, state)).await);
    }
    world.unread(&["b"]).await;
    let page = |after| {
        let request = BacklogRequest {
            org: OrgId::new("o"),
            lanes: vec![BacklogLane {
                partition: model::PartitionId(0),
                after,
                upto: Position::END,
            }],
            filters: vec![BacklogFilter {
                filter: TopicFilter::new(THREAD).unwrap(),
                start: Vec::new(),
            }],
            max_entries: 100,
            max_bytes: 1 << 20,
        };
        world.store.backlog(request, UnixMillis(2))
    };
    let positions = |page: &contract::persistence::BacklogPage| {
        page.entries.iter().map(|e| e.position).collect::<Vec<_>>()
    };
    let all = page(Position::START).await.unwrap();
    assert_eq!(
        positions(&all),
        [messages[0], messages[1], receipts[1], receipts[2]]
    );
    assert_eq!(positions(&page(receipts[1]).await.unwrap()), [receipts[2]]);
    let applied = tokio::time::timeout(
        Duration::from_secs(5),
        world.store.progress(store::Service::Receipts),
    );
    assert_eq!(applied.await.unwrap().unwrap().len(), 1);
    world.close().await;
}
