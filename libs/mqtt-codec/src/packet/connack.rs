//! CONNACK (§3.2).

use std::num::{NonZeroU16, NonZeroU32};

use crate::error::{DecodeError, EncodeError};
use crate::properties::{Properties, UserProperty, properties};
use crate::read::Reader;
use crate::reason::{ConnectReturnCode, ReasonCode};
use crate::types::{PacketType, QoS, Secret, Version};
use crate::utf8::Utf8;
use crate::write::Sink;

/// The server's answer to CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnAck {
    /// The server has state of an earlier connection. Written as false if the connection is refused.
    pub session_present: bool,
    /// Success or why not. In 3.1.1 the return code is translated by
    /// [`ReasonCode::connect_return_code`] and [`ConnectReturnCode::reason_code`].
    pub reason: ReasonCode,
    /// MQTT 5 only.
    pub properties: ConnAckProperties,
}

properties! {
    /// Properties of CONNACK (§3.2.2.3). Absence means the value the specification gives as default.
    ConnAckProperties {
        /// Seconds, if not what the client asked for.
        session_expiry_interval: Option<u32> = SessionExpiryInterval,
        /// How many unacknowledged QoS 1 and 2 messages the server takes; default 65 535.
        receive_maximum: Option<NonZeroU16> = ReceiveMaximum,
        /// At most once or at least once; absent for exactly once.
        maximum_qos: Option<QoS> = MaximumQoS,
        /// Default true.
        retain_available: Option<bool> = RetainAvailable,
        /// Bytes of the largest packet the server takes.
        maximum_packet_size: Option<NonZeroU32> = MaximumPacketSize,
        /// If the client sent none.
        assigned_client_identifier: Option<Utf8> = AssignedClientIdentifier,
        /// The highest alias the server takes; default 0.
        topic_alias_maximum: Option<u16> = TopicAliasMaximum,
        /// For a human who diagnoses.
        reason_string: Option<Utf8> = ReasonString,
        /// Name and value pairs.
        user_properties: Vec<UserProperty> = UserProperty,
        /// Default true.
        wildcard_subscription_available: Option<bool> = WildcardSubscriptionAvailable,
        /// Default true.
        subscription_identifier_available: Option<bool> = SubscriptionIdentifierAvailable,
        /// Default true.
        shared_subscription_available: Option<bool> = SharedSubscriptionAvailable,
        /// Seconds; replaces what the client asked for.
        server_keep_alive: Option<u16> = ServerKeepAlive,
        /// Basis for response topics.
        response_information: Option<Utf8> = ResponseInformation,
        /// Another server to use.
        server_reference: Option<Utf8> = ServerReference,
        /// The method of CONNECT.
        authentication_method: Option<Utf8> = AuthenticationMethod,
        /// What the method defines.
        authentication_data: Option<Secret> = AuthenticationData,
    }
}

impl ConnAck {
    /// An accepted connection without properties.
    pub fn accepted(session_present: bool) -> Self {
        Self {
            session_present,
            reason: ReasonCode::Success,
            properties: ConnAckProperties::default(),
        }
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let packet = r.packet;
        let flags = r.u8("acknowledge flags")?;
        if flags > 1 {
            return Err(DecodeError::ReservedBits {
                packet,
                field: "acknowledge flags",
            });
        }
        let (reason, properties) = match r.version {
            Version::V5 => (r.reason()?, ConnAckProperties::read(r)?),
            Version::V311 => {
                let code = r.u8("return code")?;
                let known = ConnectReturnCode::from_byte(code);
                let known = known.ok_or(DecodeError::ReasonCode { packet, code })?;
                (known.reason_code(), ConnAckProperties::default())
            }
        };
        let session_present = flags == 1;
        if session_present && reason != ReasonCode::Success {
            return Err(DecodeError::SessionPresent);
        }
        if properties.authentication_data.is_some() && properties.authentication_method.is_none() {
            return Err(DecodeError::NoAuthenticationMethod { packet });
        }
        Ok(Self {
            session_present,
            reason,
            properties,
        })
    }

    pub(crate) fn write<S: Sink>(&self, version: Version, out: &mut S) -> Result<(), EncodeError> {
        out.u8((self.session_present && self.reason == ReasonCode::Success).into());
        match version {
            Version::V5 => {
                out.u8(self.reason as u8);
                self.properties.write_section(out)
            }
            Version::V311 => {
                let packet = PacketType::ConnAck;
                let code = self
                    .reason
                    .connect_return_code()
                    .ok_or(EncodeError::NotInVersion { packet })?;
                out.u8(code as u8);
                Ok(())
            }
        }
    }
}
