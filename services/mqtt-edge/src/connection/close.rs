//! How a connection ends: what is settled, stored and said on the way out.

use std::time::Duration;

use contract::persistence::CloseSession;
use mqtt_codec::{Disconnect, DisconnectProperties, Packet, ReasonCode, Utf8, Version};
use rand::Rng;
use tokio::time::Instant;
use tracing::debug;

use super::Connection;
use super::end::End;

/// How long an ending connection waits to hear what became of QoS 2 messages, so that its session can tell a resend.
const LAST_OUTCOMES: Duration = Duration::from_millis(500);
/// How long a closing client has to take its last packets.
const LINGER: Duration = Duration::from_secs(2);

impl Connection {
    /// Leaving: what the client sent is settled first, as long as that takes less than the grace period allows.
    pub(super) async fn drain(&mut self) -> End {
        let deadline = Instant::now() + self.edge.core.config.commit_timeout.get();
        while !self.publishing.outbox.is_empty() {
            let taken = tokio::time::timeout_at(deadline, self.mailbox.take(&mut self.mail)).await;
            if taken.is_err() {
                break;
            }
            if let Err(end) = self.take_mail().await {
                return end;
            }
        }
        // Not all clients at once: they would come back at once.
        let jitter = rand::rng().random_range(0..1000);
        tokio::time::sleep(Duration::from_millis(jitter)).await;
        End::ours(
            "server-draining",
            ReasonCode::ServerShuttingDown,
            "the server is leaving; connect again",
        )
    }

    pub(super) async fn finish(mut self: Box<Self>, end: End) {
        self.receiver.stop();
        self.hear_last_outcomes().await;
        let given_out = self.receiver.given_out();
        self.mailbox.try_take(&mut self.mail);
        self.take_last_mail();
        if self.receiver.has_delivered() {
            self.receiver.report_delivered();
        }
        self.receiver.upto(&given_out);
        self.receiver.leave();
        self.edge.users.leave(&self.who, self.publishing.user_rate.take());
        let ended = self.ended(&end);
        // Kept apart: a connection that waits for its client has no room for it.
        Box::pin(edge::store_and_say(ended, (*self).say_goodbye(end))).await;
    }

    /// A QoS 2 message that is on its way into the log is a resend when it comes again, one that did not get there is not.
    async fn hear_last_outcomes(&mut self) {
        let deadline = Instant::now() + LAST_OUTCOMES;
        while self.publishing.outbox.has_unsettled_qos2() {
            let taken = tokio::time::timeout_at(deadline, self.mailbox.take(&mut self.mail)).await;
            if taken.is_err() {
                return;
            }
            self.take_last_mail();
        }
    }

    /// Stores the end of the session, then lets go of it and tells whoever waits for it. Even a session that ends with its
    /// connection is closed: persistence remembers that it is open.
    fn ended(&mut self, end: &End) -> impl Future<Output = ()> + use<> {
        let (core, number, client) = (self.edge.core.clone(), self.held.number, self.peer.client.clone());
        let (mailbox, present) = (self.mailbox.clone(), self.present.take());
        let handover = std::mem::take(&mut self.handover);
        let close = CloseSession {
            key: self.held.key.clone(),
            epoch: self.held.epoch,
            state: self.state(),
            expiry: self.held.expiry,
            at: core.now(),
            publish_will: !matches!(end, End::Goodbye),
        };
        async move {
            let key = close.key.clone();
            core.saver.forget(&key, close.epoch).await;
            if let Err(error) = core.persistence.close_session(close).await {
                debug!(%error, %client, "the end of a session is not stored");
            }
            core.registry.remove(&key, number);
            mailbox.close();
            for next in handover {
                let _gone = next.send(());
            }
            drop(present);
        }
    }

    async fn say_goodbye(mut self, end: End) {
        let (reason, detail, close_code) = match end {
            End::Ours { code, reason, detail } => (
                reason,
                detail,
                if code == "server-draining" { 1012 } else { 1002 },
            ),
            End::TakenOver => (
                ReasonCode::SessionTakenOver,
                "another connection uses this client id".into(),
                1000,
            ),
            End::Goodbye | End::Left | End::Lost => (ReasonCode::Success, String::new(), 1000),
        };
        if self.peer.version == Version::V5 && reason != ReasonCode::Success {
            let mut disconnect = Disconnect::new(reason);
            if self.peer.problem_information {
                let properties = DisconnectProperties {
                    reason_string: Utf8::try_from(detail).ok(),
                    ..Default::default()
                };
                disconnect.properties = Some(Box::new(properties));
            }
            self.write_packet(&Packet::Disconnect(disconnect));
        }
        let _late =
            tokio::time::timeout(LINGER, self.socket.wire.close(&mut self.socket.out, close_code)).await;
    }
}
