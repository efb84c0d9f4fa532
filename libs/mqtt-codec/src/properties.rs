//! The properties of MQTT 5 (§2.2.2): identifiers, values, and the machinery behind the typed structs of the packets.

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};

use crate::error::{DecodeError, EncodeError};
use crate::read::Reader;
use crate::types::{PayloadFormat, QoS, Secret, SubscriptionId};
use crate::utf8::Utf8;
use crate::write::{Length, Sink};

use bytes::Bytes;

/// A name and a value; order and repetition are kept.
pub type UserProperty = (Utf8, Utf8);

macro_rules! property_ids {
    ($($name:ident = $id:literal, $text:literal;)+) => {
        /// The property identifiers of §2.2.2.2.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum PropertyId {
            $(#[doc = concat!(stringify!($id), " ", $text, ".")] $name = $id,)+
        }

        impl PropertyId {
            /// The property of an identifier, if there is one.
            pub const fn from_id(id: u32) -> Option<Self> {
                match id {
                    $($id => Some(Self::$name),)+
                    _ => None,
                }
            }

            /// The name as the specification spells it, in lower case.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

property_ids! {
    PayloadFormatIndicator = 0x01, "payload format indicator";
    MessageExpiryInterval = 0x02, "message expiry interval";
    ContentType = 0x03, "content type";
    ResponseTopic = 0x08, "response topic";
    CorrelationData = 0x09, "correlation data";
    SubscriptionIdentifier = 0x0B, "subscription identifier";
    SessionExpiryInterval = 0x11, "session expiry interval";
    AssignedClientIdentifier = 0x12, "assigned client identifier";
    ServerKeepAlive = 0x13, "server keep alive";
    AuthenticationMethod = 0x15, "authentication method";
    AuthenticationData = 0x16, "authentication data";
    RequestProblemInformation = 0x17, "request problem information";
    WillDelayInterval = 0x18, "will delay interval";
    RequestResponseInformation = 0x19, "request response information";
    ResponseInformation = 0x1A, "response information";
    ServerReference = 0x1C, "server reference";
    ReasonString = 0x1F, "reason string";
    ReceiveMaximum = 0x21, "receive maximum";
    TopicAliasMaximum = 0x22, "topic alias maximum";
    TopicAlias = 0x23, "topic alias";
    MaximumQoS = 0x24, "maximum QoS";
    RetainAvailable = 0x25, "retain available";
    UserProperty = 0x26, "user property";
    MaximumPacketSize = 0x27, "maximum packet size";
    WildcardSubscriptionAvailable = 0x28, "wildcard subscription available";
    SubscriptionIdentifierAvailable = 0x29, "subscription identifier available";
    SharedSubscriptionAvailable = 0x2A, "shared subscription available";
}

impl fmt::Display for PropertyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The properties of one kind of packet. Implemented by [`properties!`](crate::properties::properties).
pub(crate) trait Properties: Default {
    /// Reads the value of `id` into its field.
    fn fill(&mut self, id: PropertyId, reader: &mut Reader<'_>) -> Result<(), DecodeError>;

    /// Writes what is present, without the length in front.
    fn write<S: Sink>(&self, out: &mut S) -> Result<(), EncodeError>;

    /// Reads the length and all properties.
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut properties = Self::default();
        properties.fill_all(reader.section("properties")?)?;
        Ok(properties)
    }

    /// The same, without an allocation if there are none.
    fn read_boxed(reader: &mut Reader<'_>) -> Result<Option<Box<Self>>, DecodeError> {
        let section = reader.section("properties")?;
        if section.is_empty() {
            return Ok(None);
        }
        let mut properties = Box::<Self>::default();
        properties.fill_all(section)?;
        Ok(Some(properties))
    }

    fn fill_all(&mut self, mut section: Reader<'_>) -> Result<(), DecodeError> {
        let packet = section.packet;
        while !section.is_empty() {
            let id = section.varint("property identifier")?;
            let id = PropertyId::from_id(id).ok_or(DecodeError::UnknownProperty { packet, id })?;
            self.fill(id, &mut section)?;
        }
        Ok(())
    }

    /// The bytes [`Properties::write`] writes.
    fn len(&self) -> Result<u32, EncodeError> {
        let mut length = Length::default();
        self.write(&mut length)?;
        length.get()
    }

    /// Writes the length and all properties.
    fn write_section<S: Sink>(&self, out: &mut S) -> Result<(), EncodeError> {
        out.varint(self.len()?);
        self.write(out)
    }
}

/// Writes the length and all properties, none being none.
pub(crate) fn write_section<P: Properties, S: Sink>(
    properties: Option<&P>,
    out: &mut S,
) -> Result<(), EncodeError> {
    match properties {
        Some(properties) => properties.write_section(out),
        None => {
            out.u8(0);
            Ok(())
        }
    }
}

/// Defines a struct of properties: `field: type = identifier`, where the type is `Option` for what may come once
/// and `Vec` for what may be repeated.
macro_rules! properties {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty = $id:ident,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)+
        }

        impl $crate::properties::Properties for $name {
            fn fill(
                &mut self,
                id: $crate::properties::PropertyId,
                reader: &mut $crate::read::Reader<'_>,
            ) -> Result<(), $crate::error::DecodeError> {
                match id {
                    $($crate::properties::PropertyId::$id => {
                        $crate::properties::Slot::fill(&mut self.$field, id, reader)
                    })+
                    property => {
                        let packet = reader.packet;
                        Err($crate::error::DecodeError::PropertyNotAllowed { packet, property })
                    }
                }
            }

            fn write<S: $crate::write::Sink>(&self, out: &mut S) -> Result<(), $crate::error::EncodeError> {
                $($crate::properties::Slot::write(
                    &self.$field,
                    $crate::properties::PropertyId::$id,
                    out,
                )?;)+
                Ok(())
            }
        }
    };
}
pub(crate) use properties;

/// Where the values of one property go.
pub(crate) trait Slot {
    fn fill(&mut self, id: PropertyId, reader: &mut Reader<'_>) -> Result<(), DecodeError>;
    fn write<S: Sink>(&self, id: PropertyId, out: &mut S) -> Result<(), EncodeError>;
}

impl<T: Value> Slot for Option<T> {
    fn fill(&mut self, id: PropertyId, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        if self.is_some() {
            return Err(DecodeError::DuplicateProperty {
                packet: reader.packet,
                property: id,
            });
        }
        *self = Some(T::read(id, reader)?);
        Ok(())
    }

    fn write<S: Sink>(&self, id: PropertyId, out: &mut S) -> Result<(), EncodeError> {
        if let Some(value) = self {
            out.u8(id as u8);
            value.write(id, out)?;
        }
        Ok(())
    }
}

impl<T: Value> Slot for Vec<T> {
    fn fill(&mut self, id: PropertyId, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        self.push(T::read(id, reader)?);
        Ok(())
    }

    fn write<S: Sink>(&self, id: PropertyId, out: &mut S) -> Result<(), EncodeError> {
        for value in self {
            out.u8(id as u8);
            value.write(id, out)?;
        }
        Ok(())
    }
}

/// A value of a property, with the range the specification gives it.
pub(crate) trait Value: Sized {
    fn read(id: PropertyId, reader: &mut Reader<'_>) -> Result<Self, DecodeError>;
    fn write<S: Sink>(&self, id: PropertyId, out: &mut S) -> Result<(), EncodeError>;
}

fn in_range<T>(value: Option<T>, property: PropertyId, reader: &Reader<'_>) -> Result<T, DecodeError> {
    value.ok_or(DecodeError::PropertyValue {
        packet: reader.packet,
        property,
    })
}

macro_rules! values {
    ($($type:ty: |$id:ident, $reader:ident| $read:expr, |$value:ident, $out:ident| $write:expr;)+) => {
        $(impl Value for $type {
            fn read($id: PropertyId, $reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                $read
            }

            fn write<S: Sink>(&self, $id: PropertyId, $out: &mut S) -> Result<(), EncodeError> {
                let ($value, _) = (self, $id);
                $write
            }
        })+
    };
}

values! {
    u16: |id, reader| reader.u16(id.name()), |value, out| { out.u16(*value); Ok(()) };
    u32: |id, reader| reader.u32(id.name()), |value, out| { out.u32(*value); Ok(()) };
    NonZeroU16:
        |id, reader| { let value = reader.u16(id.name())?; in_range(Self::new(value), id, reader) },
        |value, out| { out.u16(value.get()); Ok(()) };
    NonZeroU32:
        |id, reader| { let value = reader.u32(id.name())?; in_range(Self::new(value), id, reader) },
        |value, out| { out.u32(value.get()); Ok(()) };
    SubscriptionId:
        |id, reader| { let value = reader.varint(id.name())?; in_range(Self::new(value), id, reader) },
        |value, out| { out.varint(value.get()); Ok(()) };
    bool:
        |id, reader| {
            let value = match reader.u8(id.name())? { 0 => Some(false), 1 => Some(true), _ => None };
            in_range(value, id, reader)
        },
        |value, out| { out.u8((*value).into()); Ok(()) };
    PayloadFormat:
        |id, reader| Ok(if bool::read(id, reader)? { Self::Utf8 } else { Self::Unspecified }),
        |value, out| { out.u8((*value == Self::Utf8).into()); Ok(()) };
    // Only maximum QoS is a QoS, and 2 is said by its absence (§3.2.2.3.4).
    QoS:
        |id, reader| Ok(if bool::read(id, reader)? { Self::AtLeastOnce } else { Self::AtMostOnce }),
        |value, out| { out.u8((*value).min(Self::AtLeastOnce) as u8); Ok(()) };
    Utf8:
        |id, reader| match id {
            PropertyId::ResponseTopic => reader.topic_name(id.name()),
            _ => reader.utf8(id.name()),
        },
        |value, out| out.binary(value.as_bytes(), id.name());
    Bytes: |id, reader| reader.bytes(id.name()), |value, out| out.binary(value, id.name());
    Secret: |id, reader| reader.bytes(id.name()).map(Self::from), |value, out| out.binary(value, id.name());
    UserProperty:
        |id, reader| Ok((reader.utf8(id.name())?, reader.utf8(id.name())?)),
        |value, out| {
            out.binary(value.0.as_bytes(), id.name())?;
            out.binary(value.1.as_bytes(), id.name())
        };
}
