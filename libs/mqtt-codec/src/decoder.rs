//! From a stream of bytes to packets.

use bytes::{Buf, Bytes, BytesMut};

use crate::error::DecodeError;
use crate::packet::{Ack, Connect, Packet, Publish};
use crate::read::{NotMinimal, Reader, variable_byte_integer};
use crate::types::{PacketId, PacketType, Role, Version};

/// Cuts a stream into packets and validates them. Holds no bytes itself.
#[derive(Debug, Clone)]
pub struct Decoder {
    role: Role,
    version: Option<Version>,
    connected: bool,
    max_packet: usize,
}

impl Decoder {
    /// The server's end: takes CONNECT first, learns the version from it, then takes what a client may send.
    /// `max_packet` is in bytes, fixed header included.
    pub const fn server(max_packet: usize) -> Self {
        Self {
            role: Role::Server,
            version: None,
            connected: false,
            max_packet,
        }
    }

    /// The client's end: takes what a server may send in `version`.
    /// `max_packet` is in bytes, fixed header included.
    pub const fn client(version: Version, max_packet: usize) -> Self {
        Self {
            role: Role::Client,
            version: Some(version),
            connected: true,
            max_packet,
        }
    }

    /// The version of the connection, known once a CONNECT has been read. If the CONNECT is refused it is the
    /// version in which the CONNACK saying so is best understood, for [`DecodeError::refusal`]; `None` if that
    /// was no MQTT at all.
    pub const fn version(&self) -> Option<Version> {
        self.version
    }

    /// The largest packet accepted, in bytes, fixed header included.
    pub const fn max_packet(&self) -> usize {
        self.max_packet
    }

    /// Changes the limit from the next packet on, for instance once a client has authenticated.
    pub const fn set_max_packet(&mut self, max_packet: usize) {
        self.max_packet = max_packet;
    }

    /// Takes one packet off the front of `buf`. `Ok(None)`: it has not arrived whole, and `buf` is as it was.
    ///
    /// Topic, payload and all other fields are slices of `buf`. Nothing is allocated from a length that was only
    /// announced; lists grow with the bytes that are there.
    ///
    /// # Errors
    /// What the peer sent is no packet it may send now, as early as that can be seen. The connection must be closed;
    /// what `buf` holds then is unspecified.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Packet>, DecodeError> {
        let Some((&first, after)) = buf.split_first() else {
            return Ok(None);
        };
        let packet = self.check_first_byte(first)?;
        let length = variable_byte_integer(after).map_err(|NotMinimal| DecodeError::VariableByteInteger {
            packet,
            field: "remaining length",
        })?;
        let Some((remaining, length_size)) = length else {
            return Ok(None);
        };
        let header = 1 + length_size;
        let size =
            usize::try_from(remaining).map_or(usize::MAX, |remaining| remaining.saturating_add(header));
        if size > self.max_packet {
            return Err(DecodeError::PacketTooLarge {
                packet,
                size,
                limit: self.max_packet,
            });
        }
        if buf.len() < size {
            return Ok(None);
        }
        if remaining == 2
            && let Some(ack) = short_ack(packet, buf)?
        {
            return Ok(Some(ack));
        }
        let frame = buf.split_to(size).freeze();
        if packet == PacketType::Publish {
            let version = self.version.unwrap_or(Version::V5);
            return Publish::read(first, header, frame, version, self.role)
                .map(|publish| Some(Packet::Publish(publish)));
        }
        self.read(packet, header, &frame).map(Some)
    }

    /// Reads a whole packet but PUBLISH, of which the first `header` bytes are the fixed header.
    fn read(&mut self, packet: PacketType, header: usize, frame: &Bytes) -> Result<Packet, DecodeError> {
        let version = self.version.unwrap_or(Version::V5);
        let reader = Reader::new(frame, header, packet, version, self.role);
        if packet != PacketType::Connect {
            return Packet::read(reader);
        }
        let connect = Connect::read(reader, &mut self.version)?;
        self.connected = true;
        Ok(Packet::Connect(Box::new(connect)))
    }

    /// Whether the peer may send this kind of packet now, and its flags are right.
    fn check_first_byte(&self, first: u8) -> Result<PacketType, DecodeError> {
        let packet = PacketType::from_first_byte(first).ok_or(DecodeError::PacketType(first >> 4))?;
        let expected = match (self.connected, self.version) {
            (true, Some(version)) => packet.may_reach(self.role, version) && packet != PacketType::Connect,
            _ => packet == PacketType::Connect,
        };
        if !expected {
            return Err(DecodeError::UnexpectedPacket { packet });
        }
        if packet != PacketType::Publish && first != packet.first_byte() {
            return Err(DecodeError::FixedHeaderFlags {
                packet,
                flags: first & 0x0F,
            });
        }
        Ok(packet)
    }
}

/// An acknowledgement without reason code: every message to a subscriber causes one, so it is read
/// in place, without splitting the buffer.
fn short_ack(packet: PacketType, buf: &mut BytesMut) -> Result<Option<Packet>, DecodeError> {
    let of = match packet {
        PacketType::PubAck => Packet::PubAck,
        PacketType::PubRec => Packet::PubRec,
        PacketType::PubRel => Packet::PubRel,
        PacketType::PubComp => Packet::PubComp,
        _ => return Ok(None),
    };
    let Some(&[_, _, high, low]) = buf.first_chunk() else {
        return Ok(None);
    };
    let id = PacketId::new(u16::from_be_bytes([high, low])).ok_or(DecodeError::ZeroPacketId { packet })?;
    buf.advance(4);
    Ok(Some(of(Ack::new(id))))
}
