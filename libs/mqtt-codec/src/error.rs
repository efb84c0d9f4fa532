//! What can be wrong with received bytes and with packets to be sent.

use crate::packet::{ConnAck, ConnAckProperties};
use crate::properties::PropertyId;
use crate::reason::ReasonCode;
use crate::topic::TopicError;
use crate::types::{PacketType, Version};

/// Why received bytes are not a packet the peer may send. The stream cannot be followed any further:
/// answer as [`DecodeError::reason_code`] or [`DecodeError::refusal`] says and close the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The packet type is reserved (0).
    #[error("packet type {0} is reserved")]
    PacketType(u8),
    /// The peer may not send this packet: wrong direction, not in this version, before CONNECT, or a second CONNECT.
    #[error("unexpected {packet}")]
    UnexpectedPacket {
        /// The packet received.
        packet: PacketType,
    },
    /// The reserved flags of the fixed header differ from what §2.1.3 prescribes.
    #[error("fixed header flags of {packet} are {flags:#06b}")]
    FixedHeaderFlags {
        /// The packet announced.
        packet: PacketType,
        /// The low four bits received.
        flags: u8,
    },
    /// A Variable Byte Integer has more than four bytes, or more than it needs `[MQTT-1.5.5-1]`.
    #[error("{field} of {packet} is not a minimal variable byte integer")]
    VariableByteInteger {
        /// The packet being decoded.
        packet: PacketType,
        /// The field being decoded.
        field: &'static str,
    },
    /// The packet is larger than this end accepts. Found from the fixed header alone.
    #[error("{packet} of {size} bytes is over the limit of {limit}")]
    PacketTooLarge {
        /// The packet announced.
        packet: PacketType,
        /// Bytes of the whole packet, fixed header included.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The packet, or its properties, end inside a field.
    #[error("{packet} ends inside its {field}")]
    Truncated {
        /// The packet being decoded.
        packet: PacketType,
        /// The field being decoded.
        field: &'static str,
    },
    /// Bytes are left after the last field.
    #[error("{packet} has {count} bytes after its last field")]
    TrailingBytes {
        /// The packet being decoded.
        packet: PacketType,
        /// Bytes left over.
        count: usize,
    },
    /// Ill-formed UTF-8 `[MQTT-1.5.4-1]`.
    #[error("{field} of {packet} is not well-formed UTF-8")]
    Utf8 {
        /// The packet being decoded.
        packet: PacketType,
        /// The field being decoded.
        field: &'static str,
    },
    /// U+0000 in a string `[MQTT-1.5.4-2]`.
    #[error("{field} of {packet} contains U+0000")]
    NullCharacter {
        /// The packet being decoded.
        packet: PacketType,
        /// The field being decoded.
        field: &'static str,
    },
    /// The protocol name is not `MQTT` `[MQTT-3.1.2-1]`.
    #[error("the protocol name of CONNECT is not MQTT")]
    ProtocolName,
    /// The protocol level is neither 4 nor 5 `[MQTT-3.1.2-2]`.
    #[error("protocol level {level} is not supported")]
    ProtocolVersion {
        /// The level received.
        level: u8,
    },
    /// Bits that must be zero are set.
    #[error("reserved bits of {field} of {packet} are set")]
    ReservedBits {
        /// The packet being decoded.
        packet: PacketType,
        /// The field being decoded.
        field: &'static str,
    },
    /// Will QoS or Will Retain without Will Flag `[MQTT-3.1.2-11]`.
    #[error("CONNECT has will QoS or will retain without a will")]
    WillFlags,
    /// Password without user name in 3.1.1 `[MQTT-3.1.2-22]`.
    #[error("CONNECT has a password without a user name")]
    PasswordWithoutUserName,
    /// Empty client identifier with clean session 0 in 3.1.1 `[MQTT-3.1.3-8]`.
    #[error("CONNECT has an empty client identifier without clean session")]
    EmptyClientIdentifier,
    /// QoS 3 `[MQTT-3.3.1-4]`.
    #[error("{packet} has QoS 3")]
    QoS {
        /// The packet being decoded.
        packet: PacketType,
    },
    /// DUP with QoS 0 `[MQTT-3.3.1-2]`.
    #[error("PUBLISH has DUP with QoS 0")]
    DupWithQoS0,
    /// Packet identifier 0 `[MQTT-2.2.1-3]`.
    #[error("{packet} has packet identifier 0")]
    ZeroPacketId {
        /// The packet being decoded.
        packet: PacketType,
    },
    /// Not a topic name.
    #[error("{field} of {packet} {reason}")]
    TopicName {
        /// The packet being decoded.
        packet: PacketType,
        /// The field being decoded.
        field: &'static str,
        /// What is wrong with it.
        reason: TopicError,
    },
    /// Not a topic filter.
    #[error("topic filter of {packet} {reason}")]
    TopicFilter {
        /// The packet being decoded.
        packet: PacketType,
        /// What is wrong with it.
        reason: TopicError,
    },
    /// SUBSCRIBE or UNSUBSCRIBE without a filter `[MQTT-3.8.3-2]` `[MQTT-3.10.3-2]`.
    #[error("{packet} has no topic filter")]
    NoTopicFilter {
        /// The packet being decoded.
        packet: PacketType,
    },
    /// Retain Handling 3 (MQTT 5 §3.8.3.1).
    #[error("SUBSCRIBE has retain handling 3")]
    RetainHandling,
    /// No Local on a shared subscription `[MQTT-3.8.3-4]`.
    #[error("SUBSCRIBE has no local on a shared subscription")]
    NoLocalOnShared,
    /// A property identifier nobody defined.
    #[error("{packet} has unknown property {id:#04x}")]
    UnknownProperty {
        /// The packet being decoded.
        packet: PacketType,
        /// The identifier received.
        id: u32,
    },
    /// A property of another packet, or one the peer may not send.
    #[error("{packet} has property {property}, which is not allowed there")]
    PropertyNotAllowed {
        /// The packet being decoded.
        packet: PacketType,
        /// The property received.
        property: PropertyId,
    },
    /// A property that may come once came twice.
    #[error("{packet} has property {property} twice")]
    DuplicateProperty {
        /// The packet being decoded.
        packet: PacketType,
        /// The property received.
        property: PropertyId,
    },
    /// A property outside its range of values.
    #[error("{packet} has an illegal value of property {property}")]
    PropertyValue {
        /// The packet being decoded.
        packet: PacketType,
        /// The property received.
        property: PropertyId,
    },
    /// Authentication data without a method, or AUTH without one (MQTT 5 §3.1.2.11.10, §3.15.2.2.2).
    #[error("{packet} has no authentication method")]
    NoAuthenticationMethod {
        /// The packet being decoded.
        packet: PacketType,
    },
    /// A reason code that does not exist, or that the peer may not use in this packet.
    #[error("{packet} has illegal reason code {code:#04x}")]
    ReasonCode {
        /// The packet being decoded.
        packet: PacketType,
        /// The code received.
        code: u8,
    },
    /// CONNACK refuses the connection and says Session Present `[MQTT-3.2.2-6]`.
    #[error("CONNACK has session present with a refusal")]
    SessionPresent,
}

impl DecodeError {
    /// The reason code for the DISCONNECT or the CONNACK that answers this.
    pub const fn reason_code(&self) -> ReasonCode {
        match self {
            Self::PacketTooLarge { .. } => ReasonCode::PacketTooLarge,
            Self::ProtocolName | Self::ProtocolVersion { .. } => ReasonCode::UnsupportedProtocolVersion,
            Self::EmptyClientIdentifier => ReasonCode::ClientIdentifierNotValid,
            Self::TopicFilter { .. } => ReasonCode::TopicFilterInvalid,
            // MQTT 5 §3.3.2.1: no topic and no alias is a protocol error.
            Self::TopicName {
                reason: TopicError::Empty,
                ..
            } => ReasonCode::ProtocolError,
            Self::TopicName { .. } => ReasonCode::TopicNameInvalid,
            Self::PropertyValue {
                property: PropertyId::TopicAlias,
                ..
            } => ReasonCode::TopicAliasInvalid,
            Self::UnexpectedPacket { .. }
            | Self::ZeroPacketId { .. }
            | Self::NoTopicFilter { .. }
            | Self::RetainHandling
            | Self::NoLocalOnShared
            | Self::DuplicateProperty { .. }
            | Self::PropertyValue { .. }
            | Self::NoAuthenticationMethod { .. }
            | Self::ReasonCode { .. }
            | Self::SessionPresent => ReasonCode::ProtocolError,
            Self::PropertyNotAllowed {
                property: PropertyId::SubscriptionIdentifier,
                ..
            } => ReasonCode::ProtocolError,
            Self::PacketType(_)
            | Self::FixedHeaderFlags { .. }
            | Self::VariableByteInteger { .. }
            | Self::Truncated { .. }
            | Self::TrailingBytes { .. }
            | Self::Utf8 { .. }
            | Self::NullCharacter { .. }
            | Self::ReservedBits { .. }
            | Self::WillFlags
            | Self::PasswordWithoutUserName
            | Self::QoS { .. }
            | Self::DupWithQoS0
            | Self::UnknownProperty { .. }
            | Self::PropertyNotAllowed { .. } => ReasonCode::MalformedPacket,
        }
    }

    /// The CONNACK that answers this if it happened before CONNECT was accepted. `None`: close without a word,
    /// because 3.1.1 has no code for it, or the peer does not speak MQTT at all.
    pub fn refusal(&self, version: Version) -> Option<ConnAck> {
        let reason = self.reason_code();
        if matches!(
            self,
            Self::ProtocolName | Self::PacketType(_) | Self::UnexpectedPacket { .. }
        ) || (version == Version::V311 && reason.connect_return_code().is_none())
        {
            return None;
        }
        Some(ConnAck {
            session_present: false,
            reason,
            properties: ConnAckProperties::default(),
        })
    }
}

/// Why a packet cannot be written. Nothing has been written then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A string or binary field does not fit its two-byte length.
    #[error("encoding {field}: longer than 65535 bytes")]
    FieldTooLong {
        /// The field.
        field: &'static str,
    },
    /// The packet does not fit a Remaining Length.
    #[error("encoding a packet: larger than 268435455 bytes")]
    PacketTooLarge,
    /// The packet, or its reason code, does not exist in the version. Nothing is silently turned into a success.
    #[error("encoding {packet}: not possible in MQTT 3.1.1")]
    NotInVersion {
        /// The packet.
        packet: PacketType,
    },
    /// PUBLISH has QoS 1 or 2 without packet identifier, or QoS 0 with one.
    #[error("encoding PUBLISH: packet identifier does not go with the QoS")]
    PacketId,
}
