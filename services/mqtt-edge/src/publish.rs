//! What clients publish: from PUBLISH to PUBACK or PUBREC.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use edge::Refusal;
use edge::append::{Outcome, Ticket};
use edge::delivery::Delivery;
use edge::ingest::{Chat, refusal};
use model::{ChatTopic, MessageKind, Origin, PartitionId, Position, TopicName};
use mqtt_codec::{
    Ack, AckProperties, Packet, PacketId, Publish, PublishProperties, PublishRef, QoS, ReasonCode,
    UserProperty, Utf8, Version, encode_puback, encode_pubrec,
};
use rpc::ErrorKind;
use session::Inbound;
use tokio::time::Instant;
use tracing::debug;
use wire::envelope::{self, Stamp};
use wire::{Entry, Kind, Message};

use crate::connect::TOPIC_ALIAS_MAXIMUM;
use crate::connection::{Connection, End};

/// Published and not settled, in the order of the PUBLISHes: acknowledgements leave in that order [MQTT-4.6.0-2].
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: VecDeque<Waiting>,
    first: u64,
}

#[derive(Debug)]
struct Waiting {
    packet_id: Option<PacketId>,
    qos: QoS,
    /// For the acknowledgement's user property, and for what a 3.1.1 client is told of a conflict.
    chat: Option<Box<Sent>>,
    since: Instant,
    outcome: Option<Outcome>,
}

#[derive(Debug)]
struct Sent {
    uid: String,
    topic: String,
    payload: Bytes,
}

impl Outbox {
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn push(&mut self, waiting: Waiting) -> u64 {
        self.waiting.push_back(waiting);
        self.first + self.waiting.len() as u64 - 1
    }

    fn settle(&mut self, token: u64, outcome: Outcome) {
        let index = token
            .checked_sub(self.first)
            .and_then(|i| usize::try_from(i).ok());
        if let Some(waiting) = index.and_then(|i| self.waiting.get_mut(i)) {
            waiting.outcome = Some(outcome);
        }
    }

    /// The next whose turn it is, if it is settled.
    fn next(&mut self) -> Option<(Waiting, Outcome)> {
        let outcome = self.waiting.front_mut()?.outcome.take()?;
        let waiting = self.waiting.pop_front()?;
        self.first += 1;
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        Some((waiting, outcome))
    }
}

impl Connection {
    pub(crate) async fn publish(&mut self, publish: Publish) -> Result<(), End> {
        self.edge.metrics.published.inc();
        let topic = self.topic_of(&publish)?;
        if publish.payload.len() > self.edge.config.limits.max_message.as_usize() {
            let limit = self.edge.config.limits.max_message;
            let detail = format!(
                "a message of {} bytes exceeds the limit of {limit}",
                publish.payload.len()
            );
            return Err(End::ours("payload-too-large", ReasonCode::PacketTooLarge, detail));
        }
        if let Err(wait) = self.rate.take(self.edge.core.clock.monotonic()) {
            return self.too_fast(&publish, wait);
        }
        if let (QoS::ExactlyOnce, Some(id)) = (publish.qos, publish.packet_id) {
            match self.consumer.session.receive(id.get()) {
                Inbound::New => {}
                Inbound::Again => return self.again(id),
                Inbound::TooMany => {
                    let detail = "more QoS 2 messages without PUBREL than the receive maximum allows";
                    return Err(End::ours("protocol", ReasonCode::ReceiveMaximumExceeded, detail));
                }
            }
        }
        let taken = match ChatTopic::parse(&topic) {
            Some(_) => self.publish_chat(&topic, &publish).await,
            None => self.publish_ordinary(&topic, &publish).await,
        };
        match taken {
            Ok(()) => Ok(()),
            Err(refused) => self.refuse(&publish, &refused),
        }
    }

    fn topic_of(&mut self, publish: &Publish) -> Result<TopicName, End> {
        let invalid = |code, detail: String| End::ours("protocol", code, detail);
        let alias = publish
            .properties
            .as_ref()
            .and_then(|p| p.topic_alias)
            .map(std::num::NonZeroU16::get);
        if let Some(alias) = alias {
            if alias > TOPIC_ALIAS_MAXIMUM {
                return Err(invalid(
                    ReasonCode::TopicAliasInvalid,
                    format!("topic alias {alias} is over the maximum"),
                ));
            }
            if !publish.topic.is_empty() {
                // A copy: the packet's own would keep the whole read buffer alive.
                let topic = Utf8::try_from(publish.topic.as_str()).map_err(|_| End::Lost)?;
                self.aliases.insert(alias, topic);
            }
        }
        let name = match alias.filter(|_| publish.topic.is_empty()) {
            Some(alias) => self.aliases.get(&alias).ok_or_else(|| {
                invalid(
                    ReasonCode::ProtocolError,
                    format!("topic alias {alias} has not been given a topic"),
                )
            })?,
            None => &publish.topic,
        };
        TopicName::new(name).map_err(|e| invalid(ReasonCode::TopicNameInvalid, e.to_string()))
    }

    async fn publish_chat(&mut self, topic: &TopicName, publish: &Publish) -> Result<(), Refusal> {
        if self.who.origin == Origin::AnonymousMqtt {
            return Err(Refusal::forbidden(format!(
                "{topic} is a conversation; connect with an access token"
            )));
        }
        let core = self.edge.core.clone();
        let chat = core
            .ingest
            .chat(&core.gate, &self.who, topic, &publish.payload, core.now())
            .await?;
        if MessageKind::of(&chat.message.r#type) == MessageKind::Transient {
            core.send_transient(&chat.entry).await;
            self.wait_for(
                publish,
                None,
                Some(Outcome::Stored {
                    position: Position::START,
                    duplicate: false,
                }),
            );
            return Ok(());
        }
        let Chat { mut entry, .. } = chat;
        entry.client.clone_from(&self.client);
        let sent = Sent {
            uid: entry.uid.clone(),
            topic: topic.to_string(),
            payload: entry.payload.clone(),
        };
        self.append(publish, &entry, Some(sent));
        Ok(())
    }

    async fn publish_ordinary(&mut self, topic: &TopicName, publish: &Publish) -> Result<(), Refusal> {
        let core = self.edge.core.clone();
        if topic.starts_with('$') || !core.gate.may_publish_ordinary(&self.who, &self.client, topic) {
            return Err(Refusal::forbidden(format!(
                "{} may not publish to {topic}",
                self.who.user
            )));
        }
        let properties = publish.properties.as_deref();
        let now = core.now();
        let life = properties.and_then(|p| p.message_expiry_interval);
        let entry = Entry {
            kind: Kind::Generic.into(),
            org: self.who.org.to_string(),
            topic: topic.to_string(),
            sender: self.who.user.to_string(),
            sender_role: self.who.role.number(),
            accepted_at: now.0,
            payload: publish.payload.clone(),
            qos: publish.qos as u32,
            retain: publish.retain,
            properties: encode_properties(properties),
            expires_at: life.map_or(0, |seconds| now.0 + u64::from(seconds) * 1000),
            client: self.client.clone(),
            ..Entry::default()
        };
        if publish.qos == QoS::AtMostOnce && !publish.retain {
            core.send_transient(&entry).await;
        } else {
            self.append(publish, &entry, None);
        }
        Ok(())
    }

    fn append(&mut self, publish: &Publish, entry: &Entry, sent: Option<Sent>) {
        let core = self.edge.core.clone();
        let token = self.wait_for(publish, sent, None);
        let ticket = Ticket::Mail(self.mailbox.clone(), token);
        core.appender
            .append(entry.partition(core.partitioning), entry.to_bytes(), ticket);
    }

    fn wait_for(&mut self, publish: &Publish, sent: Option<Sent>, outcome: Option<Outcome>) -> u64 {
        let settled = outcome.is_some();
        let waiting = Waiting {
            packet_id: publish.packet_id,
            qos: publish.qos,
            chat: sent.map(Box::new),
            since: Instant::now(),
            outcome,
        };
        let token = self.outbox.push(waiting);
        if settled {
            self.acknowledge_settled_quietly();
        }
        token
    }

    fn acknowledge_settled_quietly(&mut self) {
        while self
            .outbox
            .waiting
            .front()
            .is_some_and(|w| matches!(w.outcome, Some(Outcome::Stored { .. })))
        {
            if let Some((waiting, outcome)) = self.outbox.next() {
                self.acknowledge(&waiting, &outcome);
            }
        }
    }

    /// Routing has said what became of a message.
    pub(crate) fn settled(&mut self, token: u64, outcome: Outcome) -> Result<(), End> {
        self.outbox.settle(token, outcome);
        while let Some((waiting, outcome)) = self.outbox.next() {
            self.edge
                .metrics
                .ack_seconds
                .observe(waiting.since.elapsed().as_secs_f64());
            match refusal(&outcome) {
                None => self.acknowledge(&waiting, &outcome),
                Some(refused) => self.refuse_settled(&waiting, &refused)?,
            }
        }
        Ok(())
    }

    fn acknowledge(&mut self, waiting: &Waiting, outcome: &Outcome) {
        let Some(id) = waiting.packet_id else { return };
        let position = match outcome {
            Outcome::Stored { position, .. } => *position,
            _ => Position::START,
        };
        let told = waiting
            .chat
            .as_ref()
            .filter(|_| self.version == Version::V5 && position > Position::START);
        if let Some(sent) = told {
            let properties = vec![
                property("uid", &sent.uid),
                property("position", &position.to_string()),
            ];
            let properties = properties.into_iter().flatten().collect();
            let properties = AckProperties {
                user_properties: properties,
                ..AckProperties::default()
            };
            let ack = Ack {
                properties: Some(Box::new(properties)),
                ..Ack::new(id)
            };
            let packet = if waiting.qos == QoS::ExactlyOnce {
                Packet::PubRec(ack)
            } else {
                Packet::PubAck(ack)
            };
            self.write_packet(&packet);
            return;
        }
        match waiting.qos {
            QoS::ExactlyOnce => encode_pubrec(id, &mut self.out),
            _ => encode_puback(id, &mut self.out),
        }
    }

    /// A PUBLISH that is refused before anything is stored. It keeps its place among the acknowledgements.
    fn refuse(&mut self, publish: &Publish, refused: &Refusal) -> Result<(), End> {
        let uid = || {
            envelope::parse(&publish.payload)
                .map(|m| m.uid)
                .unwrap_or_default()
        };
        let sent = Sent {
            uid: uid(),
            topic: publish.topic.to_string(),
            payload: publish.payload.clone(),
        };
        let waiting = Waiting {
            packet_id: publish.packet_id,
            qos: publish.qos,
            chat: Some(Box::new(sent)),
            since: Instant::now(),
            outcome: None,
        };
        self.refuse_settled(&waiting, refused)
    }

    fn refuse_settled(&mut self, waiting: &Waiting, refused: &Refusal) -> Result<(), End> {
        self.edge.metrics.refuse(refused.kind.code());
        debug!(client = %self.client, code = refused.kind.code(), detail = %refused.detail, "refused a message");
        let Some(reason) = refused.kind.mqtt_reason().and_then(reason_code) else {
            // No acknowledgement: the client sends it again when it has connected again.
            return Err(End::ours(
                refused.kind.code(),
                ReasonCode::ServerBusy,
                refused.detail.clone(),
            ));
        };
        if let (Version::V5, Some(id)) = (self.version, waiting.packet_id) {
            self.refuse_v5(waiting, id, reason, refused);
            return Ok(());
        }
        if refused.kind == ErrorKind::Forbidden {
            // Never a silent acknowledgement.
            return Err(End::ours(
                refused.kind.code(),
                ReasonCode::NotAuthorized,
                refused.detail.clone(),
            ));
        }
        self.tell_error(waiting, refused);
        if let Some(id) = waiting.packet_id {
            match waiting.qos {
                QoS::ExactlyOnce => encode_pubrec(id, &mut self.out),
                _ => encode_puback(id, &mut self.out),
            }
        }
        Ok(())
    }

    fn refuse_v5(&mut self, waiting: &Waiting, id: PacketId, reason: ReasonCode, refused: &Refusal) {
        let mut properties = AckProperties::default();
        if self.problem_information {
            properties.reason_string = Utf8::try_from(refused.detail.as_str()).ok();
            properties
                .user_properties
                .extend(property("code", refused.kind.code()));
        }
        let mut ack = Ack {
            reason,
            properties: Some(Box::new(properties)),
            ..Ack::new(id)
        };
        let packet = |ack| {
            if waiting.qos == QoS::ExactlyOnce {
                Packet::PubRec(ack)
            } else {
                Packet::PubAck(ack)
            }
        };
        if packet(ack.clone())
            .encoded_len(self.version)
            .is_ok_and(|len| len > self.max_packet)
        {
            // [MQTT-3.4.2-2]: the explanation is left out when it does not fit.
            ack.properties = None;
        }
        if waiting.qos == QoS::ExactlyOnce {
            // A PUBREC with an error ends the exchange.
            self.consumer.session.release(id.get());
        }
        self.write_packet(&packet(ack));
    }

    /// Who cannot be told by an acknowledgement gets a message: the echo with status ERROR when there is something to
    /// echo, else a message of type ERROR on its own topic.
    fn tell_error(&mut self, waiting: &Waiting, refused: &Refusal) {
        let sent = waiting.chat.as_deref();
        let echo = sent
            .filter(|_| refused.kind == ErrorKind::Conflict)
            .and_then(|s| {
                let message = envelope::parse(&s.payload).ok()?;
                Some((
                    s.topic.clone(),
                    Message {
                        status: "ERROR".into(),
                        ..message
                    },
                ))
            });
        let user = format!("user/{}", self.who.user);
        let (topic, message) = echo.unwrap_or_else(|| {
            let extra = format!("{{\"code\":\"{}\"}}", refused.kind.code());
            let uid = uuid::Uuid::now_v7().to_string();
            let content = refused.detail.clone();
            let thread = wire::Thread {
                topic: user.clone(),
                ..wire::Thread::default()
            };
            let message = Message {
                uid,
                content,
                extra,
                r#type: "ERROR".into(),
                status: "ERROR".into(),
                channel: "SYSTEM".into(),
                thread: Some(thread),
                ..Message::default()
            };
            (user.clone(), envelope::normalise(message))
        });
        let stamp = Stamp {
            position: Position::START,
            prev: None,
            timestamp: self.edge.core.now(),
        };
        let (base, suffix) = (envelope::encode(&message), envelope::stamp_suffix(&stamp));
        self.write_publish(&PublishRef {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: &topic,
            packet_id: None,
            properties: None,
            payload: [&base, &suffix],
        });
    }

    /// A QoS 2 PUBLISH that was received before: acknowledged again if it has been stored by now; otherwise its PUBREC is
    /// on its way.
    fn again(&mut self, id: PacketId) -> Result<(), End> {
        let waits = self
            .outbox
            .waiting
            .iter()
            .any(|w| w.packet_id == Some(id) && w.qos == QoS::ExactlyOnce);
        if !waits {
            encode_pubrec(id, &mut self.out);
        }
        Ok(())
    }

    fn too_fast(&mut self, publish: &Publish, wait: std::time::Duration) -> Result<(), End> {
        let detail = format!("too many messages; wait {} ms", wait.as_millis().max(1));
        let refused = Refusal::new(ErrorKind::RateLimited, detail);
        if self.version == Version::V5 && publish.packet_id.is_some() {
            return self.refuse(publish, &refused);
        }
        // 3.1.1 has no word for it: the message is taken, and the next is not read before its time.
        self.edge.metrics.refuse("rate-limited");
        self.paused_until = Some(Instant::now() + wait);
        Ok(())
    }

    pub(crate) fn write_publish(&mut self, publish: &PublishRef<'_>) -> bool {
        match publish.encoded_len(self.version) {
            Ok(len) if len <= self.max_packet => publish.encode(self.version, &mut self.out).is_ok(),
            _ => false,
        }
    }
}

fn property(name: &str, value: &str) -> Option<UserProperty> {
    Some((Utf8::try_from(name).ok()?, Utf8::try_from(value).ok()?))
}

fn reason_code(byte: u8) -> Option<ReasonCode> {
    ReasonCode::from_byte(byte)
}

/// The properties of a PUBLISH that travel with the message, for the log: a PUBLISH packet of MQTT 5 with nothing else.
/// Empty when there are none.
pub(crate) fn encode_properties(properties: Option<&PublishProperties>) -> Bytes {
    let Some(properties) = properties else {
        return Bytes::new();
    };
    let travels = PublishProperties {
        topic_alias: None,
        message_expiry_interval: None,
        subscription_identifiers: Vec::new(),
        ..properties.clone()
    };
    if travels == PublishProperties::default() {
        return Bytes::new();
    }
    let packet = PublishRef {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "p",
        packet_id: None,
        properties: Some(&travels),
        payload: [&[], &[]],
    };
    let mut buf = BytesMut::new();
    match packet.encode(Version::V5, &mut buf) {
        Ok(()) => buf.freeze(),
        Err(_) => Bytes::new(),
    }
}

/// A delivery that stands for a retained message: it has no place of its own in what the client receives.
pub(crate) fn retained_delivery(partition: PartitionId, entry: Entry) -> Delivery {
    Delivery::new(partition, Position::START, None, entry)
}
