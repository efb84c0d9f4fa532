//! What the log leaves in history and backlog.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use model::{Position, Role, TopicFilter};
use rpc::persistence::{
    BacklogFilter, BacklogLane, BacklogPage, BacklogRequest, HistoryPage, HistoryRange, HistoryRequest,
};
use support::*;
use wire::Kind;

const THREAD: &str = "org/agent/a/v";

async fn history(world: &World, name: &str, range: HistoryRange) -> HistoryPage {
    let request = HistoryRequest {
        org: org(),
        topic: topic(name),
        range,
    };
    world.api.history(request).await.unwrap()
}

async fn texts(world: &World, name: &str) -> Vec<String> {
    let range = HistoryRange::Before {
        position: Position::END,
        limit: 100,
    };
    history(world, name, range)
        .await
        .entries
        .iter()
        .map(|e| content(&e.entry))
        .collect()
}

async fn backlog(world: &World, filter: &str, max_entries: usize) -> Vec<BacklogPage> {
    let (mut lanes, mut pages) = (Vec::new(), Vec::new());
    for partition in partitioning().all() {
        let head = backplane::journal::Journal::head(&*world.journal, partition)
            .await
            .unwrap();
        lanes.push(BacklogLane {
            partition,
            after: Position::START,
            upto: Position::end_of(head),
        });
    }
    lanes.retain(|lane| lane.upto.seq().0 > 0);
    loop {
        let request = BacklogRequest {
            org: org(),
            lanes: lanes.clone(),
            filters: vec![BacklogFilter {
                filter: TopicFilter::new(filter).unwrap(),
                start: Vec::new(),
            }],
            max_entries,
            max_bytes: 1 << 20,
        };
        let page = world.api.backlog(request).await.unwrap();
        for (lane, (partition, covered)) in lanes.iter_mut().zip(&page.covered) {
            assert_eq!(lane.partition, *partition);
            lane.after = *covered;
        }
        let done = lanes.iter().all(|lane| lane.after == lane.upto);
        pages.push(page);
        if done {
            return pages;
        }
    }
}

#[tokio::test]
async fn what_is_appended_is_in_history_at_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let entries: Vec<_> = (0..200)
        .map(|i| chat(THREAD, &format!("m{i}"), "v", Role::Visitor, &format!("text {i}")))
        .collect();
    let positions = world.append(&entries).await;
    let page = history(
        &world,
        THREAD,
        HistoryRange::After {
            position: positions[9],
            limit: 20,
        },
    )
    .await;
    assert_eq!(
        page.entries.iter().map(|e| e.position).collect::<Vec<_>>(),
        positions[10..30]
    );
    assert_eq!((page.total, page.more, page.head), (200, true, positions[29]));
    assert!(
        page.entries
            .iter()
            .zip(&positions[9..])
            .all(|(e, prev)| e.prev == Some(*prev))
    );
    let page = history(&world, THREAD, HistoryRange::Page { number: 19, size: 10 }).await;
    assert_eq!(
        (
            content(&page.entries[0].entry).as_str(),
            page.entries.len(),
            page.more
        ),
        ("text 0", 10, false)
    );
    let page = history(&world, THREAD, HistoryRange::Page { number: 3, size: 50 }).await;
    assert_eq!(
        (content(&page.entries[49].entry).as_str(), page.more),
        ("text 49", false)
    );
    world.close().await;

    let world = World::open(dir.path()).await;
    let page = history(
        &world,
        THREAD,
        HistoryRange::Before {
            position: Position::END,
            limit: 3,
        },
    )
    .await;
    assert_eq!(
        page.entries.iter().map(|e| content(&e.entry)).collect::<Vec<_>>(),
        ["text 197", "text 198", "text 199"]
    );
    assert_eq!((page.total, page.more), (200, true));
    assert!(page.head >= positions[199]);
    world.close().await;
}

#[tokio::test]
async fn a_resend_is_stored_once_and_another_text_under_its_uid_never() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let first = world
        .append(&[chat(THREAD, "m", "v", Role::Visitor, "one")])
        .await;
    world.settle().await;
    world
        .append(&[
            chat(THREAD, "m", "v", Role::Visitor, "one"),
            chat(THREAD, "m", "v", Role::Visitor, "other"),
            chat(THREAD, "m", "a", Role::Agent, "another sender's"),
        ])
        .await;
    assert_eq!(texts(&world, THREAD).await, ["one", "another sender's"]);
    let keys = vec![("v".into(), "m".into()), ("v".into(), "x".into())];
    let found = world.api.find_sent(&org(), keys).await.unwrap();
    assert_eq!(found[0].as_ref().map(|f| f.position), Some(first[0]));
    assert_eq!(found[1], None);
    world.close().await;
}

#[tokio::test]
async fn a_recalled_message_loses_its_content_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    world
        .append(&[
            chat(THREAD, "1", "v", Role::Visitor, "secret"),
            chat(THREAD, "2", "v", Role::Visitor, "kept"),
            recall(THREAD, "r1", "1", "v", Role::Visitor, NOW + 1000),
            recall(THREAD, "r2", "2", "w", Role::Visitor, NOW + 1000),
            recall(THREAD, "r3", "2", "v", Role::Visitor, NOW + 120_001),
            recall(THREAD, "r4", "9", "v", Role::Visitor, NOW),
        ])
        .await;
    assert_eq!(texts(&world, THREAD).await, ["", "kept", "1"]);
    let pages = backlog(&world, "org/agent/a/+", 2).await;
    let seen: Vec<_> = pages
        .iter()
        .flat_map(|p| &p.entries)
        .map(|e| content(&e.entry))
        .collect();
    assert_eq!(seen, ["kept", "1"]);
    world.settle().await;
    world
        .append(&[recall(THREAD, "r5", "2", "a", Role::Agent, NOW + 5)])
        .await;
    assert_eq!(texts(&world, THREAD).await, ["", "", "1", "2"]);
    world.close().await;
}

#[tokio::test]
async fn a_streamed_answer_is_delivered_in_parts_and_shown_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let part = |text: &str| {
        typed(
            "ROBOT_STREAM",
            Kind::StreamPart,
            THREAD,
            "s",
            "bot",
            Role::Agent,
            text,
        )
    };
    world.append(&[part("Hel"), part("lo")]).await;
    assert_eq!(texts(&world, THREAD).await, ["Hello"]);
    world.append(&[part(", world")]).await;
    assert_eq!(texts(&world, THREAD).await, ["Hello, world"]);
    let pages = backlog(&world, THREAD, 100).await;
    let seen: Vec<_> = pages[0].entries.iter().map(|e| content(&e.entry)).collect();
    assert_eq!(seen, ["Hel", "lo", ", world"]);
    world
        .append(&[recall(THREAD, "r", "s", "bot", Role::Agent, NOW), part("!")])
        .await;
    assert_eq!(texts(&world, THREAD).await, ["", "s"]);
    assert_eq!(backlog(&world, THREAD, 100).await[0].entries.len(), 1);
    world.close().await;
}

#[tokio::test]
async fn opaque_publishes_are_kept_for_sessions_and_expire() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let mut short = generic("t/short", "late", 1, false);
    short.expires_at = NOW + 1000;
    world
        .append(&[
            generic("t/a", "one", 1, true),
            generic("t/b", "two", 0, true),
            short,
            generic("t/a", "three", 1, false),
        ])
        .await;
    let count = |pages: Vec<BacklogPage>| pages.iter().map(|p| p.entries.len()).sum::<usize>();
    assert_eq!(count(backlog(&world, "t/#", 100).await), 3);
    assert!(texts(&world, "t/a").await.is_empty());
    world.hand.advance(std::time::Duration::from_secs(1));
    assert_eq!(count(backlog(&world, "t/#", 100).await), 2);
    let retained = world
        .api
        .retained(&org(), &TopicFilter::new("t/+").unwrap(), Vec::new())
        .await
        .unwrap();
    assert_eq!(
        retained.iter().map(|r| r.topic.as_str()).collect::<Vec<_>>(),
        ["t/a", "t/b"]
    );
    world.append(&[generic("t/a", "", 1, true)]).await;
    world.settle().await;
    let retained = world
        .api
        .retained(&org(), &TopicFilter::new("t/+").unwrap(), Vec::new())
        .await
        .unwrap();
    assert_eq!(retained.len(), 1);
    world.close().await;
}
