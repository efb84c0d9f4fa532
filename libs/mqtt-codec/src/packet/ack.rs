//! PUBACK, PUBREC, PUBREL and PUBCOMP (§3.4 to §3.7), which share one shape.

use super::only_success;
use crate::error::{DecodeError, EncodeError};
use crate::properties::{Properties, UserProperty, properties};
use crate::read::Reader;
use crate::reason::ReasonCode;
use crate::types::{PacketId, PacketType, Version};
use crate::utf8::Utf8;
use crate::write::Sink;

/// The acknowledgement of a PUBLISH, PUBREC or PUBREL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// Of the packet that is acknowledged.
    pub packet_id: PacketId,
    /// Always success in 3.1.1.
    pub reason: ReasonCode,
    /// Absent in the common case, which then allocates nothing.
    pub properties: Option<Box<AckProperties>>,
}

properties! {
    /// Properties of PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK. They must not be sent if they
    /// make the packet larger than the peer's Maximum Packet Size, or if it set Request Problem Information to 0.
    AckProperties {
        /// For a human who diagnoses.
        reason_string: Option<Utf8> = ReasonString,
        /// Name and value pairs.
        user_properties: Vec<UserProperty> = UserProperty,
    }
}

impl Ack {
    /// A success without properties.
    pub const fn new(packet_id: PacketId) -> Self {
        Self {
            packet_id,
            reason: ReasonCode::Success,
            properties: None,
        }
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut ack = Self::new(r.packet_id()?);
        if r.version == Version::V5 && !r.is_empty() {
            ack.reason = r.reason()?;
            if !r.is_empty() {
                ack.properties = AckProperties::read_boxed(r)?;
            }
        }
        Ok(ack)
    }

    pub(crate) fn write<S: Sink>(
        &self,
        packet: PacketType,
        version: Version,
        out: &mut S,
    ) -> Result<(), EncodeError> {
        out.packet_id(self.packet_id);
        if version == Version::V311 {
            return only_success(packet, self.reason);
        }
        match &self.properties {
            Some(properties) => {
                out.u8(self.reason as u8);
                properties.write_section(out)?;
            }
            None if self.reason != ReasonCode::Success => out.u8(self.reason as u8),
            None => {}
        }
        Ok(())
    }
}
