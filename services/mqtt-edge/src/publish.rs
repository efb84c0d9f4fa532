//! What clients publish: from PUBLISH to PUBACK or PUBREC.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use contract::ErrorKind;
use edge::delivery::Delivery;
use edge::ingest::{Chat, refusal};
use edge::line::Ticket;
use edge::{Outcome, Refusal, audience};
use model::{ChatTopic, MessageKind, Origin, PartitionId, Position, TopicName};
use mqtt_codec::{
    Ack, AckProperties, Packet, PacketId, Publish, PublishProperties, PublishRef, QoS, ReasonCode,
    UserProperty, Utf8, Version, encode_puback, encode_pubrec,
};
use session::Inbound;
use tokio::time::Instant;
use tracing::debug;
use wire::envelope::{self, Stamp};
use wire::{Entry, Kind, Message};

use crate::connect::TOPIC_ALIAS_MAXIMUM;
use crate::connection::{Connection, End};

/// Published and not acknowledged, in the order of the PUBLISHes: acknowledgements leave in that order [MQTT-4.6.0-2].
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
    outcome: Option<Judged>,
}

/// Where the message is stored, or why it is not; [`Position::START`] for what is not kept in the log.
type Judged = Result<Position, Refusal>;

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

    /// How many acknowledgements are due.
    fn due(&self) -> usize {
        self.waiting.iter().filter(|w| w.packet_id.is_some()).count()
    }

    fn push(&mut self, waiting: Waiting) -> u64 {
        self.waiting.push_back(waiting);
        self.first + self.waiting.len() as u64 - 1
    }

    pub fn settle(&mut self, token: u64, outcome: Outcome) {
        let index = token
            .checked_sub(self.first)
            .and_then(|i| usize::try_from(i).ok());
        if let Some(waiting) = index.and_then(|i| self.waiting.get_mut(i)) {
            waiting.outcome = Some(match (refusal(&outcome), outcome) {
                (None, Outcome::Stored { position, .. }) => Ok(position),
                (None, _) => Ok(Position::START),
                (Some(refused), _) => Err(refused),
            });
        }
    }

    /// The next whose turn it is, if it is settled.
    fn next(&mut self) -> Option<(Waiting, Judged)> {
        let outcome = self.waiting.front_mut()?.outcome.take()?;
        let waiting = self.waiting.pop_front()?;
        self.first += 1;
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        Some((waiting, outcome))
    }

    fn qos2(&self) -> impl Iterator<Item = (PacketId, &Waiting)> {
        let exactly_once = self.waiting.iter().filter(|w| w.qos == QoS::ExactlyOnce);
        exactly_once.filter_map(|w| Some((w.packet_id?, w)))
    }

    pub fn has_unsettled_qos2(&self) -> bool {
        self.qos2().any(|(_, w)| w.outcome.is_none())
    }

    /// The ids of QoS 2 messages that are not known to be stored: one that comes again under such an id is no resend of
    /// something we have.
    pub fn unsettled(&self) -> Vec<u16> {
        let unsettled = self.qos2().filter(|(_, w)| !matches!(w.outcome, Some(Ok(_))));
        unsettled.map(|(id, _)| id.get()).collect()
    }
}

impl Connection {
    pub(crate) async fn publish(&mut self, publish: Publish) -> Result<(), End> {
        let topic = self.topic_of(&publish)?;
        if publish.payload.len() > self.edge.config.limits.max_message.as_usize() {
            let limit = self.edge.config.limits.max_message;
            let detail = format!(
                "a message of {} bytes exceeds the limit of {limit}",
                publish.payload.len()
            );
            return Err(End::ours("payload-too-large", ReasonCode::PacketTooLarge, detail));
        }
        self.check_receive_maximum(&publish)?;
        if let Err(wait) = self.rate() {
            return self.too_fast(publish, wait);
        }
        self.edge.metrics.published.inc();
        if let (QoS::ExactlyOnce, Some(id)) = (publish.qos, publish.packet_id) {
            match self.receiver.session.receive(id.get()) {
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
        if let Err(refused) = taken {
            // It keeps its place among the acknowledgements.
            self.wait_for(&publish, None, Some(Err(refused)));
        }
        self.acknowledge_settled()
    }

    /// MQTT 5 tells the client how many it may have unacknowledged [MQTT-3.3.4-9]; of a 3.1.1 client no more are read.
    fn check_receive_maximum(&self, publish: &Publish) -> Result<(), End> {
        let limit = usize::from(self.edge.config.limits.receive_maximum);
        let counts = self.version == Version::V5 && publish.packet_id.is_some();
        if !counts || self.outbox.len() < limit || self.outbox.due() < limit {
            return Ok(());
        }
        let detail = format!("more than {limit} messages without an acknowledgement");
        Err(End::ours("protocol", ReasonCode::ReceiveMaximumExceeded, detail))
    }

    /// Counts a message against the limits of the connection and of the user.
    fn rate(&mut self) -> Result<(), std::time::Duration> {
        let now = self.edge.core.clock.monotonic();
        self.rate.take(now)?;
        match &self.user_rate {
            Some(bucket) => bucket.lock().take(now),
            None => Ok(()),
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
            core.send_transient(chat.entry);
            self.wait_for(publish, None, Some(Ok(Position::START)));
            return Ok(());
        }
        let Chat { mut entry, wish, .. } = chat;
        core.gate.grant(wish).await?;
        self.receiver.writes_in(&TopicName::trusted(&entry.topic));
        entry.client.clone_from(&self.client);
        let sent = Sent {
            uid: entry.uid.clone(),
            topic: topic.to_string(),
            payload: entry.payload.clone(),
        };
        self.submit(publish, entry, Some(sent));
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
            // A copy: the packet's own would keep the whole read buffer alive.
            payload: Bytes::copy_from_slice(&publish.payload),
            qos: publish.qos as u32,
            retain: publish.retain,
            properties: encode_properties(properties),
            expires_at: life.map_or(0, |seconds| now.0 + u64::from(seconds) * 1000),
            client: self.client.clone(),
            ..Entry::default()
        };
        if publish.qos == QoS::AtMostOnce && !publish.retain {
            core.send_transient(entry);
        } else {
            self.submit(publish, entry, None);
        }
        Ok(())
    }

    fn submit(&mut self, publish: &Publish, entry: Entry, sent: Option<Sent>) {
        let token = self.wait_for(publish, sent, None);
        let ticket = Ticket::Mail(self.mailbox.clone(), token);
        let core = &self.edge.core;
        self.busy = Some(entry.partition(core.partitioning));
        core.submit(entry, ticket);
    }

    fn wait_for(&mut self, publish: &Publish, sent: Option<Sent>, outcome: Option<Judged>) -> u64 {
        self.outbox.push(Waiting {
            packet_id: publish.packet_id,
            qos: publish.qos,
            chat: sent.map(Box::new),
            since: Instant::now(),
            outcome,
        })
    }

    /// The owner has said what became of a message.
    pub(crate) fn settled(&mut self, token: u64, outcome: Outcome) -> Result<(), End> {
        self.outbox.settle(token, outcome);
        self.acknowledge_settled()
    }

    fn acknowledge_settled(&mut self) -> Result<(), End> {
        while let Some((waiting, outcome)) = self.outbox.next() {
            self.edge
                .metrics
                .ack_seconds
                .observe(waiting.since.elapsed().as_secs_f64());
            match outcome {
                Ok(position) => self.acknowledge(&waiting, position),
                Err(refused) => self.refuse(&waiting, &refused)?,
            }
        }
        Ok(())
    }

    fn acknowledge(&mut self, waiting: &Waiting, position: Position) {
        let Some(id) = waiting.packet_id else { return };
        self.received_unsaved |= waiting.qos == QoS::ExactlyOnce;
        let told = waiting.chat.as_ref();
        if let Some(sent) = told.filter(|_| self.version == Version::V5 && self.problem_information) {
            let properties = vec![
                property("uid", &sent.uid),
                property("position", &position.to_string()),
            ];
            let properties = AckProperties {
                user_properties: properties.into_iter().flatten().collect(),
                ..AckProperties::default()
            };
            return self.write_ack(
                waiting.qos,
                Ack {
                    properties: Some(Box::new(properties)),
                    ..Ack::new(id)
                },
            );
        }
        match waiting.qos {
            QoS::ExactlyOnce => encode_pubrec(id, &mut self.out),
            _ => encode_puback(id, &mut self.out),
        }
    }

    /// PUBACK or PUBREC. What it explains is left out when it does not fit [MQTT-3.4.2-2].
    fn write_ack(&mut self, qos: QoS, mut ack: Ack) {
        let packet = |ack| {
            if qos == QoS::ExactlyOnce {
                Packet::PubRec(ack)
            } else {
                Packet::PubAck(ack)
            }
        };
        let len = packet(ack.clone()).encoded_len(self.version);
        if len.is_ok_and(|len| len > self.max_packet) {
            ack.properties = None;
        }
        self.write_packet(&packet(ack));
    }

    fn refuse(&mut self, waiting: &Waiting, refused: &Refusal) -> Result<(), End> {
        self.edge.metrics.refuse(refused.kind.code());
        debug!(client = %self.client, code = refused.kind.code(), detail = %refused.detail, "refused a message");
        let reason = refused.kind.mqtt_reason().and_then(reason_code);
        let end = |reason| Err(End::ours(refused.kind.code(), reason, refused.detail.clone()));
        if let (Version::V5, Some(id), Some(reason)) = (self.version, waiting.packet_id, reason) {
            self.refuse_v5(waiting.qos, id, reason, refused);
            return Ok(());
        }
        if let (QoS::ExactlyOnce, Some(id)) = (waiting.qos, waiting.packet_id) {
            self.receiver.session.release(id.get());
        }
        match refused.kind {
            // Never a silent acknowledgement.
            ErrorKind::Forbidden => return end(ReasonCode::NotAuthorized),
            // No acknowledgement of what may come to be stored: the client sends it again when it has connected again.
            _ if reason.is_none() => return end(ReasonCode::ServerBusy),
            _ => {}
        }
        self.tell_error(waiting, refused);
        match (waiting.packet_id, waiting.qos) {
            (Some(id), QoS::ExactlyOnce) => {
                // Its PUBREL follows.
                self.receiver.session.receive(id.get());
                encode_pubrec(id, &mut self.out);
            }
            (Some(id), _) => encode_puback(id, &mut self.out),
            (None, _) => {}
        }
        Ok(())
    }

    fn refuse_v5(&mut self, qos: QoS, id: PacketId, reason: ReasonCode, refused: &Refusal) {
        let properties = self.problem_information.then(|| {
            Box::new(AckProperties {
                reason_string: Utf8::try_from(refused.detail.as_str()).ok(),
                user_properties: property("code", refused.kind.code()).into_iter().collect(),
            })
        });
        if qos == QoS::ExactlyOnce {
            // A PUBREC with an error ends the exchange.
            self.receiver.session.release(id.get());
        }
        self.write_ack(
            qos,
            Ack {
                reason,
                properties,
                ..Ack::new(id)
            },
        );
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
        let user = audience::of_user(&self.who.user).to_string();
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

    /// MQTT 5 has a word for it. Otherwise the message waits, and with it all that is behind it.
    fn too_fast(&mut self, publish: Publish, wait: std::time::Duration) -> Result<(), End> {
        if self.version == Version::V5 && publish.packet_id.is_some() {
            let detail = format!("too many messages; wait {} ms", wait.as_millis().max(1));
            let refused = Refusal::new(ErrorKind::RateLimited, detail);
            self.wait_for(&publish, None, Some(Err(refused)));
            return self.acknowledge_settled();
        }
        self.edge.metrics.refuse("rate-limited");
        self.paused_until = Some(Instant::now() + wait);
        self.held = Some(publish);
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
