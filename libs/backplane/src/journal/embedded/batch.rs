//! What is written together, and what of it stays in memory.
//!
//! An append that names the frame it follows is held against the places of the batch, as if all before it in the batch were
//! stored already. So one may follow another that is still on its way; if the batch fails, all of it fails, and nobody
//! stands behind a frame that is not there.

use std::collections::VecDeque;

use ahash::AHashMap;
use bytes::{Bytes, BytesMut};
use model::FrameSeq;

use super::format::{RECORD, Record};
use super::log::Log;
use super::queue::Append;
use super::window::Key;
use crate::journal::{JournalError, StoredFrame};

/// A batch on its way: the appends that get places of their own, those that repeat one of them, and those that do not follow
/// what they name.
#[derive(Default)]
pub(super) struct Batch {
    pub appends: Vec<Placed>,
    pub by_id: AHashMap<Key, usize>,
    pub repeats: Vec<(usize, Append)>,
    /// Not stored, whatever becomes of the batch. Answered with the others all the same: who then asks for the head finds what
    /// stands where it wanted to be.
    pub misplaced: Vec<(FrameSeq, Append)>,
    pub size: usize,
}

pub(super) struct Placed {
    pub append: Append,
    pub key: Key,
    pub seq: u64,
}

impl Batch {
    /// Gives an append the next place of its partition, unless it repeats one of the batch or does not follow what it names.
    pub fn place(&mut self, append: Append, key: Key, next: &mut u64) {
        if let Some(first) = self.by_id.get(&key) {
            self.repeats.push((*first, append));
            return;
        }
        if let Some(follows) = append.follows
            && follows.0.checked_add(1) != Some(*next)
        {
            self.misplaced.push((follows, append));
            return;
        }
        self.by_id.insert(key, self.appends.len());
        self.size += RECORD + append.id.writer.len() + append.frame.len();
        let seq = *next;
        self.appends.push(Placed { append, key, seq });
        *next += 1;
    }

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
        for (follows, append) in self.misplaced {
            let partition = append.partition;
            let _ = append
                .answer
                .send(Err(JournalError::Mismatch { partition, follows }));
        }
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
