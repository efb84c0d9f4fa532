//! An agent's client: a persistent session, as deployed agent pages have it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mqtt_codec::{
    Ack, ConnAck, Connect, Decoder, Disconnect, DisconnectProperties, Packet, PacketId, Publish, QoS,
    ReasonCode, Utf8, Version,
};
use rand::Rng;
use tokio::time::{Instant, sleep_until, timeout};

use super::link::{Form, Link, PATIENCE};
use super::{End, Item, Part, Phase, Protocol};
use crate::envelope::Heard;
use crate::key::Key;
use crate::record::AckKind;
use crate::target::{Address, any};

/// Between two PINGREQs.
const PING: Duration = Duration::from_secs(2);
const MAX_PACKET: usize = 4 << 20;
/// On their way at most.
const WINDOW: usize = 16;

/// A client with a session.
pub(crate) struct Mqtt {
    version: Version,
    /// Over TCP, if there is an address.
    tcp: bool,
    client_id: String,
    /// Whether the server has acknowledged a CONNECT of this session.
    has_session: bool,
    flights: Vec<Flight>,
    last_id: PacketId,
}

/// A PUBLISH with an identifier, until its exchange is over.
struct Flight {
    id: PacketId,
    item: Item,
    qos: QoS,
    /// PUBREL was sent.
    released: bool,
}

/// A connection at work.
struct Life<'a> {
    mqtt: &'a mut Mqtt,
    part: &'a mut Part,
    link: Link,
    decoder: Decoder,
    buf: BytesMut,
    out: BytesMut,
    window: usize,
    heard_last: Instant,
    pinged: Instant,
    leave_at: Instant,
}

impl Mqtt {
    pub(crate) fn new(version: Version, tcp: bool, client_id: String) -> Self {
        Self {
            version,
            tcp,
            client_id,
            has_session: false,
            flights: Vec::new(),
            last_id: PacketId::MIN,
        }
    }

    async fn open(&self, part: &mut Part) -> Result<Link, String> {
        let target = &part.shared.target;
        let over_tcp = self.tcp && !target.mqtt.is_empty() || target.ws.is_empty();
        let list: &[Address] = if over_tcp { &target.mqtt } else { &target.ws };
        let at = any(list, &mut part.rng).ok_or("there is no address for MQTT")?;
        Link::open(target, at, (!over_tcp).then_some(("mqtt", Form::Binary))).await
    }

    fn connect(&self, part: &Part, clean: bool) -> Result<Packet, String> {
        let text = |text: &str| Utf8::try_from(text).map_err(|e| e.to_string());
        let mut connect = Connect::new(self.version, text(&self.client_id)?);
        connect.clean_start = clean;
        connect.keep_alive = 10;
        connect.user_name = Some(text(&part.token().sub)?);
        connect.password = Some(Bytes::from(part.token().text.clone()).into());
        if self.version == Version::V5 && !clean {
            connect.properties.session_expiry_interval = Some(3600);
        }
        Ok(Packet::Connect(Box::new(connect)))
    }

    /// Connects and awaits CONNACK. What comes with it stays in the buffer.
    async fn greet(
        &self,
        part: &mut Part,
        clean: bool,
    ) -> Result<(Link, Decoder, BytesMut, ConnAck), String> {
        let mut link = self.open(part).await?;
        let (mut buf, mut out) = (BytesMut::new(), BytesMut::new());
        let connect = self.connect(part, clean)?;
        connect
            .encode(self.version, &mut out)
            .map_err(|e| e.to_string())?;
        let mut decoder = Decoder::client(self.version, MAX_PACKET);
        let greeting = async {
            link.write(&mut out).await?;
            loop {
                match decoder.decode(&mut buf).map_err(|e| e.to_string())? {
                    Some(Packet::ConnAck(ack)) if ack.reason == ReasonCode::Success => return Ok(*ack),
                    Some(Packet::ConnAck(ack)) => return Err(format!("CONNACK {:?}", ack.reason)),
                    Some(other) => return Err(format!("CONNECT was answered by {other:?}")),
                    None => link.read(&mut buf).await?,
                }
            }
        };
        let late = |_| Err(format!("no CONNACK within {PATIENCE:?}"));
        let ack = timeout(PATIENCE, greeting).await.unwrap_or_else(late)?;
        Ok((link, decoder, buf, ack))
    }
}

impl Protocol for Mqtt {
    async fn life(&mut self, part: &mut Part) -> End {
        let (link, decoder, buf, ack) = match self.greet(part, false).await {
            Ok(greeted) => greeted,
            Err(why) => return End::Broken(why),
        };
        part.born();
        if self.has_session && !ack.session_present {
            let now = part.shared.now();
            part.ledger.lock().observer.sessions_lost.push(now);
        }
        self.has_session = true;
        let maximum = ack
            .properties
            .receive_maximum
            .map_or(usize::MAX, |max| max.get().into());
        let now = Instant::now();
        let leave_at = part.next_absence();
        let mut life = Life {
            mqtt: self,
            part,
            link,
            decoder,
            buf,
            out: BytesMut::new(),
            window: WINDOW.min(maximum),
            heard_last: now,
            pinged: now,
            leave_at,
        };
        life.resume(ack.session_present);
        life.part.connected();
        match life.run().await {
            Ok(end) => life.leave(end).await,
            Err(why) => End::Broken(why),
        }
    }

    /// A session that nobody comes back to is forgotten.
    async fn clean_up(&mut self, part: &mut Part) {
        if self.version == Version::V311
            && let Ok((mut link, _, _, _)) = self.greet(part, true).await
        {
            let mut out = BytesMut::new();
            let encoded = Packet::Disconnect(Disconnect::default()).encode(self.version, &mut out);
            if encoded.is_ok() && link.write(&mut out).await.is_ok() {
                link.closed().await;
            }
        }
    }
}

impl Life<'_> {
    /// Sends again what is on its way, as MQTT demands; without a session it is sent anew, under the same uid.
    fn resume(&mut self, present: bool) {
        let flights = std::mem::take(&mut self.mqtt.flights);
        if !present {
            return;
        }
        for flight in flights {
            if flight.released {
                self.put(&Packet::PubRel(Ack::new(flight.id)));
            } else {
                self.part.took_off(flight.item.key);
                self.publish(&flight.item, flight.qos, Some(flight.id), true);
            }
            self.mqtt.flights.push(flight);
        }
    }

    async fn run(&mut self) -> Result<End, String> {
        let mut phase = self.part.phase.clone();
        loop {
            while let Some(packet) = self.decoder.decode(&mut self.buf).map_err(|e| e.to_string())? {
                self.take(packet)?;
            }
            if let Some(end) = self.end()? {
                return Ok(end);
            }
            self.part.write_due();
            self.send();
            self.link.write(&mut self.out).await?;
            let soon = Instant::now() + Duration::from_millis(250);
            let wake = self.part.outbox.due().map_or(soon, |due| due.min(soon));
            tokio::select! {
                read = self.link.read(&mut self.buf) => {
                    read?;
                    self.heard_last = Instant::now();
                }
                () = sleep_until(wake) => {}
                changed = phase.changed() => changed.map_err(|_| "the run is gone")?,
            }
        }
    }

    /// Whether it is time to go, and how.
    fn end(&mut self) -> Result<Option<End>, String> {
        let now = Instant::now();
        let plan = &self.part.shared.plan;
        if now - self.heard_last > plan.silence {
            return Err(format!("nothing came for {:?}", plan.silence));
        }
        if let (_, Some(oldest)) = self.part.outbox.flying()
            && now - oldest > plan.ack_timeout
        {
            return Err(format!("no acknowledgement for {:?}", plan.ack_timeout));
        }
        if now - self.pinged > PING {
            self.pinged = now;
            self.put(&Packet::PingReq);
        }
        Ok(match self.part.phase() {
            Phase::Done => Some(End::Done),
            Phase::Writing if now >= self.leave_at => Some(End::Away(self.part.absence())),
            _ => None,
        })
    }

    fn send(&mut self) {
        while self.mqtt.flights.len() < self.window {
            let Some(item) = self.part.outbox.waiting() else {
                return;
            };
            // An exchange that a fallback has overtaken is finished all the same, but not begun again.
            if self.mqtt.flights.iter().any(|flight| flight.item.key == item.key) {
                self.part.outbox.later(item.key, Duration::from_millis(100));
                return;
            }
            self.part.took_off(item.key);
            let id = (item.qos != QoS::AtMostOnce).then(|| self.free_id());
            self.publish(&item, item.qos, id, false);
            if let Some(id) = id {
                self.mqtt.flights.push(Flight {
                    id,
                    qos: item.qos,
                    item,
                    released: false,
                });
            }
        }
    }

    fn free_id(&mut self) -> PacketId {
        loop {
            self.mqtt.last_id = self.mqtt.last_id.next();
            if self
                .mqtt
                .flights
                .iter()
                .all(|flight| flight.id != self.mqtt.last_id)
            {
                return self.mqtt.last_id;
            }
        }
    }

    fn publish(&mut self, item: &Item, qos: QoS, packet_id: Option<PacketId>, dup: bool) {
        let draft = self.part.draft(item);
        let Ok(topic) = Utf8::try_from(draft.thread.topic.as_str()) else {
            return;
        };
        let packet = Packet::Publish(Publish {
            dup,
            qos,
            retain: false,
            topic,
            packet_id,
            properties: None,
            payload: draft.protobuf(),
        });
        self.put(&packet);
    }

    fn put(&mut self, packet: &Packet) {
        packet
            .encode(self.mqtt.version, &mut self.out)
            .expect("what clients send fits into packets");
    }

    fn take(&mut self, packet: Packet) -> Result<(), String> {
        match packet {
            Packet::Publish(publish) => self.deliver(&publish),
            Packet::PubAck(ack) => self.acknowledged(&ack, AckKind::PubAck),
            Packet::PubRec(ack) => {
                self.acknowledged(&ack, AckKind::PubRec);
                if (ack.reason as u8) < 0x80 {
                    self.put(&Packet::PubRel(Ack::new(ack.packet_id)));
                }
            }
            Packet::PubComp(ack) => self.mqtt.flights.retain(|flight| flight.id != ack.packet_id),
            Packet::PubRel(ack) => self.put(&Packet::PubComp(Ack::new(ack.packet_id))),
            Packet::Disconnect(disconnect) => return Err(format!("DISCONNECT {:?}", disconnect.reason)),
            _ => {}
        }
        Ok(())
    }

    fn deliver(&mut self, publish: &Publish) {
        if let Some(heard) = Heard::protobuf(publish.payload.clone()) {
            self.part.heard(&heard, publish.dup);
        }
        let Some(id) = publish.packet_id else { return };
        self.put(&match publish.qos {
            QoS::ExactlyOnce => Packet::PubRec(Ack::new(id)),
            _ => Packet::PubAck(Ack::new(id)),
        });
    }

    /// PUBACK or PUBREC.
    fn acknowledged(&mut self, ack: &Ack, by: AckKind) {
        let flights = &mut self.mqtt.flights;
        let Some(at) = flights.iter().position(|flight| flight.id == ack.packet_id) else {
            return;
        };
        let key = flights[at].item.key;
        let refused = ack.reason as u8 >= 0x80;
        if by == AckKind::PubRec && !refused {
            flights[at].released = true;
        } else {
            flights.remove(at);
        }
        if refused {
            self.refused(key, ack);
        } else {
            self.part.acked(key, by, position_of(ack));
        }
    }

    fn refused(&mut self, key: Key, ack: &Ack) {
        match ack.reason {
            // Too fast, or busy: later.
            ReasonCode::QuotaExceeded | ReasonCode::UnspecifiedError => {
                self.part.outbox.later(key, Duration::from_secs(1));
            }
            ReasonCode::ImplementationSpecificError => {
                self.part
                    .refused(key, "conflict: the uid was used for another message");
            }
            reason => self.part.refused(key, &format!("{reason:?}")),
        }
    }

    /// Goes: half of the time properly, half of the time without a word.
    async fn leave(mut self, end: End) -> End {
        let politely = matches!(end, End::Done) || self.part.rng.random_bool(0.5);
        if politely {
            let mut disconnect = Disconnect::default();
            if matches!(end, End::Done) && self.mqtt.version == Version::V5 {
                disconnect.properties = Some(Box::new(DisconnectProperties {
                    session_expiry_interval: Some(0),
                    ..DisconnectProperties::default()
                }));
            }
            self.put(&Packet::Disconnect(disconnect));
            if self.link.write(&mut self.out).await.is_ok() {
                self.link.closed().await;
            }
        }
        end
    }
}

/// The position that an acknowledgement of MQTT 5 carries.
fn position_of(ack: &Ack) -> u64 {
    let properties = ack.properties.iter().flat_map(|p| &p.user_properties);
    let position = properties
        .filter(|(name, _)| name.as_str() == "position")
        .map(|(_, value)| value.as_str());
    position
        .filter_map(|text| text.parse().ok())
        .next()
        .unwrap_or_default()
}
