//! Prints nanoseconds to decode and encode again one PUBLISH of QoS 1, 16-byte topic, 200-byte payload.
//! Run with `cargo run --release -p mqtt-codec --example publish_ns`.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::hint::black_box;
use std::time::Instant;

use bytes::BytesMut;
use mqtt_codec::{Decoder, Packet, PacketId, PublishRef, QoS, Version};

const IN_A_BUFFER: usize = 64;
/// Short runs, of which the best counts: a busy machine interrupts long ones.
const ROUNDS: usize = 200;
const RUNS: usize = 500;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for version in [Version::V311, Version::V5] {
        let mut stream = BytesMut::new();
        let publish = PublishRef {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: "org/agent/ag/uid",
            packet_id: Some(PacketId::MIN),
            properties: None,
            payload: [&[7; 200], &[]],
        };
        for _ in 0..IN_A_BUFFER {
            publish.encode(version, &mut stream)?;
        }
        let best = (0..RUNS)
            .map(|_| run(version, &stream))
            .collect::<Result<Vec<_>, _>>()?;
        println!(
            "{version:?}: {:.1} ns per PUBLISH",
            best.into_iter().fold(f64::MAX, f64::min)
        );
    }
    Ok(())
}

/// The stream is copied into the read buffer as a socket would, 64 packets at a time.
fn run(version: Version, stream: &[u8]) -> Result<f64, Box<dyn std::error::Error>> {
    let mut decoder = Decoder::client(version, 4096);
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    let start = Instant::now();
    for _ in 0..ROUNDS {
        input.extend_from_slice(black_box(stream));
        output.clear();
        while let Some(packet) = decoder.decode(&mut input)? {
            if let Packet::Publish(publish) = packet {
                publish.as_ref().encode(version, &mut output)?;
            }
        }
        black_box(&output);
    }
    Ok(start.elapsed().as_secs_f64() * 1e9 / (ROUNDS * IN_A_BUFFER) as f64)
}
