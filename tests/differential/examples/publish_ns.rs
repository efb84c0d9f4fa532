//! Nanoseconds to decode and encode one PUBLISH of QoS 1, 16-byte topic, 200-byte payload: ours and rumqttd's.
//! Short runs, of which the best counts: a busy machine interrupts long ones.

use std::hint::black_box;
use std::time::Instant;

use bytes::BytesMut;
use mqtt_codec::{Decoder, Packet, PacketId, PublishRef, QoS, Version};
use rumqttd::protocol::{Protocol, v4::V4, v5::V5};

const IN_A_BUFFER: usize = 64;
const ROUNDS: usize = 200;
const RUNS: usize = 500;

fn main() {
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
            publish
                .encode(version, &mut stream)
                .expect("a PUBLISH can be encoded");
        }
        let mut decoder = Decoder::client(version, 4096);
        let ours = best(&stream, |input, output| {
            while let Ok(Some(packet)) = decoder.decode(input) {
                if let Packet::Publish(publish) = packet {
                    publish
                        .as_ref()
                        .encode(version, output)
                        .expect("a PUBLISH can be encoded");
                }
            }
        });
        let theirs = match version {
            Version::V311 => best(&stream, |input, output| through(V4, input, output)),
            Version::V5 => best(&stream, |input, output| through(V5, input, output)),
        };
        let copies = best(&stream, |input, output| output.extend_from_slice(&input.split()));
        println!("{version:?}: ours {ours:.1} ns, rumqttd {theirs:.1} ns, copying alone {copies:.1} ns");
    }
}

fn through(mut protocol: impl Protocol, input: &mut BytesMut, output: &mut BytesMut) {
    while let Ok(packet) = protocol.read_mut(input, 4096) {
        protocol.write(packet, output).expect("a PUBLISH can be encoded");
    }
}

fn best(stream: &[u8], mut work: impl FnMut(&mut BytesMut, &mut BytesMut)) -> f64 {
    let mut best = f64::MAX;
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    for _ in 0..RUNS {
        let start = Instant::now();
        for _ in 0..ROUNDS {
            input.extend_from_slice(black_box(stream));
            output.clear();
            work(&mut input, &mut output);
            assert_eq!(output.len(), stream.len());
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / (ROUNDS * IN_A_BUFFER) as f64);
    }
    best
}
