//! The bytes of a segment file: a header, then records one after the other. All numbers are little endian.
//!
//! ```text
//! header  magic 8 | crc 4 | partitions 2 | 0 2 | epoch 8 | number 8 | previous 8 | start 8 × partitions
//! record  crc 4 | frame length 4 | batch 4 | partition 2 | writer length 2 | seq 8 | frame number 8 | writer | frame
//! ```
//!
//! `start` holds the next frame of each partition when the segment begins: a partition keeps its count though all its frames
//! are trimmed, and a missing segment shows. `previous` is how many bytes of the segment before are part of the log;
//! what stands behind them was never acknowledged. `batch` is the offset at which the write began that brought the record: all
//! before it was durable by then, which tells a torn write from damage (see `recovery`).
//!
//! A checksum covers everything behind it in its header or record, and for records also epoch and segment number, so that bytes of
//! another log, of another segment, or chosen by a client are not taken for a record.

use bytes::{BufMut, BytesMut};

/// Begins every segment; the last byte is [`VERSION`].
const MAGIC: [u8; 8] = *b"LWJRNL\0\x03";
/// The version of the format. In logs of version 1 every edge appended, and what they hold was judged afterwards; from 2 on a
/// log holds accepted entries only; from 3 on all colleague threads of an organisation are in one partition.
pub(super) const VERSION: u8 = MAGIC[7];
const HEADER: usize = 40;
/// Bytes of a record besides writer and frame.
pub(super) const RECORD: usize = 32;
/// The longest writer id that is taken.
pub(super) const WRITER_LIMIT: usize = 1024;

/// What a segment begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub epoch: u64,
    pub number: u64,
    pub previous: u64,
    pub start: Box<[u64]>,
}

impl Header {
    /// Bytes of a header for so many partitions.
    pub fn size(partitions: u16) -> u64 {
        HEADER as u64 + 8 * u64::from(partitions)
    }

    /// Bytes of this header.
    pub fn len(&self) -> u64 {
        (HEADER + 8 * self.start.len()) as u64
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + 8 * self.start.len());
        out.put_slice(&MAGIC);
        out.put_u32_le(0);
        out.put_u16_le(u16::try_from(self.start.len()).expect("partitions are counted in 16 bits"));
        out.put_u16_le(0);
        out.put_u64_le(self.epoch);
        out.put_u64_le(self.number);
        out.put_u64_le(self.previous);
        self.start.iter().for_each(|next| out.put_u64_le(*next));
        let crc = crc32c::crc32c(&out[12..]);
        out[8..12].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The version of an earlier format, if the segment that begins so was written in one.
    pub fn former_version(bytes: &[u8]) -> Option<u8> {
        let (name, rest) = bytes.split_at_checked(MAGIC.len() - 1)?;
        let version = *rest.first()?;
        let former = name == &MAGIC[..MAGIC.len() - 1] && (1..VERSION).contains(&version);
        former.then_some(version)
    }

    /// `Err` says what does not fit.
    pub fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes.len() < HEADER {
            return Err("the header is incomplete");
        }
        if bytes[..8] != MAGIC {
            return Err("this is not a segment of a version that is known");
        }
        let end = HEADER + 8 * usize::from(u16_at(bytes, 12));
        if bytes.len() < end {
            return Err("the header is incomplete");
        }
        if crc32c::crc32c(&bytes[12..end]) != u32_at(bytes, 8) {
            return Err("the header does not match its checksum");
        }
        Ok(Self {
            epoch: u64_at(bytes, 16),
            number: u64_at(bytes, 24),
            previous: u64_at(bytes, 32),
            start: bytes[HEADER..end].chunks_exact(8).map(|b| u64_at(b, 0)).collect(),
        })
    }

    /// What the checksums of this segment's records begin with.
    pub fn seed(&self) -> u32 {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.epoch.to_le_bytes());
        id[8..].copy_from_slice(&self.number.to_le_bytes());
        crc32c::crc32c(&id)
    }
}

/// A record in place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub batch: u32,
    pub partition: u16,
    pub seq: u64,
    pub number: u64,
    pub writer: &'a str,
    pub frame: &'a [u8],
}

impl<'a> Record<'a> {
    /// Bytes in the file.
    pub fn size(&self) -> usize {
        RECORD + self.writer.len() + self.frame.len()
    }

    pub fn encode(&self, seed: u32, out: &mut BytesMut) {
        let begin = out.len();
        out.put_u32_le(0);
        out.put_u32_le(u32::try_from(self.frame.len()).expect("frames are limited to 256 MiB"));
        out.put_u32_le(self.batch);
        out.put_u16_le(self.partition);
        out.put_u16_le(u16::try_from(self.writer.len()).expect("writers are limited to 1 KiB"));
        out.put_u64_le(self.seq);
        out.put_u64_le(self.number);
        out.put_slice(self.writer.as_bytes());
        out.put_slice(self.frame);
        let crc = crc32c::crc32c_append(seed, &out[begin + 4..]);
        out[begin..begin + 4].copy_from_slice(&crc.to_le_bytes());
    }

    /// How many bytes the record at the start of `bytes` claims to have; `None` when not even that is there.
    pub fn claimed_size(bytes: &[u8]) -> Option<usize> {
        (bytes.len() >= RECORD).then(|| RECORD + u32_at(bytes, 4) as usize + usize::from(u16_at(bytes, 14)))
    }

    /// Batch and partition that the record at the start of `bytes` claims: a cheap look before the checksum.
    pub fn claims(bytes: &[u8]) -> Option<(u32, u16)> {
        (bytes.len() >= RECORD).then(|| (u32_at(bytes, 8), u16_at(bytes, 12)))
    }

    /// The record at the start of `bytes`. `Err` says what does not fit.
    pub fn decode(seed: u32, bytes: &'a [u8]) -> Result<Self, &'static str> {
        let size = Self::claimed_size(bytes).filter(|size| *size <= bytes.len());
        let size = size.ok_or("the record is incomplete")?;
        if crc32c::crc32c_append(seed, &bytes[4..size]) != u32_at(bytes, 0) {
            return Err("the record does not match its checksum");
        }
        let (writer, frame) = bytes[RECORD..size].split_at(usize::from(u16_at(bytes, 14)));
        Ok(Self {
            batch: u32_at(bytes, 8),
            partition: u16_at(bytes, 12),
            seq: u64_at(bytes, 16),
            number: u64_at(bytes, 24),
            writer: std::str::from_utf8(writer).map_err(|_| "the writer is not text")?,
            frame,
        })
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the slice has N bytes")
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record<'static> {
        Record {
            batch: 168,
            partition: 3,
            seq: 7,
            number: 9,
            writer: "edge-1",
            frame: b"frame",
        }
    }

    #[test]
    fn what_is_encoded_decodes() {
        let header = Header {
            epoch: 1,
            number: 2,
            previous: 3,
            start: [4, 5].into(),
        };
        assert_eq!(header.encode().len() as u64, Header::size(2));
        assert_eq!(Header::decode(&header.encode()), Ok(header));
        let mut bytes = BytesMut::new();
        record().encode(1, &mut bytes);
        assert_eq!(bytes.len(), record().size());
        assert_eq!(Record::decode(1, &bytes), Ok(record()));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_shows() {
        let mut bytes = BytesMut::new();
        record().encode(1, &mut bytes);
        assert!(Record::decode(2, &bytes).is_err(), "a record of another segment");
        for bit in 0..bytes.len() * 8 {
            let mut broken = bytes.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::decode(1, &broken).is_err(), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert!(Record::decode(1, &bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert!(Record::decode(1, &[0; 4096]).is_err(), "zeros are not a record");
    }
}
