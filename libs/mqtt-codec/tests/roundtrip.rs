//! Properties of encoding and decoding together.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod common;

use bytes::{Bytes, BytesMut};
use common::arbitrary::{packet, publish};
use common::invariants::{Stream, check, check_selected, connected};
use mqtt_codec::{Decoder, Packet, PublishRef, Role, Version};
use proptest::collection::vec;
use proptest::prelude::*;

fn versions() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V311), Just(Version::V5)]
}

fn senders() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Client), Just(Role::Server)]
}

fn any_packet() -> impl Strategy<Value = (Version, Role, Packet)> {
    (versions(), senders()).prop_flat_map(|(version, sender)| {
        packet(version, sender).prop_map(move |packet| (version, sender, packet))
    })
}

fn decoder(version: Version, sender: Role, packet: &Packet) -> Decoder {
    match (sender, packet) {
        (Role::Server, _) => Decoder::client(version, 4096),
        (Role::Client, Packet::Connect(_)) => Decoder::server(4096),
        (Role::Client, _) => connected(version),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_decodes_to_the_same((version, sender, packet) in any_packet()) {
        let mut buf = BytesMut::new();
        packet.encode(version, &mut buf).unwrap();
        prop_assert_eq!(packet.encoded_len(version), Ok(buf.len()));
        let decoded = decoder(version, sender, &packet).decode(&mut buf);
        prop_assert_eq!(decoded, Ok(Some(packet)));
        prop_assert!(buf.is_empty());
    }

    #[test]
    fn a_packet_is_complete_with_its_last_byte_and_not_before((version, sender, packet) in any_packet()) {
        let mut buf = BytesMut::new();
        packet.encode(version, &mut buf).unwrap();
        let mut decoder = decoder(version, sender, &packet);
        let last = buf.len() - 1;
        for cut in 0..last {
            let mut part = BytesMut::from(&buf[..cut]);
            prop_assert_eq!(decoder.decode(&mut part), Ok(None));
            prop_assert_eq!(part.len(), cut);
        }
        prop_assert_eq!(decoder.decode(&mut buf), Ok(Some(packet)));
    }

    #[test]
    fn a_stream_of_packets_keeps_every_invariant(
        (version, sender, packets) in (versions(), senders()).prop_flat_map(|(version, sender)| {
            let no_connect = packet(version, sender)
                .prop_filter("CONNECT comes once", |packet| !matches!(packet, Packet::Connect(_)));
            (Just(version), Just(sender), vec(no_connect, 0..6))
        })
    ) {
        let mut buf = BytesMut::new();
        for packet in &packets {
            packet.encode(version, &mut buf).unwrap();
        }
        let stream = Stream { role: sender.peer(), version: Some(version) };
        prop_assert_eq!(check(stream, &buf), packets.len());
    }

    #[test]
    fn arbitrary_bytes_keep_every_invariant(bytes in vec(any::<u8>(), 0..200)) {
        check_selected(&bytes);
    }

    #[test]
    fn a_payload_in_two_parts_is_the_payload(
        (version, publish) in versions().prop_flat_map(|v| (Just(v), publish(v, Role::Server))),
        cut in any::<prop::sample::Index>(),
    ) {
        let (base, suffix) = publish.payload.split_at(cut.index(publish.payload.len() + 1));
        let mut parts = BytesMut::new();
        let whole = PublishRef { payload: [base, suffix], ..publish.as_ref() };
        whole.encode(version, &mut parts).unwrap();
        prop_assert_eq!(whole.encoded_len(version), Ok(parts.len()));
        let mut packet = BytesMut::new();
        Packet::Publish(publish).encode(version, &mut packet).unwrap();
        prop_assert_eq!(parts, packet);
    }
}

#[test]
fn large_packets_take_longer_remaining_lengths() {
    for payload in [0, 120, 127, 128, 16_380, 16_384, 2_097_140, 2_097_152] {
        let payload = vec![7; payload];
        let publish = PublishRef {
            dup: false,
            qos: mqtt_codec::QoS::AtMostOnce,
            retain: false,
            topic: "t",
            packet_id: None,
            properties: None,
            payload: [&payload, &[]],
        };
        let mut buf = BytesMut::new();
        publish.encode(Version::V5, &mut buf).unwrap();
        assert_eq!(publish.encoded_len(Version::V5), Ok(buf.len()));
        let decoded = Decoder::client(Version::V5, buf.len()).decode(&mut buf).unwrap();
        let Some(Packet::Publish(decoded)) = decoded else {
            panic!("{decoded:?}")
        };
        assert_eq!(decoded.payload, Bytes::from(payload));
    }
}
