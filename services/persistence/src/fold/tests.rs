use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use contract::persistence::{BacklogFilter, BacklogLane, BacklogRequest, HistoryRange};
use model::{FrameSeq, PartitionId, Partitioning, Position, TopicFilter, UnixMillis};
use store::{Advance, LogStore, MessageStore, Options, Service, SqliteStore, ThreadQuery, ThreadStore};

use wire::Message;

use super::*;

const TOPICS: [&str; 6] = [
    "org/agent/a/v1",
    "org/agent/a/v2",
    "org/workgroup/w/v1",
    "org/member/a/b",
    "plain/x",
    "plain/y",
];

/// SplitMix64.
fn random(state: &mut u64, below: u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % below
}

/// A log in which uids repeat, recalls and edits hit and miss, streams are cut in and retained messages come and go.
fn log(seed: u64, partitioning: Partitioning) -> Vec<Item> {
    let (mut state, mut items) = (seed, Vec::new());
    let mut seqs = vec![0; usize::from(partitioning.count())];
    for n in 0..600 {
        let name = TOPICS[random(&mut state, 6) as usize];
        let kind = match (name.starts_with("plain"), random(&mut state, 10)) {
            (true, _) => Kind::Generic,
            (_, 0..=4) => Kind::Chat,
            (_, 5..=6) => Kind::StreamPart,
            (_, 7) => Kind::Recall,
            (_, 8) => Kind::Edit,
            _ => Kind::Receipt,
        };
        let sender = ["v1", "v2", "a"][random(&mut state, 3) as usize].to_owned();
        let (uid, target) = (
            format!("u{}", random(&mut state, 40)),
            format!("u{}", random(&mut state, 40)),
        );
        let content = format!("text {}", random(&mut state, 3));
        let message = Message {
            uid: uid.clone(),
            content: content.clone(),
            ..Message::default()
        };
        let is_generic = kind == Kind::Generic;
        let entry = Entry {
            kind: kind.into(),
            org: "o".into(),
            topic: name.to_owned(),
            sender_role: if sender == "a" { 1 } else { 2 },
            author: sender.clone(),
            sender,
            digest: wire::envelope::digest("TEXT", &content, name),
            uid: if is_generic { String::new() } else { uid },
            target,
            r#type: "TEXT".into(),
            accepted_at: 1000 + n,
            qos: random(&mut state, 2) as u32,
            retain: random(&mut state, 3) == 0,
            payload: match is_generic && random(&mut state, 3) == 0 {
                true => Bytes::new(),
                false => wire::envelope::encode(&message),
            },
            ..Entry::default()
        };
        let partition = entry.partition(partitioning);
        let seq = &mut seqs[usize::from(partition.0)];
        *seq += 1;
        let position = Position::new(FrameSeq(*seq), 0);
        items.push(Item {
            partition,
            position,
            bytes: entry.to_bytes(),
            entry,
        });
    }
    items
}

/// Applies the log in batches of these sizes, in turn; gives everything that can be asked.
async fn outcome(dir: &Path, items: &[Item], sizes: &[usize], partitioning: Partitioning) -> String {
    let path = dir.join("store.db");
    SqliteStore::migrate(&path).unwrap();
    let store = SqliteStore::open(
        &path,
        Options {
            tail: 40,
            ..Options::default()
        },
    )
    .unwrap();
    let metrics = Metrics::new(&runtime::metrics::Metrics::new());
    let (mut threads, policy) = (
        Threads::default(),
        Policy {
            generic_history: false,
        },
    );
    let mut at = vec![Position::START; usize::from(partitioning.count())];
    let (mut rest, mut sizes) = (items, sizes.iter().cycle());
    while !rest.is_empty() {
        let size = rest.len().min(*sizes.next().unwrap());
        let (now, later) = rest.split_at(size);
        rest = later;
        let found = store.lookup(Service::Persistence, questions(now)).await.unwrap();
        let mut batch = fold(now.to_vec(), found, policy, &mut threads, &metrics);
        for (p, from) in partitioning.all().zip(&mut at) {
            let last = now
                .iter()
                .filter(|i| i.partition == p)
                .map(|i| Position::end_of(i.position.seq()))
                .max();
            if let Some(to) = last {
                batch.advances.push(Advance {
                    partition: p,
                    from: *from,
                    to,
                });
                *from = to;
            }
        }
        store.apply(Arc::new(batch)).await.unwrap();
    }
    everything(&store, partitioning).await
}

async fn everything(store: &SqliteStore, partitioning: Partitioning) -> String {
    let (org, all, now) = (OrgId::new("o"), TopicFilter::new("#").unwrap(), UnixMillis(5000));
    let lane = |partition| BacklogLane {
        partition,
        after: Position::START,
        upto: Position::END,
    };
    let filters = vec![BacklogFilter {
        filter: all.clone(),
        start: Vec::new(),
    }];
    let lanes = partitioning.all().map(lane).collect();
    let request = BacklogRequest {
        org: org.clone(),
        lanes,
        filters,
        max_entries: 10_000,
        max_bytes: 1 << 30,
    };
    let backlog = store.backlog(request, now).await.unwrap();
    let mut out = format!(
        "{:?}\n{:?}\n",
        backlog.entries,
        store.retained(&org, &all, now).await.unwrap()
    );
    for name in TOPICS {
        let range = HistoryRange::After {
            position: Position::START,
            limit: 10_000,
        };
        let page = store
            .history(&org, &TopicName::trusted(name), range)
            .await
            .unwrap();
        out += &format!("{name} {} {:?}\n", page.total, page.entries);
    }
    let identities = vec!["a".into(), "w".into(), "v1".into(), "b".into()];
    let query = ThreadQuery {
        org,
        identities,
        open: false,
        unreplied: false,
        offset: 0,
        limit: 100,
    };
    let (mut threads, total) = store.threads(query).await.unwrap();
    threads.sort_by(|a, b| a.topic.cmp(&b.topic));
    out + &format!("{total} {threads:?}\n")
}

#[tokio::test]
async fn the_outcome_does_not_depend_on_the_batches() {
    let partitioning = Partitioning::new(3);
    for seed in 0..8 {
        let items = log(seed, partitioning);
        let mut first: Option<String> = None;
        for sizes in [&[1][..], &[600], &[7, 1, 30], &[2], &[100, 3]] {
            let dir = tempfile::tempdir().unwrap();
            let outcome = outcome(dir.path(), &items, sizes, partitioning).await;
            match &first {
                None => first = Some(outcome),
                Some(first) => {
                    let differs = first.lines().zip(outcome.lines()).find(|(a, b)| a != b);
                    assert_eq!(differs, None, "seed {seed}, batches of {sizes:?}");
                }
            }
        }
    }
}

fn item(seq: u64, kind: Kind, uid: &str, target: &str, content: &str) -> Item {
    let message = Message {
        uid: uid.into(),
        content: content.into(),
        ..Message::default()
    };
    let entry = Entry {
        kind: kind.into(),
        org: "o".into(),
        topic: TOPICS[0].into(),
        sender: format!("sender of {seq}"),
        uid: uid.into(),
        target: target.into(),
        r#type: if kind == Kind::Edit {
            "LEAVE_MSG_SUBMIT"
        } else {
            "LEAVE_MSG"
        }
        .into(),
        accepted_at: seq,
        digest: seq,
        payload: wire::envelope::encode(&message),
        ..Entry::default()
    };
    Item {
        partition: PartitionId(0),
        position: Position::new(FrameSeq(seq), 0),
        bytes: entry.to_bytes(),
        entry,
    }
}

/// What a batch comes to on an empty store, and what was counted.
fn folded(items: Vec<Item>) -> (LogBatch, Metrics) {
    let metrics = Metrics::new(&runtime::metrics::Metrics::new());
    let found = questions(&items).iter().map(|_| Vec::new()).collect();
    let policy = Policy {
        generic_history: false,
    };
    let batch = fold(items, found, policy, &mut Threads::default(), &metrics);
    (batch, metrics)
}

fn count(metrics: &Metrics, outcome: Outcome) -> u64 {
    let by = crate::metrics::ByOutcome { outcome };
    metrics.entries.get_or_create(&by).get()
}

#[test]
fn a_message_shows_what_its_edit_says_and_the_edit_is_delivered_behind_it() {
    let edit = item(2, Kind::Edit, "p", "p", "my number");
    let second = item(3, Kind::Edit, "p", "p", "another number");
    let (batch, metrics) = folded(vec![item(1, Kind::Chat, "p", "", "please"), edit, second]);
    let [prompt, first, second] = &batch.messages[..] else {
        panic!("{:?}", batch.messages);
    };
    let shown = wire::frame::decode_entry(prompt.bytes.clone()).unwrap();
    assert_eq!(shown, prompt.entry);
    assert_eq!((shown.known_kind(), shown.uid.as_str()), (Kind::Chat, "p"));
    assert_eq!((shown.r#type.as_str(), shown.digest), ("LEAVE_MSG_SUBMIT", 3));
    assert_eq!(shown.accepted_at, 1, "it is as old as it was");
    assert_eq!(Position(shown.upto), first.position, "of the edits the first");
    assert_eq!(shown.payload, second.entry.payload);
    assert_eq!(prompt.flags, Flags::SHOWN.with(Flags::EDITED));
    assert_eq!((first.flags, second.flags), (Flags::COUNTABLE, Flags::default()));
    assert_eq!(count(&metrics, Outcome::Repeated), 0);
}

#[test]
fn a_recall_takes_back_the_message_its_parts_and_its_edits_whoever_sent_them() {
    let items = vec![
        item(1, Kind::Chat, "p", "", "please"),
        item(2, Kind::Edit, "p", "p", "my number"),
        item(3, Kind::StreamPart, "s", "", "Hel"),
        item(4, Kind::StreamPart, "s", "", "lo"),
        item(5, Kind::Recall, "r1", "p", ""),
        item(6, Kind::Recall, "r2", "s", ""),
        item(7, Kind::StreamPart, "s", "", "!"),
        item(8, Kind::Edit, "p", "p", "another"),
    ];
    let (batch, _) = folded(items);
    for message in &batch.messages {
        let is_recall = message.entry.known_kind() == Kind::Recall;
        assert_eq!(message.flags.has(Flags::RECALLED), !is_recall, "{message:?}");
        let said: Message = wire::frame::decode(message.entry.payload.clone()).unwrap();
        assert_eq!(said.content, "");
    }
    assert!(batch.streams.iter().all(|text| text.bytes.is_none()));
}

#[test]
fn a_uid_that_comes_twice_is_applied_as_it_stands_and_told() {
    let twice = vec![
        item(1, Kind::Chat, "m", "", "one"),
        item(2, Kind::Chat, "m", "", "one"),
        item(3, Kind::Chat, "m", "", "other"),
        item(4, Kind::Chat, "n", "", "one"),
    ];
    let (batch, metrics) = folded(twice);
    assert_eq!(batch.messages.len(), 4);
    assert_eq!(count(&metrics, Outcome::Repeated), 2);
    assert_eq!(count(&metrics, Outcome::Stored), 4);
}
