//! What clients publish: from PUBLISH to PUBACK or PUBREC.

use std::num::NonZeroU16;
use std::time::Duration;

use bytes::Bytes;
use contract::ErrorKind;
use edge::Refusal;
use edge::ingest::Chat;
use edge::line::Ticket;
use model::{ChatTopic, MessageKind, Origin, Position, TopicName};
use mqtt_codec::{Publish, QoS, ReasonCode, Utf8, Version};
use session::Inbound;
use tokio::time::Instant;
use wire::{Entry, Kind};

use super::Connection;
use super::end::End;
use super::outbox::{Judged, Sent, Waiting};
use crate::edge::TOPIC_ALIAS_MAXIMUM;
use crate::properties::encode_properties;

impl Connection {
    pub(super) async fn publish(&mut self, publish: Publish) -> Result<(), End> {
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
        let counts = self.peer.version == Version::V5 && publish.packet_id.is_some();
        if !counts || self.publishing.outbox.len() < limit || self.publishing.outbox.due() < limit {
            return Ok(());
        }
        let detail = format!("more than {limit} messages without an acknowledgement");
        Err(End::ours("protocol", ReasonCode::ReceiveMaximumExceeded, detail))
    }

    /// Counts a message against the limits of the connection and of the user.
    fn rate(&mut self) -> Result<(), Duration> {
        let now = self.edge.core.clock.monotonic();
        self.publishing.rate.take(now)?;
        match &self.publishing.user_rate {
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
            .map(NonZeroU16::get);
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
                self.publishing.aliases.insert(alias, topic);
            }
        }
        let name = match alias.filter(|_| publish.topic.is_empty()) {
            Some(alias) => self.publishing.aliases.get(&alias).ok_or_else(|| {
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
        entry.client.clone_from(&self.peer.client);
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
        if topic.starts_with('$')
            || !core
                .gate
                .may_publish_ordinary(&self.who, &self.peer.client, topic)
        {
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
            client: self.peer.client.clone(),
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
        self.publishing.busy = Some(entry.partition(core.partitioning));
        core.submit(entry, ticket);
    }

    pub(super) fn wait_for(&mut self, publish: &Publish, sent: Option<Sent>, outcome: Option<Judged>) -> u64 {
        self.publishing.outbox.push(Waiting {
            packet_id: publish.packet_id,
            qos: publish.qos,
            chat: sent.map(Box::new),
            since: Instant::now(),
            outcome,
        })
    }

    /// MQTT 5 has a word for it. Otherwise the message waits, and with it all that is behind it.
    fn too_fast(&mut self, publish: Publish, wait: Duration) -> Result<(), End> {
        if self.peer.version == Version::V5 && publish.packet_id.is_some() {
            let detail = format!("too many messages; wait {} ms", wait.as_millis().max(1));
            let refused = Refusal::new(ErrorKind::RateLimited, detail);
            self.wait_for(&publish, None, Some(Err(refused)));
            return self.acknowledge_settled();
        }
        self.edge.metrics.refuse("rate-limited");
        self.publishing.paused_until = Some(Instant::now() + wait);
        self.publishing.delayed = Some(publish);
        Ok(())
    }
}
