//! What holds for every frame and every stream.
#![allow(missing_docs, clippy::panic, clippy::unwrap_used)]

mod support;

use bytes::BytesMut;
use proptest::prelude::*;
use stomp_codec::{Command, Frame, Headers, Item, Limits, Role, Version};
use support::{VERSIONS, decoder, feed, reader_of, without_length};

/// Text that every version can carry.
fn plain() -> BoxedStrategy<String> {
    "[a-zA-Z0-9/._\\\\\u{4e00}-\u{4eff}-][a-z \\\\é-]{0,12}".boxed()
}

/// Text made of what needs escaping; NUL, which no version carries, left out.
fn wild() -> BoxedStrategy<String> {
    proptest::collection::vec(
        prop_oneof![
            Just('\n'),
            Just('\r'),
            Just(':'),
            Just('\\'),
            Just(' '),
            any::<char>()
        ],
        0..12,
    )
    .prop_map(|chars| chars.into_iter().filter(|char| *char != '\0').collect::<String>())
    .boxed()
}

fn command() -> impl Strategy<Value = Command> {
    (0..Command::ALL.len()).prop_map(|at| Command::ALL[at])
}

fn frame(text: BoxedStrategy<String>) -> impl Strategy<Value = Frame> {
    let name = text
        .clone()
        .prop_filter("a name", |name| !name.is_empty() && name != "content-length");
    let headers = proptest::collection::vec((name, text), 0..6);
    (command(), headers, proptest::collection::vec(any::<u8>(), 0..64)).prop_map(
        |(command, headers, body)| {
            let headers: Headers = headers
                .iter()
                .map(|(name, value)| (&name[..], &value[..]))
                .collect();
            Frame {
                command,
                headers,
                body: body.into(),
            }
        },
    )
}

fn round_trip(frame: &Frame, version: Version) -> Frame {
    let mut out = BytesMut::new();
    frame.encode(version, &mut out);
    let (items, error) = feed(
        &mut decoder(reader_of(frame.command), Some(version), Limits::default()),
        [&out[..]],
    );
    assert_eq!(error, None, "{}", out.escape_ascii());
    let [Item::Frame(read)] = &items[..] else {
        panic!("{items:?}")
    };
    without_length(read)
}

/// Bytes that look like STOMP often enough to get deep into the decoder.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => frame(plain()).prop_map(|frame| {
            let mut out = BytesMut::new();
            frame.encode(Version::V11, &mut out);
            out.to_vec()
        }),
        2 => prop_oneof![Just("\n"), Just("\r\n"), Just("\0"), Just("\r"), Just("SEND\n"), Just("CONNECT\r\n"), Just("\\t"),
            Just("content-length:3\n"), Just("content-length:99\n"), Just("a:b\n"), Just("\n\nabc\0")]
            .prop_map(|text| text.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

const SMALL: Limits = Limits {
    max_headers: 4,
    max_header_line: 20,
    max_header_bytes: 60,
    max_body: 40,
};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_frame_of_plain_text_survives_every_version(frame in frame(plain())) {
        for version in [Version::V10, Version::V11, Version::V12] {
            prop_assert_eq!(round_trip(&frame, version), frame.clone());
        }
    }

    #[test]
    fn every_header_text_survives_1_2(frame in frame(wild())) {
        prop_assume!(!frame.command.is_handshake());
        prop_assert_eq!(round_trip(&frame, Version::V12), frame.clone());
        prop_assert_eq!(round_trip(&frame, Version::V11), frame);
    }

    #[test]
    fn what_a_version_cannot_carry_changes_once_and_never_breaks_the_frame(frame in frame(wild())) {
        for version in [Version::V10, Version::V11, Version::V12] {
            let once = round_trip(&frame, version);
            prop_assert_eq!(once.headers.len(), frame.headers.len());
            prop_assert_eq!(round_trip(&once, version), once);
        }
    }

    #[test]
    fn how_the_stream_is_cut_makes_no_difference(
        bytes in stream(),
        cuts in proptest::collection::vec(1usize..20, 1..40),
        version in 0..VERSIONS.len(),
        tight in any::<bool>(),
        client in any::<bool>(),
    ) {
        let limits = if tight { SMALL } else { Limits::default() };
        let role = if client { Role::Client } else { Role::Server };
        let new = || decoder(role, VERSIONS[version], limits);
        let whole = feed(&mut new(), [&bytes[..]]);
        prop_assert_eq!(&feed(&mut new(), bytes.chunks(1)), &whole);
        let mut rest = &bytes[..];
        let mut chunks = Vec::new();
        for cut in cuts {
            let (chunk, tail) = rest.split_at(cut.min(rest.len()));
            chunks.push(chunk);
            rest = tail;
        }
        chunks.push(rest);
        prop_assert_eq!(feed(&mut new(), chunks), whole);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), version in 0..VERSIONS.len()) {
        for role in [Role::Server, Role::Client] {
            feed(&mut decoder(role, VERSIONS[version], Limits::default()), [&bytes[..]]);
        }
    }
}
