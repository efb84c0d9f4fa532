//! Every row of `list.md`, its bytes built by hand.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod illegal;
mod legal;

use bytes::BytesMut;
use mqtt_codec::{DecodeError, Decoder, Packet, Version};
use std::collections::BTreeMap;

use Version::{V5, V311};

/// One row of the list.
struct Case {
    name: &'static str,
    version: Version,
    bytes: Vec<u8>,
    /// The name of the error variant, if the case is illegal.
    error: Option<&'static str>,
}

/// A packet: first byte, remaining length, body.
fn packet(first: u8, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    assert!(body.len() < 128, "the cases are short");
    [&[first, body.len() as u8][..], &body].concat()
}

/// Two bytes of length and the data.
fn data(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

fn text(text: &str) -> Vec<u8> {
    data(text.as_bytes())
}

/// The property section, which 3.1.1 does not have.
fn properties(version: Version, properties: &[u8]) -> Vec<u8> {
    match version {
        V5 => [&[properties.len() as u8], properties].concat(),
        V311 => Vec::new(),
    }
}

/// CONNECT with keep-alive 60 and the given flags, properties and payload.
fn connect_with(version: Version, flags: u8, props: &[u8], payload: &[&[u8]]) -> Vec<u8> {
    let head = [
        &text("MQTT")[..],
        &[version.level(), flags, 0, 60],
        &properties(version, props),
    ]
    .concat();
    packet(0x10, &[&head, &payload.concat()])
}

fn connect(version: Version, flags: u8, payload: &[&[u8]]) -> Vec<u8> {
    connect_with(version, flags, &[], payload)
}

/// PUBLISH; `id` is written as it is.
fn publish_with(
    version: Version,
    first: u8,
    topic: &[u8],
    id: &[u8],
    props: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    packet(first, &[&data(topic), id, &properties(version, props), payload])
}

fn publish(version: Version, first: u8, topic: &[u8], id: &[u8], payload: &[u8]) -> Vec<u8> {
    publish_with(version, first, topic, id, &[], payload)
}

/// SUBSCRIBE 1 or UNSUBSCRIBE 1 by its first byte.
fn subscribe(version: Version, first: u8, filters: &[&[u8]]) -> Vec<u8> {
    packet(first, &[&[0, 1], &properties(version, &[]), &filters.concat()])
}

/// The pieces of a case that is the same in both versions but for property lengths.
fn in_version(version: Version, rows: Vec<(&'static str, Vec<u8>, Option<&'static str>)>) -> Vec<Case> {
    rows.into_iter()
        .map(|(name, bytes, error)| Case {
            name,
            version,
            bytes,
            error,
        })
        .collect()
}

fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for version in [V311, V5] {
        cases.extend(in_version(version, legal::both(version)));
        cases.extend(in_version(version, illegal::both(version)));
    }
    cases.extend(in_version(V311, legal::v311()));
    cases.extend(in_version(V311, illegal::v311()));
    cases.extend(in_version(V5, legal::v5()));
    cases.extend(in_version(V5, illegal::v5()));
    cases
}

/// Decodes `bytes` as the first packet if it is a CONNECT, otherwise after a CONNECT.
fn decode(version: Version, bytes: &[u8]) -> Result<Option<Packet>, DecodeError> {
    let mut decoder = Decoder::server(1 << 20);
    let mut buf = BytesMut::new();
    if bytes[0] >> 4 != 1 {
        buf.extend_from_slice(&connect(version, 2, &[&text("c")]));
        assert!(
            decoder.decode(&mut buf).unwrap().is_some(),
            "CONNECT before the case"
        );
    }
    buf.extend_from_slice(bytes);
    let packet = decoder.decode(&mut buf)?;
    assert!(packet.is_none() || buf.is_empty(), "one packet is decoded whole");
    Ok(packet)
}

#[test]
fn every_legal_case_is_accepted_and_comes_back_the_same() {
    for case in all().into_iter().filter(|case| case.error.is_none()) {
        let packet = decode(case.version, &case.bytes);
        let packet = packet.unwrap_or_else(|error| panic!("{} {:?}: {error}", case.name, case.version));
        let packet = packet.unwrap_or_else(|| panic!("{} {:?}: hangs", case.name, case.version));
        let mut again = BytesMut::new();
        packet.encode(case.version, &mut again).unwrap();
        assert_eq!(packet.encoded_len(case.version), Ok(again.len()));
        assert_eq!(
            decode(case.version, &again),
            Ok(Some(packet)),
            "{} {:?}",
            case.name,
            case.version
        );
    }
}

#[test]
fn every_illegal_case_is_refused_for_its_reason() {
    for case in all() {
        let Some(expected) = case.error else { continue };
        match decode(case.version, &case.bytes) {
            Err(error) => {
                let name = format!("{error:?}");
                let name = name.split(|c: char| !c.is_alphanumeric()).next().unwrap();
                assert_eq!(name, expected, "{} {:?}", case.name, case.version);
            }
            other => panic!("{} {:?}: {other:?}", case.name, case.version),
        }
    }
}

#[test]
fn an_error_in_connect_has_a_reason_that_connack_may_carry() {
    for case in all().into_iter().filter(|case| case.bytes[0] >> 4 == 1) {
        let Err(error) = decode(case.version, &case.bytes) else {
            continue;
        };
        for version in [V311, V5] {
            if let Some(refusal) = error.refusal(version) {
                Packet::ConnAck(Box::new(refusal))
                    .encode(version, &mut BytesMut::new())
                    .unwrap();
            }
        }
        let reason = error.reason_code();
        assert!(
            reason.allowed_in(mqtt_codec::PacketType::ConnAck, mqtt_codec::Role::Server),
            "{error}"
        );
    }
}

/// Rows of the list: how often each (case, version, legal) is there.
fn listed() -> BTreeMap<(String, String, bool), usize> {
    let mut rows = BTreeMap::new();
    for line in include_str!("list.md")
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(2)
    {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, name, version, legal, _] = cells[..] else {
            panic!("row {line}")
        };
        *rows
            .entry((name.to_owned(), version.to_owned(), legal == "yes"))
            .or_default() += 1;
    }
    rows
}

#[test]
fn the_cases_are_exactly_those_of_the_list() {
    let mut tried = BTreeMap::new();
    for case in all() {
        let version = if case.version == V5 { "5" } else { "3.1.1" };
        *tried
            .entry((case.name.to_owned(), version.to_owned(), case.error.is_none()))
            .or_default() += 1;
    }
    let listed = listed();
    let missing: Vec<_> = listed.keys().filter(|row| !tried.contains_key(*row)).collect();
    let surplus: Vec<_> = tried.keys().filter(|row| !listed.contains_key(*row)).collect();
    assert!(
        missing.is_empty() && surplus.is_empty(),
        "missing {missing:#?}, surplus {surplus:#?}"
    );
    assert_eq!(tried, listed);
    let count = |version: &str, legal: bool| {
        let rows = listed.iter().filter(|((_, v, l), _)| v == version && *l == legal);
        rows.map(|(_, count)| count).sum::<usize>()
    };
    assert_eq!((count("3.1.1", true), count("5", true)), (18, 29));
    assert_eq!((count("3.1.1", false), count("5", false)), (71, 106));
}
