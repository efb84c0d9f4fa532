//! What a client may not send, and the error that says so.

use crate::{
    V5, V311, connect, connect_with, data, packet, properties, publish, publish_with, subscribe, text,
};
use mqtt_codec::Version;

type Row = (&'static str, Vec<u8>, Option<&'static str>);

fn no(name: &'static str, error: &'static str, bytes: Vec<u8>) -> Row {
    (name, bytes, Some(error))
}

pub fn both(v: Version) -> Vec<Row> {
    let mut rows = vec![no(
        "remaining length 5 bytes",
        "VariableByteInteger",
        vec![0x30, 0x80, 0x80, 0x80, 0x80, 1],
    )];
    rows.extend(both_connect(v));
    rows.extend(both_connect_payload(v));
    rows.extend(both_publish(v));
    rows.extend(both_subscribe(v));
    rows.extend(both_unsubscribe(v));
    rows.extend(both_ack(v));
    rows
}

fn both_connect(v: Version) -> Vec<Row> {
    let named = |name: &str, level: u8| {
        packet(
            0x10,
            &[&text(name), &[level, 2, 0, 60], &properties(v, &[]), &text("c")],
        )
    };
    let mut flags = connect(v, 2, &[&text("c")]);
    flags[0] = 0x11;
    let will = |flags: u8| {
        connect(
            v,
            flags,
            &[&text("c"), &properties(v, &[]), &text("w"), &data(b"gone")],
        )
    };
    vec![
        no("CONNECT fixed header flags != 0", "FixedHeaderFlags", flags),
        no(
            "CONNECT protocol name 'MQTX'",
            "ProtocolName",
            named("MQTX", v.level()),
        ),
        no(
            "CONNECT protocol name 'mqtt'",
            "ProtocolName",
            named("mqtt", v.level()),
        ),
        no("CONNECT level 6", "ProtocolVersion", named("MQTT", 6)),
        no(
            "CONNECT level with bridge bit 0x80",
            "ProtocolVersion",
            named("MQTT", v.level() | 0x80),
        ),
        no(
            "CONNECT reserved flag bit0 [3.1.2-3]",
            "ReservedBits",
            connect(v, 3, &[&text("c")]),
        ),
        no(
            "CONNECT will qos without will flag",
            "WillFlags",
            connect(v, 0x0A, &[&text("c")]),
        ),
        no(
            "CONNECT will retain without will flag",
            "WillFlags",
            connect(v, 0x22, &[&text("c")]),
        ),
        no("CONNECT will QoS 3", "QoS", will(0x1E)),
    ]
}

fn both_connect_payload(v: Version) -> Vec<Row> {
    let will = |topic: &[u8]| {
        connect(
            v,
            6,
            &[&text("c"), &properties(v, &[]), &data(topic), &data(b"gone")],
        )
    };
    let client = |id: &[u8]| connect(v, 2, &[&data(id)]);
    let user = |name: &[u8]| connect(v, 0x82, &[&text("c"), &data(name)]);
    vec![
        no("CONNECT will topic with wildcard", "TopicName", will(b"a/+")),
        no("CONNECT will topic empty", "TopicName", will(b"")),
        no("CONNECT will topic ill-formed UTF-8", "Utf8", will(b"\xff")),
        no("CONNECT will topic U+0000", "NullCharacter", will(b"a\0")),
        no("CONNECT client id ill-formed UTF-8", "Utf8", client(b"\xff")),
        no("CONNECT client id U+0000", "NullCharacter", client(b"c\0")),
        no(
            "CONNECT client id surrogate D800",
            "Utf8",
            client(b"\xed\xa0\x80"),
        ),
        no("CONNECT user name ill-formed UTF-8", "Utf8", user(b"\xc3")),
        no("CONNECT user name U+0000", "NullCharacter", user(b"\0")),
        no(
            "CONNECT trailing bytes after payload",
            "TrailingBytes",
            connect(v, 2, &[&text("c"), &[0]]),
        ),
        no(
            "CONNECT user flag, no user in payload",
            "Truncated",
            connect(v, 0x82, &[&text("c")]),
        ),
    ]
}

fn both_publish(v: Version) -> Vec<Row> {
    let topic = |topic: &[u8]| publish(v, 0x30, topic, b"", b"x");
    vec![
        no(
            "PUBLISH QoS 3 [3.3.1-4]",
            "QoS",
            publish(v, 0x36, b"a", &[0, 1], b"x"),
        ),
        no(
            "PUBLISH DUP with QoS 0 [3.3.1-2]",
            "DupWithQoS0",
            publish(v, 0x38, b"a", b"", b"x"),
        ),
        no(
            "PUBLISH packet id 0",
            "ZeroPacketId",
            publish(v, 0x32, b"a", &[0, 0], b"x"),
        ),
        no("PUBLISH topic with #", "TopicName", topic(b"a/#")),
        no("PUBLISH topic with +", "TopicName", topic(b"a/+")),
        no("PUBLISH topic empty (no alias)", "TopicName", topic(b"")),
        no("PUBLISH topic ill-formed UTF-8", "Utf8", topic(b"a\xff")),
        no("PUBLISH topic overlong UTF-8 (C0 80)", "Utf8", topic(b"\xc0\x80")),
        no("PUBLISH topic surrogate", "Utf8", topic(b"\xed\xa0\x80")),
        no("PUBLISH topic U+0000", "NullCharacter", topic(b"a\0b")),
        no(
            "PUBLISH topic length beyond packet",
            "Truncated",
            packet(0x30, &[&[0, 5], b"a"]),
        ),
        no(
            "PUBLISH QoS1 without packet id",
            "Truncated",
            packet(0x32, &[&text("a")]),
        ),
        no("PUBLISH remaining length 0", "Truncated", packet(0x30, &[])),
    ]
}

fn both_subscribe(v: Version) -> Vec<Row> {
    let options = |options: u8| subscribe(v, 0x82, &[&text("a"), &[options]]);
    let filter = |filter: &[u8]| subscribe(v, 0x82, &[&data(filter), &[0]]);
    vec![
        no(
            "SUBSCRIBE flags 0 [3.8.1-1]",
            "FixedHeaderFlags",
            subscribe(v, 0x80, &[&text("a"), &[0]]),
        ),
        no(
            "SUBSCRIBE packet id 0",
            "ZeroPacketId",
            packet(0x82, &[&[0, 0], &properties(v, &[]), &text("a"), &[0]]),
        ),
        no(
            "SUBSCRIBE no filters [3.8.3-3]",
            "NoTopicFilter",
            subscribe(v, 0x82, &[]),
        ),
        no("SUBSCRIBE empty filter [4.7.3-1]", "TopicFilter", filter(b"")),
        no("SUBSCRIBE filter 'a/#/b'", "TopicFilter", filter(b"a/#/b")),
        no("SUBSCRIBE filter 'a#'", "TopicFilter", filter(b"a#")),
        no("SUBSCRIBE filter 'a+/b'", "TopicFilter", filter(b"a+/b")),
        no("SUBSCRIBE filter ill-formed UTF-8", "Utf8", filter(b"\xff")),
        no("SUBSCRIBE filter U+0000", "NullCharacter", filter(b"a\0")),
        no("SUBSCRIBE QoS 3", "QoS", options(3)),
        no("SUBSCRIBE reserved option bits", "ReservedBits", options(0x40)),
        no(
            "SUBSCRIBE filter without options byte",
            "Truncated",
            subscribe(v, 0x82, &[&text("a")]),
        ),
    ]
}

fn both_unsubscribe(v: Version) -> Vec<Row> {
    vec![
        no(
            "UNSUBSCRIBE flags 0",
            "FixedHeaderFlags",
            subscribe(v, 0xA0, &[&text("a")]),
        ),
        no(
            "UNSUBSCRIBE packet id 0",
            "ZeroPacketId",
            packet(0xA2, &[&[0, 0], &properties(v, &[]), &text("a")]),
        ),
        no(
            "UNSUBSCRIBE no filters [3.10.3-2]",
            "NoTopicFilter",
            subscribe(v, 0xA2, &[]),
        ),
        no(
            "UNSUBSCRIBE empty filter",
            "TopicFilter",
            subscribe(v, 0xA2, &[&text("")]),
        ),
        no(
            "UNSUBSCRIBE filter 'a#'",
            "TopicFilter",
            subscribe(v, 0xA2, &[&text("a#")]),
        ),
        no(
            "UNSUBSCRIBE filter ill-formed UTF-8",
            "Utf8",
            subscribe(v, 0xA2, &[&data(b"\xff")]),
        ),
    ]
}

fn both_ack(v: Version) -> Vec<Row> {
    let trailing = if v == V5 { &[0, 1, 0, 0, 9][..] } else { &[0, 1, 9] };
    vec![
        no("PUBACK packet id 0", "ZeroPacketId", packet(0x40, &[&[0, 0]])),
        no("PUBACK flags != 0", "FixedHeaderFlags", packet(0x41, &[&[0, 1]])),
        no(
            "PUBREL flags 0 [3.6.1-1]",
            "FixedHeaderFlags",
            packet(0x60, &[&[0, 1]]),
        ),
        no("PUBREL packet id 0", "ZeroPacketId", packet(0x62, &[&[0, 0]])),
        no("PUBREC packet id 0", "ZeroPacketId", packet(0x50, &[&[0, 0]])),
        no("PUBCOMP flags 2", "FixedHeaderFlags", packet(0x72, &[&[0, 1]])),
        no("PUBACK length 1", "Truncated", packet(0x40, &[&[0]])),
        no(
            "PUBACK trailing bytes",
            "TrailingBytes",
            packet(0x40, &[trailing]),
        ),
        no("PINGREQ with payload", "TrailingBytes", packet(0xC0, &[&[0]])),
        no("PINGREQ flags != 0", "FixedHeaderFlags", packet(0xC1, &[])),
        no(
            "DISCONNECT flags != 0 [3.14.1-1]",
            "FixedHeaderFlags",
            packet(0xE1, &[]),
        ),
        no(
            "client sends CONNACK",
            "UnexpectedPacket",
            packet(0x20, &[&[0, 0], &properties(v, &[])]),
        ),
        no(
            "client sends SUBACK",
            "UnexpectedPacket",
            packet(0x90, &[&[0, 1], &properties(v, &[]), &[0]]),
        ),
        no(
            "client sends UNSUBACK",
            "UnexpectedPacket",
            packet(0xB0, &[&[0, 1], &properties(v, &[]), &[0]]),
        ),
        no("client sends PINGRESP", "UnexpectedPacket", packet(0xD0, &[])),
    ]
}

pub fn v311() -> Vec<Row> {
    vec![
        no("packet type 0", "PacketType", packet(0x00, &[])),
        no("packet type 15", "UnexpectedPacket", packet(0xF0, &[])),
        no(
            "CONNECT password without user name [3.1.2-22]",
            "PasswordWithoutUserName",
            connect(V311, 0x42, &[&text("c"), &data(b"p")]),
        ),
        no("DISCONNECT with payload", "TrailingBytes", packet(0xE0, &[&[0]])),
    ]
}

pub fn v5() -> Vec<Row> {
    let mut rows = v5_lengths();
    rows.extend(v5_connect());
    rows.extend(v5_publish());
    rows.extend(v5_subscribe());
    rows.extend(v5_reasons());
    rows
}

fn v5_lengths() -> Vec<Row> {
    vec![
        no(
            "non-minimal remaining length [1.5.5-1]",
            "VariableByteInteger",
            vec![0xC0, 0x80, 0x00],
        ),
        no(
            "non-minimal property length [1.5.5-1]",
            "VariableByteInteger",
            packet(0x30, &[&text("a"), &[0x80, 0x00], b"x"]),
        ),
    ]
}

fn v5_connect() -> Vec<Row> {
    let with = |props: &[u8]| connect_with(V5, 2, props, &[&text("c")]);
    let head = [&text("MQTT")[..], &[5, 2, 0, 60]].concat();
    let expiry = b"\x11\x00\x00\x00\x01";
    vec![
        no(
            "CONNECT duplicate session expiry",
            "DuplicateProperty",
            with(&[expiry, &expiry[..]].concat()),
        ),
        no(
            "CONNECT receive maximum 0",
            "PropertyValue",
            with(b"\x21\x00\x00"),
        ),
        no(
            "CONNECT maximum packet size 0",
            "PropertyValue",
            with(b"\x27\x00\x00\x00\x00"),
        ),
        no(
            "CONNECT request problem info 2",
            "PropertyValue",
            with(b"\x17\x02"),
        ),
        no(
            "CONNECT request response info 7",
            "PropertyValue",
            with(b"\x19\x07"),
        ),
        no(
            "CONNECT auth data without method",
            "NoAuthenticationMethod",
            with(b"\x16\x00\x01x"),
        ),
        no(
            "CONNECT property of another packet (topic alias)",
            "PropertyNotAllowed",
            with(b"\x23\x00\x01"),
        ),
        no(
            "CONNECT unknown property 0x7f",
            "UnknownProperty",
            with(b"\x7f\x00"),
        ),
        no(
            "CONNECT property length beyond packet",
            "Truncated",
            packet(0x10, &[&head, &[100], &text("c")]),
        ),
        no(
            "CONNECT property value runs over property length",
            "Truncated",
            packet(0x10, &[&head, &[3], expiry, &text("c")]),
        ),
        no(
            "CONNECT user property ill-formed UTF-8",
            "Utf8",
            with(b"\x26\x00\x01\xff\x00\x01v"),
        ),
    ]
}

fn v5_publish() -> Vec<Row> {
    let with = |props: &[u8]| publish_with(V5, 0x30, b"a", b"", props, b"x");
    let expiry = b"\x02\x00\x00\x00\x01";
    vec![
        no(
            "PUBLISH duplicate message expiry",
            "DuplicateProperty",
            with(&[expiry, &expiry[..]].concat()),
        ),
        no(
            "PUBLISH duplicate payload format",
            "DuplicateProperty",
            with(b"\x01\x00\x01\x00"),
        ),
        no("PUBLISH payload format 2", "PropertyValue", with(b"\x01\x02")),
        no("PUBLISH topic alias 0", "PropertyValue", with(b"\x23\x00\x00")),
        no(
            "PUBLISH response topic with wildcard",
            "TopicName",
            with(b"\x08\x00\x03a/+"),
        ),
        no(
            "PUBLISH subscription id from client [3.3.4-6]",
            "PropertyNotAllowed",
            with(b"\x0b\x01"),
        ),
        no("PUBLISH subscription id 0", "PropertyValue", with(b"\x0b\x00")),
        no(
            "PUBLISH property of another packet (session expiry)",
            "PropertyNotAllowed",
            with(b"\x11\0\0\0\x01"),
        ),
        no(
            "PUBLISH property value runs over property length",
            "Truncated",
            packet(0x30, &[&text("a"), &[3], expiry, b"x"]),
        ),
        no(
            "PUBLISH property length beyond packet",
            "Truncated",
            packet(0x30, &[&text("a"), &[100], expiry]),
        ),
        no(
            "PUBLISH property length missing",
            "Truncated",
            packet(0x30, &[&text("a")]),
        ),
        no(
            "PUBLISH content type U+0000",
            "NullCharacter",
            with(b"\x03\x00\x01\x00"),
        ),
    ]
}

fn v5_subscribe() -> Vec<Row> {
    let with = |props: &[u8]| packet(0x82, &[&[0, 1], &properties(V5, props), &text("a"), &[0]]);
    let shared = |filter: &str, options: u8| subscribe(V5, 0x82, &[&text(filter), &[options]]);
    vec![
        no("SUBSCRIBE id 0", "PropertyValue", with(b"\x0b\x00")),
        no(
            "SUBSCRIBE id twice",
            "DuplicateProperty",
            with(b"\x0b\x01\x0b\x02"),
        ),
        no("SUBSCRIBE retain handling 3", "RetainHandling", shared("a", 0x30)),
        no(
            "SUBSCRIBE no-local on $share [3.8.3-4]",
            "NoLocalOnShared",
            shared("$share/g/a", 4),
        ),
        no(
            "SUBSCRIBE '$share/g' without filter [4.8.2-2]",
            "TopicFilter",
            shared("$share/g", 0),
        ),
        no(
            "SUBSCRIBE '$share/g+/a' [4.8.2-2]",
            "TopicFilter",
            shared("$share/g+/a", 0),
        ),
    ]
}

fn v5_reasons() -> Vec<Row> {
    let reason_string = b"\x1f\x00\x01r";
    let expiry = b"\x11\x00\x00\x00\x01";
    vec![
        no(
            "PUBACK invalid reason 0x42",
            "ReasonCode",
            packet(0x40, &[&[0, 1, 0x42]]),
        ),
        no(
            "PUBREL invalid reason 0x80",
            "ReasonCode",
            packet(0x62, &[&[0, 1, 0x80]]),
        ),
        no(
            "PUBACK reason string twice",
            "DuplicateProperty",
            packet(
                0x40,
                &[
                    &[0, 1, 0x87],
                    &properties(V5, &[reason_string, &reason_string[..]].concat()),
                ],
            ),
        ),
        no(
            "DISCONNECT reason 0x8B (server only)",
            "ReasonCode",
            packet(0xE0, &[&[0x8B]]),
        ),
        no(
            "DISCONNECT invalid reason 0x42",
            "ReasonCode",
            packet(0xE0, &[&[0x42]]),
        ),
        no(
            "DISCONNECT session expiry twice",
            "DuplicateProperty",
            packet(0xE0, &[&[0], &properties(V5, &[expiry, &expiry[..]].concat())]),
        ),
        no(
            "AUTH invalid reason 0x42",
            "ReasonCode",
            packet(0xF0, &[&[0x42], &properties(V5, b"\x15\x00\x01m")]),
        ),
        no(
            "AUTH without method",
            "NoAuthenticationMethod",
            packet(0xF0, &[&[0x18], &properties(V5, &[])]),
        ),
    ]
}
