//! What an owner knows of uids: where it comes from, and how it is lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use backplane::checkpoint::Checkpoints;
use bytes::Bytes;
use edge::{Core, Outcome};
use model::{PartitionId, Partitioning};
use routing::Config;
use runtime::clock::{Clock, ManualClock};
use tokio::time::sleep;
use wire::{Entry, Kind};

use crate::attach::World;

const TOPIC: &str = "org/agent/desk/visitor";
const NOW: u64 = 1_800_000_000_000;
const DAY: Duration = Duration::from_secs(24 * 3600);

fn partition() -> PartitionId {
    Partitioning::new(3).of("o", TOPIC)
}

fn text(uid: &str, at: u64) -> Entry {
    Entry {
        kind: Kind::Chat.into(),
        org: "o".into(),
        topic: TOPIC.into(),
        sender: "a".into(),
        author: "a".into(),
        uid: uid.into(),
        r#type: "TEXT".into(),
        accepted_at: at,
        digest: 7,
        ..Entry::default()
    }
}

/// Remembers next to nothing exactly.
fn forgetful(config: &mut Config) {
    (config.remembered_messages, config.replayed_frames) = (3, 2);
}

fn world() -> (World, ManualClock) {
    let (clock, hand) = Clock::manual(NOW);
    let mut world = World::new(1);
    world.owners_clock = clock;
    (world, hand)
}

async fn say(core: &Arc<Core>, uids: std::ops::Range<u32>) {
    for n in uids {
        let outcome = core.submit_and_wait(text(&format!("m{n}"), NOW)).await;
        assert!(
            matches!(outcome, Outcome::Stored { duplicate: false, .. }),
            "m{n}: {outcome:?}"
        );
    }
}

/// Until a checkpoint has been made, and another with what was sealed for the first.
async fn checkpoints() {
    sleep(Duration::from_secs(45)).await;
}

/// Two days, each of which is a blob.
async fn two_days(world: &World, hand: &ManualClock, core: &Arc<Core>) -> Vec<String> {
    for day in 0..2 {
        say(core, day * 10..day * 10 + 5).await;
        hand.advance(DAY + Duration::from_secs(3600));
        checkpoints().await;
        // What is sealed is stored with what comes next.
        say(core, day * 10 + 5..day * 10 + 6).await;
        checkpoints().await;
    }
    let blobs = world.checkpoints.blobs(partition()).await;
    assert_eq!(blobs.len(), 2, "{blobs:?}");
    blobs
}

impl World {
    fn lookups(&self) -> u32 {
        self.store.lookups.load(Ordering::Relaxed)
    }

    /// Everything that was known is known: what is new is not asked about, what is not is recognised.
    async fn assert_knows_all(&self, core: &Arc<Core>, blobs: &[String]) {
        let before = self.lookups();
        say(core, 100..105).await;
        assert_eq!(self.lookups(), before, "what is new is not looked up");
        let again = core.submit_and_wait(text("m1", NOW)).await;
        assert!(
            matches!(again, Outcome::Stored { duplicate: true, .. }),
            "{again:?}"
        );
        let left = self.checkpoints.blobs(partition()).await;
        assert!(blobs.iter().all(|blob| left.contains(blob)), "{left:?}");
        assert_eq!(self.store.rebuilds.load(Ordering::Relaxed), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_of_the_checkpoint_that_cannot_be_read_now_is_read_later() {
    let (world, hand) = world();
    let routing = world.routing_that(0, forgetful);
    let (core, _edge) = world.edge();
    let blobs = two_days(&world, &hand, &core).await;
    world.checkpoints.fail.store(3, Ordering::Relaxed);
    routing.kill();
    let _next = world.routing_that(1, forgetful);
    checkpoints().await;
    world.assert_knows_all(&core, &blobs).await;
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_cannot_be_claimed_now_is_claimed_later_and_not_replaced_before() {
    let (world, hand) = world();
    let routing = world.routing_that(0, forgetful);
    let (core, _edge) = world.edge();
    let blobs = two_days(&world, &hand, &core).await;
    // More than the next owner reads of the log is in the checkpoint alone, or in neither.
    say(&core, 30..40).await;
    world.checkpoints.away.store(true, Ordering::Relaxed);
    routing.kill();
    let _next = world.routing_that(1, forgetful);
    say(&core, 50..55).await;
    checkpoints().await;
    world.checkpoints.away.store(false, Ordering::Relaxed);
    checkpoints().await;
    world.assert_knows_all(&core, &blobs).await;
    for uid in ["m2", "m32", "m39", "m52"] {
        let again = core.submit_and_wait(text(uid, NOW)).await;
        assert!(
            matches!(again, Outcome::Stored { duplicate: true, .. }),
            "{uid}: {again:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_is_lost_of_a_checkpoint_is_made_anew_once() {
    let (world, hand) = world();
    let routing = world.routing_that(0, forgetful);
    let (core, _edge) = world.edge();
    for blob in two_days(&world, &hand, &core).await {
        world.checkpoints.delete(partition(), &blob).await.unwrap();
    }
    routing.kill();
    let _next = world.routing_that(1, forgetful);
    checkpoints().await;
    assert_eq!(world.store.rebuilds.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn an_edge_whose_clock_is_wrong_does_not_make_its_owner_forget() {
    for at in [NOW - 10 * 24 * 3_600_000, NOW - 2 * 24 * 3_600_000, NOW * 2] {
        let (world, hand) = world();
        let _routing = world.routing_that(0, forgetful);
        let (core, _edge) = world.edge();
        let mut first = Vec::new();
        for n in 0..5 {
            first.push(core.submit_and_wait(text(&format!("m{n}"), at)).await);
            checkpoints().await;
        }
        assert_eq!(
            world.checkpoints.blobs(partition()).await.len(),
            0,
            "one generation"
        );
        let again = core.submit_and_wait(text("m0", at)).await;
        let Outcome::Stored { position, .. } = first[0] else {
            panic!("{first:?}")
        };
        let duplicate = true;
        assert_eq!(again, Outcome::Stored { position, duplicate }, "at {at}");
        // And what is too old goes.
        hand.advance(2 * DAY);
        checkpoints().await;
        hand.advance(10 * DAY);
        checkpoints().await;
        let before = world.lookups();
        core.submit_and_wait(text("m1", at)).await;
        assert_eq!(world.lookups(), before, "at {at}: it is known for ever");
    }
}

#[tokio::test(start_paused = true)]
async fn what_finds_no_room_to_be_held_is_asked_about_when_it_comes_again() {
    let world = World::new(1);
    let _routing = world.routing_that(0, forgetful);
    let (core, _edge) = world.edge();
    say(&core, 0..5).await;
    let large = Entry {
        payload: Bytes::from(vec![0; 9 << 20]),
        ..text("m0", NOW)
    };
    let outcome = core.submit_and_wait(large).await;
    assert!(matches!(outcome, Outcome::Unavailable(_)), "{outcome:?}");
    let again = core.submit_and_wait(text("m0", NOW)).await;
    assert!(
        matches!(again, Outcome::Stored { duplicate: true, .. }),
        "{again:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_is_asked_about_is_asked_about_together() {
    let world = World::new(1);
    let _routing = world.routing_that(0, forgetful);
    let (core, _edge) = world.edge();
    let of = |n: u64| Entry {
        topic: format!("org/agent/desk/v{n}"),
        ..text("m", NOW)
    };
    for n in 0..60 {
        core.submit_and_wait(of(n)).await;
    }
    world.store.takes.store(100, Ordering::Relaxed);
    let all = (0..60).map(|n| core.submit_and_wait(of(n)));
    for outcome in futures::future::join_all(all).await {
        assert!(
            matches!(outcome, Outcome::Stored { duplicate: true, .. }),
            "{outcome:?}"
        );
    }
}
