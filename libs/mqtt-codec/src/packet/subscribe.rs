//! SUBSCRIBE and SUBACK (§3.8, §3.9).

use super::AckProperties;
use crate::error::{DecodeError, EncodeError};
use crate::properties::{Properties, UserProperty, properties};
use crate::read::Reader;
use crate::reason::ReasonCode;
use crate::topic::{split_shared, validate_topic_filter};
use crate::types::{PacketId, QoS, RetainHandling, SubscriptionId, Version};
use crate::utf8::Utf8;
use crate::write::Sink;

const NO_LOCAL: u8 = 0b0000_0100;
const RETAIN_AS_PUBLISHED: u8 = 0b0000_1000;

/// A request for one or more subscriptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// Comes back in the SUBACK.
    pub packet_id: PacketId,
    /// MQTT 5 only.
    pub properties: SubscribeProperties,
    /// At least one.
    pub subscriptions: Vec<Subscription>,
}

/// A topic filter and its options. In 3.1.1 the options beside the QoS have their defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// A valid topic filter; in MQTT 5 a valid shared one if it begins with `$share/`.
    pub filter: Utf8,
    /// The highest QoS wanted.
    pub qos: QoS,
    /// Messages of the same connection are not wanted. Never set on a shared subscription.
    pub no_local: bool,
    /// RETAIN is to be forwarded as it was published.
    pub retain_as_published: bool,
    /// What to do about retained messages.
    pub retain_handling: RetainHandling,
}

properties! {
    /// Properties of SUBSCRIBE (§3.8.2.1).
    SubscribeProperties {
        /// Comes back with every message that matches.
        subscription_identifier: Option<SubscriptionId> = SubscriptionIdentifier,
        /// Name and value pairs.
        user_properties: Vec<UserProperty> = UserProperty,
    }
}

impl Subscribe {
    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let packet_id = r.packet_id()?;
        let properties = match r.version {
            Version::V5 => SubscribeProperties::read(r)?,
            Version::V311 => SubscribeProperties::default(),
        };
        if r.is_empty() {
            return Err(DecodeError::NoTopicFilter { packet: r.packet });
        }
        let mut subscriptions = Vec::new();
        while !r.is_empty() {
            subscriptions.push(Subscription::read(r)?);
        }
        Ok(Self {
            packet_id,
            properties,
            subscriptions,
        })
    }

    pub(crate) fn write<S: Sink>(&self, version: Version, out: &mut S) -> Result<(), EncodeError> {
        out.packet_id(self.packet_id);
        if version == Version::V5 {
            self.properties.write_section(out)?;
        }
        for subscription in &self.subscriptions {
            out.binary(subscription.filter.as_bytes(), "topic filter")?;
            out.u8(subscription.options(version));
        }
        Ok(())
    }
}

impl Subscription {
    /// A subscription with the default options, those of 3.1.1.
    pub fn new(filter: Utf8, qos: QoS) -> Self {
        Self {
            filter,
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let filter = read_filter(r)?;
        let options = r.u8("subscription options")?;
        let reserved = if r.version == Version::V5 {
            0b1100_0000
        } else {
            0b1111_1100
        };
        if options & reserved != 0 {
            return Err(DecodeError::ReservedBits {
                packet: r.packet,
                field: "subscription options",
            });
        }
        let no_local = options & NO_LOCAL != 0;
        if no_local && filter.starts_with("$share/") {
            return Err(DecodeError::NoLocalOnShared);
        }
        Ok(Self {
            filter,
            qos: r.qos(options & 0b11)?,
            no_local,
            retain_as_published: options & RETAIN_AS_PUBLISHED != 0,
            retain_handling: match options >> 4 {
                0 => RetainHandling::Send,
                1 => RetainHandling::SendIfNew,
                2 => RetainHandling::DoNotSend,
                _ => return Err(DecodeError::RetainHandling),
            },
        })
    }

    fn options(&self, version: Version) -> u8 {
        let mut options = self.qos as u8;
        if version == Version::V5 {
            options |= (self.retain_handling as u8) << 4;
            if self.no_local {
                options |= NO_LOCAL;
            }
            if self.retain_as_published {
                options |= RETAIN_AS_PUBLISHED;
            }
        }
        options
    }
}

/// A topic filter of SUBSCRIBE or UNSUBSCRIBE.
pub(super) fn read_filter(r: &mut Reader<'_>) -> Result<Utf8, DecodeError> {
    let packet = r.packet;
    let filter = r.utf8("topic filter")?;
    let mut valid = validate_topic_filter(&filter);
    if valid.is_ok() && r.version == Version::V5 {
        valid = split_shared(&filter).map(|_| ());
    }
    valid.map_err(|reason| DecodeError::TopicFilter { packet, reason })?;
    Ok(filter)
}

/// The answer to a SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubAck {
    /// Of the SUBSCRIBE.
    pub packet_id: PacketId,
    /// MQTT 5 only.
    pub properties: AckProperties,
    /// The granted QoS or a failure, one for each filter in their order. 3.1.1 knows one failure, 0x80.
    pub reasons: Vec<ReasonCode>,
}

impl SubAck {
    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let packet_id = r.packet_id()?;
        let properties = match r.version {
            Version::V5 => AckProperties::read(r)?,
            Version::V311 => AckProperties::default(),
        };
        let mut reasons = vec![Self::read_reason(r)?];
        while !r.is_empty() {
            reasons.push(Self::read_reason(r)?);
        }
        Ok(Self {
            packet_id,
            properties,
            reasons,
        })
    }

    fn read_reason(r: &mut Reader<'_>) -> Result<ReasonCode, DecodeError> {
        let reason = r.reason()?;
        if r.version == Version::V311 && reason.is_error() && reason != ReasonCode::UnspecifiedError {
            return Err(DecodeError::ReasonCode {
                packet: r.packet,
                code: reason as u8,
            });
        }
        Ok(reason)
    }

    pub(crate) fn write<S: Sink>(&self, version: Version, out: &mut S) -> Result<(), EncodeError> {
        out.packet_id(self.packet_id);
        if version == Version::V5 {
            self.properties.write_section(out)?;
        }
        for &reason in &self.reasons {
            let failed = version == Version::V311 && reason.is_error();
            out.u8(if failed {
                ReasonCode::UnspecifiedError
            } else {
                reason
            } as u8);
        }
        Ok(())
    }
}
