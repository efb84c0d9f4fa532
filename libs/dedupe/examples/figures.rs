//! What knowing eight days of uids costs: `cargo run --release -p dedupe --example figures`.
//!
//! 10 million messages a day over an installation of four partitions, after nine days: one of its partitions, and
//! four times that.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a program for the one who runs it"
)]

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dedupe::{Config, Filter, Limits, Lookup, Manifest, Memory, Record, Stamp};
use model::{FrameSeq, MessageKind, PartitionId, Position, UnixMillis};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const PARTITIONS: usize = 4;
const A_DAY: u64 = 10_000_000 / PARTITIONS as u64;
const DAYS: u64 = 9;
const DAY: u64 = 24 * 3_600 * 1_000;
/// Messages in a frame, and between two checkpoints: half a minute.
const FRAME: u64 = 10;
const CHECKPOINT: u64 = A_DAY / 2_880;

/// Times of one thing.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    fn of<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = work();
        self.0.push(start.elapsed());
        done
    }

    fn tell(&mut self, what: &str) {
        self.0.sort();
        let mean = self.0.iter().sum::<Duration>() / u32::try_from(self.0.len()).expect("few");
        let p99 = self.0[self.0.len() * 99 / 100];
        let most = self.0[self.0.len() - 1];
        println!(
            "{what}: {} times, mean {mean:.1?}, p99 {p99:.1?}, longest {most:.1?}",
            self.0.len()
        );
    }
}

fn mebi(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn main() {
    let mut rng = StdRng::seed_from_u64(1);
    let mut filter = Filter::new(Config::new(rng.random()));
    let mut disk = HashMap::new();
    let manifest = fill(&mut filter, &mut disk, &mut rng);
    memory_of(&filter, &disk);
    lookups(&filter, &mut rng);
    restored(&manifest, &disk, &mut rng);
    recent(&mut rng);
}

/// Nine days of messages, with checkpoints on the way. Gives the last manifest.
fn fill(filter: &mut Filter, disk: &mut HashMap<String, Bytes>, rng: &mut StdRng) -> Bytes {
    let (mut frames, mut seals, mut makes) = (Times::default(), Times::default(), Times::default());
    let (mut written, mut manifest) = (0, Bytes::new());
    for message in (0..A_DAY * DAYS).step_by(FRAME as usize) {
        let now = message * DAY / A_DAY;
        let sealing = frames.of(|| {
            (0..FRAME).for_each(|_| filter.insert(rng.random(), now));
            filter.settle();
            filter.tend(now)
        });
        if let Some(sealing) = sealing {
            let sealed = seals.of(|| sealing.build());
            filter.adopt(sealed);
        }
        if message % CHECKPOINT < FRAME {
            let stamp = Stamp {
                log_epoch: 1,
                partition: PartitionId(0),
                position: Position::new(FrameSeq(message / FRAME), 0),
                owner_epoch: 1,
            };
            let checkpoint = makes.of(|| filter.checkpoint(&stamp));
            written += checkpoint.size();
            manifest = checkpoint.manifest.clone();
            disk.extend(checkpoint.blobs.iter().cloned());
            for name in filter.confirm(&checkpoint) {
                disk.remove(&name);
            }
        }
    }
    frames.tell("a frame of 10 keys, with settle and tend");
    seals.tell("sealing a generation");
    makes.tell("making a checkpoint");
    println!(
        "checkpoints every 30 s write {:.0} MiB a day, {:.0} KiB each",
        mebi(written) / DAYS as f64,
        written as f64 / 1024.0 / makes.0.len() as f64
    );
    manifest
}

fn memory_of(filter: &Filter, disk: &HashMap<String, Bytes>) {
    println!(
        "{} keys in {} generations: {:.1} MiB, {:.0} MiB in {PARTITIONS} partitions",
        filter.len(),
        filter.generations(),
        mebi(filter.bytes()),
        mebi(filter.bytes()) * PARTITIONS as f64
    );
    let stored: usize = disk.values().map(Bytes::len).sum();
    println!("stored: {} blobs, {:.1} MiB", disk.len(), mebi(stored));
}

fn lookups(filter: &Filter, rng: &mut StdRng) {
    let keys: Vec<u128> = (0..2_000_000).map(|_| rng.random()).collect();
    let start = Instant::now();
    let likely = keys
        .iter()
        .filter(|key| filter.lookup(**key) == Lookup::Likely)
        .count();
    println!(
        "a look at a new key: {:.0} ns, {:.4} % look as if they were known",
        start.elapsed().as_secs_f64() * 1e9 / keys.len() as f64,
        likely as f64 * 100.0 / keys.len() as f64
    );
}

/// What a new owner does, without the time that the store takes to send the blobs.
fn restored(manifest: &Bytes, disk: &HashMap<String, Bytes>, rng: &mut StdRng) {
    let start = Instant::now();
    let manifest = Manifest::decode(manifest).expect("just written");
    let mut filter = Filter::restore(Config::new(7), &manifest);
    let serving = start.elapsed();
    let (mut opens, mut takes) = (Times::default(), Times::default());
    let mut read = 0;
    for wanted in filter.wanted() {
        let bytes = &disk[&wanted.name()];
        read += bytes.len();
        let part = opens.of(|| wanted.open(bytes).expect("just written"));
        takes.of(|| filter.take_in(part));
    }
    println!(
        "restoring: serves after {serving:.1?}, is complete after {:.1?}, reads {:.1} MiB",
        start.elapsed(),
        mebi(read)
    );
    opens.tell("opening a blob");
    takes.tell("taking it in");
    assert!(filter.is_complete() && filter.lookup(rng.random()) == Lookup::Fresh);
}

/// The exact memory: of 5,000 users.
fn recent(rng: &mut StdRng) {
    let limits = Limits {
        records: 200_000,
        bytes: 64 << 20,
    };
    let mut memory = Memory::new(limits, Position::START);
    let mut frames = Times::default();
    for position in (1..=300_000u64).step_by(FRAME as usize) {
        frames.of(|| {
            for position in position..position + FRAME {
                let user = format!("df_user_{:08}", rng.random_range(0..5_000));
                let record = Record {
                    position: Position(position),
                    sender: user.as_str().into(),
                    author: user.as_str().into(),
                    digest: rng.random(),
                    accepted_at: UnixMillis(position),
                    kind: MessageKind::Ordinary,
                    state: None,
                };
                memory.remember(rng.random(), &record);
            }
            memory.settle();
        });
    }
    println!(
        "exact memory: {} records, {:.0} bytes each with 5,000 users",
        memory.len(),
        memory.bytes() as f64 / memory.len() as f64
    );
    frames.tell("remembering a frame of 10");
}
