//! What cannot be written is refused and leaves the buffer alone; the short forms are right.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use bytes::{Bytes, BytesMut};
use mqtt_codec::*;

use Version::{V5, V311};

fn id() -> PacketId {
    PacketId::new(0x0102).unwrap()
}

fn encode(packet: &Packet, version: Version) -> Result<Vec<u8>, EncodeError> {
    let mut buf = BytesMut::from(&b"before"[..]);
    let result = packet.encode(version, &mut buf);
    assert_eq!(packet.encoded_len(version), result.map(|()| buf.len() - 6));
    match result {
        Ok(()) => Ok(buf[6..].to_vec()),
        Err(error) => {
            assert_eq!(buf, "before", "nothing is written with an error");
            Err(error)
        }
    }
}

fn failed(reason: ReasonCode) -> Ack {
    Ack {
        reason,
        ..Ack::new(id())
    }
}

#[test]
fn the_short_acknowledgements_are_the_packets() {
    let mut buf = BytesMut::new();
    encode_puback(id(), &mut buf);
    encode_pubrec(id(), &mut buf);
    encode_pubrel(id(), &mut buf);
    encode_pubcomp(id(), &mut buf);
    encode_pingresp(&mut buf);
    let ack = || Ack::new(id());
    let packets = [
        Packet::PubAck(ack()),
        Packet::PubRec(ack()),
        Packet::PubRel(ack()),
        Packet::PubComp(ack()),
        Packet::PingResp,
    ];
    for version in [V311, V5] {
        let bytes: Vec<_> = packets
            .iter()
            .flat_map(|packet| encode(packet, version).unwrap())
            .collect();
        assert_eq!(buf, bytes);
    }
    assert_eq!(
        buf,
        &b"\x40\x02\x01\x02\x50\x02\x01\x02\x62\x02\x01\x02\x70\x02\x01\x02\xd0\x00"[..]
    );
}

#[test]
fn a_failure_never_becomes_a_success_in_3_1_1() {
    let refused = failed(ReasonCode::NotAuthorized);
    let packets = [
        Packet::PubAck(refused.clone()),
        Packet::PubRec(refused.clone()),
        Packet::PubRel(failed(ReasonCode::PacketIdentifierNotFound)),
        Packet::PubComp(refused),
        Packet::Disconnect(Disconnect::new(ReasonCode::DisconnectWithWillMessage)),
        Packet::ConnAck(Box::new(ConnAck {
            reason: ReasonCode::MalformedPacket,
            ..ConnAck::accepted(false)
        })),
    ];
    for packet in packets {
        let error = EncodeError::NotInVersion {
            packet: packet.packet_type(),
        };
        assert_eq!(encode(&packet, V311), Err(error));
        assert!(encode(&packet, V5).is_ok());
    }
    let nobody = Packet::PubAck(failed(ReasonCode::NoMatchingSubscribers));
    assert_eq!(encode(&nobody, V311).unwrap(), [0x40, 2, 1, 2]);
}

#[test]
fn any_failure_of_a_subscription_is_0x80_in_3_1_1() {
    let suback = Packet::SubAck(SubAck {
        packet_id: id(),
        properties: AckProperties::default(),
        reasons: vec![ReasonCode::GrantedQoS1, ReasonCode::NotAuthorized],
    });
    assert_eq!(encode(&suback, V311).unwrap(), [0x90, 4, 1, 2, 1, 0x80]);
    assert_eq!(encode(&suback, V5).unwrap(), [0x90, 5, 1, 2, 0, 1, 0x87]);
}

#[test]
fn a_disconnect_with_a_reason_and_no_properties_is_three_bytes() {
    let disconnect = Packet::Disconnect(Disconnect::new(ReasonCode::SessionTakenOver));
    assert_eq!(encode(&disconnect, V5).unwrap(), [0xE0, 1, 0x8E]);
}

#[test]
fn the_packet_identifier_goes_with_the_qos() {
    let publish = |qos, packet_id| {
        Packet::Publish(Publish {
            dup: false,
            qos,
            retain: false,
            topic: Utf8::from_static("t").unwrap(),
            packet_id,
            properties: None,
            payload: Bytes::new(),
        })
    };
    for version in [V311, V5] {
        assert_eq!(
            encode(&publish(QoS::AtMostOnce, Some(id())), version),
            Err(EncodeError::PacketId)
        );
        assert_eq!(
            encode(&publish(QoS::AtLeastOnce, None), version),
            Err(EncodeError::PacketId)
        );
        assert!(encode(&publish(QoS::ExactlyOnce, Some(id())), version).is_ok());
    }
}

#[test]
fn what_does_not_fit_its_length_field_is_refused() {
    let long = vec![b'a'; 65_536];
    let topic = String::from_utf8(long.clone()).unwrap();
    let publish = PublishRef {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: &topic,
        packet_id: None,
        properties: None,
        payload: [&[], &[]],
    };
    let error = publish.encode(V5, &mut BytesMut::new());
    assert_eq!(error, Err(EncodeError::FieldTooLong { field: "topic name" }));
    let mut connect = Connect::new(V5, Utf8::default());
    connect.password = Some(Bytes::from(long).into());
    let error = encode(&Packet::Connect(Box::new(connect)), V5);
    assert_eq!(error, Err(EncodeError::FieldTooLong { field: "password" }));
    assert_eq!(Utf8::try_from(topic), Err(Utf8Error::TooLong));
}

#[test]
fn properties_are_left_out_in_3_1_1() {
    let properties = AckProperties {
        reason_string: Utf8::try_from("no").ok(),
        user_properties: Vec::new(),
    };
    let ack = Packet::PubAck(Ack {
        properties: Some(Box::new(properties)),
        ..Ack::new(id())
    });
    assert_eq!(encode(&ack, V311).unwrap(), [0x40, 2, 1, 2]);
    assert_eq!(
        encode(&ack, V5).unwrap(),
        b"\x40\x09\x01\x02\x00\x05\x1f\x00\x02no"
    );
}
