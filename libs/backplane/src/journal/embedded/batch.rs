//! What is written together, and what of it stays in memory.

use std::collections::VecDeque;

use ahash::AHashMap;
use bytes::{Bytes, BytesMut};
use model::FrameSeq;

use super::format::Record;
use super::log::Log;
use super::queue::Append;
use super::window::Key;
use crate::journal::{JournalError, StoredFrame};

/// A batch on its way: the appends that get places of their own, and those that repeat one of them.
#[derive(Default)]
pub(super) struct Batch {
    pub appends: Vec<Placed>,
    pub by_id: AHashMap<Key, usize>,
    pub repeats: Vec<(usize, Append)>,
    pub size: usize,
}

pub(super) struct Placed {
    pub append: Append,
    pub key: Key,
    pub seq: u64,
}

impl Batch {
    pub fn encode(&self, seed: u32, at: u64) -> Bytes {
        let mut out = BytesMut::with_capacity(self.size);
        for Placed { append, seq, .. } in &self.appends {
            let record = Record {
                batch: u32::try_from(at).expect("a segment is at most 1 GiB and one batch long"),
                partition: append.partition.0,
                seq: *seq,
                number: append.id.number,
                writer: &append.id.writer,
                frame: &append.frame,
            };
            record.encode(seed, &mut out);
        }
        out.freeze()
    }

    /// The next frame of each partition before the batch, from what it is behind it.
    pub fn first_places(&self, after: &[u64]) -> Vec<u64> {
        let mut next = after.to_vec();
        for placed in self.appends.iter().rev() {
            next[usize::from(placed.append.partition.0)] = placed.seq;
        }
        next
    }

    pub fn answer(self, result: impl Fn(u64) -> Result<FrameSeq, JournalError>) {
        // Whoever asked may have gone; what happened to the frame stands all the same.
        for (first, append) in self.repeats {
            let _ = append.answer.send(result(self.appends[first].seq));
        }
        for placed in self.appends {
            let _ = placed.append.answer.send(result(placed.seq));
        }
    }
}

/// Which frames are in memory, the oldest first.
#[derive(Default)]
pub(super) struct Recent {
    frames: VecDeque<(u16, usize)>,
    bytes: usize,
}

impl Recent {
    /// Keeps a frame in memory and lets the oldest go.
    pub fn remember(&mut self, log: &Log, partition: u16, frame: StoredFrame, limit: usize) {
        // What a frame costs besides its bytes.
        let cost = frame.bytes.len() + 128;
        self.frames.push_back((partition, cost));
        self.bytes += cost;
        log.remember(partition, frame);
        while self.bytes > limit {
            let Some((partition, cost)) = self.frames.pop_front() else {
                break;
            };
            self.bytes -= cost;
            log.forget_oldest(partition);
        }
    }
}
