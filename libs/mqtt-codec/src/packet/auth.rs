//! AUTH (MQTT 5 §3.15).

use crate::error::{DecodeError, EncodeError};
use crate::properties::{Properties, UserProperty, properties};
use crate::read::Reader;
use crate::reason::ReasonCode;
use crate::types::{PacketType, Secret, Version};
use crate::utf8::Utf8;
use crate::write::Sink;

/// A step of enhanced authentication (§4.12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// Success (server only), continue, or re-authenticate (client only).
    pub reason: ReasonCode,
    /// The method is always there, unless the whole packet is an empty success.
    pub properties: AuthProperties,
}

properties! {
    /// Properties of AUTH (§3.15.2.2).
    AuthProperties {
        /// The name of the method, the same for the whole connection.
        authentication_method: Option<Utf8> = AuthenticationMethod,
        /// What the method defines.
        authentication_data: Option<Secret> = AuthenticationData,
        /// For a human who diagnoses.
        reason_string: Option<Utf8> = ReasonString,
        /// Name and value pairs.
        user_properties: Vec<UserProperty> = UserProperty,
    }
}

impl Auth {
    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let packet = r.packet;
        if r.is_empty() {
            // §3.15.2.1: stands for success, which only a server may say.
            return match ReasonCode::Success.allowed_in(packet, r.role.peer()) {
                true => Ok(Self {
                    reason: ReasonCode::Success,
                    properties: AuthProperties::default(),
                }),
                false => Err(DecodeError::NoAuthenticationMethod { packet }),
            };
        }
        let auth = Self {
            reason: r.reason()?,
            properties: AuthProperties::read(r)?,
        };
        if auth.properties.authentication_method.is_none() {
            return Err(DecodeError::NoAuthenticationMethod { packet });
        }
        Ok(auth)
    }

    pub(crate) fn write<S: Sink>(&self, version: Version, out: &mut S) -> Result<(), EncodeError> {
        if version == Version::V311 {
            return Err(EncodeError::NotInVersion {
                packet: PacketType::Auth,
            });
        }
        if self.reason == ReasonCode::Success && self.properties == AuthProperties::default() {
            return Ok(());
        }
        out.u8(self.reason as u8);
        self.properties.write_section(out)
    }
}
