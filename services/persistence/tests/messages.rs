//! What the log leaves in history and backlog.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use contract::persistence::{
    BacklogFilter, BacklogLane, BacklogPage, BacklogRequest, Found, HistoryPage, HistoryRange,
    HistoryRequest, MessageKey,
};
use model::{Position, Role, TopicFilter};
use persistence::Config;
use support::*;
use wire::{Entry, Kind};

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

/// Asks for messages of a topic.
async fn find(
    world: &World,
    name: &str,
    uids: &[&str],
    applied: Position,
) -> Result<Vec<Option<Found>>, contract::RpcError> {
    let key = |uid: &&str| MessageKey {
        org: org(),
        topic: topic(name),
        uid: (*uid).into(),
    };
    let keys = uids.iter().map(key).collect();
    world.api.find(partitioning().of(ORG, name), keys, applied).await
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

/// Whoever appended has judged. A uid is found by its topic, whoever sent it, and told to who asks for all.
#[tokio::test]
async fn whatever_the_log_has_is_in_history_and_its_uids_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::quiet(dir.path(), Config::default()).await;
    let first = world
        .append(&[chat(THREAD, "m", "v", Role::Visitor, "one")])
        .await;
    world.settle().await;
    let later = world
        .append(&[
            chat(THREAD, "m", "a", Role::Agent, "again"),
            chat(THREAD, "n", "v", Role::Visitor, "two"),
        ])
        .await;
    assert_eq!(texts(&world, THREAD).await, ["one", "again", "two"]);
    let positions = async |name: &str, uids: &[&str], applied| {
        let found = find(&world, name, uids, applied).await;
        found.map(|all| all.into_iter().map(|f| f.map(|f| f.position)).collect::<Vec<_>>())
    };
    let found = positions(THREAD, &["x", "m", "n"], later[1]).await.unwrap();
    assert_eq!(found, [None, Some(first[0]), Some(later[1])]);
    assert_eq!(
        positions("org/agent/a/w", &["m"], Position::START).await.unwrap(),
        [None]
    );
    let partition = partitioning().of(ORG, THREAD);
    let page = world
        .api
        .uids_since(partition, Position::START, 10)
        .await
        .unwrap();
    let key = |uid| wire::envelope::uid_key(ORG, THREAD, uid);
    let keys: Vec<_> = page.uids.iter().map(|uid| (uid.position, uid.key)).collect();
    assert_eq!(
        keys,
        [(first[0], key("m")), (later[0], key("m")), (later[1], key("n"))]
    );
    assert_eq!((page.next, page.more), (Position::end_of(later[1].seq()), false));
    world.hand.advance(std::time::Duration::from_secs(9 * 24 * 3600));
    let page = world.api.uids_since(partition, Position::START, 10).await;
    assert_eq!(page.unwrap().uids, [], "they are older than anybody asks for");
    world.close().await;
}

/// *Not found* is an answer only as far as the log is applied; when that is not to be had in time, there is none.
#[tokio::test]
async fn a_message_is_looked_for_when_the_log_is_applied_as_far_as_asked() {
    let dir = tempfile::tempdir().unwrap();
    let config = persistence::Config {
        wait: runtime::config::HumanDuration::from_millis(50),
        ..persistence::Config::default()
    };
    let world = World::quiet(dir.path(), config).await;
    let at = world
        .append(&[chat(THREAD, "m", "v", Role::Visitor, "one")])
        .await;
    world.settle().await;
    let found = find(&world, THREAD, &["m"], at[0]).await.unwrap();
    assert_eq!(found[0].as_ref().map(|f| f.position), Some(at[0]));
    let beyond = Position::new(model::FrameSeq(at[0].seq().0 + 1), 0);
    let refused = find(&world, THREAD, &["m"], beyond).await.unwrap_err();
    assert_eq!(refused.kind, contract::ErrorKind::Unavailable, "{refused}");
    world.close().await;
}

#[tokio::test]
async fn frames_that_hold_nothing_move_on_what_is_applied() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let partition = partitioning().of(ORG, THREAD);
    let before = world
        .append(&[chat(THREAD, "1", "v", Role::Visitor, "one")])
        .await;
    let fence = world.append_frame(partition, Vec::new()).await;
    let unknown = Entry {
        kind: 99,
        ..chat(THREAD, "2", "v", Role::Visitor, "of a later version")
    };
    let later = world.append_frame(partition, vec![unknown.to_bytes()]).await;
    assert_eq!((fence.0, later.0), (before[0].seq().0 + 1, before[0].seq().0 + 2));
    world.settle().await;
    assert_eq!(texts(&world, THREAD).await, ["one"]);
    world.close().await;
}

#[tokio::test]
async fn a_recalled_message_loses_its_content_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    // Nobody opens the thread meanwhile, which would be an entry more.
    let world = World::quiet(dir.path(), persistence::Config::default()).await;
    world
        .append(&[
            chat(THREAD, "1", "v", Role::Visitor, "secret"),
            chat(THREAD, "2", "v", Role::Visitor, "kept"),
            recall(THREAD, "r1", "1", "v", Role::Visitor, NOW + 1000),
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
    // Whether it may be taken back, by whom and until when, was decided before it was appended.
    world
        .append(&[recall(THREAD, "r2", "2", "w", Role::Visitor, NOW + 900_000)])
        .await;
    assert_eq!(texts(&world, THREAD).await, ["", "", "1", "2"]);
    world.close().await;
}

/// A form that was filled in: the prompt shows it, for whoever comes later; who has the prompt already gets the edit.
#[tokio::test]
async fn an_edited_message_shows_the_edit_at_its_own_place() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::quiet(dir.path(), Config::default()).await;
    let prompt = typed(
        "LEAVE_MSG",
        Kind::Chat,
        THREAD,
        "p",
        "system",
        Role::Agent,
        "please",
    );
    let submit = Entry {
        target: "p".into(),
        ..typed(
            "LEAVE_MSG_SUBMIT",
            Kind::Edit,
            THREAD,
            "p",
            "v",
            Role::Visitor,
            "my number",
        )
    };
    let text = chat(THREAD, "t", "v", Role::Visitor, "bye");
    let positions = world.append(&[prompt, text]).await;
    world.settle().await;
    let edit = world.append(&[submit]).await;
    assert_eq!(texts(&world, THREAD).await, ["my number", "bye"]);
    let range = HistoryRange::Page { number: 0, size: 9 };
    let page = history(&world, THREAD, range).await;
    assert_eq!(
        (page.total, page.entries[0].position, page.entries[1].position),
        (2, positions[0], positions[1])
    );
    let pages = backlog(&world, THREAD, 100).await;
    let seen: Vec<_> = (pages.iter().flat_map(|p| &p.entries))
        .map(|e| (e.position, content(&e.entry)))
        .collect();
    let (mine, bye) = ("my number".to_owned(), "bye".to_owned());
    assert_eq!(
        seen,
        [(positions[0], mine.clone()), (positions[1], bye), (edit[0], mine)]
    );
    let found = find(&world, THREAD, &["p"], edit[0]).await;
    let found = found.unwrap().remove(0).unwrap();
    assert_eq!(
        (found.position, &*found.r#type),
        (positions[0], "LEAVE_MSG_SUBMIT")
    );
    world
        .append(&[recall(THREAD, "r", "p", "v", Role::Visitor, NOW)])
        .await;
    assert_eq!(texts(&world, THREAD).await, ["", "bye", "p"]);
    let left: usize = backlog(&world, THREAD, 100)
        .await
        .iter()
        .map(|p| p.entries.len())
        .sum();
    assert_eq!(left, 2, "the edit does not come again either");
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
    // Who may go on with it was decided before it was appended.
    let other = Entry {
        sender: "another of the bot's names".into(),
        ..part(", world")
    };
    world.append(&[other]).await;
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
