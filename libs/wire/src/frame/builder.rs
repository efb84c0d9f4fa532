//! Writes a frame as its entries are decided: each is encoded once, into the bytes that the log gets.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use crate::{Entry, Frame};

/// The field `entries` of a frame.
const ENTRIES: u32 = 3;
/// What an entry costs in a frame beside its own bytes, at most: its key and length, its edge and number.
const AROUND: usize = 24;

/// A frame under construction.
#[derive(Debug)]
pub struct FrameBuilder {
    head: Frame,
    body: BytesMut,
    places: Vec<Range<usize>>,
}

impl FrameBuilder {
    /// The frame of an owner under its epoch and number.
    pub fn new(epoch: u64, number: u64) -> Self {
        let head = Frame {
            epoch,
            number,
            ..Frame::default()
        };
        Self {
            head,
            body: BytesMut::new(),
            places: Vec::new(),
        }
    }

    /// How many entries it holds.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// How many bytes it has, at most.
    pub fn size(&self) -> usize {
        let edges: usize = self.head.edges.iter().map(|e| e.len() + 4).sum();
        self.body.len() + edges + AROUND * (self.places.len() + 1)
    }

    /// How many bytes it would have with this entry from this edge, at most.
    pub fn size_with(&self, entry: &Entry, edge: &str) -> usize {
        self.size() + entry.encoded_len() + edge.len() + 2 * AROUND
    }

    /// Adds an entry, submitted by `edge` under its `number`.
    pub fn push(&mut self, entry: &Entry, edge: &str, number: u64) {
        let len = entry.encoded_len();
        self.body.reserve(len + encoded_len_varint(len as u64) + 1);
        encode_key(ENTRIES, WireType::LengthDelimited, &mut self.body);
        encode_varint(len as u64, &mut self.body);
        let begin = self.body.len();
        entry.encode(&mut self.body).expect("a BytesMut grows");
        self.places.push(begin..self.body.len());
        // The entries of one edge usually stand together.
        let known = self.head.edges.iter().rposition(|e| e == edge);
        let index = known.unwrap_or_else(|| {
            self.head.edges.push(edge.to_owned());
            self.head.edges.len() - 1
        });
        self.head.edge_of.push(u32::try_from(index).unwrap_or(u32::MAX));
        self.head.numbers.push(number);
    }

    /// The bytes of the frame, and those of each entry, which are slices of them.
    pub fn finish(mut self) -> (Bytes, Vec<Bytes>) {
        // Fields of a message may come in any order.
        self.head.encode(&mut self.body).expect("a BytesMut grows");
        let frame = self.body.freeze();
        let entries = self.places.into_iter().map(|place| frame.slice(place)).collect();
        (frame, entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(uid: &str, payload: usize) -> Entry {
        Entry {
            uid: uid.into(),
            payload: vec![1; payload].into(),
            ..Entry::default()
        }
    }

    #[test]
    fn what_is_built_reads_back_with_its_origins() {
        let mut builder = FrameBuilder::new(5, 9);
        let entries = [entry("a", 10), entry("b", 300), entry("c", 0)];
        for ((entry, edge), number) in entries.iter().zip(["e1", "e2", "e1"]).zip(7..) {
            let promised = builder.size_with(entry, edge);
            builder.push(entry, edge, number);
            assert!(builder.size() <= promised);
        }
        let bound = builder.size();
        let (bytes, slices) = builder.finish();
        assert!(bytes.len() <= bound);
        let frame: Frame = crate::frame::decode(bytes).unwrap();
        assert_eq!((frame.epoch, frame.number, &frame.entries), (5, 9, &slices));
        let origins: Vec<_> = (0..4).map(|i| frame.origin(i)).collect();
        assert_eq!(origins, [Some(("e1", 7)), Some(("e2", 8)), Some(("e1", 9)), None]);
        for (slice, entry) in slices.into_iter().zip(&entries) {
            assert_eq!(crate::frame::decode_entry(slice).unwrap(), *entry);
        }
    }

    #[test]
    fn a_frame_may_hold_nothing() {
        let (bytes, slices) = FrameBuilder::new(3, 1).finish();
        let frame: Frame = crate::frame::decode(bytes).unwrap();
        assert_eq!((frame.epoch, frame.entries.len(), slices.len()), (3, 0, 0));
    }
}
