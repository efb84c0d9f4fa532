//! A mutation fuzzer of a few seconds. It prints its seed; give it back in `FUZZ_SEED` to run the same again, and a
//! longer time in `FUZZ_SECONDS`.
#![allow(missing_docs, clippy::panic, clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use bytes::BytesMut;
use stomp_codec::{Decoder, Frame, Item, Limits, Role, Version, validate};
use support::{VERSIONS, decoder, feed, without_length};

const LIMITS: Limits = Limits {
    max_headers: 8,
    max_header_line: 64,
    max_header_bytes: 256,
    max_body: 128,
};

const SEEDS: &[&[u8]] = &[
    b"CONNECT\naccept-version:1.0,1.1,1.2\nheart-beat:10000,10000\nlogin:v\n\n\0",
    b"CONNECT\r\nlogin: v\r\npasscode: p\r\n\r\n\0\r\n",
    b"STOMP\naccept-version:1.2\nhost:h\n\n\0\n\n",
    b"SEND\ndestination:/app/org.agent.a\ncontent-length:5\n\na\0b\0c\0",
    b"SEND\ndestination:/app/a\\cb\\\\\\n\\r\n\n{\"a\":1}\0",
    b"SUBSCRIBE\nid:sub-0\ndestination:/topic/a\nack:client-individual\n\n\0\nUNSUBSCRIBE\nid:sub-0\n\n\0",
    b"ACK\nid:1\n\n\0NACK\nid:2\ntransaction:t\n\n\0\r\n\nBEGIN\ntransaction:t\n\n\0COMMIT\ntransaction:t\n\n\0DISCONNECT\nreceipt:77\n\n\0",
    b"MESSAGE\nsubscription:0\nmessage-id:7\ndestination:/topic/a\n\n\xe4\xbd\xa0\xe5\xa5\xbd\0ERROR\nmessage:x\n\nwhy\0",
    b"CONNECTED\nversion:1.2\nheart-beat:0,0\n\n\0RECEIPT\nreceipt-id:1\n\n\0",
];

const TOKENS: &[&[u8]] = &[
    b"\n",
    b"\r\n",
    b"\r",
    b"\0",
    b":",
    b"\\",
    b"\\n",
    b"\\r",
    b"\\c",
    b"\\\\",
    b"\\x",
    b" ",
    b"\n\n",
    b"\n\n\0",
    b"\xff",
    b"\xc3",
    b"content-length:",
    b"content-length:4\n",
    b"content-length:128\n",
    b"content-length:18446744073709551616\n",
    b"SEND\n",
    b"a:b\n",
    b"a: b\r\n",
    b"CONNECT\n",
    b"MESSAGE\n",
    b"accept-version:1.1\n",
    b"version:1.1\n",
    b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

/// SplitMix64: enough to mutate with, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

fn mutant(random: &mut Random) -> Vec<u8> {
    let mut bytes = random.pick(SEEDS).to_vec();
    for _ in 0..random.below(8) {
        let at = random.below(bytes.len() + 1);
        let until = (at + random.below(12)).min(bytes.len());
        match random.below(6) {
            0 => drop(bytes.splice(at..at, random.pick(TOKENS).iter().copied())),
            1 => drop(bytes.splice(at..until, random.pick(TOKENS).iter().copied())),
            2 => drop(bytes.drain(at..until)),
            3 => drop(bytes.splice(at..at, random.pick(SEEDS).iter().copied())),
            4 => bytes.extend_from_within(at..until),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.next() as u8;
                }
            }
        }
    }
    bytes
}

/// Feeds in random pieces and checks after each that no more is held than the limits allow.
fn feed_bounded(random: &mut Random, decoder: &mut Decoder, bytes: &[u8]) -> support::Outcome {
    let held = LIMITS.max_header_line.max(LIMITS.max_body) + 1;
    let mut buf = BytesMut::new();
    let mut items = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (chunk, tail) = rest.split_at(1 + random.below(rest.len()));
        rest = tail;
        buf.extend_from_slice(chunk);
        loop {
            match decoder.decode(&mut buf) {
                Ok(Some(Item::Frame(frame))) => {
                    check_bounds(&frame);
                    items.push(Item::Frame(frame));
                }
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(error) => return (items, Some(error)),
            }
        }
        assert!(buf.len() <= held, "{} bytes held", buf.len());
    }
    (items, None)
}

fn check_bounds(frame: &Frame) {
    let text: usize = frame
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    assert!(frame.headers.len() <= LIMITS.max_headers);
    assert!(text <= LIMITS.max_header_bytes);
    assert!(frame.body.len() <= LIMITS.max_body);
}

/// What was decoded is encoded and decoded to the same, with room for the content-length that encoding adds.
fn check_round_trip(frame: &Frame, role: Role, version: Version) {
    let mut out = BytesMut::new();
    frame.encode(version, &mut out);
    let (items, error) = feed(&mut decoder(role, Some(version), Limits::default()), [&out[..]]);
    assert_eq!(error, None, "{}", out.escape_ascii());
    let [Item::Frame(again)] = &items[..] else {
        panic!("{items:?}")
    };
    assert_eq!(without_length(again), without_length(frame));
}

fn check_one(random: &mut Random) -> usize {
    let bytes = mutant(random);
    let version = VERSIONS[random.below(VERSIONS.len())];
    let role = if random.below(3) == 0 {
        Role::Client
    } else {
        Role::Server
    };
    let outcome = feed_bounded(random, &mut decoder(role, version, LIMITS), &bytes);
    let whole = feed(&mut decoder(role, version, LIMITS), [&bytes[..]]);
    assert_eq!(outcome, whole, "{}", bytes.escape_ascii());
    if let Some(error) = &outcome.1 {
        assert!(!error.to_string().contains(['\n', '\0']), "{error}");
    }
    let frames = outcome.0.iter().filter_map(|item| match item {
        Item::Frame(frame) => Some(frame),
        Item::HeartBeat => None,
    });
    let version = version.unwrap_or(Version::V12);
    frames
        .map(|frame| {
            check_round_trip(frame, role, version);
            _ = validate(frame, version);
        })
        .count()
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

#[test]
fn mutated_streams_keep_every_invariant() {
    let clock = || std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let seed = setting("FUZZ_SEED").unwrap_or_else(clock);
    let until = Instant::now() + Duration::from_secs(setting("FUZZ_SECONDS").unwrap_or(3));
    println!("FUZZ_SEED={seed}");
    let mut random = Random(seed);
    let (mut rounds, mut frames) = (0u64, 0);
    while Instant::now() < until {
        for _ in 0..100 {
            frames += check_one(&mut random);
            rounds += 1;
        }
    }
    println!("{rounds} streams, {frames} frames");
    assert!(
        frames as u64 > rounds / 10,
        "the mutants are too broken to test anything: {frames} of {rounds}"
    );
}

#[test]
fn the_seeds_are_whole_streams() {
    for seed in SEEDS {
        let whole = |role| {
            let mut padded = seed.to_vec();
            padded.push(b'\n');
            let (items, error) = feed(&mut decoder(role, None, LIMITS), [&padded[..]]);
            error.is_none() && items.last() == Some(&Item::HeartBeat)
        };
        assert!(
            whole(Role::Server) || whole(Role::Client),
            "{}",
            seed.escape_ascii()
        );
    }
}
