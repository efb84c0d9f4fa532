//! Sessions, wills, threads.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use contract::persistence::{
    CloseSession, HistoryRange, HistoryRequest, OpenSession, SaveSession, SessionKey, ThreadsRequest, Will,
};
use model::{Position, Role, UnixMillis};
use runtime::config::HumanDuration;
use support::*;

fn key(client: &str) -> SessionKey {
    SessionKey {
        org: org(),
        user: "u".into(),
        client: client.into(),
    }
}

fn open(client: &str, clean_start: bool, expiry: u32, delay: Option<u32>) -> OpenSession {
    let will = delay.map(|delay| Will {
        entry: generic("will/u", "gone", 1, false).to_bytes(),
        delay,
    });
    OpenSession {
        key: key(client),
        clean_start,
        expiry,
        will,
        edge: "edge-1".into(),
        identities: Vec::new(),
    }
}

fn close(client: &str, epoch: u64, expiry: u32, publish_will: bool, at: u64) -> CloseSession {
    let state = Bytes::from_static(b"last");
    CloseSession {
        key: key(client),
        epoch,
        state,
        expiry,
        at: UnixMillis(at),
        publish_will,
    }
}

#[tokio::test]
async fn each_opening_fences_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let first = world
        .api
        .open_session(open("c", false, 3600, None))
        .await
        .unwrap();
    assert_eq!((first.present, first.previous_edge), (false, None));
    let save = |epoch, state: &'static [u8]| {
        vec![SaveSession {
            key: key("c"),
            epoch,
            state: Bytes::from_static(state),
        }]
    };
    assert_eq!(
        world.api.save_sessions(save(first.epoch, b"one")).await.unwrap(),
        [true]
    );
    let second = world
        .api
        .open_session(open("c", false, 3600, None))
        .await
        .unwrap();
    assert!(second.epoch > first.epoch && second.present);
    assert_eq!(
        (&second.state[..], second.previous_edge),
        (&b"one"[..], Some("edge-1".into()))
    );
    assert_eq!(
        world
            .api
            .save_sessions(save(first.epoch, b"stale"))
            .await
            .unwrap(),
        [false]
    );
    world
        .api
        .close_session(close("c", first.epoch, 0, true, NOW))
        .await
        .unwrap();
    world
        .api
        .close_session(close("c", second.epoch, 3600, false, NOW))
        .await
        .unwrap();
    world.close().await;

    let world = World::open(dir.path()).await;
    let third = world
        .api
        .open_session(open("c", false, 3600, None))
        .await
        .unwrap();
    assert!(third.epoch > second.epoch && third.present);
    assert_eq!((&third.state[..], third.previous_edge), (&b"last"[..], None));
    let clean = world.api.open_session(open("c", true, 3600, None)).await.unwrap();
    assert!(!clean.present && clean.state.is_empty() && clean.epoch > third.epoch);
    world.close().await;
}

#[tokio::test]
async fn a_session_that_ends_with_its_connection_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let first = world.api.open_session(open("c", true, 0, None)).await.unwrap();
    let second = world.api.open_session(open("c", true, 0, None)).await.unwrap();
    assert!(second.epoch > first.epoch);
    assert_eq!(second.previous_edge, Some("edge-1".into()));
    world
        .api
        .close_session(close("c", second.epoch, 0, false, NOW))
        .await
        .unwrap();
    let third = world.api.open_session(open("c", false, 60, None)).await.unwrap();
    assert_eq!((third.present, third.previous_edge), (false, None));
    let gone = world.api.open_session(open("c", true, 0, None)).await.unwrap();
    world
        .api
        .close_session(close("c", gone.epoch, 0, false, NOW))
        .await
        .unwrap();
    assert!(
        !world
            .api
            .open_session(open("c", false, 60, None))
            .await
            .unwrap()
            .present
    );
    world.close().await;
}

#[tokio::test]
async fn a_session_is_forgotten_when_its_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    was_open(&world, open("c", false, 60, None), false, NOW).await;
    world.hand.advance(Duration::from_secs(59));
    let again = world.api.open_session(open("c", false, 60, None)).await.unwrap();
    assert!(again.present);
    world
        .api
        .close_session(close("c", again.epoch, 60, false, NOW + 59_000))
        .await
        .unwrap();
    world.hand.advance(Duration::from_secs(60));
    assert!(
        !world
            .api
            .open_session(open("c", false, 60, None))
            .await
            .unwrap()
            .present
    );
    world.close().await;
}

/// A session is opened and closed again.
async fn was_open(world: &World, open: OpenSession, publish_will: bool, at: u64) {
    let (key, expiry) = (open.key.clone(), open.expiry);
    let opened = world.api.open_session(open).await.unwrap();
    let close = close(&key.client, opened.epoch, expiry, publish_will, at);
    world.api.close_session(close).await.unwrap();
}

/// How many wills are in the log.
async fn wills(world: &World) -> usize {
    let partition = partitioning().of(ORG, "will/u");
    backplane::journal::Journal::head(&*world.journal, partition)
        .await
        .unwrap()
        .0 as usize
}

async fn until_wills(world: &World, n: usize) {
    let reached = async {
        while wills(world).await < n {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reached)
        .await
        .unwrap();
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let reached = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let reached = tokio::time::timeout(Duration::from_secs(20), reached);
    assert!(reached.await.is_ok(), "never: {what}");
}

#[tokio::test]
async fn a_will_waits_for_its_delay_and_is_published_once() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    // Cancelled: the session goes on within the delay.
    was_open(&world, open("c", false, 3600, Some(60)), true, NOW).await;
    let opened = world
        .api
        .open_session(open("c", false, 3600, Some(60)))
        .await
        .unwrap();
    // Dropped: the client said good-bye.
    world
        .api
        .close_session(close("c", opened.epoch, 3600, false, NOW))
        .await
        .unwrap();
    // Due: its delay passes; the session expires first in one of the two.
    for (client, expiry) in [("d", 3600), ("e", 10)] {
        was_open(&world, open(client, false, expiry, Some(60)), true, NOW).await;
    }
    world.hand.advance(Duration::from_secs(10));
    until_wills(&world, 1).await;
    world.hand.advance(Duration::from_secs(50));
    until_wills(&world, 2).await;
    // Due at once: the session is forgotten.
    was_open(&world, open("f", false, 3600, Some(60)), true, NOW + 60_000).await;
    world.api.open_session(open("f", true, 3600, None)).await.unwrap();
    until_wills(&world, 3).await;
    world.settle().await;
    world.close().await;

    let world = World::open(dir.path()).await;
    assert_eq!(wills(&world).await, 3);
    world.close().await;
}

#[tokio::test]
async fn the_wills_of_a_dead_process_are_published() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    world
        .api
        .open_session(open("now", false, 0, Some(0)))
        .await
        .unwrap();
    world
        .api
        .open_session(open("later", false, 3600, Some(60)))
        .await
        .unwrap();
    let back = world
        .api
        .open_session(open("back", false, 3600, Some(60)))
        .await
        .unwrap();
    // A session is present where a state of it was saved.
    let save = SaveSession {
        key: key("back"),
        epoch: back.epoch,
        state: Bytes::from_static(b"state"),
    };
    assert_eq!(world.api.save_sessions(vec![save]).await.unwrap(), [true]);
    world.close().await;

    let world = World::open(dir.path()).await;
    until_wills(&world, 1).await;
    assert!(
        world
            .api
            .open_session(open("back", false, 3600, None))
            .await
            .unwrap()
            .present
    );
    world.hand.advance(Duration::from_secs(60));
    until_wills(&world, 2).await;
    world.settle().await;
    assert_eq!(wills(&world).await, 2);
    world.close().await;
}

#[tokio::test]
async fn a_will_that_the_log_refuses_holds_up_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let config = persistence::Config {
        trim_interval: HumanDuration::from_millis(10),
        ..persistence::Config::default()
    };
    let refusing = Refusing::default();
    let asked = refusing.asked.clone();
    let world = World::owned_by(dir.path(), config, |_, _| Arc::new(refusing)).await;
    was_open(&world, open("c", false, 3600, Some(0)), true, NOW).await;
    let is_asked = || asked.load(Ordering::Relaxed) > 0;
    until("the will is submitted", is_asked).await;

    was_open(&world, open("d", false, 1, None), false, NOW).await;
    world.hand.advance(Duration::from_secs(1));
    until("the session expires", || {
        world
            .metrics
            .encode()
            .contains("longwire_persistence_sessions_expired_total 1\n")
    })
    .await;
    let before = (world.checkpoints.looked(), asked.load(Ordering::Relaxed));
    until("the log is trimmed", || {
        world.checkpoints.looked() > before.0 + u64::from(partitioning().count())
    })
    .await;
    until("the will is submitted again", || {
        asked.load(Ordering::Relaxed) > before.1
    })
    .await;
    // A pause between the tries: it is the only will, and those were a few moments.
    let asked = asked.load(Ordering::Relaxed);
    assert!(asked < 100, "it was submitted {asked} times");
    world.close().await;
}

#[tokio::test]
async fn threads_follow_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let at = |mut entry: wire::Entry, at: u64| {
        entry.accepted_at = at;
        entry
    };
    world
        .append(&[
            at(chat("org/agent/a/v1", "1", "v1", Role::Visitor, "hello"), NOW + 1),
            at(chat("org/agent/a/v2", "2", "v2", Role::Visitor, "hi"), NOW + 2),
            at(
                chat("org/agent/a/v1", "3", "v1", Role::Visitor, "anyone?"),
                NOW + 3,
            ),
            at(chat("org/agent/a/v2", "4", "a", Role::Agent, "yes"), NOW + 4),
            at(
                chat("org/agent/b/v3", "5", "v3", Role::Visitor, "other desk"),
                NOW + 5,
            ),
        ])
        .await;
    world.settle().await;
    let ask = |unreplied| ThreadsRequest {
        org: org(),
        identities: vec!["user-a".into(), "a".into()],
        open: false,
        unreplied,
        page: 0,
        size: 10,
    };
    let page = world.api.threads(ask(false)).await.unwrap();
    let names: Vec<_> = page.threads.iter().map(|t| t.topic.as_str()).collect();
    assert_eq!((names, page.total), (vec!["org/agent/a/v2", "org/agent/a/v1"], 2));
    assert_eq!(page.threads[1].visitor.nickname, "nick of v1");
    assert_eq!((page.threads[0].unread, page.threads[1].unread), (1, 2));
    assert_eq!(
        page.threads[0].last.as_ref().map(|(_, e)| content(e)).as_deref(),
        Some("yes")
    );
    let page = world.api.threads(ask(true)).await.unwrap();
    assert_eq!(page.threads[0].unreplied_since, Some(UnixMillis(NOW + 1)));
    assert_eq!(page.total, 1);
    let range = HistoryRange::Before {
        position: Position::END,
        limit: 1,
    };
    let request = HistoryRequest {
        org: org(),
        topic: topic("org/agent/none/v"),
        range,
    };
    assert_eq!(world.api.history(request).await.unwrap().total, 0);
    world.close().await;
}
