//! What the client sends, packet by packet, but what it publishes and subscribes to.

use mqtt_codec::{Ack, Disconnect, Packet, PacketId, ReasonCode, Version, encode_pingresp};
use session::Ack as SessionAck;

use super::Connection;
use super::end::End;

impl Connection {
    pub(super) async fn packet(&mut self, packet: Packet) -> Result<(), End> {
        match packet {
            // What may have to wait for others is kept apart: a connection that waits for its client has no room for it.
            Packet::Publish(publish) => Box::pin(self.publish(publish)).await,
            Packet::PubAck(ack) => {
                let known = self.receiver.ack(ack.packet_id.get());
                self.expect(known, "PUBACK")
            }
            Packet::PubRec(ack) => self.pubrec(&ack),
            Packet::PubComp(ack) => {
                let known = self.receiver.comp(ack.packet_id.get());
                self.expect(known, "PUBCOMP")
            }
            Packet::PubRel(ack) => self.pubrel(ack.packet_id),
            Packet::Subscribe(subscribe) => Box::pin(self.subscribe(subscribe)).await,
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(&unsubscribe),
            Packet::PingReq => {
                encode_pingresp(&mut self.socket.out);
                Ok(())
            }
            Packet::Disconnect(disconnect) => Err(self.disconnect(&disconnect)),
            Packet::Auth(_) => Err(End::ours(
                "protocol",
                ReasonCode::ProtocolError,
                "AUTH without an authentication method in CONNECT",
            )),
            _ => Err(End::ours(
                "protocol",
                ReasonCode::ProtocolError,
                "a packet that only a server sends, or CONNECT twice",
            )),
        }
    }

    /// An acknowledgement of something that is not in flight is no fault in 3.1.1 and in MQTT 5 told only for QoS 2; one
    /// of the wrong kind breaks the handshake.
    fn expect(&self, known: SessionAck<()>, what: &str) -> Result<(), End> {
        match known {
            SessionAck::Mismatch => Err(End::ours(
                "protocol",
                ReasonCode::ProtocolError,
                format!("{what} does not belong to the QoS of the message it acknowledges"),
            )),
            SessionAck::Done(_) | SessionAck::Unknown => Ok(()),
        }
    }

    fn pubrec(&mut self, ack: &Ack) -> Result<(), End> {
        let known = self.receiver.rec(ack.packet_id.get(), !ack.reason.is_error());
        if matches!(known, SessionAck::Unknown) && !ack.reason.is_error() {
            let reason = match self.peer.version {
                Version::V5 => ReasonCode::PacketIdentifierNotFound,
                Version::V311 => ReasonCode::Success,
            };
            self.write_packet(&Packet::PubRel(Ack {
                reason,
                ..Ack::new(ack.packet_id)
            }));
            return Ok(());
        }
        self.expect(known, "PUBREC")
    }

    fn pubrel(&mut self, id: PacketId) -> Result<(), End> {
        let known = self.receiver.session.release(id.get());
        let reason = match self.peer.version {
            Version::V5 if !known => ReasonCode::PacketIdentifierNotFound,
            _ => ReasonCode::Success,
        };
        self.write_packet(&Packet::PubComp(Ack {
            reason,
            ..Ack::new(id)
        }));
        Ok(())
    }

    fn disconnect(&mut self, disconnect: &Disconnect) -> End {
        let asked = disconnect
            .properties
            .as_ref()
            .and_then(|p| p.session_expiry_interval);
        if let Some(asked) = asked {
            if self.held.expiry == 0 && asked > 0 {
                // [MQTT-3.14.2-2]
                return End::ours(
                    "protocol",
                    ReasonCode::ProtocolError,
                    "a session expiry after none at CONNECT",
                );
            }
            let max = u32::try_from(self.edge.config.max_session_expiry.as_secs()).unwrap_or(u32::MAX);
            self.held.expiry = asked.min(max);
        }
        match disconnect.reason {
            ReasonCode::Success => End::Goodbye,
            _ => End::Left,
        }
    }
}
