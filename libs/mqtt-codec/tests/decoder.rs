//! The decoder's state, its limits, and what a server may send.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use bytes::BytesMut;
use mqtt_codec::{ConnAck, ConnectReturnCode, DecodeError, Decoder, Packet, PacketType, ReasonCode, Version};

use Version::{V5, V311};

const CONNECT: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a";

fn server(bytes: &[u8]) -> (Decoder, Result<Option<Packet>, DecodeError>) {
    let mut decoder = Decoder::server(1024);
    let result = decoder.decode(&mut BytesMut::from(bytes));
    (decoder, result)
}

fn client(version: Version, bytes: &[u8]) -> Result<Option<Packet>, DecodeError> {
    Decoder::client(version, 1024).decode(&mut BytesMut::from(bytes))
}

#[test]
fn before_connect_any_other_packet_is_refused_at_its_first_byte() {
    for first in [
        0x20, 0x30, 0x40, 0x50, 0x62, 0x70, 0x82, 0x90, 0xA2, 0xB0, 0xC0, 0xD0, 0xE0, 0xF0,
    ] {
        let packet = PacketType::from_first_byte(first).unwrap();
        let (decoder, result) = server(&[first]);
        assert_eq!(result, Err(DecodeError::UnexpectedPacket { packet }));
        assert_eq!(decoder.version(), None);
    }
}

#[test]
fn a_second_connect_is_a_protocol_error() {
    let (mut decoder, first) = server(CONNECT);
    assert!(matches!(first, Ok(Some(Packet::Connect(_)))));
    assert_eq!(decoder.version(), Some(V311));
    let error = decoder.decode(&mut BytesMut::from(CONNECT)).unwrap_err();
    assert_eq!(
        error,
        DecodeError::UnexpectedPacket {
            packet: PacketType::Connect
        }
    );
    assert_eq!(error.reason_code(), ReasonCode::ProtocolError);
}

#[test]
fn mqisdp_and_unknown_levels_are_refused_in_a_version_the_client_understands() {
    let mqisdp = b"\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x01a";
    let level = |level: u8| {
        let mut bytes = CONNECT.to_vec();
        bytes[8] = level;
        bytes
    };
    let rows = [
        (mqisdp.to_vec(), 3, V311, &[0x20, 2, 0, 1][..]),
        (level(3), 3, V311, &[0x20, 2, 0, 1]),
        (level(0x84), 0x84, V311, &[0x20, 2, 0, 1]),
        (level(6), 6, V5, &[0x20, 3, 0, 0x84, 0]),
    ];
    for (bytes, level, version, answer) in rows {
        let (decoder, result) = server(&bytes);
        let error = result.unwrap_err();
        assert_eq!(error, DecodeError::ProtocolVersion { level });
        assert_eq!(decoder.version(), Some(version));
        let mut buf = BytesMut::new();
        let refusal = error.refusal(version).unwrap();
        Packet::ConnAck(Box::new(refusal))
            .encode(version, &mut buf)
            .unwrap();
        assert_eq!(buf, answer);
    }
}

#[test]
fn an_empty_client_id_without_clean_session_is_identifier_rejected_in_3_1_1() {
    let (_, result) = server(b"\x10\x0c\x00\x04MQTT\x04\x00\x00\x3c\x00\x00");
    let error = result.unwrap_err();
    assert_eq!(error, DecodeError::EmptyClientIdentifier);
    assert_eq!(
        error.reason_code().connect_return_code(),
        Some(ConnectReturnCode::IdentifierRejected)
    );
    assert!(error.refusal(V311).is_some());
}

#[test]
fn what_is_not_mqtt_gets_no_connack() {
    let (decoder, result) = server(b"GET / HTTP/1.1\r\n");
    assert_eq!(result.unwrap_err().refusal(V5), None);
    assert_eq!(decoder.version(), None);
    let (_, result) = server(b"\x10\x0d\x00\x04HTTP\x04\x02\x00\x3c\x00\x01a");
    assert_eq!(result.unwrap_err().refusal(V311), None);
}

#[test]
fn the_size_limit_is_found_from_the_fixed_header() {
    let size = 1 + 4 + 268_435_455;
    let (_, result) = server(b"\x10\xff\xff\xff\x7f");
    let error = DecodeError::PacketTooLarge {
        packet: PacketType::Connect,
        size,
        limit: 1024,
    };
    assert_eq!(result, Err(error));
    assert_eq!(error.reason_code(), ReasonCode::PacketTooLarge);

    let mut exact = Decoder::server(CONNECT.len());
    assert!(exact.decode(&mut BytesMut::from(CONNECT)).unwrap().is_some());
    exact.set_max_packet(3);
    assert_eq!(
        exact.decode(&mut BytesMut::from(&[0xC0, 0][..])),
        Ok(Some(Packet::PingReq))
    );
    let puback = exact.decode(&mut BytesMut::from(&[0x40, 2, 0, 1][..]));
    assert!(matches!(
        puback,
        Err(DecodeError::PacketTooLarge {
            size: 4,
            limit: 3,
            ..
        })
    ));
}

#[test]
fn an_announced_length_allocates_nothing() {
    let mut decoder = Decoder::client(V311, usize::MAX);
    let mut buf = BytesMut::from(&b"\x30\xff\xff\xff\x7f"[..]);
    let capacity = buf.capacity();
    assert_eq!(decoder.decode(&mut buf), Ok(None));
    assert_eq!(buf.capacity(), capacity);
}

#[test]
fn topic_and_payload_are_slices_of_what_was_read() {
    let mut buf = BytesMut::from(&b"\x30\x06\x00\x01txyz\xd0\x00"[..]);
    let range = buf.as_ptr_range();
    let mut decoder = Decoder::client(V311, 1024);
    let Ok(Some(Packet::Publish(publish))) = decoder.decode(&mut buf) else {
        panic!("PUBLISH")
    };
    assert!(range.contains(&publish.topic.as_ptr()) && range.contains(&publish.payload.as_ptr()));
    assert_eq!((publish.topic.as_str(), &publish.payload[..]), ("t", &b"xyz"[..]));
    assert_eq!(decoder.decode(&mut buf), Ok(Some(Packet::PingResp)));
}

#[test]
fn a_packet_is_small_enough_to_be_moved_about() {
    assert!(size_of::<Packet>() <= 96, "{}", size_of::<Packet>());
    assert!(size_of::<DecodeError>() <= 32, "{}", size_of::<DecodeError>());
}

#[test]
fn nothing_secret_or_of_the_payload_is_printed() {
    let bytes = b"\x10\x1b\x00\x04MQTT\x04\xc6\x00\x3c\x00\x01a\x00\x01w\x00\x02hu\x00\x01u\x00\x02sh";
    let (_, result) = server(bytes);
    let text = format!("{result:?}");
    assert!(
        text.contains("<2 secret bytes>") && text.contains("<2 bytes>"),
        "{text}"
    );
    assert!(!text.contains("115") && !text.contains("sh\""), "{text}");
}

#[test]
fn what_a_server_may_not_send_is_refused() {
    use DecodeError as E;
    let rows: [(Version, &[u8], DecodeError); 12] = [
        (
            V311,
            b"\x20\x02\x02\x00",
            E::ReservedBits {
                packet: PacketType::ConnAck,
                field: "acknowledge flags",
            },
        ),
        (
            V311,
            b"\x20\x02\x00\x06",
            E::ReasonCode {
                packet: PacketType::ConnAck,
                code: 6,
            },
        ),
        (V311, b"\x20\x02\x01\x05", E::SessionPresent),
        (
            V5,
            b"\x20\x03\x00\x01\x00",
            E::ReasonCode {
                packet: PacketType::ConnAck,
                code: 1,
            },
        ),
        (
            V311,
            b"\x90\x03\x00\x01\x87",
            E::ReasonCode {
                packet: PacketType::SubAck,
                code: 0x87,
            },
        ),
        (
            V311,
            b"\x90\x02\x00\x01",
            E::Truncated {
                packet: PacketType::SubAck,
                field: "reason code",
            },
        ),
        (
            V311,
            b"\xb0\x03\x00\x01\x00",
            E::TrailingBytes {
                packet: PacketType::UnsubAck,
                count: 1,
            },
        ),
        (
            V5,
            b"\xb0\x03\x00\x01\x00",
            E::Truncated {
                packet: PacketType::UnsubAck,
                field: "reason code",
            },
        ),
        (
            V311,
            b"\xe0\x00",
            E::UnexpectedPacket {
                packet: PacketType::Disconnect,
            },
        ),
        (
            V5,
            b"\xe0\x01\x04",
            E::ReasonCode {
                packet: PacketType::Disconnect,
                code: 4,
            },
        ),
        (
            V5,
            b"\xc0\x00",
            E::UnexpectedPacket {
                packet: PacketType::PingReq,
            },
        ),
        (
            V5,
            b"\xf0\x01\x19",
            E::ReasonCode {
                packet: PacketType::Auth,
                code: 0x19,
            },
        ),
    ];
    for (version, bytes, error) in rows {
        assert_eq!(client(version, bytes), Err(error), "{bytes:02x?}");
    }
    let expiry = b"\xe0\x07\x00\x05\x11\x00\x00\x00\x01";
    assert!(matches!(client(V5, expiry), Err(E::PropertyNotAllowed { .. })));
}

#[test]
fn a_server_sends_several_subscription_identifiers() {
    let bytes = b"\x30\x0a\x00\x01t\x06\x0b\x01\x0b\x02\x0b\x03";
    let Ok(Some(Packet::Publish(publish))) = client(V5, bytes) else {
        panic!("PUBLISH")
    };
    let ids = publish.properties.unwrap().subscription_identifiers;
    assert_eq!(ids.iter().map(|id| id.get()).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(publish.payload.is_empty());
}

#[test]
fn an_accepted_connection_is_four_or_five_bytes() {
    let mut buf = BytesMut::new();
    Packet::ConnAck(Box::new(ConnAck::accepted(true)))
        .encode(V311, &mut buf)
        .unwrap();
    Packet::ConnAck(Box::new(ConnAck::accepted(false)))
        .encode(V5, &mut buf)
        .unwrap();
    assert_eq!(&buf[..], [0x20, 2, 1, 0, 0x20, 3, 0, 0, 0]);
}
