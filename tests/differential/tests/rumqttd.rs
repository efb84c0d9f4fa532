//! What we encode, rumqttd decodes; what it makes of that, it encodes; what it encodes, we decode to the packet we
//! began with. So both directions of both codecs agree, whatever the order of properties. Where rumqttd is known to be
//! wrong ([`deviation`]) the packet is left out, and `every_deviation_is_still_there` shows why.
//!
//! How to run: see the top of `Cargo.toml`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../../../libs/mqtt-codec/tests/common/arbitrary.rs"]
#[allow(dead_code, reason = "shared with the codec's own tests")]
mod arbitrary;

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::BytesMut;
use mqtt_codec::{Connect, Decoder, Disconnect, Packet, Publish, QoS, ReasonCode, Role, SubAck, Version};
use proptest::prelude::*;
use rumqttd::protocol::{self as theirs, Protocol, v4::V4, v5::V5};

const LIMIT: usize = 64 * 1024;

/// Why rumqttd 0.20 gets a legal packet wrong; `None` if it does not.
fn deviation(packet: &Packet, version: Version) -> Option<&'static str> {
    let v5 = version == Version::V5;
    match packet {
        Packet::Connect(connect) => deviation_in_connect(connect),
        Packet::Publish(publish) => deviation_in_publish(publish),
        Packet::ConnAck(_) | Packet::UnsubAck(_) if v5 => Some("read panics: unreachable"),
        Packet::Disconnect(Disconnect {
            reason,
            properties: None,
        }) if v5 && *reason != ReasonCode::Success => {
            Some("a reason without properties is taken for incomplete, and written with a wrong length")
        }
        Packet::Disconnect(Disconnect {
            reason: ReasonCode::BadAuthenticationMethod,
            ..
        }) => Some("0x8C is unknown in DISCONNECT, though §2.4 lists it there"),
        Packet::Auth(_) => Some("AUTH is unknown"),
        _ => None,
    }
}

fn deviation_in_connect(connect: &Connect) -> Option<&'static str> {
    let text = |bytes: &[u8]| !bytes.is_empty() && std::str::from_utf8(bytes).is_ok();
    match (&connect.user_name, &connect.password) {
        (Some(name), _) if name.is_empty() => Some("an empty user name is taken for none"),
        (_, Some(password)) if !text(password) => Some("the password must be UTF-8 and not empty"),
        _ => None,
    }
}

fn deviation_in_publish(publish: &Publish) -> Option<&'static str> {
    let ids = publish
        .properties
        .as_ref()
        .map_or(0, |p| p.subscription_identifiers.len());
    (ids > 1).then_some("the lengths of subscription identifiers are counted wrong")
}

/// Through rumqttd: decode, encode.
fn through(version: Version, bytes: &[u8]) -> Result<BytesMut, String> {
    let run = || {
        let (mut stream, mut written) = (BytesMut::from(bytes), BytesMut::new());
        let packet = match version {
            Version::V311 => V4.read_mut(&mut stream, LIMIT),
            Version::V5 => V5.read_mut(&mut stream, LIMIT),
        };
        let packet = packet.map_err(|error| format!("{error:?}"))?;
        assert!(stream.is_empty());
        let written_len = match version {
            Version::V311 => V4.write(packet, &mut written),
            Version::V5 => V5.write(packet, &mut written),
        };
        written_len.map_err(|error| format!("{error:?}"))?;
        Ok(written)
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err("panics".to_owned()))
}

fn decode(
    version: Version,
    sender: Role,
    bytes: &mut BytesMut,
) -> Result<Option<Packet>, mqtt_codec::DecodeError> {
    if sender == Role::Server {
        return Decoder::client(version, LIMIT).decode(bytes);
    }
    let mut decoder = Decoder::server(LIMIT);
    if bytes.first().is_some_and(|first| first >> 4 != 1) {
        let mut connect = BytesMut::new();
        let packet = Connect::new(version, mqtt_codec::Utf8::default());
        Packet::Connect(Box::new(packet))
            .encode(version, &mut connect)
            .unwrap();
        decoder.decode(&mut connect).unwrap();
    }
    decoder.decode(bytes)
}

fn encode(packet: &Packet, version: Version) -> BytesMut {
    let mut bytes = BytesMut::new();
    packet.encode(version, &mut bytes).unwrap();
    bytes
}

fn any_packet() -> impl Strategy<Value = (Version, Role, Packet)> {
    let versions = prop_oneof![Just(Version::V311), Just(Version::V5)];
    let senders = prop_oneof![Just(Role::Client), Just(Role::Server)];
    (versions, senders).prop_flat_map(|(version, sender)| {
        arbitrary::packet(version, sender).prop_map(move |packet| (version, sender, packet))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_packet_survives_the_way_through_rumqttd((version, sender, packet) in any_packet()) {
        if deviation(&packet, version).is_none() {
            let bytes = encode(&packet, version);
            let mut back = through(version, &bytes).map_err(TestCaseError::fail)?;
            prop_assert_eq!(decode(version, sender, &mut back), Ok(Some(packet)));
            prop_assert!(back.is_empty());
        }
    }
}

/// rumqttd cannot read these two in MQTT 5, only write them.
#[test]
fn connack_and_unsuback_of_rumqttd_decode() {
    let connack = theirs::ConnAck {
        session_present: true,
        code: theirs::ConnectReturnCode::Success,
    };
    let properties = theirs::ConnAckProperties {
        session_expiry_interval: Some(7),
        receive_max: Some(8),
        max_qos: Some(1),
        retain_available: Some(0),
        max_packet_size: Some(9),
        assigned_client_identifier: Some("id".into()),
        topic_alias_max: Some(10),
        reason_string: Some("why".into()),
        user_properties: vec![("k".into(), "v".into()), ("k".into(), "w".into())],
        wildcard_subscription_available: Some(1),
        subscription_identifiers_available: Some(1),
        shared_subscription_available: Some(0),
        server_keep_alive: Some(11),
        response_information: Some("info".into()),
        server_reference: Some("there".into()),
        authentication_method: Some("m".into()),
        authentication_data: Some(vec![0xFF].into()),
    };
    let mut bytes = BytesMut::new();
    V5.write(theirs::Packet::ConnAck(connack, Some(properties)), &mut bytes)
        .unwrap();
    let decoded = decode(Version::V5, Role::Server, &mut bytes.clone())
        .unwrap()
        .unwrap();
    let Packet::ConnAck(connack) = &decoded else {
        panic!("{decoded:?}")
    };
    assert!(connack.session_present);
    assert_eq!(connack.properties.maximum_qos, Some(QoS::AtLeastOnce));
    assert_eq!(connack.properties.server_keep_alive, Some(11));
    assert_eq!(connack.properties.user_properties.len(), 2);
    assert_eq!(encode(&decoded, Version::V5).len(), bytes.len());

    let unsuback = theirs::UnsubAck {
        pkid: 7,
        reasons: vec![
            theirs::UnsubAckReason::Success,
            theirs::UnsubAckReason::NoSubscriptionExisted,
        ],
    };
    let mut bytes = BytesMut::new();
    V5.write(theirs::Packet::UnsubAck(unsuback, None), &mut bytes)
        .unwrap();
    let decoded = decode(Version::V5, Role::Server, &mut bytes.clone())
        .unwrap()
        .unwrap();
    let Packet::UnsubAck(unsuback) = &decoded else {
        panic!("{decoded:?}")
    };
    assert_eq!(
        unsuback.reasons,
        [ReasonCode::Success, ReasonCode::NoSubscriptionExisted]
    );
    assert_eq!(encode(&decoded, Version::V5), bytes);
}

#[test]
fn every_deviation_is_still_there() {
    let v5_connect = |flags: u8, rest: &[u8]| {
        [
            &[0x10, 14 + rest.len() as u8],
            &b"\x00\x04MQTT\x05"[..],
            &[flags, 0, 0, 0, 0, 1, b'c'],
            rest,
        ]
        .concat()
    };
    let rows: [(Role, Vec<u8>); 8] = [
        (Role::Client, v5_connect(0x82, b"\x00\x00")),
        (Role::Client, v5_connect(0xC2, b"\x00\x01u\x00\x01\xff")),
        (Role::Server, b"\xe0\x02\x8c\x00".to_vec()),
        (Role::Client, b"\xe0\x01\x04".to_vec()),
        (Role::Client, b"\xf0\x06\x18\x04\x15\x00\x01m".to_vec()),
        (
            Role::Server,
            b"\x30\x0a\x00\x01t\x06\x0b\x01\x0b\x02\x0b\x03".to_vec(),
        ),
        (Role::Server, b"\x20\x03\x00\x00\x00".to_vec()),
        (Role::Server, b"\xb0\x04\x00\x01\x00\x00".to_vec()),
    ];
    for (sender, bytes) in rows {
        let packet = decode(Version::V5, sender, &mut BytesMut::from(&bytes[..]))
            .unwrap()
            .unwrap();
        assert!(deviation(&packet, Version::V5).is_some(), "{packet:?}");
        let agrees = through(Version::V5, &bytes)
            .is_ok_and(|mut back| decode(Version::V5, sender, &mut back) == Ok(Some(packet.clone())));
        assert!(!agrees, "rumqttd has learnt {packet:?}");
    }
}

/// A SUBACK of several codes, since the generator draws each from all of them.
#[test]
fn suback_codes_agree() {
    for version in [Version::V311, Version::V5] {
        let reasons = vec![
            ReasonCode::GRANTED_QOS_0,
            ReasonCode::GrantedQoS2,
            ReasonCode::UnspecifiedError,
        ];
        let packet = Packet::SubAck(SubAck {
            packet_id: mqtt_codec::PacketId::MIN,
            properties: mqtt_codec::AckProperties::default(),
            reasons,
        });
        let mut back = through(version, &encode(&packet, version)).unwrap();
        assert_eq!(decode(version, Role::Server, &mut back), Ok(Some(packet)));
    }
}
