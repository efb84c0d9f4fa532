//! What must hold for any bytes. Used by the mutation fuzzer in this crate and by the coverage-guided one.

use bytes::BytesMut;
use mqtt_codec::{
    DecodeError, Decoder, Packet, Publish, QoS, Role, Version, split_shared, validate_topic_filter,
    validate_topic_name,
};

const LIMIT: usize = 4096;

/// What the bytes are taken for.
#[derive(Debug, Clone, Copy)]
pub struct Stream {
    /// The decoding end.
    pub role: Role,
    /// Of the connection; for a server `None` starts before CONNECT.
    pub version: Option<Version>,
}

impl Stream {
    pub const ALL: [Self; 5] = [
        Self {
            role: Role::Server,
            version: None,
        },
        Self {
            role: Role::Server,
            version: Some(Version::V311),
        },
        Self {
            role: Role::Server,
            version: Some(Version::V5),
        },
        Self {
            role: Role::Client,
            version: Some(Version::V311),
        },
        Self {
            role: Role::Client,
            version: Some(Version::V5),
        },
    ];

    fn decoder(self) -> Decoder {
        match (self.role, self.version) {
            (Role::Client, version) => Decoder::client(version.expect("a client knows its version"), LIMIT),
            (Role::Server, None) => Decoder::server(LIMIT),
            (Role::Server, Some(version)) => connected(version),
        }
    }
}

/// A server's decoder after a CONNECT.
pub fn connected(version: Version) -> Decoder {
    let mut decoder = Decoder::server(LIMIT);
    let connect: &[u8] = match version {
        Version::V311 => b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a",
        Version::V5 => b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01a",
    };
    let packet = decoder.decode(&mut BytesMut::from(connect));
    assert!(matches!(packet, Ok(Some(Packet::Connect(_)))));
    decoder
}

/// The first byte chooses the stream, the rest is what arrives.
pub fn check_selected(data: &[u8]) {
    if let Some((&choice, bytes)) = data.split_first() {
        check(Stream::ALL[usize::from(choice) % Stream::ALL.len()], bytes);
    }
}

/// Decodes `bytes` at once and in pieces. Returns how many packets there were.
pub fn check(stream: Stream, bytes: &[u8]) -> usize {
    let mut decoder = stream.decoder();
    let mut buf = BytesMut::from(bytes);
    let mut packets = Vec::new();
    let end = loop {
        let before = decoder.clone();
        let given = buf.clone();
        match decoder.decode(&mut buf) {
            Ok(Some(packet)) => {
                check_packet(&packet, before, decoder.version(), given.len() - buf.len());
                packets.push(packet);
            }
            Ok(None) => {
                assert_eq!(buf, given, "an incomplete packet is left alone");
                assert!(
                    incomplete(&given),
                    "complete packet taken for incomplete: {given:02x?}"
                );
                break None;
            }
            Err(error) => break Some(error),
        }
    };
    assert_eq!(in_pieces(stream, bytes), (packets.clone(), end), "in pieces");
    packets.len()
}

/// The same bytes in pieces whose lengths follow from the bytes.
fn in_pieces(stream: Stream, bytes: &[u8]) -> (Vec<Packet>, Option<DecodeError>) {
    let mut decoder = stream.decoder();
    let mut buf = BytesMut::new();
    let mut packets = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let len = 1 + usize::from(rest[0].wrapping_mul(7) % 11);
        let (piece, after) = rest.split_at(len.min(rest.len()));
        buf.extend_from_slice(piece);
        rest = after;
        loop {
            match decoder.decode(&mut buf) {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                Err(error) => return (packets, Some(error)),
            }
        }
    }
    (packets, None)
}

/// Whether the first packet of `bytes` lacks something, by a second reading of §2.1.4.
fn incomplete(bytes: &[u8]) -> bool {
    let mut remaining = 0;
    for (index, &byte) in bytes.iter().skip(1).take(4).enumerate() {
        remaining += usize::from(byte & 127) * 128usize.pow(index as u32);
        if byte < 128 {
            return bytes.len() < 2 + index + remaining;
        }
    }
    true
}

fn check_packet(packet: &Packet, mut decoder: Decoder, version: Option<Version>, consumed: usize) {
    let version = version.expect("a packet was decoded");
    let mut buf = BytesMut::new();
    packet
        .encode(version, &mut buf)
        .unwrap_or_else(|error| panic!("{packet:?}: {error}"));
    assert_eq!(packet.encoded_len(version), Ok(buf.len()));
    assert!(buf.len() <= consumed, "our form is never longer: {packet:?}");
    assert_eq!(
        decoder.decode(&mut buf).as_ref(),
        Ok(&Some(packet.clone())),
        "again"
    );
    assert!(buf.is_empty());
    match packet {
        Packet::Publish(publish) => check_publish(publish),
        Packet::Subscribe(subscribe) => {
            assert!(!subscribe.subscriptions.is_empty());
            subscribe
                .subscriptions
                .iter()
                .for_each(|s| check_filter(&s.filter, version));
        }
        Packet::Unsubscribe(unsubscribe) => {
            assert!(!unsubscribe.filters.is_empty());
            unsubscribe
                .filters
                .iter()
                .for_each(|filter| check_filter(filter, version));
        }
        _ => {}
    }
}

fn check_publish(publish: &Publish) {
    assert_eq!(publish.qos == QoS::AtMostOnce, publish.packet_id.is_none());
    assert!(!publish.dup || publish.packet_id.is_some());
    let aliased = publish
        .properties
        .as_ref()
        .is_some_and(|p| p.topic_alias.is_some());
    assert!(validate_topic_name(&publish.topic).is_ok() || (aliased && publish.topic.is_empty()));
}

fn check_filter(filter: &str, version: Version) {
    assert!(validate_topic_filter(filter).is_ok());
    assert!(version == Version::V311 || split_shared(filter).is_ok());
}
