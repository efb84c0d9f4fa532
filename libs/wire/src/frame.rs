//! Entries and frames: what owners append, the log keeps and services read.

mod builder;

use bytes::{Bytes, BytesMut};
use model::{FrameSeq, PartitionId, Partitioning, Position};
use prost::Message as _;
use thiserror::Error;

pub use builder::FrameBuilder;

use crate::{Entry, Frame, Kind};

/// A frame or entry that cannot be read: the log or the bus brought something that no edge wrote.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("decoding a {what}")]
pub struct FrameError {
    what: &'static str,
    #[source]
    source: prost::DecodeError,
}

impl Entry {
    /// The kind; an unknown number (a newer writer's) reads as [`Kind::Unspecified`].
    pub fn known_kind(&self) -> Kind {
        Kind::try_from(self.kind).unwrap_or(Kind::Unspecified)
    }

    /// The partition whose log the entry belongs to.
    pub fn partition(&self, partitioning: Partitioning) -> PartitionId {
        partitioning.of(&self.org, &self.topic)
    }

    /// Whether anybody is told of it: not of a change or a notice of memberships. What comes after it in its topic names as its
    /// `prev` the one before.
    pub fn is_told(&self) -> bool {
        self.known_kind() != Kind::Membership
    }

    /// Whether the entry is a message of its own in history: CHAT, RECALL, STREAM_PART.
    pub fn is_history(&self) -> bool {
        matches!(self.known_kind(), Kind::Chat | Kind::Recall | Kind::StreamPart)
    }

    /// Whether its uid makes it one of its topic: another entry with it is the same message, or a conflict. Parts of a
    /// streamed answer share theirs, receipts are the state of another message.
    pub fn is_unique(&self) -> bool {
        let kind = self.known_kind();
        !self.uid.is_empty() && matches!(kind, Kind::Chat | Kind::Recall | Kind::Generic | Kind::Membership)
    }

    /// How many bytes it has when it is encoded.
    pub fn size(&self) -> usize {
        self.encoded_len()
    }

    /// About how many bytes it keeps in memory when it has bytes of its own.
    pub fn cost(&self) -> usize {
        self.payload.len() + self.properties.len() + 256
    }

    /// Gives it bytes of its own, unless they are a good part of the `whole` that they are slices of, in bytes: an entry that
    /// waits for a slow client would keep a whole frame in memory. What it keeps is then less than [`Self::PINNED`] times its
    /// [`Self::cost`].
    pub fn detach(&mut self, whole: usize) {
        if whole >= Self::PINNED * self.cost() {
            self.payload = Bytes::copy_from_slice(&self.payload);
            self.properties = Bytes::copy_from_slice(&self.properties);
        }
    }

    /// See [`Self::detach`].
    pub const PINNED: usize = 4;

    /// Its bytes, as they stand in a frame.
    pub fn to_bytes(&self) -> Bytes {
        self.encode_to_vec().into()
    }
}

/// Reads one entry; its payload is a slice of `bytes`.
pub fn decode_entry(bytes: Bytes) -> Result<Entry, FrameError> {
    Entry::decode(bytes).map_err(|source| FrameError {
        what: "log entry",
        source,
    })
}

/// Reads any of the internal messages; byte fields are slices of `bytes`.
pub fn decode<M: prost::Message + Default>(bytes: Bytes) -> Result<M, FrameError> {
    M::decode(bytes).map_err(|source| FrameError {
        what: std::any::type_name::<M>(),
        source,
    })
}

/// Writes any of the internal messages.
pub fn encode<M: prost::Message>(message: &M) -> Bytes {
    let mut buf = BytesMut::with_capacity(message.encoded_len());
    message.encode(&mut buf).expect("a BytesMut grows");
    buf.freeze()
}

impl Frame {
    /// The entries with their positions, given the frame's place in its partition. Entries that cannot be decoded come
    /// as errors and keep their position, so that one bad entry hides no other.
    pub fn positioned(
        &self,
        seq: FrameSeq,
    ) -> impl Iterator<Item = (Position, &Bytes, Result<Entry, FrameError>)> {
        self.entries.iter().enumerate().map(move |(i, bytes)| {
            // An owner never puts more than Position::FRAME_LIMIT entries into a frame.
            let index = u16::try_from(i).unwrap_or(u16::MAX);
            (Position::new(seq, index), bytes, decode_entry(bytes.clone()))
        })
    }

    /// The edge that submitted an entry, and its own number for it. `None` where the frame does not say.
    pub fn origin(&self, index: usize) -> Option<(&str, u64)> {
        let edge = usize::try_from(*self.edge_of.get(index)?).ok()?;
        Some((self.edges.get(edge)?, *self.numbers.get(index)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_keeps_its_entries_apart_and_shares_their_bytes() {
        let entry = |uid: &str| Entry {
            kind: Kind::Chat.into(),
            org: "o".into(),
            topic: "org/agent/a/v".into(),
            uid: uid.into(),
            payload: Bytes::from_static(b"hello"),
            ..Entry::default()
        };
        let frame = Frame {
            epoch: 7,
            number: 1,
            entries: vec![entry("1").to_bytes(), entry("2").to_bytes()],
            ..Frame::default()
        };
        let bytes = encode(&frame);
        let back: Frame = decode(bytes.clone()).unwrap();
        let got: Vec<_> = back
            .positioned(FrameSeq(3))
            .map(|(p, _, e)| (p, e.unwrap()))
            .collect();
        assert_eq!(got[1], (Position::new(FrameSeq(3), 1), entry("2")));
        let (start, end) = (bytes.as_ptr() as usize, bytes.as_ptr() as usize + bytes.len());
        assert!(
            (start..end).contains(&(got[0].1.payload.as_ptr() as usize)),
            "the payload is a slice of the frame"
        );
    }

    #[test]
    fn garbage_is_an_error_and_not_a_panic() {
        for n in 0..255u8 {
            let _ = decode_entry(Bytes::from(vec![n; 9]));
        }
        assert!(decode_entry(Bytes::from_static(&[0xff; 4])).is_err());
    }
}
