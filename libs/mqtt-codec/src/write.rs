//! Writing the fields of one packet.

use bytes::{BufMut, BytesMut};

use crate::error::EncodeError;
use crate::types::{MAX_VARIABLE_BYTE_INTEGER, PacketId};

/// Takes encoded bytes. Everything is written twice, first into a [`Length`]: that gives the length fields,
/// and finds every error before the first byte reaches the buffer.
pub(crate) trait Sink {
    fn slice(&mut self, bytes: &[u8]);

    fn u8(&mut self, value: u8) {
        self.slice(&[value]);
    }

    fn u16(&mut self, value: u16) {
        self.slice(&value.to_be_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.slice(&value.to_be_bytes());
    }

    fn packet_id(&mut self, id: PacketId) {
        self.u16(id.get());
    }

    #[inline]
    fn binary(&mut self, bytes: &[u8], field: &'static str) -> Result<(), EncodeError> {
        let len = u16::try_from(bytes.len()).map_err(|_| EncodeError::FieldTooLong { field })?;
        self.u16(len);
        self.slice(bytes);
        Ok(())
    }

    #[inline]
    fn varint(&mut self, value: u32) {
        let mut rest = value;
        loop {
            let low = rest.to_le_bytes()[0] & 0x7F;
            rest >>= 7;
            if rest == 0 {
                return self.u8(low);
            }
            self.u8(low | 0x80);
        }
    }
}

impl Sink for BytesMut {
    #[inline]
    fn slice(&mut self, bytes: &[u8]) {
        self.put_slice(bytes);
    }
}

/// Counts.
#[derive(Default)]
pub(crate) struct Length(pub(crate) usize);

impl Length {
    /// The count as a length field.
    pub(crate) fn get(&self) -> Result<u32, EncodeError> {
        u32::try_from(self.0)
            .ok()
            .filter(|&len| len <= MAX_VARIABLE_BYTE_INTEGER)
            .ok_or(EncodeError::PacketTooLarge)
    }
}

impl Sink for Length {
    #[inline]
    fn slice(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

/// How many bytes `value` takes as a Variable Byte Integer.
pub(crate) const fn varint_len(value: u32) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}
