//! Reading the fields of one packet.

use bytes::Bytes;

use crate::error::DecodeError;
use crate::reason::ReasonCode;
use crate::topic::validate_topic_name;
use crate::types::{PacketId, PacketType, QoS, Role, Version};
use crate::utf8::{Utf8, Utf8Error};

/// The rest of a packet body, or of its properties. What is taken out shares the storage of the frame.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    frame: &'a Bytes,
    pub(crate) packet: PacketType,
    pub(crate) version: Version,
    pub(crate) role: Role,
}

impl<'a> Reader<'a> {
    /// Reads `frame` from behind its fixed header.
    pub(crate) fn new(
        frame: &'a Bytes,
        header: usize,
        packet: PacketType,
        version: Version,
        role: Role,
    ) -> Self {
        Self {
            rest: frame.get(header..).unwrap_or_default(),
            frame,
            packet,
            version,
            role,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes are left.
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let (&value, rest) = self
            .rest
            .split_first_chunk()
            .ok_or_else(|| self.truncated(field))?;
        self.rest = rest;
        Ok(value)
    }

    #[inline]
    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.array(field).map(u8::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.array(field).map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_be_bytes)
    }

    #[inline]
    pub(crate) fn varint(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        match variable_byte_integer(self.rest) {
            Ok(Some((value, used))) => {
                self.take(used, field)?;
                Ok(value)
            }
            Ok(None) => Err(self.truncated(field)),
            Err(NotMinimal) => Err(DecodeError::VariableByteInteger {
                packet: self.packet,
                field,
            }),
        }
    }

    #[inline]
    fn take(&mut self, len: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or_else(|| self.truncated(field))?;
        self.rest = rest;
        Ok(taken)
    }

    /// Binary Data: a two-byte length and as many bytes.
    #[inline]
    pub(crate) fn binary(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let len = self.u16(field)?;
        self.take(len.into(), field)
    }

    /// Binary Data to be kept.
    #[inline]
    pub(crate) fn bytes(&mut self, field: &'static str) -> Result<Bytes, DecodeError> {
        self.binary(field).map(|bytes| self.frame.slice_ref(bytes))
    }

    #[inline]
    pub(crate) fn utf8(&mut self, field: &'static str) -> Result<Utf8, DecodeError> {
        let packet = self.packet;
        Utf8::new(self.bytes(field)?).map_err(|error| match error {
            Utf8Error::Null => DecodeError::NullCharacter { packet, field },
            Utf8Error::IllFormed | Utf8Error::TooLong => DecodeError::Utf8 { packet, field },
        })
    }

    pub(crate) fn topic_name(&mut self, field: &'static str) -> Result<Utf8, DecodeError> {
        let topic = self.utf8(field)?;
        self.check_topic_name(&topic, field)?;
        Ok(topic)
    }

    pub(crate) fn check_topic_name(&self, topic: &str, field: &'static str) -> Result<(), DecodeError> {
        let packet = self.packet;
        validate_topic_name(topic).map_err(|reason| DecodeError::TopicName {
            packet,
            field,
            reason,
        })
    }

    pub(crate) fn packet_id(&mut self) -> Result<PacketId, DecodeError> {
        let packet = self.packet;
        PacketId::new(self.u16("packet identifier")?).ok_or(DecodeError::ZeroPacketId { packet })
    }

    pub(crate) fn qos(&self, bits: u8) -> Result<QoS, DecodeError> {
        QoS::from_bits(bits).ok_or(DecodeError::QoS { packet: self.packet })
    }

    /// A reason code that the peer may use in this packet.
    pub(crate) fn reason(&mut self) -> Result<ReasonCode, DecodeError> {
        let packet = self.packet;
        let code = self.u8("reason code")?;
        ReasonCode::from_byte(code)
            .filter(|reason| reason.allowed_in(packet, self.role.peer()))
            .ok_or(DecodeError::ReasonCode { packet, code })
    }

    /// Splits off what follows its own length, which is a Variable Byte Integer.
    pub(crate) fn section(&mut self, field: &'static str) -> Result<Self, DecodeError> {
        let len = self.varint(field)?;
        let rest = self.take(usize::try_from(len).unwrap_or(usize::MAX), field)?;
        Ok(Self { rest, ..*self })
    }

    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            count => Err(DecodeError::TrailingBytes {
                packet: self.packet,
                count,
            }),
        }
    }

    #[cold]
    fn truncated(&self, field: &'static str) -> DecodeError {
        DecodeError::Truncated {
            packet: self.packet,
            field,
        }
    }
}

/// Longer than four bytes, or than necessary.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotMinimal;

/// The Variable Byte Integer at the start of `bytes` and how many bytes it takes; `None` if it is not complete.
///
/// MQTT 5 demands the shortest form `[MQTT-1.5.5-1]`; 3.1.1 prescribes the same by its table 2.4.
pub(crate) fn variable_byte_integer(bytes: &[u8]) -> Result<Option<(u32, usize)>, NotMinimal> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return if byte == 0 && index > 0 {
                Err(NotMinimal)
            } else {
                Ok(Some((value, index + 1)))
            };
        }
    }
    if bytes.len() < 4 {
        Ok(None)
    } else {
        Err(NotMinimal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_byte_integers_decode_to_table_1_1_of_the_specification() {
        for (bytes, value) in [
            (&[0x00][..], 0),
            (&[0x7F], 127),
            (&[0x80, 0x01], 128),
            (&[0xFF, 0x7F], 16_383),
            (&[0x80, 0x80, 0x01], 16_384),
            (&[0xFF, 0xFF, 0x7F], 2_097_151),
            (&[0x80, 0x80, 0x80, 0x01], 2_097_152),
            (&[0xFF, 0xFF, 0xFF, 0x7F], 268_435_455),
        ] {
            assert_eq!(variable_byte_integer(bytes), Ok(Some((value, bytes.len()))));
            for cut in 0..bytes.len() {
                assert_eq!(variable_byte_integer(&bytes[..cut]), Ok(None));
            }
        }
    }

    #[test]
    fn variable_byte_integers_have_no_longer_form() {
        for bytes in [&[0x80, 0x00][..], &[0xFF, 0x80, 0x00], &[0xFF, 0xFF, 0xFF, 0xFF]] {
            assert_eq!(variable_byte_integer(bytes), Err(NotMinimal));
        }
    }
}
