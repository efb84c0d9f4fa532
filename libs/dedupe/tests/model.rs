//! The filter beside a set that forgets nothing, over random lives: frames that are stored and frames that fail,
//! sealing that takes its time, checkpoints that are cut off, owners that die, blobs that get lost.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use std::collections::HashMap;

use bytes::Bytes;
use dedupe::{Config, Filter, Join, Lookup, Manifest, Sealing, Stamp, Wanted};
use model::{FrameSeq, PartitionId, Position};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const CONFIG: Config = Config {
    capacity: 300,
    max_age: 1_000,
    retention: 9_000,
    spill: 40,
    salt: 7,
};
const LOG: u64 = 99;
const PARTITION: PartitionId = PartitionId(3);

/// What outlives an owner.
#[derive(Default)]
struct Disk {
    blobs: HashMap<String, Bytes>,
    manifest: Option<Bytes>,
}

/// A partition, its owner, and what is true.
struct World {
    rng: StdRng,
    now: u64,
    /// Every frame in the log: its keys, and when they were accepted.
    log: Vec<(Vec<u128>, u64)>,
    disk: Disk,
    epoch: u64,
    filter: Filter,
    sealing: Vec<Sealing>,
    /// Blobs that were not fetched yet.
    wanted: Vec<Wanted>,
    asked: u64,
    mistaken: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            now: 1_000_000,
            log: Vec::new(),
            disk: Disk::default(),
            epoch: 1,
            filter: Filter::new(CONFIG),
            sealing: Vec::new(),
            wanted: Vec::new(),
            asked: 0,
            mistaken: 0,
        }
    }

    fn stamp(&self) -> Stamp {
        Stamp {
            log_epoch: LOG,
            partition: PARTITION,
            position: Position::new(FrameSeq(self.log.len() as u64), 0),
            owner_epoch: self.epoch,
        }
    }

    /// Some new keys, some that were there before, as the parts of a stream are.
    fn frame(&mut self) {
        let count = self.rng.random_range(0..60);
        let mut keys: Vec<u128> = (0..count).map(|_| self.rng.random()).collect();
        if let Some((before, _)) = self.log.last().filter(|(keys, _)| !keys.is_empty()) {
            keys.push(before[0]);
        }
        for key in &keys {
            self.filter.insert(*key, self.now);
        }
        match self.rng.random_range(0..4) {
            0 => self.filter.undo(),
            // Blobs arrive while the frame is on its way.
            1 if !self.wanted.is_empty() => {
                self.fetch();
                self.filter.undo();
            }
            _ => {
                self.filter.settle();
                self.log.push((keys, self.now));
            }
        }
    }

    fn tend(&mut self) {
        if let Some(sealing) = self.filter.tend(self.now) {
            self.sealing.push(sealing);
        }
    }

    fn build(&mut self) {
        if let Some(sealing) = self.sealing.pop()
            && self.rng.random_bool(0.8)
        {
            self.filter.adopt(sealing.build());
        }
    }

    fn checkpoint(&mut self) {
        let checkpoint = self.filter.checkpoint(&self.stamp());
        let cut = self.rng.random_range(0..6);
        for (name, bytes) in &checkpoint.blobs {
            if cut == 0 && self.rng.random_bool(0.5) {
                return;
            }
            let before = self.disk.blobs.insert(name.clone(), bytes.clone());
            assert!(before.is_none(), "{name} is written twice");
        }
        if cut == 1 {
            return;
        }
        self.disk.manifest = Some(checkpoint.manifest.clone());
        if cut == 2 {
            return;
        }
        for name in self.filter.confirm(&checkpoint) {
            self.disk.blobs.remove(&name);
        }
        self.collect();
    }

    fn collect(&mut self) {
        let manifest = Manifest::decode(self.disk.manifest.as_ref().unwrap()).unwrap();
        for name in manifest.garbage(self.disk.blobs.keys().map(String::as_str), self.epoch) {
            self.disk.blobs.remove(&name);
        }
        assert_eq!(self.disk.blobs.len(), manifest.blobs().len());
    }

    /// The owner dies, another takes over and reads on in the log.
    fn crash(&mut self) {
        self.sealing.clear();
        self.epoch += 1;
        let head = FrameSeq(self.log.len() as u64);
        let read = match &self.disk.manifest {
            None => {
                self.filter = Filter::new(CONFIG);
                0
            }
            Some(bytes) => {
                let manifest = Manifest::decode(bytes).unwrap();
                assert_eq!(manifest.joins(LOG, PARTITION, FrameSeq(1), head), Join::Joins);
                self.filter = Filter::restore(CONFIG, &manifest);
                manifest.position.seq().0
            }
        };
        for (keys, at) in &self.log[usize::try_from(read).unwrap()..] {
            keys.iter().for_each(|key| self.filter.insert(*key, *at));
            self.filter.settle();
        }
        self.wanted = self.filter.wanted();
        self.wanted.reverse();
    }

    /// The next blob comes, or turns out to be lost or damaged.
    fn fetch(&mut self) {
        let Some(wanted) = self.wanted.pop() else {
            return;
        };
        let Some(bytes) = self.disk.blobs.get(&wanted.name()) else {
            assert!(
                !self.filter.wanted().contains(&wanted),
                "only what has run out meanwhile may be gone"
            );
            return;
        };
        let mut bytes = bytes.to_vec();
        if self.rng.random_bool(0.03) {
            let place = self.rng.random_range(0..bytes.len());
            bytes[place] ^= 1 << self.rng.random_range(0..8);
        }
        match wanted.open(&bytes) {
            Ok(part) => self.filter.take_in(part),
            Err(_) => self.filter.give_up(&wanted),
        }
    }

    fn check(&mut self) {
        let retained = |at: u64| at + CONFIG.retention >= self.now;
        for (keys, at) in self.log.iter().filter(|(_, at)| retained(*at)) {
            for key in keys {
                assert_eq!(
                    self.filter.lookup(*key),
                    Lookup::Likely,
                    "accepted at {at}, now {}",
                    self.now
                );
            }
        }
        let fresh = self.filter.lookup(self.rng.random());
        if self.filter.is_complete() {
            self.asked += 1;
            self.mistaken += u64::from(fresh == Lookup::Likely);
            assert!(self.wanted.is_empty() || self.filter.wanted().is_empty());
        } else {
            assert_eq!(fresh, Lookup::Likely);
        }
    }

    fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..50 => self.frame(),
            50..70 => self.tend(),
            70..80 => self.build(),
            80..88 => self.checkpoint(),
            88..90 => self.crash(),
            _ => self.fetch(),
        }
        self.now += self.rng.random_range(0..40);
    }
}

#[test]
fn what_was_accepted_is_never_fresh_whatever_dies_on_the_way() {
    let (mut asked, mut mistaken, mut sealed) = (0, 0, 0);
    for seed in 0..60 {
        let mut world = World::new(seed);
        for step in 0..800 {
            world.step();
            if step % 10 == 0 {
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.check()));
                assert!(outcome.is_ok(), "seed {seed}, step {step}");
            }
        }
        (asked, mistaken) = (asked + world.asked, mistaken + world.mistaken);
        sealed += world.filter.generations();
    }
    assert!(asked > 500, "the filter was complete {asked} times only");
    assert!(
        mistaken * 100 < asked,
        "{mistaken} of {asked} new keys looked old"
    );
    assert!(sealed > 40, "only {sealed} generations were sealed");
}

#[test]
fn what_is_older_than_the_retention_takes_no_room() {
    let mut filter = Filter::new(CONFIG);
    let mut rng = StdRng::seed_from_u64(1);
    let (mut now, mut most) = (0, 0);
    for _ in 0..3_000 {
        (0..10).for_each(|_| filter.insert(rng.random(), now));
        filter.settle();
        if let Some(sealing) = filter.tend(now) {
            filter.adopt(sealing.build());
        }
        now += 100;
        most = most.max(filter.generations());
    }
    // A generation is a thousandth of time here, or a tenth of the retention.
    assert!(most <= 11, "{most} generations");
    assert!(filter.len() <= 1_200, "{} keys", filter.len());
}
