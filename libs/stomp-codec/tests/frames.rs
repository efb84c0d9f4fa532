//! The table of frames: what is legal in which version, and what an illegal one is told.
#![allow(missing_docs, clippy::panic)]

mod support;

use bytes::BytesMut;
use stomp_codec::Version::{V10, V11, V12};
use stomp_codec::{Item, Limits, Role, Version};
use support::{VERSIONS, decoder, feed};

const NONE: Option<Version> = None;

/// `(what, version, bytes, headers expected, body expected)`
type Legal = (
    &'static str,
    Option<Version>,
    &'static [u8],
    &'static [(&'static str, &'static str)],
    &'static [u8],
);

const LEGAL: &[Legal] = &[
    (
        "a 1.0 connect",
        NONE,
        b"CONNECT\nlogin:v\n\n\0",
        &[("login", "v")],
        b"",
    ),
    (
        "a 1.0 connect with the spaces of its examples",
        NONE,
        b"CONNECT\nlogin:  v\n\n\0",
        &[("login", "v")],
        b"",
    ),
    (
        "a 1.2 connect keeps spaces",
        NONE,
        b"CONNECT\naccept-version:1.2\nlogin: v\n\n\0",
        &[("accept-version", "1.2"), ("login", " v")],
        b"",
    ),
    ("a connect without headers", NONE, b"CONNECT\n\n\0", &[], b""),
    (
        "a connect with CR LF",
        NONE,
        b"CONNECT\r\naccept-version:1.2\r\nhost:h\r\n\r\n\0",
        &[("accept-version", "1.2"), ("host", "h")],
        b"",
    ),
    (
        "CR LF on a connect after 1.1",
        Some(V11),
        b"CONNECT\r\naccept-version:1.1\r\n\r\n\0",
        &[("accept-version", "1.1")],
        b"",
    ),
    (
        "a connect host with a port",
        NONE,
        b"CONNECT\naccept-version:1.1\nhost:h:8080\n\n\0",
        &[("accept-version", "1.1"), ("host", "h:8080")],
        b"",
    ),
    (
        "a connect escapes nothing",
        NONE,
        b"CONNECT\naccept-version:1.2\npasscode:a\\nb\\\n\n\0",
        &[("accept-version", "1.2"), ("passcode", "a\\nb\\")],
        b"",
    ),
    (
        "a STOMP frame",
        NONE,
        b"STOMP\naccept-version:1.2\n\n\0",
        &[("accept-version", "1.2")],
        b"",
    ),
    (
        "a STOMP frame escapes nothing",
        NONE,
        b"STOMP\r\na:\\t\r\n\r\n\0",
        &[("a", "\\t")],
        b"",
    ),
    (
        "a send",
        Some(V12),
        b"SEND\ndestination:/a\n\nhello\0",
        &[("destination", "/a")],
        b"hello",
    ),
    (
        "a send with CR LF in 1.2",
        Some(V12),
        b"SEND\r\ndestination:/a\r\n\r\nhello\r\n\0",
        &[("destination", "/a")],
        b"hello\r\n",
    ),
    (
        "mixed line ends in 1.2",
        Some(V12),
        b"SEND\r\ndestination:/a\nb:c\r\n\n\0",
        &[("destination", "/a"), ("b", "c")],
        b"",
    ),
    (
        "a CR at the end of a 1.0 value",
        Some(V10),
        b"SEND\ndestination:/a\r\n\n\0",
        &[("destination", "/a\r")],
        b"",
    ),
    (
        "a CR at the end of a 1.1 value",
        Some(V11),
        b"SEND\ndestination:/a\r\n\n\0",
        &[("destination", "/a\r")],
        b"",
    ),
    (
        "a CR inside a 1.1 value",
        Some(V11),
        b"SEND\na:b\rc\n\n\0",
        &[("a", "b\rc")],
        b"",
    ),
    (
        "1.0 escapes nothing",
        Some(V10),
        b"SEND\na:\\n\\c\\\\\\t\n\n\0",
        &[("a", "\\n\\c\\\\\\t")],
        b"",
    ),
    (
        "1.1 escapes",
        Some(V11),
        b"SEND\na\\cb:x\\ny\\\\n\n\n\0",
        &[("a:b", "x\ny\\n")],
        b"",
    ),
    (
        "1.2 escapes",
        Some(V12),
        b"SEND\na\\cb:x\\r\\ny\\\\\n\n\0",
        &[("a:b", "x\r\ny\\")],
        b"",
    ),
    (
        "1.0 takes spaces off the front only",
        Some(V10),
        b"SEND\na:  b \n\n\0",
        &[("a", "b ")],
        b"",
    ),
    (
        "1.1 keeps spaces",
        Some(V11),
        b"SEND\na: b \n\n\0",
        &[("a", " b ")],
        b"",
    ),
    (
        "1.2 keeps spaces",
        Some(V12),
        b"SEND\n a : b \n\n\0",
        &[(" a ", " b ")],
        b"",
    ),
    (
        "a 1.0 content-length after a space",
        Some(V10),
        b"SEND\ncontent-length: 3\n\na\0b\0",
        &[("content-length", "3")],
        b"a\0b",
    ),
    (
        "NUL in a body with content-length",
        Some(V12),
        b"SEND\ncontent-length:3\n\n\0\0\0\0",
        &[("content-length", "3")],
        b"\0\0\0",
    ),
    (
        "content-length 0",
        Some(V12),
        b"SEND\ncontent-length:0\n\n\0",
        &[("content-length", "0")],
        b"",
    ),
    (
        "the first content-length counts",
        Some(V12),
        b"SEND\ncontent-length:1\ncontent-length:9\n\nx\0",
        &[("content-length", "1"), ("content-length", "9")],
        b"x",
    ),
    (
        "a content-length with leading zeros",
        Some(V12),
        b"SEND\ncontent-length:003\n\nabc\0",
        &[("content-length", "003")],
        b"abc",
    ),
    (
        "repeated headers stay in order",
        Some(V12),
        b"SEND\nf:1\ng:2\nf:3\n\n\0",
        &[("f", "1"), ("g", "2"), ("f", "3")],
        b"",
    ),
    ("an empty value", Some(V12), b"SEND\na:\n\n\0", &[("a", "")], b""),
    (
        "bare colons in a value",
        Some(V12),
        b"SEND\na:b:c::\n\n\0",
        &[("a", "b:c::")],
        b"",
    ),
    (
        "UTF-8 in headers and body",
        Some(V12),
        "SEND\n名:值\n\n你好\0".as_bytes(),
        &[("名", "值")],
        "你好".as_bytes(),
    ),
    (
        "a body that is not UTF-8",
        Some(V12),
        b"SEND\n\n\xff\xfe\0",
        &[],
        b"\xff\xfe",
    ),
    (
        "a body that starts with EOLs",
        Some(V12),
        b"SEND\n\n\n\nx\0",
        &[],
        b"\n\nx",
    ),
    (
        "a send before the version reads as 1.2",
        NONE,
        b"SEND\r\na:b\\rc\r\n\r\n\0",
        &[("a", "b\rc")],
        b"",
    ),
];

#[test]
fn legal_frames_are_read_as_the_version_has_it() {
    for &(what, version, bytes, headers, body) in LEGAL {
        let (items, error) = feed(&mut decoder(Role::Server, version, Limits::default()), [bytes]);
        assert_eq!(error, None, "{what}");
        let [Item::Frame(frame)] = &items[..] else {
            panic!("{what}: {items:?}")
        };
        assert_eq!(frame.headers.iter().collect::<Vec<_>>(), headers, "{what}");
        assert_eq!(&frame.body[..], body, "{what}");
    }
}

/// `(version, bytes, the text of the error)`
const ILLEGAL: &[(Option<Version>, &[u8], &str)] = &[
    (
        NONE,
        b"HELLO\n",
        "unknown command \"HELLO\": a frame starts with a STOMP command in capital letters",
    ),
    (
        NONE,
        b"connect\n",
        "unknown command \"connect\": a frame starts with a STOMP command in capital letters",
    ),
    (
        NONE,
        b"CONNECT \n",
        "unknown command \"CONNECT \": a frame starts with a STOMP command in capital letters",
    ),
    (
        NONE,
        b"CONNECT\r\r\n",
        "unknown command \"CONNECT\\r\\r\": a frame starts with a STOMP command in capital letters",
    ),
    (
        NONE,
        b"GET /stomp HTTP/1.1 and so on wit",
        "unknown command \"GET /stomp HTTP/1.1 and so on wi\": a frame starts with a STOMP command in capital letters",
    ),
    (
        NONE,
        b"SEND\0",
        "unknown command \"SEND\\0\": a frame starts with a STOMP command in capital letters",
    ),
    (
        NONE,
        b"\xff\n",
        "unknown command \"\u{fffd}\": a frame starts with a STOMP command in capital letters",
    ),
    (
        Some(V12),
        b"MESSAGE\n",
        "MESSAGE was sent by the wrong side of the connection",
    ),
    (
        Some(V10),
        b"SEND\r\n",
        "SEND ends its lines with CR LF, which STOMP 1.2 introduced: end them with LF",
    ),
    (
        Some(V11),
        b"SEND\r\n",
        "SEND ends its lines with CR LF, which STOMP 1.2 introduced: end them with LF",
    ),
    (
        Some(V11),
        b"SEND\na:b\n\r\n",
        "SEND ends its lines with CR LF, which STOMP 1.2 introduced: end them with LF",
    ),
    (
        Some(V12),
        b"SEND\na:b\rc\n",
        "header line 1 of SEND holds a bare carriage return",
    ),
    (
        NONE,
        b"CONNECT\na:b\r\r\n",
        "header line 1 of CONNECT holds a bare carriage return",
    ),
    (
        Some(V12),
        b"SEND\na:b\nnothing\n",
        "header line 2 of SEND has no colon: write name:value, and a blank line before the body",
    ),
    (
        Some(V12),
        b"SEND\n:b\n",
        "header line 1 of SEND has an empty name",
    ),
    (
        Some(V12),
        b"SEND\na:\xff\n",
        "header line 1 of SEND is not valid UTF-8",
    ),
    (
        Some(V10),
        b"SEND\n\xc3:a\n",
        "header line 1 of SEND is not valid UTF-8",
    ),
    (
        Some(V11),
        b"SEND\na:\\r\n",
        "header line 1 of SEND holds the undefined escape \"\\r\": write a backslash as \\\\",
    ),
    (
        Some(V12),
        b"SEND\na:\\t\n",
        "header line 1 of SEND holds the undefined escape \"\\t\": write a backslash as \\\\",
    ),
    (
        Some(V12),
        b"SEND\na\\:b\n",
        "header line 1 of SEND holds the undefined escape \"\\\": write a backslash as \\\\",
    ),
    (
        Some(V12),
        b"SEND\na:b\0\n",
        "SEND ended in its header line 1: a blank line must stand between the headers and the NUL",
    ),
    (
        Some(V12),
        b"DISCONNECT\nreceipt:7\n\0\n",
        "DISCONNECT ended in its header line 2: a blank line must stand between the headers and the NUL",
    ),
    // Nothing more comes from a client that forgot the blank line.
    (
        Some(V12),
        b"SEND\ndestination:/app/a\n\0",
        "SEND ended in its header line 2: a blank line must stand between the headers and the NUL",
    ),
    (
        Some(V12),
        b"SEND\ncontent-length:x\n\n",
        "the content-length of SEND is not a number of bytes",
    ),
    (
        Some(V12),
        b"SEND\ncontent-length:\n\n",
        "the content-length of SEND is not a number of bytes",
    ),
    (
        Some(V12),
        b"SEND\ncontent-length:+3\n\n",
        "the content-length of SEND is not a number of bytes",
    ),
    (
        Some(V12),
        b"SEND\ncontent-length: 3\n\n",
        "the content-length of SEND is not a number of bytes",
    ),
    (
        Some(V12),
        b"SEND\ncontent-length:2\n\nabc\0",
        "SEND has no NUL after the 2 bytes that its content-length announces: count bytes, not characters",
    ),
    (
        Some(V12),
        b"SEND\ncontent-length:262145\n\n",
        "the body of SEND is larger than the 262144 bytes allowed",
    ),
    (
        Some(V12),
        b"SEND\ncontent-length:99999999999999999999999999\n\n",
        "the body of SEND is larger than the 262144 bytes allowed",
    ),
];

#[test]
fn illegal_frames_are_told_what_is_wrong_at_once() {
    for &(version, bytes, text) in ILLEGAL {
        let (items, error) = feed(&mut decoder(Role::Server, version, Limits::default()), [bytes]);
        assert_eq!(items, [], "{}", bytes.escape_ascii());
        let told = error.map(|error| error.to_string());
        assert_eq!(told.as_deref(), Some(text), "{}", bytes.escape_ascii());
    }
}

#[test]
fn an_error_stays_an_error() {
    let mut decoder = decoder(Role::Server, None, Limits::default());
    let (_, first) = feed(&mut decoder, [&b"HELLO\n"[..]]);
    let (items, second) = feed(&mut decoder, [&b"CONNECT\n\n\0"[..]]);
    assert_eq!(items, []);
    assert_eq!(first, second);
}

const TIGHT: Limits = Limits {
    max_headers: 2,
    max_header_line: 10,
    max_header_bytes: 24,
    max_body: 4,
};

#[test]
fn limits_hold_before_the_bytes_they_refuse_are_complete() {
    for (bytes, text) in [
        (
            &b"SEND\na:1\nb:2\nc:3\n"[..],
            "SEND has more than the 2 headers allowed",
        ),
        (
            b"SEND\naaaaaaaaaaa",
            "header line 1 of SEND is longer than the 10 bytes allowed",
        ),
        (
            b"SEND\na:12345678\nb:12345678",
            "the headers of SEND are larger than the 24 bytes allowed",
        ),
        (
            b"SEND\na:123456\nb:123456789",
            "header line 2 of SEND is longer than the 10 bytes allowed",
        ),
        (
            b"SEND\n\nabcde",
            "the body of SEND is larger than the 4 bytes allowed",
        ),
        (
            b"SEND\n\nabcde\0",
            "the body of SEND is larger than the 4 bytes allowed",
        ),
    ] {
        let (items, error) = feed(&mut decoder(Role::Server, Some(V12), TIGHT), [bytes]);
        assert_eq!(items, []);
        let told = error.map(|error| error.to_string());
        assert_eq!(told.as_deref(), Some(text), "{}", bytes.escape_ascii());
    }
}

#[test]
fn what_just_fits_the_limits_is_read() {
    for bytes in [
        &b"SEND\na:12345678\nb:1234\n\nabcd\0"[..],
        b"SEND\ncontent:\r\n\r\nabcd\0",
    ] {
        let (items, error) = feed(&mut decoder(Role::Server, Some(V12), TIGHT), [bytes]);
        assert_eq!((items.len(), error), (1, None), "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_frame_without_its_end_is_only_incomplete() {
    for bytes in [
        &b"S"[..],
        b"SEND",
        b"SEND\r",
        b"SEND\na",
        b"SEND\na:b\n",
        b"SEND\na:b\n\n",
        b"SEND\n\nbody",
        b"\r",
    ] {
        let outcome = feed(&mut decoder(Role::Server, Some(V12), Limits::default()), [bytes]);
        assert_eq!(outcome, (vec![], None), "{}", bytes.escape_ascii());
    }
}

#[test]
fn eols_between_frames_are_heart_beats_in_every_version() {
    for version in VERSIONS {
        let stream = b"\n\r\nDISCONNECT\n\n\0\n\r\n\nDISCONNECT\n\n\0";
        let (items, error) = feed(
            &mut decoder(Role::Server, version, Limits::default()),
            [&stream[..]],
        );
        assert_eq!(error, None);
        let beats: Vec<bool> = items.iter().map(|item| *item == Item::HeartBeat).collect();
        assert_eq!(beats, [true, true, false, true, true, true, false]);
    }
}

#[test]
fn the_version_settled_after_connect_rules_the_frames_behind_it() {
    let mut buf = BytesMut::from(&b"CONNECT\naccept-version:1.1\n\n\0SEND\na:b\r\n\n\0"[..]);
    let mut decoder = decoder(Role::Server, None, Limits::default());
    assert!(matches!(decoder.decode(&mut buf), Ok(Some(Item::Frame(_)))));
    decoder.set_version(V11);
    let Ok(Some(Item::Frame(send))) = decoder.decode(&mut buf) else {
        panic!("a SEND")
    };
    assert_eq!(send.get("a"), Some("b\r"));
    assert_eq!(decoder.version(), Some(V11));
}
