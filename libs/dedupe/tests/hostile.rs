//! Bytes from a disk that is failing, or from somebody else.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use std::collections::HashMap;

use bytes::Bytes;
use dedupe::{Config, Filter, Lookup, Manifest, Stamp};
use model::{PartitionId, Position};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const CONFIG: Config = Config {
    capacity: 1_000,
    max_age: 1_000,
    retention: 9_000,
    spill: 100,
    salt: 7,
};

/// A manifest with every kind of blob, and those.
fn checkpoint() -> (Bytes, HashMap<String, Bytes>) {
    let mut filter = Filter::new(CONFIG);
    let mut rng = StdRng::seed_from_u64(3);
    for (count, at) in [(1_000, 0), (50, 2_000), (150, 4_000)] {
        (0..count).for_each(|_| filter.insert(rng.random(), at));
        filter.settle();
        if let Some(sealing) = filter.tend(at + 1_000) {
            filter.adopt(sealing.build());
        }
    }
    filter.insert(1, 5_000);
    filter.settle();
    let stamp = Stamp {
        log_epoch: 1,
        partition: PartitionId(0),
        position: Position(1),
        owner_epoch: 1,
    };
    let checkpoint = filter.checkpoint(&stamp);
    (checkpoint.manifest, checkpoint.blobs.into_iter().collect())
}

/// Changes some bytes, cuts something off or puts something in, and makes the checksum right again: what gets as far as
/// the reader behind it.
fn mutate(rng: &mut StdRng, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes[..bytes.len() - 4].to_vec();
    for _ in 0..rng.random_range(1..4) {
        let place = rng.random_range(0..bytes.len());
        match rng.random_range(0..5) {
            0 => bytes[place] = rng.random(),
            1 => bytes.truncate(place.max(1)),
            2 => bytes.insert(place, rng.random()),
            // Lengths are what allocates.
            3 => {
                let end = (place + 4).min(bytes.len());
                bytes[place..end].fill(0xff);
            }
            _ => bytes[place] ^= 1 << rng.random_range(0..8),
        }
    }
    checked(bytes)
}

/// With its checksum behind.
fn checked(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// How a manifest names bytes, besides their name.
fn fingerprint(bytes: &[u8]) -> [u8; 8] {
    let [len, crc] = [u32::try_from(bytes.len()).unwrap(), crc32c::crc32c(bytes)].map(u32::to_le_bytes);
    [len, crc].concat().try_into().unwrap()
}

/// The manifest that names `new` where it named `old`.
fn forge(manifest: &[u8], old: &[u8], new: &[u8]) -> Manifest {
    let mut bytes = manifest[..manifest.len() - 4].to_vec();
    let old = fingerprint(old);
    let place = bytes.windows(8).position(|window| window == old).unwrap();
    bytes[place..place + 8].copy_from_slice(&fingerprint(new));
    Manifest::decode(&checked(bytes)).unwrap()
}

#[test]
fn a_manifest_that_was_tampered_with_does_no_harm() {
    let (manifest, _) = checkpoint();
    let mut read = 0;
    for seed in 0..20_000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let bytes = mutate(&mut rng, &manifest);
        let outcome = std::panic::catch_unwind(|| {
            let Ok(manifest) = Manifest::decode(&bytes) else {
                return false;
            };
            let mut filter = Filter::restore(CONFIG, &manifest);
            for wanted in filter.wanted() {
                filter.give_up(&wanted);
            }
            filter.tend(10_000);
            filter.lookup(1);
            true
        });
        read += u32::from(outcome.unwrap_or_else(|_| panic!("seed {seed}")));
    }
    assert!(read > 1_000, "{read} were readable");
}

#[test]
fn a_blob_that_was_tampered_with_does_no_harm() {
    let (manifest, blobs) = checkpoint();
    let mut names: Vec<&String> = blobs.keys().collect();
    names.sort();
    let mut read = 0;
    for seed in 0..3_000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let name = names[rng.random_range(0..names.len())];
        let bytes = mutate(&mut rng, &blobs[name]);
        let forged = forge(&manifest, &blobs[name], &bytes);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut filter = Filter::restore(CONFIG, &forged);
            let wanted = filter.wanted().into_iter().find(|wanted| wanted.name() == *name);
            let Ok(part) = wanted.unwrap().open(&bytes) else {
                return false;
            };
            filter.take_in(part);
            (0..100).for_each(|_| assert_eq!(filter.lookup(rng.random()), Lookup::Likely));
            (0..100).for_each(|_| _ = filter.may_contain(rng.random()));
            true
        }));
        read += u32::from(outcome.unwrap_or_else(|_| panic!("seed {seed}")));
    }
    assert!(read > 100, "{read} were readable");
}

#[test]
fn a_checkpoint_that_a_disk_has_damaged_is_noticed() {
    let (manifest, blobs) = checkpoint();
    for seed in 0..2_000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut bytes = manifest.to_vec();
        let place = rng.random_range(0..bytes.len());
        bytes[place] ^= rng.random_range(1..=255u8);
        assert!(Manifest::decode(&bytes).is_err(), "seed {seed}");
        bytes.truncate(place);
        assert!(Manifest::decode(&bytes).is_err(), "seed {seed}");
    }
    let mut filter = Filter::restore(CONFIG, &Manifest::decode(&manifest).unwrap());
    let wanted = filter.wanted();
    assert!(wanted[0].open(&blobs[&wanted[1].name()]).is_err(), "another blob");
    filter.give_up(&wanted[0]);
    assert_eq!(filter.lookup(2), Lookup::Likely);
}
