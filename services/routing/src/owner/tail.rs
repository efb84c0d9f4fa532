//! The end of the log, as the owner has it in memory: what an edge that comes again has missed, and which submissions are
//! stored.

use std::collections::VecDeque;

use ahash::AHashMap;
use contract::routing::RoutedEntry;
use model::{EdgeId, FrameSeq, Position};

/// An entry of the log with what the owner needs to know of it.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub routed: RoutedEntry,
    /// Whether it is news to those who listen.
    pub fan_out: bool,
    /// The edge that submitted it, and its own number.
    pub origin: Option<(EdgeId, u64)>,
}

struct Frame {
    seq: FrameSeq,
    bytes: usize,
    entries: Vec<Stored>,
}

/// The latest frames, bounded in bytes.
pub(crate) struct Tail {
    frames: VecDeque<Frame>,
    bytes: usize,
    limit: usize,
    /// Everything after this is here.
    start: Position,
    numbers: AHashMap<EdgeId, AHashMap<u64, Position>>,
}

impl Tail {
    /// A tail that begins after `start` and keeps about so many bytes.
    pub fn new(start: Position, limit: usize) -> Self {
        Self {
            frames: VecDeque::new(),
            bytes: 0,
            limit,
            start,
            numbers: AHashMap::new(),
        }
    }

    /// The next frame of the log.
    pub fn push(&mut self, seq: FrameSeq, entries: Vec<Stored>) {
        // What came from one edge stands together more often than not: its numbers are looked for once.
        for of_edge in entries.chunk_by(|a, b| edge_of(a) == edge_of(b)) {
            let Some(edge) = edge_of(&of_edge[0]) else {
                continue;
            };
            let numbers = self.numbers.entry(edge.clone()).or_default();
            numbers.extend(of_edge.iter().filter_map(numbered));
        }
        let bytes = 64 + entries.iter().map(|e| e.routed.bytes.len() + 256).sum::<usize>();
        self.bytes += bytes;
        self.frames.push_back(Frame { seq, bytes, entries });
        while self.bytes > self.limit && self.frames.len() > 1 {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(frame) = self.frames.pop_front() else {
            return;
        };
        self.bytes -= frame.bytes;
        self.start = Position::end_of(frame.seq);
        for of_edge in frame.entries.chunk_by(|a, b| edge_of(a) == edge_of(b)) {
            let Some(edge) = edge_of(&of_edge[0]) else {
                continue;
            };
            if let Some(numbers) = self.numbers.get_mut(edge) {
                for (number, _) in of_edge.iter().filter_map(numbered) {
                    numbers.remove(&number);
                }
                if numbers.is_empty() {
                    self.numbers.remove(edge);
                }
            }
        }
    }

    /// Whether everything after the position is here.
    pub fn reaches(&self, position: Position) -> bool {
        position >= self.start
    }

    /// Where a submission is stored, if it is in the tail.
    pub fn stored(&self, edge: &EdgeId, number: u64) -> Option<Position> {
        self.numbers.get(edge)?.get(&number).copied()
    }

    /// Everything after the position that is news to those who listen; `None` if that is not all here.
    pub fn after(&self, position: Position) -> Option<impl Iterator<Item = &RoutedEntry>> {
        if !self.reaches(position) {
            return None;
        }
        let from = self
            .frames
            .partition_point(|f| Position::end_of(f.seq) <= position);
        let entries = self.frames.range(from..).flat_map(|f| &f.entries);
        Some(
            entries
                .filter(move |e| e.fan_out && e.routed.position > position)
                .map(|e| &e.routed),
        )
    }
}

fn edge_of(entry: &Stored) -> Option<&EdgeId> {
    entry.origin.as_ref().map(|(edge, _)| edge)
}

/// The edge's number of an entry, and where that is.
fn numbered(entry: &Stored) -> Option<(u64, Position)> {
    let (_, number) = entry.origin.as_ref()?;
    Some((*number, entry.routed.position))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;

    fn stored(seq: u64, number: u64, size: usize) -> Vec<Stored> {
        let routed = RoutedEntry {
            position: Position::new(FrameSeq(seq), 0),
            prev: None,
            entry: Arc::default(),
            bytes: Bytes::from(vec![0; size]),
        };
        let origin = Some((EdgeId::new("e"), number));
        vec![Stored {
            routed,
            fan_out: true,
            origin,
        }]
    }

    #[test]
    fn it_knows_what_it_has_and_how_far_back_that_goes() {
        let mut tail = Tail::new(Position::end_of(FrameSeq(4)), 2000);
        (5..9).for_each(|seq| tail.push(FrameSeq(seq), stored(seq, seq * 10, 500)));
        let edge = EdgeId::new("e");
        assert_eq!(tail.stored(&edge, 80), Some(Position::new(FrameSeq(8), 0)));
        assert_eq!(tail.stored(&edge, 50), None, "it was forgotten");
        assert!(tail.after(Position::end_of(FrameSeq(5))).is_none());
        let after = tail.after(Position::end_of(FrameSeq(6))).unwrap();
        assert_eq!(after.map(|e| e.position.seq().0).collect::<Vec<_>>(), [7, 8]);
        tail.push(FrameSeq(9), stored(9, 90, 5000));
        assert!(
            tail.reaches(Position::end_of(FrameSeq(8))),
            "the last one stays, however large"
        );
        assert!(!tail.reaches(Position::end_of(FrameSeq(7))));
    }
}
