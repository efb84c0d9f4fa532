//! What is written, by version, and that no header value escapes its line.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use bytes::BytesMut;
use stomp_codec::Version::{V10, V11, V12};
use stomp_codec::{Command, Frame, HeartBeat, Item, Limits, Role, Version, encode_message, encode_receipt};
use support::{decoder, feed};

fn written(write: impl FnOnce(&mut BytesMut)) -> String {
    let mut out = BytesMut::new();
    write(&mut out);
    String::from_utf8(out.to_vec()).unwrap()
}

#[test]
fn a_message_is_escaped_by_version_and_carries_its_length() {
    let headers = [("destination", "/topic/a"), ("k:ey", "a:b\\c\r\nd")];
    let text = |version| written(|out| encode_message(version, &headers, b"x\0y", out));
    assert_eq!(
        text(V10),
        "MESSAGE\ndestination:/topic/a\nk ey:a:b\\c\r d\ncontent-length:3\n\nx\0y\0"
    );
    assert_eq!(
        text(V11),
        "MESSAGE\ndestination:/topic/a\nk\\cey:a\\cb\\\\c\r\\nd\ncontent-length:3\n\nx\0y\0"
    );
    assert_eq!(
        text(V12),
        "MESSAGE\ndestination:/topic/a\nk\\cey:a\\cb\\\\c\\r\\nd\ncontent-length:3\n\nx\0y\0"
    );
}

#[test]
fn a_wrong_content_length_is_written_right() {
    let frame = Frame::new(Command::Send)
        .with_header("content-length", "9")
        .with_header("a", "b")
        .with_body("hi");
    assert_eq!(
        written(|out| frame.encode(V12, out)),
        "SEND\ncontent-length:2\na:b\n\nhi\0"
    );
    let long = Frame::new(Command::Send).with_body(vec![b'x'; 10_020]);
    assert!(written(|out| long.encode(V12, out)).starts_with("SEND\ncontent-length:10020\n\nx"));
}

#[test]
fn no_header_value_breaks_out_of_its_line() {
    let evil = "x\n\n\0SEND\ndestination:/b\r\n\n\0";
    for version in [V10, V11, V12] {
        for command in Command::ALL {
            let mut out = BytesMut::new();
            Frame::new(command)
                .with_header("", "gone")
                .with_header(evil, evil)
                .encode(version, &mut out);
            let (items, error) = feed(
                &mut decoder(support::reader_of(command), Some(version), Limits::default()),
                [&out[..]],
            );
            assert_eq!(error, None, "{command} {version}");
            let [Item::Frame(frame)] = &items[..] else {
                panic!("{command} {version}: {items:?}")
            };
            assert_eq!(
                (frame.command, frame.headers.len()),
                (command, 1),
                "{command} {version}"
            );
        }
    }
}

fn connected(version: Version) -> Frame {
    Frame::connected(
        version,
        "s-1",
        "longwire",
        HeartBeat {
            send: 10_000,
            want: 10_000,
        },
    )
}

#[test]
fn the_server_frames_are_those_of_the_version() {
    assert_eq!(
        written(|out| connected(V10).encode(V10, out)),
        "CONNECTED\nsession:s-1\nserver:longwire\n\n\0"
    );
    assert_eq!(
        written(|out| connected(V12).encode(V12, out)),
        "CONNECTED\nversion:1.2\nheart-beat:10000,10000\nsession:s-1\nserver:longwire\n\n\0"
    );
    assert_eq!(
        written(|out| encode_receipt(V12, "r:1", out)),
        "RECEIPT\nreceipt-id:r\\c1\n\n\0"
    );
    let error = Frame::error("refused", "why").with_header("receipt-id", "7");
    assert_eq!(
        written(|out| error.encode(V11, out)),
        "ERROR\nmessage:refused\ncontent-type:text/plain\nreceipt-id:7\ncontent-length:3\n\nwhy\0"
    );
}

#[test]
fn a_client_reads_what_the_server_writes() {
    let beat = HeartBeat { send: 0, want: 5 };
    let mut out = BytesMut::new();
    Frame::connected(V12, "s", "longwire/1", beat).encode(V12, &mut out);
    encode_receipt(V12, "r", &mut out);
    let (items, error) = feed(&mut decoder(Role::Client, None, Limits::default()), [&out[..]]);
    assert_eq!(error, None);
    let [Item::Frame(connected), Item::Frame(receipt)] = &items[..] else {
        panic!("{items:?}")
    };
    assert_eq!(HeartBeat::parse(connected.get("heart-beat").unwrap()), Ok(beat));
    assert_eq!(receipt.get("receipt-id"), Some("r"));
}
