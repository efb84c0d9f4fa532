//! From packets to bytes.

use bytes::BytesMut;

use crate::error::EncodeError;
use crate::packet::{Packet, PublishRef};
use crate::types::{PacketId, PacketType, Version};
use crate::write::{Length, Sink, varint_len};

/// The largest fixed header.
const MAX_HEADER: usize = 5;

impl Packet {
    /// Appends the packet to `buf`. In 3.1.1 properties are left out.
    ///
    /// What cannot be represented is refused; rules that need the connection's state (topic aliases, receive
    /// maximum, the peer's maximum packet size, see [`Packet::encoded_len`]) are the caller's.
    ///
    /// # Errors
    /// See [`EncodeError`]; `buf` is unchanged then.
    pub fn encode(&self, version: Version, buf: &mut BytesMut) -> Result<(), EncodeError> {
        let remaining = self.remaining_length(version)?;
        write_header(self.first_byte(), remaining, buf);
        self.write(version, buf)
    }

    /// The bytes [`Packet::encode`] would append, to be compared with the peer's Maximum Packet Size.
    ///
    /// # Errors
    /// Those of [`Packet::encode`].
    pub fn encoded_len(&self, version: Version) -> Result<usize, EncodeError> {
        self.remaining_length(version).map(packet_len)
    }

    fn remaining_length(&self, version: Version) -> Result<u32, EncodeError> {
        let mut length = Length::default();
        self.write(version, &mut length)?;
        length.get()
    }
}

impl PublishRef<'_> {
    /// Appends the PUBLISH to `buf`. Does not allocate but to grow `buf`.
    ///
    /// # Errors
    /// See [`EncodeError`]; `buf` is unchanged then.
    pub fn encode(&self, version: Version, buf: &mut BytesMut) -> Result<(), EncodeError> {
        let remaining = self.remaining_length(version)?;
        write_header(self.first_byte(), remaining, buf);
        self.write(version, buf)
    }

    /// The bytes [`PublishRef::encode`] would append, to be compared with the peer's Maximum Packet Size.
    ///
    /// # Errors
    /// Those of [`PublishRef::encode`].
    pub fn encoded_len(&self, version: Version) -> Result<usize, EncodeError> {
        self.remaining_length(version).map(packet_len)
    }

    fn remaining_length(&self, version: Version) -> Result<u32, EncodeError> {
        let mut length = Length::default();
        self.write(version, &mut length)?;
        length.get()
    }
}

/// Appends a successful PUBACK, the same in both versions.
pub fn encode_puback(id: PacketId, buf: &mut BytesMut) {
    encode_ack(PacketType::PubAck, id, buf);
}

/// Appends a successful PUBREC, the same in both versions.
pub fn encode_pubrec(id: PacketId, buf: &mut BytesMut) {
    encode_ack(PacketType::PubRec, id, buf);
}

/// Appends a successful PUBREL, the same in both versions.
pub fn encode_pubrel(id: PacketId, buf: &mut BytesMut) {
    encode_ack(PacketType::PubRel, id, buf);
}

/// Appends a successful PUBCOMP, the same in both versions.
pub fn encode_pubcomp(id: PacketId, buf: &mut BytesMut) {
    encode_ack(PacketType::PubComp, id, buf);
}

/// Appends a PINGRESP, the same in both versions.
pub fn encode_pingresp(buf: &mut BytesMut) {
    buf.slice(&[PacketType::PingResp.first_byte(), 0]);
}

fn encode_ack(packet: PacketType, id: PacketId, buf: &mut BytesMut) {
    let [high, low] = id.get().to_be_bytes();
    buf.slice(&[packet.first_byte(), 2, high, low]);
}

fn packet_len(remaining: u32) -> usize {
    1 + varint_len(remaining) + usize::try_from(remaining).unwrap_or(usize::MAX - MAX_HEADER)
}

fn write_header(first: u8, remaining: u32, buf: &mut BytesMut) {
    buf.reserve(packet_len(remaining));
    buf.u8(first);
    buf.varint(remaining);
}
