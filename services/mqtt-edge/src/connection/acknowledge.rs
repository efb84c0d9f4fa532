//! What is said of a message that was published: PUBACK, PUBREC, or why not.

use contract::ErrorKind;
use edge::{Outcome, Refusal, audience};
use model::Position;
use mqtt_codec::{
    Ack, AckProperties, Packet, PacketId, PublishRef, QoS, ReasonCode, UserProperty, Utf8, Version,
    encode_puback, encode_pubrec,
};
use tracing::debug;
use wire::Message;
use wire::envelope::{self, Stamp};

use super::Connection;
use super::end::End;
use super::outbox::Waiting;

impl Connection {
    /// The owner has said what became of a message.
    pub(super) fn settled(&mut self, token: u64, outcome: Outcome) -> Result<(), End> {
        self.publishing.outbox.settle(token, outcome);
        self.acknowledge_settled()
    }

    pub(super) fn acknowledge_settled(&mut self) -> Result<(), End> {
        while let Some((waiting, outcome)) = self.publishing.outbox.next() {
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
        self.held.received_unsaved |= waiting.qos == QoS::ExactlyOnce;
        let told = waiting.chat.as_ref();
        if let Some(sent) = told.filter(|_| self.peer.version == Version::V5 && self.peer.problem_information)
        {
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
            QoS::ExactlyOnce => encode_pubrec(id, &mut self.socket.out),
            _ => encode_puback(id, &mut self.socket.out),
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
        let len = packet(ack.clone()).encoded_len(self.peer.version);
        if len.is_ok_and(|len| len > self.peer.max_packet) {
            ack.properties = None;
        }
        self.write_packet(&packet(ack));
    }

    fn refuse(&mut self, waiting: &Waiting, refused: &Refusal) -> Result<(), End> {
        self.edge.metrics.refuse(refused.kind.code());
        debug!(client = %self.peer.client, code = refused.kind.code(), detail = %refused.detail, "refused a message");
        let reason = refused.kind.mqtt_reason().and_then(reason_code);
        let end = |reason| Err(End::ours(refused.kind.code(), reason, refused.detail.clone()));
        if let (Version::V5, Some(id), Some(reason)) = (self.peer.version, waiting.packet_id, reason) {
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
                encode_pubrec(id, &mut self.socket.out);
            }
            (Some(id), _) => encode_puback(id, &mut self.socket.out),
            (None, _) => {}
        }
        Ok(())
    }

    fn refuse_v5(&mut self, qos: QoS, id: PacketId, reason: ReasonCode, refused: &Refusal) {
        let properties = self.peer.problem_information.then(|| {
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
    pub(super) fn again(&mut self, id: PacketId) -> Result<(), End> {
        if !self.publishing.outbox.awaits_pubrec(id) {
            encode_pubrec(id, &mut self.socket.out);
        }
        Ok(())
    }
}

fn property(name: &str, value: &str) -> Option<UserProperty> {
    Some((Utf8::try_from(name).ok()?, Utf8::try_from(value).ok()?))
}

fn reason_code(byte: u8) -> Option<ReasonCode> {
    ReasonCode::from_byte(byte)
}
