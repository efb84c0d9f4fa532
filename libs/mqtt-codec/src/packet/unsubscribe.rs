//! UNSUBSCRIBE and UNSUBACK (§3.10, §3.11).

use super::AckProperties;
use super::subscribe::read_filter;
use crate::error::{DecodeError, EncodeError};
use crate::properties::{Properties, UserProperty, properties};
use crate::read::Reader;
use crate::reason::ReasonCode;
use crate::types::{PacketId, Version};
use crate::utf8::Utf8;
use crate::write::Sink;

/// A request to end subscriptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Comes back in the UNSUBACK.
    pub packet_id: PacketId,
    /// MQTT 5 only.
    pub properties: UnsubscribeProperties,
    /// At least one valid topic filter.
    pub filters: Vec<Utf8>,
}

properties! {
    /// Properties of UNSUBSCRIBE (§3.10.2.1).
    UnsubscribeProperties {
        /// Name and value pairs.
        user_properties: Vec<UserProperty> = UserProperty,
    }
}

impl Unsubscribe {
    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let packet_id = r.packet_id()?;
        let properties = match r.version {
            Version::V5 => UnsubscribeProperties::read(r)?,
            Version::V311 => UnsubscribeProperties::default(),
        };
        if r.is_empty() {
            return Err(DecodeError::NoTopicFilter { packet: r.packet });
        }
        let mut filters = Vec::new();
        while !r.is_empty() {
            filters.push(read_filter(r)?);
        }
        Ok(Self {
            packet_id,
            properties,
            filters,
        })
    }

    pub(crate) fn write<S: Sink>(&self, version: Version, out: &mut S) -> Result<(), EncodeError> {
        out.packet_id(self.packet_id);
        if version == Version::V5 {
            self.properties.write_section(out)?;
        }
        for filter in &self.filters {
            out.binary(filter.as_bytes(), "topic filter")?;
        }
        Ok(())
    }
}

/// The answer to an UNSUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsubAck {
    /// Of the UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// MQTT 5 only.
    pub properties: AckProperties,
    /// One for each filter in their order; none in 3.1.1, where it always succeeds and they are not written.
    pub reasons: Vec<ReasonCode>,
}

impl UnsubAck {
    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut unsuback = Self {
            packet_id: r.packet_id()?,
            properties: AckProperties::default(),
            reasons: Vec::new(),
        };
        if r.version == Version::V5 {
            unsuback.properties = AckProperties::read(r)?;
            unsuback.reasons.push(r.reason()?);
            while !r.is_empty() {
                unsuback.reasons.push(r.reason()?);
            }
        }
        Ok(unsuback)
    }

    pub(crate) fn write<S: Sink>(&self, version: Version, out: &mut S) -> Result<(), EncodeError> {
        out.packet_id(self.packet_id);
        if version == Version::V5 {
            self.properties.write_section(out)?;
            for &reason in &self.reasons {
                out.u8(reason as u8);
            }
        }
        Ok(())
    }
}
