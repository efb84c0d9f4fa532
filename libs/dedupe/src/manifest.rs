//! The manifest: what a checkpoint consists of. It is written last, in place of the one before.

use std::collections::BTreeSet;
use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use model::{FrameSeq, PartitionId, Position};

use crate::frame::{self, Damaged, Reader};
use crate::generation::Span;

const MAGIC: [u8; 4] = *b"LWkm";

/// A blob as a manifest names it. Written once: what has changed gets another name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Blob {
    /// The epoch of the owner that wrote it.
    pub(crate) epoch: u64,
    /// A number of the filter's, greater than all before.
    pub(crate) number: u64,
    /// Bytes in it.
    pub(crate) len: u32,
    /// The CRC-32C of all of them: a blob that was left by an owner of the same epoch and number is not taken for it.
    pub(crate) crc: u32,
}

impl Blob {
    const SIZE: usize = 24;

    /// Of these bytes. None of ours comes near 4 GiB.
    pub(crate) fn of(epoch: u64, number: u64, bytes: &[u8]) -> Self {
        Self {
            epoch,
            number,
            len: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            crc: crc32c::crc32c(bytes),
        }
    }

    /// The name to store it under: hexadecimal digits and a hyphen.
    pub fn name(&self) -> String {
        self.to_string()
    }

    /// How many bytes it has.
    pub fn size(&self) -> usize {
        usize::try_from(self.len).unwrap_or(usize::MAX)
    }

    /// The epoch of the owner that wrote a blob of this name; `None` if it is none of ours.
    fn epoch_in(name: &str) -> Option<u64> {
        let (epoch, number) = name.split_once('-')?;
        u64::from_str_radix(number, 16).ok()?;
        u64::from_str_radix(epoch, 16).ok()
    }

    pub(crate) fn is(&self, bytes: &[u8]) -> bool {
        self.size() == bytes.len() && self.crc == crc32c::crc32c(bytes)
    }

    fn put(&self, out: &mut BytesMut) {
        out.put_u64_le(self.epoch);
        out.put_u64_le(self.number);
        out.put_u32_le(self.len);
        out.put_u32_le(self.crc);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(Self {
            epoch: reader.u64()?,
            number: reader.u64()?,
            len: reader.u32()?,
            crc: reader.u32()?,
        })
    }
}

impl fmt::Display for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:08x}", self.epoch, self.number)
    }
}

/// An open generation as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OpenRecord {
    pub(crate) id: u64,
    pub(crate) span: Span,
    pub(crate) chunks: Vec<Blob>,
    pub(crate) tail: Vec<u64>,
}

/// A sealed one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClosedRecord {
    pub(crate) id: u64,
    pub(crate) keys: u64,
    pub(crate) span: Span,
    pub(crate) blob: Blob,
}

/// How a checkpoint stands to the log that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    /// What follows its position is in the log: read on from there.
    Joins,
    /// It is of another log.
    ForeignLog,
    /// It is of another partition.
    OtherPartition,
    /// It knows more than the log holds: the log has lost frames, or the checkpoint is of a copy that went on
    /// elsewhere.
    Newer,
    /// The log begins later than it ends: what was accepted between is in neither.
    Trimmed,
}

/// What a filter was when a checkpoint was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The identity of the log.
    pub log_epoch: u64,
    /// Of which partition.
    pub partition: PartitionId,
    /// Everything accepted up to here is in it.
    pub position: Position,
    /// What was accepted up to this time (milliseconds since 1970) is not all in it.
    pub missing: Option<u64>,
    pub(crate) next: u64,
    /// Oldest first; the last takes the new keys.
    pub(crate) open: Vec<OpenRecord>,
    /// Oldest first.
    pub(crate) closed: Vec<ClosedRecord>,
}

impl Manifest {
    /// Every blob that it needs.
    pub fn blobs(&self) -> BTreeSet<Blob> {
        let chunks = self.open.iter().flat_map(|open| &open.chunks);
        chunks
            .chain(self.closed.iter().map(|c| &c.blob))
            .copied()
            .collect()
    }

    /// How it stands to the log whose oldest frame is `first` and whose last is `head`; of an empty log `first` is
    /// `head` + 1.
    pub fn joins(&self, log_epoch: u64, partition: PartitionId, first: FrameSeq, head: FrameSeq) -> Join {
        let seq = self.position.seq().0;
        if self.log_epoch != log_epoch {
            Join::ForeignLog
        } else if self.partition != partition {
            Join::OtherPartition
        } else if seq > head.0 {
            Join::Newer
        } else if seq.saturating_add(1) < first.0 {
            Join::Trimmed
        } else {
            Join::Joins
        }
    }

    /// Which of the stored blobs nobody needs, for the owner of `epoch` to delete after its manifest (this one) was
    /// stored. What an owner of a higher epoch wrote is left alone, so that one which does not know yet that it was
    /// replaced deletes nothing of its successor's; and so is what is none of ours. Not while a checkpoint is being
    /// stored: its blobs come before its manifest.
    pub fn garbage<'a>(&self, stored: impl IntoIterator<Item = &'a str>, epoch: u64) -> Vec<String> {
        let needed: BTreeSet<String> = self.blobs().iter().map(Blob::name).collect();
        let is_ours = |name: &str| Blob::epoch_in(name).is_some_and(|of| of <= epoch);
        let names = stored.into_iter();
        let superfluous = names.filter(|name| is_ours(name) && !needed.contains(*name));
        superfluous.map(str::to_owned).collect()
    }

    /// As it is stored.
    pub fn encode(&self) -> Bytes {
        let size = |open: &OpenRecord| open.tail.len() * 8 + open.chunks.len() * Blob::SIZE + 32;
        let capacity = self.open.iter().map(size).sum::<usize>() + self.closed.len() * 56 + 64;
        let mut out = frame::begin(MAGIC, capacity);
        out.put_u16_le(self.partition.0);
        out.put_u64_le(self.log_epoch);
        out.put_u64_le(self.position.0);
        out.put_u8(u8::from(self.missing.is_some()));
        out.put_u64_le(self.missing.unwrap_or(0));
        out.put_u64_le(self.next);
        frame::put_count(&mut out, self.open.len());
        self.open.iter().for_each(|open| open.put(&mut out));
        frame::put_count(&mut out, self.closed.len());
        self.closed.iter().for_each(|closed| closed.put(&mut out));
        frame::end(out)
    }

    /// Reads what was stored.
    ///
    /// # Errors
    /// When it is not whole, or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut reader = Reader::open(bytes, MAGIC)?;
        let partition = PartitionId(reader.u16()?);
        let (log_epoch, position) = (reader.u64()?, Position(reader.u64()?));
        let missing = (reader.u8()? != 0, reader.u64()?);
        let next = reader.u64()?;
        if next > u64::MAX / 2 {
            return Err(Damaged("nobody has counted so far"));
        }
        let count = reader.count(OpenRecord::SIZE)?;
        let open = (0..count).map(|_| OpenRecord::read(&mut reader));
        let open = open.collect::<Result<_, _>>()?;
        let count = reader.count(ClosedRecord::SIZE)?;
        let closed = (0..count).map(|_| ClosedRecord::read(&mut reader));
        let closed = closed.collect::<Result<_, _>>()?;
        reader.close()?;
        Ok(Self {
            log_epoch,
            partition,
            position,
            missing: missing.0.then_some(missing.1),
            next,
            open,
            closed,
        })
    }
}

impl Span {
    fn put(self, out: &mut BytesMut) {
        out.put_u64_le(self.from);
        out.put_u64_le(self.to);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Damaged> {
        let (from, to) = (reader.u64()?, reader.u64()?);
        Ok(Self { from, to })
    }
}

impl OpenRecord {
    /// The least that one takes.
    const SIZE: usize = 32;

    /// Whether it has no keys.
    pub(crate) fn is_empty(&self) -> bool {
        self.tail.is_empty() && self.chunks.is_empty()
    }

    fn put(&self, out: &mut BytesMut) {
        out.put_u64_le(self.id);
        self.span.put(out);
        frame::put_count(out, self.chunks.len());
        self.chunks.iter().for_each(|chunk| chunk.put(out));
        frame::put_u64s(out, &self.tail);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Damaged> {
        let (id, span) = (reader.u64()?, Span::read(reader)?);
        let count = reader.count(Blob::SIZE)?;
        let chunks = (0..count).map(|_| Blob::read(reader));
        Ok(Self {
            id,
            span,
            chunks: chunks.collect::<Result<_, _>>()?,
            tail: reader.u64s()?,
        })
    }
}

impl ClosedRecord {
    const SIZE: usize = 32 + Blob::SIZE;

    fn put(&self, out: &mut BytesMut) {
        out.put_u64_le(self.id);
        out.put_u64_le(self.keys);
        self.span.put(out);
        self.blob.put(out);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(Self {
            id: reader.u64()?,
            keys: reader.u64()?,
            span: Span::read(reader)?,
            blob: Blob::read(reader)?,
        })
    }
}
