//! What is stored of a filter, so that it outlives its owner. A checkpoint costs what is new: sealed generations are
//! stored once, the keys of the open ones in chunks, and what is less than a chunk in the manifest itself.

use std::collections::BTreeSet;

use bytes::Bytes;
use model::{PartitionId, Position};

use crate::filter::Filter;
use crate::frame::{self, Damaged, Reader};
use crate::generation::{Chunk, Open, Stored};
use crate::manifest::{Blob, ClosedRecord, Manifest, OpenRecord};

const MAGIC: [u8; 4] = *b"LWkc";

/// What a checkpoint is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The identity of the log.
    pub log_epoch: u64,
    /// Which partition.
    pub partition: PartitionId,
    /// The last entry that was settled.
    pub position: Position,
    /// The epoch of the lease of who makes it.
    pub owner_epoch: u64,
}

/// A checkpoint that is to be stored: first every blob, in any order, then the manifest, in place of the one before.
#[derive(Debug)]
pub struct Checkpoint {
    /// Names and contents.
    pub blobs: Vec<(String, Bytes)>,
    /// To be stored when every blob is durable.
    pub manifest: Bytes,
    serial: u64,
    needed: BTreeSet<Blob>,
    /// Which blob holds what, by generation.
    chunks: Vec<(u64, Blob, usize)>,
    closed: Vec<(u64, Blob)>,
}

impl Checkpoint {
    /// Bytes that it writes.
    pub fn size(&self) -> usize {
        self.manifest.len() + self.blobs.iter().map(|(_, bytes)| bytes.len()).sum::<usize>()
    }
}

/// Keys as a blob.
pub(crate) fn encode_keys(keys: &[u64]) -> Bytes {
    let mut out = frame::begin(MAGIC, keys.len() * 8 + 4);
    frame::put_u64s(&mut out, keys);
    frame::end(out)
}

pub(crate) fn decode_keys(bytes: &[u8]) -> Result<Vec<u64>, Damaged> {
    let mut reader = Reader::open(bytes, MAGIC)?;
    let keys = reader.u64s()?;
    reader.close()?;
    Ok(keys)
}

impl Filter {
    /// What has to be stored for the filter as it stands, without what is unsettled. The filter changes nothing of
    /// itself before [`Filter::confirm`]: a checkpoint that failed is dropped, and the next has everything again.
    pub fn checkpoint(&mut self, stamp: &Stamp) -> Checkpoint {
        self.checkpoints += 1;
        let mut made = Making {
            stamp,
            next: self.next,
            blobs: Vec::new(),
            chunks: Vec::new(),
            closed: Vec::new(),
        };
        let spill = self.config.spill;
        let closed = self.closed.iter().map(|closed| ClosedRecord {
            id: closed.id,
            keys: closed.keys,
            span: closed.span,
            blob: made.sealed(closed.id, &closed.stored),
        });
        let closed = closed.collect();
        let open = self.closing.iter().chain([&self.current]);
        let open = open.map(|open| made.open(open, spill)).collect();
        self.next = made.next;
        let manifest = Manifest {
            log_epoch: stamp.log_epoch,
            partition: stamp.partition,
            position: stamp.position,
            missing: self.missing,
            next: self.next,
            open,
            closed,
        };
        Checkpoint {
            blobs: made.blobs,
            manifest: manifest.encode(),
            serial: self.checkpoints,
            needed: manifest.blobs(),
            chunks: made.chunks,
            closed: made.closed,
        }
    }

    /// The manifest is durable. Gives the names of the blobs that it has made superfluous, which may be deleted. Call
    /// it for one checkpoint before the next is made; of one that is not the latest it believes nothing.
    pub fn confirm(&mut self, checkpoint: &Checkpoint) -> Vec<String> {
        if checkpoint.serial != self.checkpoints {
            return Vec::new();
        }
        let spill = self.config.spill;
        for (id, blob, keys) in &checkpoint.chunks {
            // A generation that has been sealed meanwhile does not need its chunks.
            if let Some(open) = self.open_mut(*id) {
                open.chunks.push(Chunk {
                    blob: *blob,
                    here: true,
                });
                open.tail.drain(..keys);
                open.tail.shrink_to(spill);
            }
        }
        for (id, blob) in &checkpoint.closed {
            if let Some(closed) = self.closed.iter_mut().find(|closed| closed.id == *id) {
                closed.stored = Stored::At(*blob);
            }
        }
        let before = std::mem::replace(&mut self.stored, checkpoint.needed.clone());
        let superfluous = before.difference(&self.stored).map(Blob::name);
        superfluous.collect()
    }

    pub(crate) fn open_mut(&mut self, id: u64) -> Option<&mut Open> {
        let mut open = self.closing.iter_mut().chain([&mut self.current]);
        open.find(|open| open.id == id)
    }
}

/// A checkpoint that is being made.
struct Making<'a> {
    stamp: &'a Stamp,
    next: u64,
    blobs: Vec<(String, Bytes)>,
    chunks: Vec<(u64, Blob, usize)>,
    closed: Vec<(u64, Blob)>,
}

impl Making<'_> {
    fn blob(&mut self, bytes: Bytes) -> Blob {
        let blob = Blob::of(self.stamp.owner_epoch, self.next, &bytes);
        self.next += 1;
        self.blobs.push((blob.name(), bytes));
        blob
    }

    fn sealed(&mut self, id: u64, stored: &Stored) -> Blob {
        match stored {
            Stored::At(blob) => *blob,
            Stored::Not(bytes) => {
                let blob = self.blob(bytes.clone());
                self.closed.push((id, blob));
                blob
            }
        }
    }

    fn open(&mut self, open: &Open, spill: usize) -> OpenRecord {
        let mut chunks: Vec<Blob> = open.chunks.iter().map(|chunk| chunk.blob).collect();
        let mut tail: &[u64] = &open.tail;
        if tail.len() >= spill.max(1) {
            let blob = self.blob(encode_keys(tail));
            self.chunks.push((open.id, blob, tail.len()));
            chunks.push(blob);
            tail = &[];
        }
        OpenRecord {
            id: open.id,
            span: open.span,
            chunks,
            tail: tail.to_vec(),
        }
    }
}
