//! PUBLISH (§3.3).

use std::fmt;
use std::num::NonZeroU16;

use bytes::{Buf, Bytes};

use crate::error::{DecodeError, EncodeError};
use crate::properties::{Properties, PropertyId, UserProperty, properties, write_section};
use crate::read::Reader;
use crate::types::{PacketId, PacketType, PayloadFormat, QoS, Role, SubscriptionId, Version};
use crate::utf8::Utf8;
use crate::write::Sink;

const RETAIN: u8 = 0b0001;
const DUP: u8 = 0b1000;

/// An application message. Topic and payload are slices of the read buffer and keep it alive.
#[derive(Clone, PartialEq, Eq)]
pub struct Publish {
    /// Sent before, perhaps.
    pub dup: bool,
    /// The delivery guarantee.
    pub qos: QoS,
    /// Kept by the server for later subscribers; to a subscriber: was kept.
    pub retain: bool,
    /// A valid topic name; empty only if the properties have a topic alias.
    pub topic: Utf8,
    /// There if and only if the QoS is not 0.
    pub packet_id: Option<PacketId>,
    /// `None` if there are none, which allocates nothing.
    pub properties: Option<Box<PublishProperties>>,
    /// Any bytes.
    pub payload: Bytes,
}

properties! {
    /// Properties of PUBLISH (§3.3.2.3).
    PublishProperties {
        /// What the payload claims to be.
        payload_format_indicator: Option<PayloadFormat> = PayloadFormatIndicator,
        /// Seconds of life left.
        message_expiry_interval: Option<u32> = MessageExpiryInterval,
        /// Stands for a topic name on this connection.
        topic_alias: Option<NonZeroU16> = TopicAlias,
        /// A valid topic name.
        response_topic: Option<Utf8> = ResponseTopic,
        /// For request and response.
        correlation_data: Option<Bytes> = CorrelationData,
        /// Name and value pairs.
        user_properties: Vec<UserProperty> = UserProperty,
        /// Of the subscriptions that matched; never sent by a client `[MQTT-3.3.4-6]`.
        subscription_identifiers: Vec<SubscriptionId> = SubscriptionIdentifier,
        /// Of the application's choice.
        content_type: Option<Utf8> = ContentType,
    }
}

impl fmt::Debug for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publish")
            .field("dup", &self.dup)
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .field("topic", &self.topic)
            .field("packet_id", &self.packet_id)
            .field("properties", &self.properties)
            .field("payload", &format_args!("<{} bytes>", self.payload.len()))
            .finish()
    }
}

impl Publish {
    /// The same message, borrowed.
    pub fn as_ref(&self) -> PublishRef<'_> {
        PublishRef {
            dup: self.dup,
            qos: self.qos,
            retain: self.retain,
            topic: &self.topic,
            packet_id: self.packet_id,
            properties: self.properties.as_deref(),
            payload: [&self.payload, &[]],
        }
    }

    /// Reads a whole packet, of which the first `header` bytes are the fixed header.
    #[inline]
    pub(crate) fn read(
        first: u8,
        header: usize,
        mut frame: Bytes,
        version: Version,
        role: Role,
    ) -> Result<Self, DecodeError> {
        let r = &mut Reader::new(&frame, header, PacketType::Publish, version, role);
        let qos = r.qos(first >> 1 & 0b11)?;
        let dup = first & DUP != 0;
        if dup && qos == QoS::AtMostOnce {
            return Err(DecodeError::DupWithQoS0);
        }
        let topic = r.utf8("topic name")?;
        let packet_id = if qos == QoS::AtMostOnce {
            None
        } else {
            Some(r.packet_id()?)
        };
        let properties = match version {
            Version::V5 => PublishProperties::read_boxed(r)?,
            Version::V311 => None,
        };
        let aliased = properties.as_ref().is_some_and(|p| p.topic_alias.is_some());
        if !(topic.is_empty() && aliased) {
            r.check_topic_name(&topic, "topic name")?;
        }
        if role == Role::Server
            && properties
                .as_ref()
                .is_some_and(|p| !p.subscription_identifiers.is_empty())
        {
            let property = PropertyId::SubscriptionIdentifier;
            return Err(DecodeError::PropertyNotAllowed {
                packet: PacketType::Publish,
                property,
            });
        }
        let payload = frame.len() - r.remaining();
        frame.advance(payload);
        Ok(Self {
            dup,
            qos,
            retain: first & RETAIN != 0,
            topic,
            packet_id,
            properties,
            payload: frame,
        })
    }
}

/// A PUBLISH to be written, without owning anything: the way to send one message to many subscribers.
///
/// The topic is written as it is; it is the caller's duty that it is a valid topic name.
#[derive(Clone, Copy)]
pub struct PublishRef<'a> {
    /// Sent before, perhaps.
    pub dup: bool,
    /// The delivery guarantee.
    pub qos: QoS,
    /// To a subscriber: was kept.
    pub retain: bool,
    /// At most 65 535 bytes.
    pub topic: &'a str,
    /// There if and only if the QoS is not 0.
    pub packet_id: Option<PacketId>,
    /// Not written in 3.1.1.
    pub properties: Option<&'a PublishProperties>,
    /// Written one after the other: a shared body, and what is the subscriber's own.
    pub payload: [&'a [u8]; 2],
}

impl PublishRef<'_> {
    pub(crate) fn first_byte(&self) -> u8 {
        let mut first = PacketType::Publish.first_byte() | (self.qos as u8) << 1;
        if self.dup {
            first |= DUP;
        }
        if self.retain {
            first |= RETAIN;
        }
        first
    }

    #[inline]
    pub(crate) fn write<S: Sink>(&self, version: Version, out: &mut S) -> Result<(), EncodeError> {
        out.binary(self.topic.as_bytes(), "topic name")?;
        match (self.qos, self.packet_id) {
            (QoS::AtMostOnce, None) => {}
            (QoS::AtLeastOnce | QoS::ExactlyOnce, Some(id)) => out.packet_id(id),
            _ => return Err(EncodeError::PacketId),
        }
        if version == Version::V5 {
            write_section(self.properties, out)?;
        }
        for part in self.payload {
            out.slice(part);
        }
        Ok(())
    }
}
