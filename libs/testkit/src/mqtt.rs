//! A scripted MQTT client, 3.1.1 and 5, over TCP or WebSocket. It reads from its socket only while a step waits for
//! something, so that a test decides when a client is slow.

mod link;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
pub use mqtt_codec::{
    Ack, ConnAck, Connect, Packet, PacketId, Publish, PublishProperties, QoS, ReasonCode, RetainHandling,
    SubAck, Subscribe, Subscription, Utf8, Version, Will,
};
use mqtt_codec::{Decoder, Disconnect, Unsubscribe};
use prost::Message as _;

use crate::{DEADLINE, within};
use link::Link;

/// What the scripted client takes at most.
const MAX_PACKET: usize = 4 << 20;

/// A well-formed string.
///
/// # Panics
/// When it is none that MQTT can carry.
pub fn utf8(text: &str) -> Utf8 {
    Utf8::try_from(text).expect("a string that MQTT can carry")
}

/// How to connect. The default is a clean 3.1.1 session over TCP without credentials and without keep alive.
#[derive(Debug, Clone)]
pub struct Options {
    /// The CONNECT to send.
    pub connect: Connect,
    /// `None`: TCP. A path: WebSocket at it.
    pub websocket: Option<&'static str>,
}

impl Options {
    /// A clean session of this version.
    pub fn new(version: Version, client_id: &str) -> Self {
        Self {
            connect: Connect::new(version, utf8(client_id)),
            websocket: None,
        }
    }

    /// A clean session of 3.1.1.
    pub fn v311(client_id: &str) -> Self {
        Self::new(Version::V311, client_id)
    }

    /// A clean session of 5.
    pub fn v5(client_id: &str) -> Self {
        Self::new(Version::V5, client_id)
    }

    /// A session that outlives its connection (in 5 for an hour).
    #[must_use]
    pub fn persistent(mut self) -> Self {
        self.connect.clean_start = false;
        if self.connect.version == Version::V5 {
            self.connect.properties.session_expiry_interval = Some(3600);
        }
        self
    }

    /// With a token.
    #[must_use]
    pub fn token(mut self, token: &str) -> Self {
        self.connect.user_name = Some(utf8("somebody"));
        self.connect.password = Some(Bytes::copy_from_slice(token.as_bytes()).into());
        self
    }

    /// With a keep alive in seconds.
    #[must_use]
    pub fn keep_alive(mut self, seconds: u16) -> Self {
        self.connect.keep_alive = seconds;
        self
    }

    /// With a will.
    #[must_use]
    pub fn will(mut self, topic: &str, payload: &str, qos: QoS, retain: bool) -> Self {
        self.connect.will = Some(Will {
            topic: utf8(topic),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            qos,
            retain,
            properties: mqtt_codec::WillProperties::default(),
        });
        self
    }

    /// At most this many unacknowledged messages (5 only).
    #[must_use]
    pub fn receive_maximum(mut self, maximum: u16) -> Self {
        self.connect.properties.receive_maximum = NonZeroU16::new(maximum);
        self
    }

    /// Over WebSocket, at this path.
    #[must_use]
    pub fn websocket(mut self, path: &'static str) -> Self {
        self.websocket = Some(path);
        self
    }
}

/// A connection.
#[derive(Debug)]
pub struct Mqtt {
    link: Link,
    decoder: Decoder,
    buf: BytesMut,
    inbox: VecDeque<Packet>,
    version: Version,
    last_id: PacketId,
    /// What the server said to CONNECT.
    pub connack: ConnAck,
    /// Whether [`Mqtt::publish_received`] acknowledges what it returns. On at first.
    pub acknowledging: bool,
}

/// Why there is no connection.
#[derive(Debug)]
pub enum Refused {
    /// The server said so.
    ConnAck(Box<ConnAck>),
    /// It closed without a word.
    Closed,
}

impl Mqtt {
    /// Connects and expects to be welcome.
    ///
    /// # Panics
    /// When it is not.
    pub async fn connect(server: &crate::Longwire, options: Options) -> Self {
        match Self::try_connect(server, options).await {
            Ok(client) => client,
            Err(refused) => panic!("the server does not accept the connection: {refused:?}"),
        }
    }

    /// Connects, perhaps in vain.
    ///
    /// # Errors
    /// The server's refusal.
    ///
    /// # Panics
    /// When there is no answer in time.
    pub async fn try_connect(server: &crate::Longwire, options: Options) -> Result<Self, Refused> {
        let address = if options.websocket.is_some() {
            server.at().ws
        } else {
            server.at().mqtt
        };
        Self::connect_to(address, options).await
    }

    /// Connects to an address, perhaps in vain.
    ///
    /// # Errors
    /// The server's refusal.
    ///
    /// # Panics
    /// When there is no answer in time.
    pub async fn connect_to(address: SocketAddr, options: Options) -> Result<Self, Refused> {
        let version = options.connect.version;
        let link = Link::open(address, options.websocket).await;
        let Some(link) = link else {
            return Err(Refused::Closed);
        };
        let mut client = Self {
            link,
            decoder: Decoder::client(version, MAX_PACKET),
            buf: BytesMut::new(),
            inbox: VecDeque::new(),
            version,
            last_id: PacketId::MIN,
            connack: ConnAck::accepted(false),
            acknowledging: true,
        };
        client.send(&Packet::Connect(Box::new(options.connect))).await;
        match client.receive("CONNACK").await {
            None => Err(Refused::Closed),
            Some(Packet::ConnAck(connack)) if connack.reason == ReasonCode::Success => {
                client.connack = *connack;
                Ok(client)
            }
            Some(Packet::ConnAck(connack)) => Err(Refused::ConnAck(connack)),
            Some(other) => panic!("the server answers CONNECT with {other:?}"),
        }
    }

    /// Sends a packet. A connection that the server has closed swallows it; the next step that reads will tell.
    ///
    /// # Panics
    /// When the packet cannot be encoded, or the server does not take it in time.
    pub async fn send(&mut self, packet: &Packet) {
        let mut bytes = BytesMut::new();
        packet
            .encode(self.version, &mut bytes)
            .expect("a packet that can be encoded");
        self.send_raw(bytes.freeze()).await;
    }

    /// Sends any bytes.
    ///
    /// # Panics
    /// When the server does not take them in time.
    pub async fn send_raw(&mut self, bytes: Bytes) {
        within("the server to take bytes", DEADLINE, self.link.write(bytes)).await;
    }

    /// The next packet, out of turn ones first; `None` when the server has closed.
    ///
    /// # Panics
    /// When nothing comes in time; the message says `what` was waited for.
    pub async fn receive(&mut self, what: &str) -> Option<Packet> {
        if let Some(packet) = self.inbox.pop_front() {
            return Some(packet);
        }
        within(what, DEADLINE, self.read()).await
    }

    /// The next packet if one comes within `time`, out of turn ones first.
    pub async fn receive_for(&mut self, time: Duration) -> Option<Packet> {
        if let Some(packet) = self.inbox.pop_front() {
            return Some(packet);
        }
        tokio::time::timeout(time, self.read()).await.ok().flatten()
    }

    /// A packet from the socket. Dropping the future loses nothing.
    async fn read(&mut self) -> Option<Packet> {
        loop {
            match self.decoder.decode(&mut self.buf) {
                Ok(Some(packet)) => return Some(packet),
                Ok(None) => {}
                Err(error) => panic!("the server sent what is no packet: {error}"),
            }
            if !self.link.read(&mut self.buf).await {
                return None;
            }
        }
    }

    /// Reads until a packet of the wanted kind comes; others wait for their turn.
    ///
    /// # Panics
    /// When it does not come in time, or the server closes.
    pub async fn await_packet<T>(&mut self, what: &str, mut wanted: impl FnMut(&Packet) -> Option<T>) -> T {
        if let Some(index) = self.inbox.iter().position(|packet| wanted(packet).is_some()) {
            let packet = self.inbox.remove(index).expect("just found");
            return wanted(&packet).expect("just found");
        }
        let wait = async {
            loop {
                let Some(packet) = self.read().await else {
                    panic!("the server closed the connection before {what}")
                };
                if let Some(found) = wanted(&packet) {
                    return found;
                }
                if let Packet::Disconnect(disconnect) = &packet {
                    panic!("the server disconnects before {what}: {disconnect:?}");
                }
                self.inbox.push_back(packet);
            }
        };
        within(what, DEADLINE, wait).await
    }

    /// The next packet identifier.
    pub fn next_id(&mut self) -> PacketId {
        self.last_id = self.last_id.next();
        self.last_id
    }

    /// Subscribes to one filter: what the server grants.
    pub async fn subscribe(&mut self, filter: &str, qos: QoS) -> ReasonCode {
        let granted = self
            .subscribe_with(vec![Subscription::new(utf8(filter), qos)])
            .await;
        granted[0]
    }

    /// Subscribes: what the server grants, in order.
    pub async fn subscribe_with(&mut self, subscriptions: Vec<Subscription>) -> Vec<ReasonCode> {
        self.subscribe_as(0, subscriptions).await
    }

    /// The same with a subscription identifier; 0 for none.
    pub async fn subscribe_as(
        &mut self,
        identifier: u32,
        subscriptions: Vec<Subscription>,
    ) -> Vec<ReasonCode> {
        let id = self.next_id();
        self.send(&Packet::Subscribe(Subscribe {
            packet_id: id,
            properties: mqtt_codec::SubscribeProperties {
                subscription_identifier: mqtt_codec::SubscriptionId::new(identifier),
                ..mqtt_codec::SubscribeProperties::default()
            },
            subscriptions,
        }))
        .await;
        self.await_packet("SUBACK", |packet| match packet {
            Packet::SubAck(ack) if ack.packet_id == id => Some(ack.reasons.clone()),
            _ => None,
        })
        .await
    }

    /// Unsubscribes from one filter.
    pub async fn unsubscribe(&mut self, filter: &str) {
        let id = self.next_id();
        self.send(&Packet::Unsubscribe(Unsubscribe {
            packet_id: id,
            properties: mqtt_codec::UnsubscribeProperties::default(),
            filters: vec![utf8(filter)],
        }))
        .await;
        self.await_packet("UNSUBACK", |packet| match packet {
            Packet::UnsubAck(ack) if ack.packet_id == id => Some(()),
            _ => None,
        })
        .await;
    }

    /// Builds a PUBLISH and sends it, without waiting for its acknowledgement. `None` with QoS 0.
    pub async fn start_publish(
        &mut self,
        topic: &str,
        payload: impl Into<Bytes>,
        qos: QoS,
    ) -> Option<PacketId> {
        let id = (qos != QoS::AtMostOnce).then(|| self.next_id());
        let publish = Publish {
            dup: false,
            qos,
            retain: false,
            topic: utf8(topic),
            packet_id: id,
            properties: None,
            payload: payload.into(),
        };
        self.send(&Packet::Publish(publish)).await;
        id
    }

    /// Publishes and, with QoS 1 and 2, goes through the whole exchange: the server's PUBACK or PUBREC.
    pub async fn publish(&mut self, topic: &str, payload: impl Into<Bytes>, qos: QoS) -> Option<Ack> {
        let id = self.start_publish(topic, payload, qos).await?;
        let ack = self.acknowledged(id).await;
        if qos == QoS::ExactlyOnce && (ack.reason as u8) < 0x80 {
            self.send(&Packet::PubRel(Ack::new(id))).await;
            self.await_packet("PUBCOMP", |packet| match packet {
                Packet::PubComp(ack) if ack.packet_id == id => Some(()),
                _ => None,
            })
            .await;
        }
        Some(ack)
    }

    /// Publishes a retained message with QoS 1.
    pub async fn publish_retained(&mut self, topic: &str, payload: impl Into<Bytes>) {
        let id = self.next_id();
        let publish = Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: true,
            topic: utf8(topic),
            packet_id: Some(id),
            properties: None,
            payload: payload.into(),
        };
        self.send(&Packet::Publish(publish)).await;
        self.acknowledged(id).await;
    }

    /// The PUBACK or PUBREC of an identifier.
    pub async fn acknowledged(&mut self, id: PacketId) -> Ack {
        self.await_packet("PUBACK or PUBREC", |packet| match packet {
            Packet::PubAck(ack) | Packet::PubRec(ack) if ack.packet_id == id => Some(ack.clone()),
            _ => None,
        })
        .await
    }

    /// Publishes a chat message on its thread's topic with QoS 1 and expects it to be accepted.
    ///
    /// # Panics
    /// When it is not.
    pub async fn say(&mut self, message: &wire::Message) -> Ack {
        let topic = crate::chat::topic(message).to_owned();
        let ack = self
            .publish(&topic, message.encode_to_vec(), QoS::AtLeastOnce)
            .await;
        let ack = ack.expect("QoS 1 is acknowledged");
        assert_eq!(ack.reason as u8 & 0x80, 0, "the message is refused: {ack:?}");
        ack
    }

    /// Publishes a chat message that the server may refuse in whatever way: an acknowledgement with a reason, none, or
    /// the end of the connection.
    pub async fn say_or_be_refused(mut self, message: &wire::Message) {
        let topic = crate::chat::topic(message).to_owned();
        self.start_publish(&topic, message.encode_to_vec(), QoS::AtLeastOnce)
            .await;
        self.send(&Packet::PingReq).await;
        loop {
            match self.receive("an answer of any kind").await {
                Some(Packet::PingResp) | None => return,
                Some(_) => {}
            }
        }
    }

    /// The next PUBLISH, acknowledged unless [`Mqtt::acknowledging`] is off; other packets wait for their turn.
    ///
    /// # Panics
    /// When none comes in time.
    pub async fn publish_received(&mut self) -> Publish {
        let publish = self
            .await_packet("PUBLISH", |packet| match packet {
                Packet::Publish(publish) => Some(publish.clone()),
                _ => None,
            })
            .await;
        if self.acknowledging {
            self.acknowledge(&publish).await;
        }
        publish
    }

    /// Takes a message over: PUBACK, or the whole QoS 2 exchange.
    pub async fn acknowledge(&mut self, publish: &Publish) {
        let Some(id) = publish.packet_id else { return };
        if publish.qos == QoS::AtLeastOnce {
            return self.send(&Packet::PubAck(Ack::new(id))).await;
        }
        self.send(&Packet::PubRec(Ack::new(id))).await;
        self.await_packet("PUBREL", |packet| match packet {
            Packet::PubRel(ack) if ack.packet_id == id => Some(()),
            _ => None,
        })
        .await;
        self.send(&Packet::PubComp(Ack::new(id))).await;
    }

    /// The next chat message but DELIVERED, which the server tells of itself whenever somebody acknowledges.
    ///
    /// # Panics
    /// When what comes is no chat envelope, or lacks what deployed clients take for granted.
    pub async fn hear(&mut self) -> wire::Message {
        self.hear_until(|message| message.r#type != "DELIVERED").await
    }

    /// The next chat message for which `wanted` holds; others are passed over.
    pub async fn hear_until(&mut self, wanted: impl Fn(&wire::Message) -> bool) -> wire::Message {
        loop {
            let publish = self.publish_received().await;
            let message = crate::chat::from_publish(&publish);
            if wanted(&message) {
                return message;
            }
        }
    }

    /// Asks for a PINGRESP: what the server has sent before it is in the inbox afterwards.
    pub async fn ping(&mut self) {
        self.send(&Packet::PingReq).await;
        self.await_packet("PINGRESP", |packet| {
            matches!(packet, Packet::PingResp).then_some(())
        })
        .await;
    }

    /// The PUBLISH packets that have come and wait for their turn.
    pub fn waiting(&self) -> impl Iterator<Item = &Publish> {
        self.inbox.iter().filter_map(|packet| match packet {
            Packet::Publish(publish) => Some(publish),
            _ => None,
        })
    }

    /// Waits until the server closes: the reason of its DISCONNECT, if it sent one.
    ///
    /// # Panics
    /// When it does not in time.
    pub async fn closed_by_server(&mut self, deadline: Duration) -> Option<ReasonCode> {
        let wait = async {
            let mut reason = None;
            for packet in self.inbox.drain(..) {
                if let Packet::Disconnect(disconnect) = packet {
                    reason = Some(disconnect.reason);
                }
            }
            while let Some(packet) = self.read().await {
                if let Packet::Disconnect(disconnect) = packet {
                    reason = Some(disconnect.reason);
                }
            }
            reason
        };
        within("the server to close the connection", deadline, wait).await
    }

    /// Everything that comes until the server closes, out of turn packets first.
    ///
    /// # Panics
    /// When it does not close in time.
    pub async fn receive_until_closed(&mut self) -> Vec<Packet> {
        let mut all: Vec<_> = self.inbox.drain(..).collect();
        let wait = async {
            while let Some(packet) = self.read().await {
                all.push(packet);
            }
        };
        within("the server to close the connection", DEADLINE, wait).await;
        all
    }

    /// Leaves politely: DISCONNECT, then the socket.
    pub async fn disconnect(mut self) {
        self.send(&Packet::Disconnect(Disconnect::new(ReasonCode::Success)))
            .await;
        self.link.shutdown().await;
        // The server closes after DISCONNECT; having seen it means that it has been handled.
        let _reason = self.closed_by_server(DEADLINE).await;
    }

    /// Is gone without a word.
    pub fn vanish(self) {
        drop(self);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn packets_out_of_turn_wait_and_the_last_word_is_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut buf = [0; 256];
            let _connect = socket.read(&mut buf).await.unwrap();
            // CONNACK, PUBLISH QoS 0 on "a", PINGRESP, DISCONNECT 0x8e
            socket
                .write_all(b"\x20\x03\x00\x00\x00\x30\x05\x00\x01a\x00x\xd0\x00\xe0\x01\x8e")
                .await
                .unwrap();
            let _pingreq = socket.read(&mut buf).await.unwrap();
        });
        let mut client = Mqtt::connect_to(address, Options::v5("c")).await.unwrap();
        client.ping().await;
        assert_eq!(client.waiting().count(), 1);
        assert_eq!(client.publish_received().await.payload, "x");
        assert_eq!(
            client.closed_by_server(DEADLINE).await,
            Some(ReasonCode::SessionTakenOver)
        );
    }
}
