//! A strict MQTT 3.1.1 and 5 codec: bytes in, validated packets out.
//!
//! [`Decoder`] cuts a stream into [`Packet`]s and refuses everything the specification forbids a peer to send that
//! can be seen from the packet alone, the connection's role and its version. What it returns can be relied on:
//! strings are well formed and without U+0000, topic names and filters are valid, packet identifiers are not zero,
//! properties belong to their packet, come once and are in range, reason codes are the sender's to use.
//! Not checked, because it takes state: topic aliases, receive maximum, order of acknowledgements, and whether a
//! payload keeps its payload format indicator.
//!
//! [`Packet::encode`] and, for one message to many subscribers, [`PublishRef::encode`] are the other direction.
//!
//! ```
//! use bytes::BytesMut;
//! use mqtt_codec::{Decoder, Packet};
//!
//! let mut decoder = Decoder::server(64 * 1024);
//! let mut buf = BytesMut::from(&b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a\xc0"[..]);
//! let Some(Packet::Connect(connect)) = decoder.decode(&mut buf)? else { unreachable!() };
//! assert_eq!(connect.client_id, "a");
//! assert_eq!(decoder.decode(&mut buf)?, None); // the length of PINGREQ is still missing
//! # Ok::<(), mqtt_codec::DecodeError>(())
//! ```
//!
//! Clauses are cited as `[MQTT-x.y.z-n]` or §x.y, of MQTT 5 unless 3.1.1 is named. No I/O, no allocation for packets
//! without properties and lists, no indexing that can panic.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod decoder;
mod encode;
mod error;
mod packet;
mod properties;
mod read;
mod reason;
mod topic;
mod types;
mod utf8;
mod write;

pub use decoder::Decoder;
pub use encode::{encode_pingresp, encode_puback, encode_pubcomp, encode_pubrec, encode_pubrel};
pub use error::{DecodeError, EncodeError};
pub use packet::{
    Ack, AckProperties, Auth, AuthProperties, ConnAck, ConnAckProperties, Connect, ConnectProperties,
    Disconnect, DisconnectProperties, Packet, Publish, PublishProperties, PublishRef, SubAck, Subscribe,
    SubscribeProperties, Subscription, UnsubAck, Unsubscribe, UnsubscribeProperties, Will, WillProperties,
};
pub use properties::{PropertyId, UserProperty};
pub use reason::{ConnectReturnCode, ReasonCode};
pub use topic::{TopicError, split_shared, validate_topic_filter, validate_topic_name};
pub use types::{
    MAX_VARIABLE_BYTE_INTEGER, PacketId, PacketType, PayloadFormat, QoS, RetainHandling, Role, Secret,
    SubscriptionId, Version,
};
pub use utf8::{Utf8, Utf8Error};
