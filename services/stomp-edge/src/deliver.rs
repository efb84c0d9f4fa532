//! MESSAGE: what a client receives.

use edge::delivery::Delivery;
use edge::receiver::Item;
use edge::{Refusal, audience};
use model::{Position, TopicName};
use session::Output;
use stomp_codec::{AckMode, Version, encode_message};
use wire::envelope::{self, Stamp};
use wire::{Kind, Message, Thread};

use crate::bye::Bye;
use crate::connection::Connection;
use crate::socket::Lost;
use crate::subscription::Sub;

/// What deployed servers call the JSON of a message; stock clients look at the body only.
const TEXT: &str = "text/plain;charset=UTF-8";
const OPAQUE: &str = "application/octet-stream";
/// Unwritten bytes above which nothing more is handed out.
const HIGH: usize = 64 * 1024;

impl Connection {
    /// Writes what there is to write, as far as the socket takes it.
    pub async fn flush(&mut self) -> Result<(), Bye> {
        // Nobody is there to read; what was not acknowledged comes again.
        while !self.is_gone() {
            let given = self.deliver();
            if let Some(topic) = self.subs.iter_mut().find_map(Sub::has_left) {
                let detail = format!(
                    "{:?} is a member of {topic} no more",
                    self.identity.who.user.as_str()
                );
                return Err(Bye::refused(Refusal::forbidden(detail), None));
            }
            let waits = self.socket.queued() > 0;
            if waits {
                self.wrote();
            }
            match self.socket.write_now().await {
                Ok(()) => {}
                Err(Lost::Closed) => self.peer_closed(),
                Err(lost) => return Err(lost.into()),
            }
            self.throttle();
            if !(given || waits) || !self.written() {
                break;
            }
        }
        if std::mem::take(&mut self.acknowledged) {
            // At once: the visitor's next page may be connecting already.
            self.subs.iter_mut().for_each(|s| s.share_progress(&self.edge));
        }
        if self.subs.iter_mut().any(Sub::has_news) {
            self.report_soon();
        }
        Ok(())
    }

    fn throttle(&mut self) {
        let throttle = self.socket.queued() > HIGH;
        if throttle != self.throttled && (throttle || self.socket.is_drained()) {
            self.throttled = throttle;
            for receiver in self.subs.iter_mut().filter_map(Sub::receiver) {
                receiver.throttle(throttle);
            }
        }
    }

    /// What the socket has written in `auto` mode is acknowledged. Whether there may be more to write now.
    pub fn written(&mut self) -> bool {
        if !self.socket.is_drained() {
            return false;
        }
        for sub in &mut self.subs {
            for packet in std::mem::take(&mut sub.unwritten) {
                self.acknowledged = true;
                if let Some(receiver) = sub.receiver() {
                    let _known = receiver.ack(packet);
                }
            }
        }
        true
    }

    /// Puts what subscriptions hand out to the socket; whether there was anything.
    fn deliver(&mut self) -> bool {
        let mut outputs = Vec::new();
        let mut any = false;
        for sub in &mut self.subs {
            let Some(receiver) = sub.receiver() else { continue };
            receiver.outputs(&mut outputs);
            for output in outputs.drain(..) {
                let Output::Send {
                    packet_id, dup, item, ..
                } = output
                else {
                    continue;
                };
                any = true;
                let shown = !is_own_report(&item);
                if shown {
                    let (version, who) = (self.version, &self.identity.who);
                    let (_, body) = item.delivery.json(who);
                    let packet = packet_id.unwrap_or(0);
                    self.socket
                        .put(|out| message(version, sub, packet, dup, &item.delivery, &body, out));
                    self.edge.metrics.delivered.inc();
                }
                if let Some(packet) = packet_id {
                    sub.handed_out(packet, dup, shown);
                }
            }
        }
        any
    }

    /// Tells the client as a message of type ERROR that something it sent is none: on its own topic if it listens there,
    /// else on the thread's. False when it listens to neither.
    pub fn tell(&mut self, topic: &TopicName, refusal: &Refusal, receipt: Option<&str>) -> bool {
        let own = audience::of_user(&self.identity.who.user);
        let canonical = model::ChatTopic::canonical(topic);
        let listens = |t: &TopicName| self.subs.iter().find(|s| s.topic == *t);
        let Some(sub) = listens(&own).or_else(|| listens(&canonical)) else {
            return false;
        };
        let uid = uuid::Uuid::now_v7().to_string();
        let id = format!("{}-0-{uid}", sub.number);
        let (code, version) = (refusal.kind.code(), self.version);
        let error = Message {
            uid,
            r#type: "ERROR".into(),
            status: "ERROR".into(),
            channel: "SYSTEM".into(),
            content: refusal.detail.clone(),
            extra: format!("{{\"code\":\"{code}\"}}"),
            thread: Some(Thread {
                topic: sub.topic.to_string(),
                ..Thread::default()
            }),
            ..Message::default()
        };
        let stamp = Stamp {
            position: Position::START,
            prev: None,
            timestamp: self.edge.core.now(),
        };
        let body = envelope::to_json(&envelope::normalise(error), &stamp);
        let mut headers = vec![
            ("destination", sub.destination.as_str()),
            ("message-id", &id),
            ("content-type", TEXT),
            ("code", code),
        ];
        if sub.is_named {
            headers.push(("subscription", &sub.id));
        }
        if version == Version::V12 && sub.mode != AckMode::Auto {
            headers.push(("ack", &id));
        }
        if let Some(receipt) = receipt {
            headers.push(("receipt-id", receipt));
        }
        self.socket
            .put(|out| encode_message(version, &headers, body.as_bytes(), out));
        true
    }
}

impl Sub {
    /// The thread, if its client is a member of it no more and has been given everything up to there.
    fn has_left(&mut self) -> Option<TopicName> {
        let topic = self.topic.clone();
        let receiver = self.receiver()?;
        (receiver.has_left(&topic) && receiver.session.is_idle()).then_some(topic)
    }

    /// An item waits for its acknowledgement: the client's, or in `auto` mode, and where the client was shown nothing,
    /// that of the socket.
    fn handed_out(&mut self, packet: u16, again: bool, shown: bool) {
        if self.mode == AckMode::Auto || !shown {
            self.unwritten.push(packet);
            return;
        }
        if again {
            self.unacked.retain(|p| *p != packet);
        }
        self.unacked.push_back(packet);
    }
}

/// Whether it is what we said ourselves of the client's acknowledgements: it is for the others. Deployed pages would
/// show it as a message of their user.
fn is_own_report(item: &Item) -> bool {
    item.is_own() && item.delivery.entry.upto != 0 && item.delivery.entry.known_kind() == Kind::Receipt
}

/// One MESSAGE.
pub(crate) fn message(
    version: Version,
    sub: &Sub,
    packet: u16,
    dup: bool,
    delivery: &Delivery,
    body: &[u8],
    out: &mut bytes::BytesMut,
) {
    let position = delivery.position.to_string();
    let id = if delivery.position == Position::START {
        // Not in the log: nothing else tells two of them apart.
        format!("{}-0-{}", sub.number, uuid::Uuid::now_v7().simple())
    } else {
        format!("{}-{packet}-{position}", sub.number)
    };
    let text = delivery.is_chat() || std::str::from_utf8(body).is_ok();
    let prev = delivery.prev.map(|p| p.to_string());
    let mut headers: smallvec::SmallVec<[(&str, &str); 8]> = smallvec::smallvec![
        ("destination", sub.destination.as_str()),
        ("message-id", id.as_str()),
        ("content-type", if text { TEXT } else { OPAQUE }),
    ];
    if sub.is_named {
        headers.push(("subscription", &sub.id));
    }
    if version == Version::V12 && sub.mode != AckMode::Auto {
        headers.push(("ack", &id));
    }
    if delivery.position != Position::START {
        headers.push(("position", &position));
    }
    if let Some(prev) = &prev {
        headers.push(("prev", prev));
    }
    if dup {
        headers.push(("redelivered", "true"));
    }
    encode_message(version, &headers, body, out);
}
