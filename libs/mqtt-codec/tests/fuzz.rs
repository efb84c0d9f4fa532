//! A mutation fuzzer fast enough for every test run. `FUZZ_SEED` repeats a run, `FUZZ_SECONDS`
//! makes it longer than its three seconds.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod common;

use common::arbitrary::packet;
use common::invariants::{Stream, check};
use mqtt_codec::{Role, Version};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// Shows what failed.
struct Report<'a> {
    seed: u64,
    stream: Stream,
    bytes: &'a [u8],
}

impl Drop for Report<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("FUZZ_SEED={} {:?} {:02x?}", self.seed, self.stream, self.bytes);
        }
    }
}

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Encoded packets of both ends in both versions, with the stream in which they belong.
fn corpus() -> Vec<(Stream, Vec<u8>)> {
    let mut runner = TestRunner::deterministic();
    let mut corpus = Vec::new();
    for version in [Version::V311, Version::V5] {
        for sender in [Role::Client, Role::Server] {
            let packets = packet(version, sender);
            for _ in 0..250 {
                let packet = packets.new_tree(&mut runner).unwrap().current();
                let mut bytes = bytes::BytesMut::new();
                packet.encode(version, &mut bytes).unwrap();
                let first = matches!(packet, mqtt_codec::Packet::Connect(_));
                let stream = Stream {
                    role: sender.peer(),
                    version: (!first).then_some(version),
                };
                corpus.push((stream, bytes.to_vec()));
            }
        }
    }
    corpus
}

fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    const INTERESTING: [u8; 14] = [0, 1, 2, 3, 4, 5, 0x0B, 0x26, 0x2B, 0x7F, 0x80, 0xC0, 0xED, 0xFF];
    let at = random.below(bytes.len() + 1);
    match random.below(7) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        1 if at < bytes.len() => bytes[at] = *random.pick(&INTERESTING),
        2 if at < bytes.len() => bytes[at] = random.next() as u8,
        3 => bytes.insert(at, *random.pick(&INTERESTING)),
        4 => {
            let end = (at + 1 + random.below(4)).min(bytes.len());
            bytes.drain(at..end);
        }
        5 => {
            let start = random.below(other.len());
            let end = (start + 1 + random.below(12)).min(other.len());
            bytes.splice(at..at, other[start..end].iter().copied());
        }
        _ => {
            let end = (at + 1 + random.below(12)).min(bytes.len());
            let copy = bytes[at..end].to_vec();
            bytes.splice(at..at, copy);
        }
    }
}

/// Replaces the remaining length by the right one, so that what is behind the framing is reached.
fn repair(bytes: &mut Vec<u8>) {
    let Some(end) = bytes.iter().skip(1).take(4).position(|byte| byte & 0x80 == 0) else {
        return;
    };
    let mut rest = bytes.len() - end - 2;
    let mut length = Vec::new();
    loop {
        let low = (rest % 128) as u8;
        rest /= 128;
        if rest == 0 {
            length.push(low);
            break;
        }
        length.push(low | 0x80);
    }
    bytes.splice(1..end + 2, length);
}

#[test]
fn no_mutation_of_a_packet_breaks_an_invariant() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = from_env("FUZZ_SEED").unwrap_or(now);
    let until = Instant::now() + Duration::from_secs(from_env("FUZZ_SECONDS").unwrap_or(3));
    println!("FUZZ_SEED={seed}");
    let corpus = corpus();
    let mut random = Random(seed);
    let (mut tried, mut accepted) = (0u64, 0u64);
    while tried < 1_000 || Instant::now() < until {
        let (stream, bytes) = random.pick(&corpus);
        let mut bytes = bytes.clone();
        for _ in 0..random.below(5) {
            let other = &random.pick(&corpus).1;
            mutate(&mut bytes, other, &mut random);
        }
        if random.below(5) > 0 {
            repair(&mut bytes);
        }
        if random.below(8) == 0 {
            bytes.extend_from_slice(&random.pick(&corpus).1);
        }
        let stream = if random.below(16) == 0 {
            *random.pick(&Stream::ALL)
        } else {
            *stream
        };
        let report = Report {
            seed,
            stream,
            bytes: &bytes,
        };
        accepted += u64::from(check(stream, &bytes) > 0);
        drop(report);
        tried += 1;
    }
    println!("{tried} streams, {accepted} began with a packet");
    assert!(
        accepted > tried / 20,
        "mutations that nothing accepts test nothing: {accepted} of {tried}"
    );
}
