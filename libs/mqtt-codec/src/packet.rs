//! The control packets, one file per family.

mod ack;
mod auth;
mod connack;
mod connect;
mod disconnect;
mod publish;
mod subscribe;
mod unsubscribe;

pub use ack::{Ack, AckProperties};
pub use auth::{Auth, AuthProperties};
pub use connack::{ConnAck, ConnAckProperties};
pub use connect::{Connect, ConnectProperties, Will, WillProperties};
pub use disconnect::{Disconnect, DisconnectProperties};
pub use publish::{Publish, PublishProperties, PublishRef};
pub use subscribe::{SubAck, Subscribe, SubscribeProperties, Subscription};
pub use unsubscribe::{UnsubAck, Unsubscribe, UnsubscribeProperties};

use crate::error::{DecodeError, EncodeError};
use crate::read::Reader;
use crate::reason::ReasonCode;
use crate::types::{PacketType, Version};
use crate::write::Sink;

/// A control packet of either version. In 3.1.1 properties are absent and reasons are
/// [`ReasonCode::Success`] unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// Client requests a connection.
    Connect(Box<Connect>),
    /// Server answers it.
    ConnAck(Box<ConnAck>),
    /// An application message.
    Publish(Publish),
    /// Answer to a QoS 1 PUBLISH.
    PubAck(Ack),
    /// First answer to a QoS 2 PUBLISH.
    PubRec(Ack),
    /// Answer to PUBREC.
    PubRel(Ack),
    /// Answer to PUBREL.
    PubComp(Ack),
    /// Client subscribes.
    Subscribe(Subscribe),
    /// Server answers it.
    SubAck(SubAck),
    /// Client unsubscribes.
    Unsubscribe(Unsubscribe),
    /// Server answers it.
    UnsubAck(UnsubAck),
    /// Client asks for a sign of life.
    PingReq,
    /// Server gives it.
    PingResp,
    /// The last packet of a connection.
    Disconnect(Disconnect),
    /// A step of enhanced authentication; MQTT 5 only.
    Auth(Box<Auth>),
}

impl Packet {
    /// The kind of packet.
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::ConnAck(_) => PacketType::ConnAck,
            Self::Publish(_) => PacketType::Publish,
            Self::PubAck(_) => PacketType::PubAck,
            Self::PubRec(_) => PacketType::PubRec,
            Self::PubRel(_) => PacketType::PubRel,
            Self::PubComp(_) => PacketType::PubComp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::SubAck(_) => PacketType::SubAck,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::UnsubAck(_) => PacketType::UnsubAck,
            Self::PingReq => PacketType::PingReq,
            Self::PingResp => PacketType::PingResp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }

    /// Reads the body of any packet but PUBLISH, which keeps its body, and CONNECT, which tells the version.
    pub(crate) fn read(mut reader: Reader<'_>) -> Result<Self, DecodeError> {
        let r = &mut reader;
        let packet = match r.packet {
            PacketType::Connect | PacketType::Publish => {
                return Err(DecodeError::UnexpectedPacket { packet: r.packet });
            }
            PacketType::ConnAck => Self::ConnAck(Box::new(ConnAck::read(r)?)),
            PacketType::PubAck => Self::PubAck(Ack::read(r)?),
            PacketType::PubRec => Self::PubRec(Ack::read(r)?),
            PacketType::PubRel => Self::PubRel(Ack::read(r)?),
            PacketType::PubComp => Self::PubComp(Ack::read(r)?),
            PacketType::Subscribe => Self::Subscribe(Subscribe::read(r)?),
            PacketType::SubAck => Self::SubAck(SubAck::read(r)?),
            PacketType::Unsubscribe => Self::Unsubscribe(Unsubscribe::read(r)?),
            PacketType::UnsubAck => Self::UnsubAck(UnsubAck::read(r)?),
            PacketType::PingReq => Self::PingReq,
            PacketType::PingResp => Self::PingResp,
            PacketType::Disconnect => Self::Disconnect(Disconnect::read(r)?),
            PacketType::Auth => Self::Auth(Box::new(Auth::read(r)?)),
        };
        reader.finish()?;
        Ok(packet)
    }

    pub(crate) fn first_byte(&self) -> u8 {
        match self {
            Self::Publish(publish) => publish.as_ref().first_byte(),
            other => other.packet_type().first_byte(),
        }
    }

    pub(crate) fn write<S: Sink>(&self, version: Version, out: &mut S) -> Result<(), EncodeError> {
        match self {
            Self::Connect(connect) => connect.write(version, out),
            Self::ConnAck(connack) => connack.write(version, out),
            Self::Publish(publish) => publish.as_ref().write(version, out),
            Self::PubAck(ack) | Self::PubRec(ack) | Self::PubRel(ack) | Self::PubComp(ack) => {
                ack.write(self.packet_type(), version, out)
            }
            Self::Subscribe(subscribe) => subscribe.write(version, out),
            Self::SubAck(suback) => suback.write(version, out),
            Self::Unsubscribe(unsubscribe) => unsubscribe.write(version, out),
            Self::UnsubAck(unsuback) => unsuback.write(version, out),
            Self::PingReq | Self::PingResp => Ok(()),
            Self::Disconnect(disconnect) => disconnect.write(version, out),
            Self::Auth(auth) => auth.write(version, out),
        }
    }
}

/// 3.1.1 has no way to say anything but success in `packet`.
fn only_success(packet: PacketType, reason: ReasonCode) -> Result<(), EncodeError> {
    match reason {
        ReasonCode::Success | ReasonCode::NoMatchingSubscribers => Ok(()),
        _ => Err(EncodeError::NotInVersion { packet }),
    }
}
