//! An owner under load, and with a log that does not answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use backplane::checkpoint::Checkpoints;
use backplane::journal::Journal;
use bytes::Bytes;
use contract::routing::Up;
use edge::Outcome;
use model::{PartitionId, Partitioning};
use runtime::config::{ByteSize, HumanDuration};
use tokio::time::{Instant, sleep};
use wire::{Entry, Kind};

use crate::attach::World;
use crate::by_hand::submission;

const TOPIC: &str = "org/agent/desk/visitor";

fn partition() -> PartitionId {
    Partitioning::new(3).of("o", TOPIC)
}

fn opaque(size: usize) -> Arc<Entry> {
    Arc::new(Entry {
        kind: Kind::Generic.into(),
        org: "o".into(),
        topic: TOPIC.into(),
        sender: "a".into(),
        payload: Bytes::from(vec![0; size]),
        qos: 1,
        ..Entry::default()
    })
}

fn part(uid: &str) -> Arc<Entry> {
    Arc::new(Entry {
        kind: Kind::StreamPart.into(),
        uid: uid.into(),
        ..(*opaque(10)).clone()
    })
}

fn is_stored(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Stored { .. })
}

/// Waits until something is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so().await {
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_came_on_a_line_that_has_ended_is_kept_no_more() {
    let world = World::new(1);
    let _routing = world.routing(0);
    let (first, again) = (opaque(10), opaque(1000));
    let mut line = world.line(partition(), 1, None).await;
    world.journal.doubts.store(true, Ordering::Relaxed);
    line.submit(1, &first, false);
    sleep(Duration::from_millis(100)).await;
    line.submit(2, &again, false);
    for n in 0..10 {
        // Before the next is open, or by it.
        if n % 2 == 0 {
            line.hang_up();
        }
        line = world.line(partition(), 3, None).await;
        line.submit(1, &first, true);
        line.submit(2, &again, true);
    }
    sleep(Duration::from_millis(100)).await;
    assert_eq!(
        Arc::strong_count(&again),
        2,
        "ours, and what waits on the line that is open"
    );
    world.journal.doubts.store(false, Ordering::Relaxed);
    assert!(is_stored(&line.outcome(1).await) && is_stored(&line.outcome(2).await));
}

#[tokio::test(start_paused = true)]
async fn under_a_load_that_never_pauses_what_is_known_is_stored() {
    let world = World::new(1);
    let _routing = world.routing_that(0, |c| c.checkpoint_interval = HumanDuration::from_secs(1));
    let (next, quiet) = (AtomicU64::new(3), world.quiet.clone());
    let line = world.line_that(partition(), 1, None, move |routed| {
        let each = routed.answers.iter().filter(|_| !quiet.load(Ordering::Relaxed));
        each.map(|_| {
            let number = next.fetch_add(1, Ordering::Relaxed);
            Up::Submit(submission(number, &opaque(10), false))
        })
        .collect()
    });
    let line = line.await;
    world.journal.doubts.store(true, Ordering::Relaxed);
    line.submit(1, &opaque(10), false);
    sleep(Duration::from_millis(10)).await;
    // From now on there is always one in flight, and one that waits.
    line.submit(2, &opaque(10), false);
    world.journal.doubts.store(false, Ordering::Relaxed);
    until("a checkpoint", async || {
        world.checkpoints.manifest(partition()).await.unwrap().is_some()
    })
    .await;
    world.quiet.store(true, Ordering::Relaxed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_to_whom_there_is_always_something_said_lets_go_all_the_same() {
    let world = World::new(1);
    let routing = world.routing(0);
    let typing = Arc::new(Entry {
        kind: Kind::Transient.into(),
        ..(*opaque(10)).clone()
    });
    let (echo, enough) = (typing.clone(), Arc::new(AtomicBool::new(false)));
    let stop = enough.clone();
    let line = world.line_that(partition(), 1, Some(TOPIC), move |routed| {
        let each = routed.entries.iter().filter(|_| !stop.load(Ordering::Relaxed));
        each.map(|_| Up::Transient(echo.clone())).collect()
    });
    let line = line.await;
    line.say(Up::Transient(typing));
    routing.stop().stop_hard();
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut owned = true;
    while owned && Instant::now() < deadline {
        sleep(Duration::from_millis(20)).await;
        owned = world.is_owned(partition()).await;
    }
    enough.store(true, Ordering::Relaxed);
    assert!(!owned, "it goes on for ever");
}

#[tokio::test(start_paused = true)]
async fn a_part_that_is_sent_again_when_its_number_is_forgotten_is_not_appended_twice() {
    let world = World::new(1);
    let _routing = world.routing_that(0, |c| c.tail = ByteSize::bytes(2000));
    let line = world.line(partition(), 1, None).await;
    for (number, entry) in (1..).zip([part("s"), part("s"), part("")]) {
        line.submit(number, &entry, false);
        assert!(is_stored(&line.outcome(number).await));
    }
    line.hang_up();
    let line = world.line(partition(), 4, None).await;
    for number in 4..10 {
        line.submit(number, &opaque(1000), false);
        assert!(is_stored(&line.outcome(number).await));
    }
    line.hang_up();
    // The answers to 2 and 3 have not arrived.
    let line = world.line(partition(), 10, None).await;
    line.submit(2, &part("s"), true);
    line.submit(3, &part(""), true);
    assert_eq!(line.outcome(2).await, Outcome::Unknown);
    assert_eq!(line.outcome(3).await, Outcome::Unknown);
    line.submit(10, &part("s"), false);
    assert!(is_stored(&line.outcome(10).await), "the stream goes on");
}

#[tokio::test(start_paused = true)]
async fn entries_that_the_log_finds_too_large_do_not_make_its_frames_smaller() {
    let world = World::new(1);
    let _routing = world.routing(0);
    world.journal.limit.store(100_000, Ordering::Relaxed);
    let line = world.line(partition(), 1, None).await;
    for number in 1..12 {
        line.submit(number, &opaque(200_000), false);
        assert_eq!(line.outcome(number).await, Outcome::TooLarge);
    }
    let frames = async |numbers: std::ops::Range<u64>, size: usize| {
        let before = world.journal.head(partition()).await.unwrap();
        for number in numbers.clone() {
            line.submit(number, &opaque(size), false);
        }
        for number in numbers {
            assert!(is_stored(&line.outcome(number).await));
        }
        world.journal.head(partition()).await.unwrap().0 - before.0
    };
    assert_eq!(frames(12..32, 1000).await, 1, "all that waits");
    assert_eq!(frames(32..52, 20_000).await, 5, "as many as fit");
}
