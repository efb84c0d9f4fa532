//! What a client may send.

use crate::{
    V5, V311, connect, connect_with, data, packet, properties, publish, publish_with, subscribe, text,
};
use mqtt_codec::Version;

type Row = (&'static str, Vec<u8>, Option<&'static str>);

/// A user property `k` = `v`.
const USER: &[u8] = b"\x26\x00\x01k\x00\x01v";

fn ok(name: &'static str, bytes: Vec<u8>) -> Row {
    (name, bytes, None)
}

pub fn both(v: Version) -> Vec<Row> {
    let filters: Vec<_> = ["+", "#", "/#", "+/+"]
        .iter()
        .map(|f| [&text(f)[..], &[1]].concat())
        .collect();
    let filters: Vec<_> = filters.iter().map(Vec::as_slice).collect();
    vec![
        ok("CONNECT minimal", connect(v, 2, &[&text("c")])),
        ok(
            "CONNECT binary (non-UTF-8) password",
            connect(v, 0xC2, &[&text("c"), &text("u"), &data(b"\xff\x00\xfe")]),
        ),
        ok("PUBLISH QoS0 empty payload", publish(v, 0x30, b"a", b"", b"")),
        ok("PUBLISH QoS1 dup retain", publish(v, 0x3B, b"a", &[0, 7], b"x")),
        ok("PUBLISH QoS2", publish(v, 0x34, b"a", &[0xFF, 0xFF], b"x")),
        ok(
            "PUBLISH topic '/' and spaces, utf-8",
            publish(v, 0x30, "/ é 消息".as_bytes(), b"", b"x"),
        ),
        ok(
            "SUBSCRIBE several filters + # /# +/+",
            subscribe(v, 0x82, &filters),
        ),
        ok(
            "UNSUBSCRIBE 2 filters",
            subscribe(v, 0xA2, &[&text("a"), &text("b/#")]),
        ),
        ok("PUBACK", packet(0x40, &[&[0, 1]])),
        ok("PUBREC", packet(0x50, &[&[0, 1]])),
        ok("PUBREL", packet(0x62, &[&[0, 1]])),
        ok("PUBCOMP", packet(0x70, &[&[0, 1]])),
        ok("PINGREQ", packet(0xC0, &[])),
        ok("DISCONNECT", packet(0xE0, &[])),
    ]
}

pub fn v311() -> Vec<Row> {
    let will = [text("c"), text("w"), data(b"gone"), text("u"), data(b"p")].concat();
    vec![
        ok("CONNECT empty client id, clean", connect(V311, 2, &[&text("")])),
        ok("CONNECT will+user+pass", connect(V311, 0xEE, &[&will])),
        ok(
            "CONNECT will with zero-length message",
            connect(V311, 6, &[&text("c"), &text("w"), &data(b"")]),
        ),
        ok(
            "CONNECT empty user name",
            connect(V311, 0x82, &[&text("c"), &text("")]),
        ),
    ]
}

pub fn v5() -> Vec<Row> {
    let mut rows = v5_connect();
    rows.extend(v5_publish());
    rows.extend([
        ok(
            "PUBACK reason, no property length (len 3)",
            packet(0x40, &[&[0, 1, 0x87]]),
        ),
        ok(
            "PUBACK reason + properties",
            packet(
                0x40,
                &[&[0, 1, 0x87], &properties(V5, &[b"\x1f\x00\x01r", USER].concat())],
            ),
        ),
        ok("PUBREL 0x92 (len 3)", packet(0x62, &[&[0, 1, 0x92]])),
        ok("SUBSCRIBE id + user prop + options", {
            let props = properties(V5, &[b"\x0b\x80\x01", USER].concat());
            packet(0x82, &[&[0, 1], &props, &text("a"), &[0b0010_1110]])
        }),
        ok(
            "SUBSCRIBE $share",
            subscribe(V5, 0x82, &[&text("$share/g/a/+"), &[1]]),
        ),
        ok("DISCONNECT reason only (len 1)", packet(0xE0, &[&[4]])),
        ok(
            "DISCONNECT reason + session expiry",
            packet(0xE0, &[&[0], &properties(V5, b"\x11\x00\x00\x00\x0a")]),
        ),
        ok(
            "AUTH continue",
            packet(
                0xF0,
                &[&[0x18], &properties(V5, b"\x15\x00\x01m\x16\x00\x02\xff\x00")],
            ),
        ),
    ]);
    rows
}

fn v5_connect() -> Vec<Row> {
    let all = [
        &b"\x11\xff\xff\xff\xff\x21\x00\x01\x27\x00\x00\x00\x01\x22\x00\x00\x19\x01\x17\x00"[..],
        USER,
        USER,
        b"\x15\x00\x01m\x16\x00\x01\xff",
    ];
    let will = [
        &b"\x18\x00\x00\x00\x05\x01\x01\x02\x00\x00\x00\x00\x03\x00\x01t\x08\x00\x01r\x09\x00\x01\x00"[..],
        USER,
    ];
    vec![
        ok(
            "CONNECT empty client id, clean=0 (server assigns)",
            connect(V5, 0, &[&text("")]),
        ),
        ok(
            "CONNECT password without user name",
            connect(V5, 0x42, &[&text("c"), &data(b"p")]),
        ),
        ok(
            "CONNECT all properties",
            connect_with(V5, 2, &all.concat(), &[&text("c")]),
        ),
        ok(
            "CONNECT will properties",
            connect(
                V5,
                6,
                &[
                    &text("c"),
                    &properties(V5, &will.concat()),
                    &text("w"),
                    &data(b"gone"),
                ],
            ),
        ),
    ]
}

fn v5_publish() -> Vec<Row> {
    let all = [
        &b"\x01\x01\x02\x00\x00\x00\x3c\x23\x00\x01\x08\x00\x01r\x09\x00\x02\xff\x00"[..],
        USER,
        USER,
        b"\x03\x00\x0atext/plain",
    ];
    vec![
        ok(
            "PUBLISH all client properties",
            publish_with(V5, 0x32, b"a", &[0, 1], &all.concat(), b"x"),
        ),
        ok(
            "PUBLISH empty topic + alias",
            publish_with(V5, 0x30, b"", b"", b"\x23\x00\x01", b"x"),
        ),
        ok(
            "PUBLISH message expiry 0",
            publish_with(V5, 0x30, b"a", b"", b"\x02\x00\x00\x00\x00", b"x"),
        ),
    ]
}
