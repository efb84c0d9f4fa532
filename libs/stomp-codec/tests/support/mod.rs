//! What the tests of this crate share: decoding whole streams, cut in any way.
#![allow(dead_code, missing_docs)]

use bytes::BytesMut;
use stomp_codec::{Command, DecodeError, Decoder, Frame, Headers, Item, Limits, Role, Version};

pub const VERSIONS: [Option<Version>; 4] = [None, Some(Version::V10), Some(Version::V11), Some(Version::V12)];

pub fn decoder(role: Role, version: Option<Version>, limits: Limits) -> Decoder {
    let mut decoder = Decoder::new(role, limits);
    if let Some(version) = version {
        decoder.set_version(version);
    }
    decoder
}

/// Everything a stream holds: its items, and the error that ended it, if one did.
pub type Outcome = (Vec<Item>, Option<DecodeError>);

/// Feeds the chunks one after the other, taking all there is after each.
pub fn feed<'a>(decoder: &mut Decoder, chunks: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut buf = BytesMut::new();
    let mut items = Vec::new();
    for chunk in chunks {
        buf.extend_from_slice(chunk);
        loop {
            match decoder.decode(&mut buf) {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(error) => return (items, Some(error)),
            }
        }
    }
    (items, None)
}

/// The side that reads this command.
pub fn reader_of(command: Command) -> Role {
    match command.sender() {
        Role::Server => Role::Client,
        Role::Client => Role::Server,
    }
}

/// The frame without its content-length, which encoding sets right.
pub fn without_length(frame: &Frame) -> Frame {
    let headers: Headers = frame
        .headers
        .iter()
        .filter(|(name, _)| *name != "content-length")
        .collect();
    Frame {
        headers,
        ..frame.clone()
    }
}
