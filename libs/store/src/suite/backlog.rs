//! Backlog and history, against a naive walk over everything.

use contract::persistence::{BacklogFilter, BacklogLane, BacklogRequest, HistoryRange};
use model::{FrameSeq, TopicFilter, UnixMillis};

use super::*;
use crate::Rewrite;

/// Reads a backlog to its end, a page at a time; checks what every page promises. Gives the entries as (partition,
/// position), and how many pages there were.
pub(super) async fn drain(
    store: &dyn Store,
    filter: &str,
    max_entries: usize,
    starts: Vec<(PartitionId, Position)>,
) -> (Vec<(PartitionId, Position)>, usize) {
    let filters = vec![BacklogFilter {
        filter: TopicFilter::new(filter).unwrap(),
        start: starts,
    }];
    drain_all(store, filters, max_entries, usize::MAX, Vec::new()).await
}

async fn drain_all(
    store: &dyn Store,
    filters: Vec<BacklogFilter>,
    max_entries: usize,
    max_bytes: usize,
    after: Vec<(PartitionId, Position)>,
) -> (Vec<(PartitionId, Position)>, usize) {
    let after_of = |p| {
        after
            .iter()
            .find(|(q, _)| *q == p)
            .map_or(Position::START, |(_, at)| *at)
    };
    let lane = |partition| BacklogLane {
        partition,
        after: after_of(partition),
        upto: Position::end_of(FrameSeq(1 << 30)),
    };
    let mut lanes: Vec<_> = partitioning().all().map(lane).collect();
    let (mut all, mut pages) = (Vec::new(), 0);
    while lanes.iter().any(|lane| lane.after < lane.upto) {
        let (org, filters) = (org(), filters.clone());
        let request = BacklogRequest {
            org,
            lanes: lanes.clone(),
            filters,
            max_entries,
            max_bytes,
        };
        let page = store.backlog(request, UnixMillis(5000)).await.unwrap();
        assert!(page.entries.len() <= max_entries);
        let mut moved = false;
        for (lane, (partition, covered)) in lanes.iter_mut().zip(&page.covered) {
            assert_eq!(lane.partition, *partition);
            let mine = page.entries.iter().filter(|e| e.partition == *partition);
            assert!(
                mine.clone()
                    .all(|e| e.position > lane.after && e.position <= *covered)
            );
            assert!(
                mine.clone()
                    .zip(mine.skip(1))
                    .all(|(a, b)| a.position < b.position)
            );
            moved |= *covered > lane.after;
            lane.after = *covered;
        }
        assert!(moved, "a page moves on");
        all.extend(page.entries.iter().map(|e| (e.partition, e.position)));
        pages += 1;
    }
    all.sort_unstable();
    (all, pages)
}

/// One message of the model.
struct Row {
    topic: &'static str,
    partition: PartitionId,
    position: Position,
    delivered: bool,
    shown: bool,
}

const TOPICS: [&str; 9] = ["a", "a/b", "a/b/c", "a/c", "ab/c", "b", "b/+x", "$s/a", "a/b/d"];

async fn random_log(fixture: &impl Fixture, random: &mut Random) -> (Arc<dyn Store>, Vec<Row>) {
    let mut rows: Vec<Row> = Vec::new();
    let mut feed = Feed::new(fixture.open().await).await;
    for n in 0..random.below(300) + 50 {
        let name = random.one_of(&TOPICS);
        let (mut entry, flags) = match random.below(4) {
            0 => (generic(name, 1), Flags::GENERIC),
            _ => (chat(name, &format!("m{n}"), "u"), TEXT),
        };
        entry.expires_at = [0, 0, 4000, 6000][random.below(4) as usize];
        let (delivered, partition) = (entry.expires_at != 4000, partition(name));
        let position = feed.push(entry, flags);
        rows.push(Row {
            topic: name,
            partition,
            position,
            delivered,
            shown: flags == TEXT,
        });
        if random.below(10) == 0 {
            feed.apply().await;
        }
        if random.below(60) == 0 {
            feed.apply().await;
            drop(feed);
            feed = Feed::new(fixture.open().await).await;
        }
    }
    feed.apply().await;
    recall_some(&feed.store, &mut rows, random).await;
    (feed.store.clone(), rows)
}

/// Takes back a few messages, as persistence does.
async fn recall_some(store: &Arc<dyn Store>, rows: &mut [Row], random: &mut Random) {
    let mut batch = LogBatch::default();
    for (n, row) in rows.iter_mut().enumerate().filter(|(_, row)| row.shown) {
        if random.below(8) != 0 {
            continue;
        }
        let (org, topic, want) = (org(), TopicName::trusted(row.topic), crate::Want::First);
        let key = crate::TargetKey {
            org,
            topic,
            uid: format!("m{n}"),
            want,
        };
        let found = store.lookup(Service::Persistence, vec![key]).await.unwrap();
        let (id, bytes) = (found[0][0].id, found[0][0].entry.to_bytes());
        batch.rewrites.push(Rewrite {
            id,
            bytes,
            flags: TEXT.with(Flags::RECALLED),
        });
        row.delivered = false;
    }
    store.apply(Arc::new(batch)).await.unwrap();
}

/// Random topics, filters, starts and page sizes: the backlog is what matches, nothing else, each once, in order.
pub async fn a_backlog_has_what_a_naive_walk_finds(fixture: &impl Fixture) {
    let mut random = Random(7);
    let (store, rows) = random_log(fixture, &mut random).await;
    for round in 0..60 {
        let cut = |random: &mut Random| -> Vec<(PartitionId, Position)> {
            let at = |p| (p, Position::new(FrameSeq(random.below(80)), 0));
            partitioning().all().map(at).collect()
        };
        let after = cut(&mut random);
        let mut filters = Vec::new();
        for _ in 0..=random.below(3) {
            let filter = random.one_of(&[
                "a", "a/#", "a/+", "+/b/+", "#", "+", "a/b/c", "x/#", "$s/#", "a/b/+",
            ]);
            let start = if random.below(2) == 0 {
                Vec::new()
            } else {
                cut(&mut random)
            };
            filters.push(BacklogFilter {
                filter: TopicFilter::new(filter).unwrap(),
                start,
            });
        }
        let at =
            |starts: &[(PartitionId, Position)], p| starts.iter().find(|(q, _)| *q == p).map(|(_, at)| *at);
        let has = |row: &&Row| {
            row.delivered
                && at(&after, row.partition).is_none_or(|at| row.position > at)
                && filters.iter().any(|f| {
                    f.filter.matches(row.topic)
                        && at(&f.start, row.partition).is_none_or(|at| row.position > at)
                })
        };
        let mut naive: Vec<_> = rows
            .iter()
            .filter(has)
            .map(|r| (r.partition, r.position))
            .collect();
        naive.sort_unstable();
        let (entries, bytes) = (random.below(40) as usize + 1, random.below(400) as usize);
        let (got, _) = drain_all(&*store, filters.clone(), entries, bytes, after).await;
        assert_eq!(
            got, naive,
            "round {round}: {filters:?}, pages of {entries} entries, {bytes} bytes"
        );
    }
}

/// A topic with many messages costs pages, not everything at once.
pub async fn a_hot_topic_is_read_a_page_at_a_time(fixture: &impl Fixture) {
    let mut feed = Feed::new(fixture.open().await).await;
    for n in 0..5000 {
        feed.push(chat("hot", &format!("{n}"), "u"), TEXT);
    }
    feed.apply().await;
    let (all, pages) = drain(&*feed.store, "hot", 250, Vec::new()).await;
    assert_eq!(all.len(), 5000);
    assert!((20..=22).contains(&pages), "{pages} pages");
}

/// Of many topics few messages each are read at a time; what comes after them waits for those that were not read.
pub async fn a_busy_topic_among_many_is_read_whole(fixture: &impl Fixture) {
    let mut feed = Feed::new(fixture.open().await).await;
    for n in 0..60 {
        feed.push(chat("t/busy", &format!("{n}"), "u"), TEXT);
    }
    for n in 0..40 {
        feed.push(chat(&format!("t/{n}"), &format!("quiet {n}"), "u"), TEXT);
    }
    feed.apply().await;
    for size in [20, 50, 200] {
        let (all, _) = drain(&*feed.store, "t/+", size, Vec::new()).await;
        assert_eq!(all.len(), 100, "pages of {size}");
    }
}

/// The limits never stop a backlog.
pub async fn a_page_has_one_entry_however_large(fixture: &impl Fixture) {
    let mut feed = Feed::new(fixture.open().await).await;
    for n in 0..5 {
        feed.push(chat("t", &format!("{n}"), "u"), TEXT);
    }
    feed.apply().await;
    let filters = vec![BacklogFilter {
        filter: TopicFilter::new("t").unwrap(),
        start: Vec::new(),
    }];
    let (all, pages) = drain_all(&*feed.store, filters, 100, 1, Vec::new()).await;
    assert_eq!(all.len(), 5);
    assert!((5..=6).contains(&pages), "{pages} pages");
}

/// Pages of history are stretches of what is shown, whatever part of it is indexed.
pub async fn history_has_what_a_naive_walk_finds(fixture: &impl Fixture) {
    let mut random = Random(11);
    let (store, rows) = random_log(fixture, &mut random).await;
    for name in TOPICS {
        let of = rows.iter().filter(|r| r.topic == name);
        let shown: Vec<_> = of.clone().filter(|r| r.shown).map(|r| r.position).collect();
        for _ in 0..20 {
            let at = match random.below(10) {
                0 => Position(u64::MAX),
                _ => Position::new(FrameSeq(random.below(120)), random.below(2) as u16),
            };
            let limit = random.below(20) as u32 + 1;
            let number = [0, 1, 2, 3, u32::MAX][random.below(5) as usize];
            let range = match random.below(3) {
                0 => HistoryRange::After { position: at, limit },
                1 => HistoryRange::Before { position: at, limit },
                _ => HistoryRange::Page { number, size: limit },
            };
            let (want, more) = naive_page(&shown, range);
            let page = store
                .history(&org(), &topic_or_trusted(name), range)
                .await
                .unwrap();
            let got: Vec<_> = page.entries.iter().map(|e| e.position).collect();
            assert_eq!((got, page.more), (want, more), "{name} {range:?}");
            assert_eq!(page.total, shown.len() as u64);
            for entry in &page.entries {
                let prev = of
                    .clone()
                    .map(|r| r.position)
                    .filter(|p| *p < entry.position)
                    .max();
                assert_eq!(entry.prev, prev, "{name} {}", entry.position);
                assert_eq!(
                    store
                        .last_before(&org(), &topic_or_trusted(name), entry.position)
                        .await
                        .unwrap(),
                    prev
                );
            }
        }
    }
}

fn topic_or_trusted(name: &str) -> TopicName {
    TopicName::trusted(name)
}

fn naive_page(shown: &[Position], range: HistoryRange) -> (Vec<Position>, bool) {
    let last =
        |all: &[Position], limit: usize| (all[all.len().saturating_sub(limit)..].to_vec(), all.len() > limit);
    match range {
        HistoryRange::After { position, limit } => {
            let rest: Vec<_> = shown.iter().copied().filter(|p| *p > position).collect();
            let more = rest.len() > limit as usize;
            (rest.into_iter().take(limit as usize).collect(), more)
        }
        HistoryRange::Before { position, limit } => {
            let before: Vec<_> = shown.iter().copied().filter(|p| *p < position).collect();
            last(&before, limit as usize)
        }
        HistoryRange::Page { number, size } => {
            let skip = shown.len().saturating_sub(number as usize * size as usize);
            last(&shown[..skip], size as usize)
        }
    }
}
