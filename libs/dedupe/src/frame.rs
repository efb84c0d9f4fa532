//! How blobs are written: a magic number and a version in front, a CRC-32C behind, little endian. Whoever reads one has
//! bytes from a disk or from somebody else before him: he gets [`Damaged`], never a panic, and allocates no more than
//! what lies there.

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

/// Bytes that are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a checkpoint is damaged: {0}")]
pub struct Damaged(pub(crate) &'static str);

/// The version of the format. Another one is refused, and what it held is rebuilt.
const VERSION: u16 = 1;

/// Begins a blob.
pub(crate) fn begin(magic: [u8; 4], capacity: usize) -> BytesMut {
    let mut out = BytesMut::with_capacity(capacity + 10);
    out.put_slice(&magic);
    out.put_u16_le(VERSION);
    out
}

/// Ends it.
pub(crate) fn end(mut out: BytesMut) -> Bytes {
    let crc = crc32c::crc32c(&out);
    out.put_u32_le(crc);
    out.freeze()
}

/// What remains to be read.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Checks what is around, and gives what is between.
    pub(crate) fn open(bytes: &'a [u8], magic: [u8; 4]) -> Result<Self, Damaged> {
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or(Damaged("too short"))?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return Err(Damaged("its checksum does not match"));
        }
        let mut reader = Self(body);
        if reader.take::<4>()? != magic {
            return Err(Damaged("it is of another kind"));
        }
        if reader.u16()? != VERSION {
            return Err(Damaged("it is of another version"));
        }
        Ok(reader)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Damaged("it ends early"))?;
        self.0 = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Damaged> {
        Ok(self.take::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Damaged> {
        self.take().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Damaged> {
        self.take().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Damaged> {
        self.take().map(u64::from_le_bytes)
    }

    /// A number of things of at least `size` bytes each, that can lie in what remains.
    pub(crate) fn count(&mut self, size: usize) -> Result<usize, Damaged> {
        let count = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        if count.saturating_mul(size) > self.0.len() {
            return Err(Damaged("it counts more than it holds"));
        }
        Ok(count)
    }

    /// A list of numbers, with its length in front.
    pub(crate) fn u64s(&mut self) -> Result<Vec<u64>, Damaged> {
        let count = self.count(8)?;
        (0..count).map(|_| self.u64()).collect()
    }

    /// The same of short ones.
    pub(crate) fn u16s(&mut self) -> Result<Box<[u16]>, Damaged> {
        let count = self.count(2)?;
        let (numbers, rest) = self.0.split_at(count * 2);
        self.0 = rest;
        Ok(numbers
            .chunks_exact(2)
            .map(|two| u16::from_le_bytes([two[0], two[1]]))
            .collect())
    }

    /// Whether everything was read.
    pub(crate) fn close(self) -> Result<(), Damaged> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Damaged("something follows its end"))
        }
    }
}

/// Writes a list of numbers, with its length in front. No list of ours comes near 2³² of them.
pub(crate) fn put_u64s(out: &mut BytesMut, numbers: &[u64]) {
    put_count(out, numbers.len());
    numbers.iter().for_each(|number| out.put_u64_le(*number));
}

/// Writes how many follow.
pub(crate) fn put_count(out: &mut BytesMut, count: usize) {
    out.put_u32_le(u32::try_from(count).expect("a count fits: memory ends before"));
}
