//! CONNECT (§3.1).

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};

use bytes::Bytes;

use crate::error::{DecodeError, EncodeError};
use crate::properties::{Properties, UserProperty, properties};
use crate::read::Reader;
use crate::types::{PacketType, PayloadFormat, QoS, Secret, Version};
use crate::utf8::Utf8;
use crate::write::Sink;

const CLEAN_START: u8 = 0b0000_0010;
const WILL: u8 = 0b0000_0100;
const WILL_RETAIN: u8 = 0b0010_0000;
const PASSWORD: u8 = 0b0100_0000;
const USER_NAME: u8 = 0b1000_0000;

/// The first packet of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// The version all packets of the connection have.
    pub version: Version,
    /// Clean Start; in 3.1.1 Clean Session.
    pub clean_start: bool,
    /// Seconds; 0 turns it off.
    pub keep_alive: u16,
    /// May be empty: the server then assigns one. In 3.1.1 only with a clean session.
    pub client_id: Utf8,
    /// Published by the server if the connection ends without DISCONNECT.
    pub will: Option<Will>,
    /// May be empty, which is not the same as absent.
    pub user_name: Option<Utf8>,
    /// Any bytes; MQTT 5 allows it without a user name.
    pub password: Option<Secret>,
    /// MQTT 5 only.
    pub properties: ConnectProperties,
}

/// The Will Message (§3.1.2.5).
#[derive(Clone, PartialEq, Eq)]
pub struct Will {
    /// A valid topic name.
    pub topic: Utf8,
    /// May be empty.
    pub payload: Bytes,
    /// The QoS it is published with.
    pub qos: QoS,
    /// Whether it is published as retained.
    pub retain: bool,
    /// MQTT 5 only.
    pub properties: WillProperties,
}

impl fmt::Debug for Will {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Will")
            .field("topic", &self.topic)
            .field("payload", &format_args!("<{} bytes>", self.payload.len()))
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .field("properties", &self.properties)
            .finish()
    }
}

properties! {
    /// Properties of CONNECT (§3.1.2.11). Absence means the value the specification gives as default.
    ConnectProperties {
        /// Seconds; 0xFFFF_FFFF is for ever, default 0.
        session_expiry_interval: Option<u32> = SessionExpiryInterval,
        /// How many unacknowledged QoS 1 and 2 messages the client takes; default 65 535.
        receive_maximum: Option<NonZeroU16> = ReceiveMaximum,
        /// Bytes of the largest packet the client takes.
        maximum_packet_size: Option<NonZeroU32> = MaximumPacketSize,
        /// The highest alias the client takes; default 0.
        topic_alias_maximum: Option<u16> = TopicAliasMaximum,
        /// Whether CONNACK should carry response information; default false.
        request_response_information: Option<bool> = RequestResponseInformation,
        /// Whether reason strings and user properties are wanted on failures; default true.
        request_problem_information: Option<bool> = RequestProblemInformation,
        /// Name and value pairs.
        user_properties: Vec<UserProperty> = UserProperty,
        /// Starts enhanced authentication.
        authentication_method: Option<Utf8> = AuthenticationMethod,
        /// What the method defines.
        authentication_data: Option<Secret> = AuthenticationData,
    }
}

properties! {
    /// Properties of the Will Message (§3.1.3.2).
    WillProperties {
        /// Seconds between the end of the connection and the publication; default 0.
        will_delay_interval: Option<u32> = WillDelayInterval,
        /// What the payload claims to be.
        payload_format_indicator: Option<PayloadFormat> = PayloadFormatIndicator,
        /// Seconds of life from publication on.
        message_expiry_interval: Option<u32> = MessageExpiryInterval,
        /// Of the application's choice.
        content_type: Option<Utf8> = ContentType,
        /// A valid topic name.
        response_topic: Option<Utf8> = ResponseTopic,
        /// For request and response.
        correlation_data: Option<Bytes> = CorrelationData,
        /// Name and value pairs.
        user_properties: Vec<UserProperty> = UserProperty,
    }
}

/// Protocol name and level; `seen` gets the version in which a CONNACK is understood even if the level is refused.
fn read_version(r: &mut Reader<'_>, seen: &mut Option<Version>) -> Result<Version, DecodeError> {
    let name = r.binary("protocol name")?;
    if name != b"MQTT" && name != b"MQIsdp" {
        return Err(DecodeError::ProtocolName);
    }
    let level = r.u8("protocol level")?;
    let version = if (5..0x80).contains(&level) {
        Version::V5
    } else {
        Version::V311
    };
    *seen = Some(version);
    if name == b"MQTT" && level == version.level() {
        Ok(version)
    } else {
        Err(DecodeError::ProtocolVersion { level })
    }
}

fn check_flags(flags: u8, version: Version) -> Result<(), DecodeError> {
    if flags & 1 != 0 {
        return Err(DecodeError::ReservedBits {
            packet: PacketType::Connect,
            field: "connect flags",
        });
    }
    if flags & WILL == 0 && flags & (0b0001_1000 | WILL_RETAIN) != 0 {
        return Err(DecodeError::WillFlags);
    }
    if version == Version::V311 && flags & PASSWORD != 0 && flags & USER_NAME == 0 {
        return Err(DecodeError::PasswordWithoutUserName);
    }
    Ok(())
}

impl Connect {
    /// A CONNECT with a clean start and nothing else.
    pub fn new(version: Version, client_id: Utf8) -> Self {
        Self {
            version,
            clean_start: true,
            keep_alive: 0,
            client_id,
            will: None,
            user_name: None,
            password: None,
            properties: ConnectProperties::default(),
        }
    }

    pub(crate) fn read(mut reader: Reader<'_>, seen: &mut Option<Version>) -> Result<Self, DecodeError> {
        let r = &mut reader;
        let packet = r.packet;
        let version = read_version(r, seen)?;
        r.version = version;
        let flags = r.u8("connect flags")?;
        check_flags(flags, version)?;
        let keep_alive = r.u16("keep alive")?;
        let properties = match version {
            Version::V5 => ConnectProperties::read(r)?,
            Version::V311 => ConnectProperties::default(),
        };
        if properties.authentication_data.is_some() && properties.authentication_method.is_none() {
            return Err(DecodeError::NoAuthenticationMethod { packet });
        }
        let clean_start = flags & CLEAN_START != 0;
        let client_id = r.utf8("client identifier")?;
        if version == Version::V311 && client_id.is_empty() && !clean_start {
            return Err(DecodeError::EmptyClientIdentifier);
        }
        let will = if flags & WILL != 0 {
            Some(Will::read(flags, r)?)
        } else {
            None
        };
        let user_name = if flags & USER_NAME != 0 {
            Some(r.utf8("user name")?)
        } else {
            None
        };
        let password = if flags & PASSWORD != 0 {
            Some(r.bytes("password")?.into())
        } else {
            None
        };
        reader.finish()?;
        Ok(Self {
            version,
            clean_start,
            keep_alive,
            client_id,
            will,
            user_name,
            password,
            properties,
        })
    }

    fn flags(&self) -> u8 {
        let mut flags = 0;
        if self.clean_start {
            flags |= CLEAN_START;
        }
        if let Some(will) = &self.will {
            flags |= WILL | (will.qos as u8) << 3;
            if will.retain {
                flags |= WILL_RETAIN;
            }
        }
        if self.user_name.is_some() {
            flags |= USER_NAME;
        }
        if self.password.is_some() {
            flags |= PASSWORD;
        }
        flags
    }

    /// The version of the packet is its own, not that of the connection it opens.
    pub(crate) fn write<S: Sink>(&self, version: Version, out: &mut S) -> Result<(), EncodeError> {
        if version != self.version
            || (version == Version::V311 && self.user_name.is_none() && self.password.is_some())
        {
            return Err(EncodeError::NotInVersion {
                packet: PacketType::Connect,
            });
        }
        out.binary(b"MQTT", "protocol name")?;
        out.u8(version.level());
        out.u8(self.flags());
        out.u16(self.keep_alive);
        if version == Version::V5 {
            self.properties.write_section(out)?;
        }
        out.binary(self.client_id.as_bytes(), "client identifier")?;
        if let Some(will) = &self.will {
            will.write(version, out)?;
        }
        if let Some(user_name) = &self.user_name {
            out.binary(user_name.as_bytes(), "user name")?;
        }
        if let Some(password) = &self.password {
            out.binary(password, "password")?;
        }
        Ok(())
    }
}

impl Will {
    fn read(flags: u8, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            qos: r.qos(flags >> 3 & 0b11)?,
            retain: flags & WILL_RETAIN != 0,
            properties: match r.version {
                Version::V5 => WillProperties::read(r)?,
                Version::V311 => WillProperties::default(),
            },
            topic: r.topic_name("will topic")?,
            payload: r.bytes("will payload")?,
        })
    }

    fn write<S: Sink>(&self, version: Version, out: &mut S) -> Result<(), EncodeError> {
        if version == Version::V5 {
            self.properties.write_section(out)?;
        }
        out.binary(self.topic.as_bytes(), "will topic")?;
        out.binary(&self.payload, "will payload")
    }
}
