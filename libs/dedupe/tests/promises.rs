//! Single promises of the filter and its checkpoints.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use std::collections::HashMap;

use bytes::Bytes;
use dedupe::{Checkpoint, Config, Filter, Join, Lookup, Manifest, Rebuild, Stamp};
use model::{FrameSeq, PartitionId, Position};

const CONFIG: Config = Config {
    capacity: 1_000,
    max_age: 1_000,
    retention: 9_000,
    spill: 100,
    salt: 7,
};
const STAMP: Stamp = Stamp {
    log_epoch: 99,
    partition: PartitionId(3),
    position: Position(50 << 16),
    owner_epoch: 5,
};

fn key(i: u64) -> u128 {
    u128::from(i.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64
}

/// Inserts keys of these numbers in a frame of their own.
fn accept(filter: &mut Filter, numbers: std::ops::Range<u64>, at: u64) {
    numbers.for_each(|i| filter.insert(key(i), at));
    filter.settle();
}

fn seal(filter: &mut Filter, now: u64) {
    let sealing = filter.tend(now).expect("something is to be sealed");
    filter.adopt(sealing.build());
}

fn manifest(checkpoint: &Checkpoint) -> Manifest {
    Manifest::decode(&checkpoint.manifest).unwrap()
}

fn blobs(checkpoint: &Checkpoint) -> HashMap<String, Bytes> {
    checkpoint.blobs.iter().cloned().collect()
}

/// Every blob that is wanted, in order.
fn load(filter: &mut Filter, blobs: &HashMap<String, Bytes>) {
    for wanted in filter.wanted() {
        filter.take_in(wanted.open(&blobs[&wanted.name()]).unwrap());
    }
}

#[test]
fn what_is_unsettled_counts_and_can_be_taken_back() {
    let mut filter = Filter::new(CONFIG);
    accept(&mut filter, 0..1, 0);
    filter.insert(key(0), 0);
    filter.insert(key(1), 0);
    assert_eq!(filter.lookup(key(1)), Lookup::Likely);
    filter.undo();
    assert_eq!(filter.lookup(key(1)), Lookup::Fresh);
    assert_eq!(
        filter.lookup(key(0)),
        Lookup::Likely,
        "it was there before the frame"
    );
}

#[test]
fn a_generation_is_not_closed_under_a_frame_that_may_be_taken_back() {
    let mut filter = Filter::new(CONFIG);
    (0..2_000).for_each(|i| filter.insert(key(i), 0));
    assert!(filter.tend(0).is_none());
    filter.undo();
    assert!(filter.is_empty() && filter.tend(0).is_none());
}

#[test]
fn keys_stay_exact_until_the_filter_is_adopted_and_it_is_handed_out_again_if_it_never_is() {
    let mut filter = Filter::new(CONFIG);
    accept(&mut filter, 0..1_000, 0);
    let sealing = filter.tend(0).unwrap();
    assert_eq!(sealing.keys(), 1_000);
    assert!(filter.tend(0).is_none(), "somebody is building it");
    accept(&mut filter, 1_000..1_001, 0);
    let sealed = sealing.build();
    assert!(filter.tend(0).is_none(), "it is built");
    drop(sealed);
    assert_eq!(filter.generations(), 0);
    seal(&mut filter, 0);
    assert_eq!((filter.generations(), filter.len()), (1, 1_001));
    assert!((0..1_001).all(|i| filter.lookup(key(i)) == Lookup::Likely));
    assert_eq!(filter.lookup(key(5_000)), Lookup::Fresh);
}

#[test]
fn a_checkpoint_costs_what_is_new() {
    let mut filter = Filter::new(CONFIG);
    accept(&mut filter, 0..99, 0);
    let first = filter.checkpoint(&STAMP);
    assert!(first.blobs.is_empty(), "so few keys are in the manifest");
    filter.confirm(&first);
    accept(&mut filter, 99..150, 0);
    let second = filter.checkpoint(&STAMP);
    assert_eq!(second.blobs.len(), 1);
    filter.confirm(&second);
    accept(&mut filter, 150..152, 0);
    let third = filter.checkpoint(&STAMP);
    assert!(
        third.blobs.is_empty() && third.size() < 300,
        "{} bytes",
        third.size()
    );
    filter.confirm(&third);
    accept(&mut filter, 152..1_152, 0);
    seal(&mut filter, 0);
    let fourth = filter.checkpoint(&STAMP);
    assert_eq!(
        fourth.blobs.len(),
        1,
        "the filter alone: its chunks are not needed"
    );
    assert_eq!(filter.confirm(&fourth), [second.blobs[0].0.clone()]);
}

#[test]
fn a_checkpoint_that_failed_is_made_again_whole() {
    let mut filter = Filter::new(CONFIG);
    accept(&mut filter, 0..150, 0);
    let lost = filter.checkpoint(&STAMP);
    let made = filter.checkpoint(&STAMP);
    assert_eq!((lost.blobs.len(), made.blobs.len()), (1, 1));
    assert_ne!(lost.blobs[0].0, made.blobs[0].0);
    assert!(
        filter.confirm(&lost).is_empty(),
        "only the latest can be confirmed"
    );
    let again = filter.checkpoint(&STAMP);
    assert_eq!(again.blobs.len(), 1);
}

#[test]
fn a_restored_filter_says_likely_of_everything_until_it_is_whole() {
    let mut filter = Filter::new(CONFIG);
    accept(&mut filter, 0..1_000, 100);
    seal(&mut filter, 100);
    accept(&mut filter, 1_000..1_200, 200);
    filter.insert(key(7_000), 200);
    let checkpoint = filter.checkpoint(&STAMP);
    let mut restored = Filter::restore(CONFIG, &manifest(&checkpoint));
    let (blobs, wanted) = (blobs(&checkpoint), restored.wanted());
    assert_eq!(wanted.len(), 2);
    assert!(wanted[0].size() < wanted[1].size(), "the newest keys first");
    for wanted in &wanted {
        assert_eq!(restored.lookup(key(7_000)), Lookup::Likely);
        restored.take_in(wanted.open(&blobs[&wanted.name()]).unwrap());
    }
    assert_eq!(restored.lookup(key(7_000)), Lookup::Fresh, "it was not settled");
    assert!((0..1_200).all(|i| restored.lookup(key(i)) == Lookup::Likely));
}

#[test]
fn a_frame_that_fails_does_not_take_away_what_a_chunk_brought_meanwhile() {
    let mut filter = Filter::new(CONFIG);
    accept(&mut filter, 0..150, 0);
    let checkpoint = filter.checkpoint(&STAMP);
    let mut restored = Filter::restore(CONFIG, &manifest(&checkpoint));
    restored.insert(key(5), 0);
    load(&mut restored, &blobs(&checkpoint));
    restored.undo();
    assert_eq!(restored.lookup(key(5)), Lookup::Likely);
    assert_eq!(restored.lookup(key(500)), Lookup::Fresh);
}

#[test]
fn what_is_lost_is_missing_until_it_is_rebuilt_also_after_the_next_restart() {
    let mut filter = Filter::new(CONFIG);
    accept(&mut filter, 0..1_000, 100);
    seal(&mut filter, 100);
    let checkpoint = filter.checkpoint(&STAMP);
    let mut restored = Filter::restore(CONFIG, &manifest(&checkpoint));
    restored.give_up(&restored.wanted()[0]);
    assert_eq!((restored.missing(), restored.wanted().len()), (Some(100), 0));
    let again = restored.checkpoint(&STAMP);
    let mut restored = Filter::restore(CONFIG, &manifest(&again));
    assert_eq!(restored.lookup(key(5_000)), Lookup::Likely);

    let mut rebuild = Rebuild::new(400, 7, 100);
    let mut sealed: Vec<_> = (0..1_000).filter_map(|i| rebuild.insert(key(i), 100)).collect();
    sealed.extend(rebuild.finish());
    sealed.into_iter().for_each(|sealed| restored.adopt(sealed));
    restored.rebuilt(100);
    assert_eq!((restored.generations(), restored.len()), (3, 1_000));
    assert!((0..1_000).all(|i| restored.lookup(key(i)) == Lookup::Likely));
    assert_eq!(restored.lookup(key(5_000)), Lookup::Fresh);
}

#[test]
fn a_checkpoint_that_is_read_late_joins_what_was_learned_without_it() {
    let mut filter = Filter::new(CONFIG);
    accept(&mut filter, 0..1_000, 100);
    seal(&mut filter, 100);
    accept(&mut filter, 1_000..1_150, 200);
    let checkpoint = filter.checkpoint(&STAMP);
    let mut late = Filter::ignorant(CONFIG, 300);
    accept(&mut late, 2_000..3_000, 300);
    let sealing = late.tend(300).unwrap();
    accept(&mut late, 3_000..3_100, 300);
    late.insert(key(1_005), 300);
    late.join(&manifest(&checkpoint));
    late.adopt(sealing.build());
    assert_eq!(late.lookup(key(5_000)), Lookup::Likely, "its blobs are not here");
    let blobs = blobs(&checkpoint);
    load(&mut late, &blobs);
    late.undo();
    let known = (0..1_150).chain(2_000..3_100);
    assert!(known.map(key).all(|key| late.lookup(key) == Lookup::Likely));
    assert_eq!(late.lookup(key(5_000)), Lookup::Fresh);
    let again = late.checkpoint(&STAMP);
    let needed: Vec<String> = manifest(&again).blobs().iter().map(ToString::to_string).collect();
    assert!(blobs.keys().all(|name| needed.contains(name)));
    assert_eq!(late.confirm(&again), [""; 0]);
    seal(&mut late, 300);
    assert_eq!((late.generations(), late.len()), (3, 2_250));
}

#[test]
fn what_is_rebuilt_goes_in_time_however_wrong_the_clocks_were() {
    let mut filter = Filter::ignorant(CONFIG, 5_000);
    let mut rebuild = Rebuild::new(2, 7, 5_000);
    // Of edges that are right, far behind, and far ahead.
    let times = [4_000, 0, u64::MAX / 2, 4_100, 0, 4_200];
    for (i, at) in (0..).zip(times) {
        rebuild
            .insert(key(i), at)
            .into_iter()
            .for_each(|sealed| filter.adopt(sealed));
    }
    filter.rebuilt(5_000);
    filter.tend(13_000);
    assert!((0..6).all(|i| filter.lookup(key(i)) == Lookup::Likely));
    filter.tend(13_001);
    assert_eq!(
        filter.generations(),
        2,
        "what was accepted at 4000, as far as anybody knows"
    );
    filter.tend(14_001);
    assert!(filter.is_empty());
}

#[test]
fn what_is_missing_is_forgotten_with_the_retention() {
    let mut filter = Filter::ignorant(CONFIG, 1_000);
    filter.tend(10_000);
    assert_eq!(filter.lookup(key(1)), Lookup::Likely);
    filter.tend(10_001);
    assert_eq!(filter.lookup(key(1)), Lookup::Fresh);
}

#[test]
fn what_came_to_light_during_a_rebuild_is_missing_still() {
    let mut filter = Filter::ignorant(CONFIG, 1_000);
    filter.miss(2_000);
    filter.rebuilt(1_000);
    assert_eq!(filter.missing(), Some(2_000));
    filter.rebuilt(2_000);
    assert_eq!(filter.missing(), None);
}

#[test]
fn a_checkpoint_tells_whether_it_joins_the_log() {
    let manifest = manifest(&Filter::new(CONFIG).checkpoint(&STAMP));
    let joins = |log, partition, first, head| {
        manifest.joins(log, PartitionId(partition), FrameSeq(first), FrameSeq(head))
    };
    assert_eq!(joins(99, 3, 1, 50), Join::Joins);
    assert_eq!(joins(99, 3, 51, 50), Join::Joins, "of an empty log");
    assert_eq!(joins(99, 3, 52, 60), Join::Trimmed);
    assert_eq!(joins(99, 3, 1, 49), Join::Newer);
    assert_eq!(joins(98, 3, 1, 50), Join::ForeignLog);
    assert_eq!(joins(99, 2, 1, 50), Join::OtherPartition);
}

#[test]
fn an_owner_that_was_replaced_deletes_nothing_of_its_successors() {
    let mut filter = Filter::new(CONFIG);
    accept(&mut filter, 0..150, 0);
    let checkpoint = filter.checkpoint(&STAMP);
    let needed = checkpoint.blobs[0].0.as_str();
    let older = "0000000000000004-00000009";
    let newer = "0000000000000006-00000009";
    let stored = [needed, older, newer, "something-else", "README"];
    assert_eq!(manifest(&checkpoint).garbage(stored, 5), [older]);
}
