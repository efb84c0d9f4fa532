//! DISCONNECT (§3.14).

use super::only_success;
use crate::error::{DecodeError, EncodeError};
use crate::properties::{Properties, PropertyId, UserProperty, properties};
use crate::read::Reader;
use crate::reason::ReasonCode;
use crate::types::{PacketType, Role, Version};
use crate::utf8::Utf8;
use crate::write::Sink;

/// The last packet of a connection. In 3.1.1 only a client sends it, and only to end normally.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disconnect {
    /// Why; always normal in 3.1.1.
    pub reason: ReasonCode,
    /// MQTT 5 only.
    pub properties: Option<Box<DisconnectProperties>>,
}

properties! {
    /// Properties of DISCONNECT (§3.14.2.2).
    DisconnectProperties {
        /// Seconds; replaces that of CONNECT. Never sent by a server `[MQTT-3.14.2-2]`.
        session_expiry_interval: Option<u32> = SessionExpiryInterval,
        /// For a human who diagnoses.
        reason_string: Option<Utf8> = ReasonString,
        /// Name and value pairs.
        user_properties: Vec<UserProperty> = UserProperty,
        /// Another server to use.
        server_reference: Option<Utf8> = ServerReference,
    }
}

impl Disconnect {
    /// A DISCONNECT without properties.
    pub const fn new(reason: ReasonCode) -> Self {
        Self {
            reason,
            properties: None,
        }
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut disconnect = Self::default();
        if r.version == Version::V5 && !r.is_empty() {
            disconnect.reason = r.reason()?;
            if !r.is_empty() {
                disconnect.properties = DisconnectProperties::read_boxed(r)?;
            }
        }
        let expiry = disconnect
            .properties
            .as_ref()
            .and_then(|p| p.session_expiry_interval);
        if r.role == Role::Client && expiry.is_some() {
            let property = PropertyId::SessionExpiryInterval;
            return Err(DecodeError::PropertyNotAllowed {
                packet: r.packet,
                property,
            });
        }
        Ok(disconnect)
    }

    pub(crate) fn write<S: Sink>(&self, version: Version, out: &mut S) -> Result<(), EncodeError> {
        if version == Version::V311 {
            return only_success(PacketType::Disconnect, self.reason);
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
