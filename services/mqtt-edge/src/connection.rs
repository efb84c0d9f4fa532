//! A connected client: one task, one loop. Each turn takes what there is (packets, mail, a page of backlog, time), deals
//! with all of it, and writes once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use contract::persistence::{CloseSession, SessionKey};
use edge::mailbox::{Mail, Mailbox};
use edge::presence::Present;
use edge::rate::{Bucket, Shared};
use edge::receiver::{Item, Left, Receiver};
use model::{PartitionId, Principal};
use mqtt_codec::{
    Ack, ConnAck, DecodeError, Decoder, Disconnect, DisconnectProperties, Packet, PacketId, Publish,
    ReasonCode, Utf8, Version, encode_pingresp,
};
use rand::Rng;
use runtime::lifecycle::Stop;
use session::{Ack as SessionAck, Output};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use crate::publish::Outbox;
use crate::service::Edge;
use crate::subscribe::PendingSubscribe;
use crate::transport::{Turn, Wire};

/// Above this many unwritten bytes the client is taken to be slow: nothing more is handed out to it.
const HIGH_WATER: usize = 128 * 1024;
/// How long after its expiry a token's connection ends at the latest, should the wall clock be set meanwhile.
const EXPIRY_CHECK: Duration = Duration::from_secs(25);
/// Between two questions whether a session is still held here.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// How long SUBACK, and what is handed out after the lease was lost, waits for the session to be stored.
const STORED: Duration = Duration::from_secs(2);
/// How often a connection looks whether it has memory to give back.
const TIDY: Duration = Duration::from_secs(30);
/// How long an ending connection waits to hear what became of QoS 2 messages, so that its session can tell a resend.
const LAST_OUTCOMES: Duration = Duration::from_millis(500);
/// How long a closing client has to take its last packets.
const LINGER: Duration = Duration::from_secs(2);

/// What an opened session begins with.
pub(crate) struct Start {
    pub connack: ConnAck,
    pub decoder: Decoder,
    pub receiver: Receiver,
    pub mailbox: Arc<Mailbox>,
    pub key: SessionKey,
    pub epoch: u64,
    pub number: u64,
    pub expiry: u32,
    /// Whether persistence keeps the session: one that ends with its connection is kept for its will only.
    pub stored: bool,
    /// The edge's term when the session was opened.
    pub term: u64,
    pub version: Version,
    pub keep_alive: u16,
    pub max_packet: usize,
    pub problem_information: bool,
}

/// Why a connection ends.
#[derive(Debug)]
pub(crate) enum End {
    /// DISCONNECT with reason 0: the will is dropped. The client may have shortened the session's life.
    Goodbye,
    /// DISCONNECT with will message, or any other reason of the client's.
    Left,
    /// The socket ended or failed.
    Lost,
    /// We end it, for this reason; 3.1.1 clients see the connection close.
    Ours {
        code: &'static str,
        reason: ReasonCode,
        detail: String,
    },
    /// Another connection holds the session.
    TakenOver,
}

impl End {
    pub fn ours(code: &'static str, reason: ReasonCode, detail: impl Into<String>) -> Self {
        End::Ours {
            code,
            reason,
            detail: detail.into(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            End::Goodbye | End::Left => "client",
            End::Lost => "lost",
            End::Ours { code, .. } => code,
            End::TakenOver => "session-taken-over",
        }
    }
}

impl From<DecodeError> for End {
    fn from(error: DecodeError) -> Self {
        let reason = error.reason_code();
        let code = if reason == ReasonCode::PacketTooLarge {
            "payload-too-large"
        } else {
            "protocol"
        };
        End::ours(code, reason, error.to_string())
    }
}

/// A connected client.
pub(crate) struct Connection {
    pub edge: Arc<Edge>,
    pub who: Arc<Principal>,
    pub client: String,
    pub version: Version,
    pub receiver: Receiver,
    pub mailbox: Arc<Mailbox>,
    pub out: BytesMut,
    pub outbox: Outbox,
    pub rate: Bucket,
    pub user_rate: Option<Shared>,
    /// Reading pauses until then: a 3.1.1 client was too fast.
    pub paused_until: Option<Instant>,
    pub aliases: HashMap<u16, Utf8>,
    pub subscribes: Vec<PendingSubscribe>,
    /// The partition that it published to last: while too much waits there, it is not read.
    pub busy: Option<PartitionId>,
    /// A PUBLISH whose time has not come: the client was too fast, or its SUBSCRIBE is not complete.
    pub held: Option<Publish>,
    pub max_packet: usize,
    pub problem_information: bool,
    wire: Wire,
    input: BytesMut,
    decoder: Decoder,
    key: SessionKey,
    epoch: u64,
    number: u64,
    expiry: u32,
    stored: bool,
    /// The edge's term in which the session was last known to be held here.
    term: u64,
    /// Not asked again before: the store did not say whether the session is held here.
    ask_again: Instant,
    keep_alive: Duration,
    last_read: Instant,
    /// Who waits for the session's state to be stored.
    handover: Vec<oneshot::Sender<()>>,
    saved_revision: u32,
    /// A QoS 2 message has been stored since the session was saved, which says so of its packet id.
    pub received_unsaved: bool,
    throttled: bool,
    /// Its place in the address book.
    present: Option<Present>,
    /// Looks whether it may go on, if it merely says who it is.
    _watch: Option<AbortOnDropHandle<()>>,
    mail: Vec<Mail>,
    write: Vec<Output<Item>>,
}

impl Connection {
    pub fn new(edge: Arc<Edge>, wire: Wire, input: BytesMut, mut out: BytesMut, start: Start) -> Self {
        let version = start.version;
        if let Err(error) = Packet::ConnAck(Box::new(start.connack)).encode(version, &mut out) {
            debug!(%error, "writing CONNACK");
        }
        let who = start.receiver.principal().clone();
        let rate = Bucket::new(edge.config.limits.connection_rate, edge.core.clock.monotonic());
        let user_rate = edge
            .users
            .enter(&who, edge.config.limits.user_rate, edge.core.clock.monotonic());
        let present = edge.core.present.enter(&who, &start.key.client, "mqtt");
        let watch = edge.core.proofs.watch(&who, &start.mailbox);
        Self {
            rate,
            user_rate,
            who,
            client: start.key.client.to_string(),
            version,
            saved_revision: start.receiver.session.revision(),
            received_unsaved: false,
            receiver: start.receiver,
            mailbox: start.mailbox,
            out,
            outbox: Outbox::default(),
            paused_until: None,
            aliases: HashMap::new(),
            subscribes: Vec::new(),
            busy: None,
            held: None,
            max_packet: start.max_packet,
            problem_information: start.problem_information,
            wire,
            input,
            decoder: start.decoder,
            key: start.key,
            epoch: start.epoch,
            number: start.number,
            expiry: start.expiry,
            stored: start.stored,
            term: start.term,
            ask_again: Instant::now(),
            keep_alive: Duration::from_millis(u64::from(start.keep_alive) * 1500),
            last_read: Instant::now(),
            handover: Vec::new(),
            throttled: false,
            present: Some(present),
            _watch: watch,
            mail: Vec::new(),
            write: Vec::new(),
            edge,
        }
    }

    /// Serves the client to its end, and stores what is left.
    pub async fn run(mut self: Box<Self>, stop: Stop) {
        let end = match self.turns(&stop).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        debug!(client = %self.client, end = end.code(), "an MQTT connection ends");
        self.edge.metrics.close(end.code());
        Box::pin(self.finish(end)).await;
    }

    async fn turns(&mut self, stop: &Stop) -> Result<std::convert::Infallible, End> {
        let mut timer = Box::pin(tokio::time::sleep(Duration::ZERO));
        // What came behind CONNECT in the same segment.
        self.packets().await?;
        loop {
            self.hand_out().await?;
            self.rearm(timer.as_mut());
            let read = self.may_read();
            tokio::select! {
                turn = self.wire.turn(read, &mut self.input, &mut self.out) => match turn {
                    Ok(Turn::Read) => {
                        self.last_read = Instant::now();
                        self.packets().await?;
                    }
                    Ok(Turn::Written) => {}
                    Ok(Turn::Closed) | Err(_) => return Err(End::Lost),
                },
                () = self.mailbox.take(&mut self.mail) => {
                    self.take_mail().await?;
                    self.go_on().await?;
                }
                () = self.receiver.fetched() => {}
                () = timer.as_mut() => self.time_passes().await?,
                () = self.edge.core.room(self.busy), if !read && self.edge.core.is_full(self.busy) => {
                    self.go_on().await?;
                }
                () = stop.soft().cancelled() => return Err(Box::pin(self.drain()).await),
            }
        }
    }

    /// Whether more may be taken from the client now: not while too much of what it sent waits for the log, and nothing
    /// behind a PUBLISH that is held back.
    fn may_read(&self) -> bool {
        // One more than MQTT 5 allows is read, to see that it is one too many.
        let limit = usize::from(self.edge.config.limits.receive_maximum) + 1;
        self.outbox.len() < limit
            && self.held.is_none()
            && self.paused_until.is_none()
            && !self.edge.core.is_full(self.busy)
    }

    /// What was held back, if its time has come; then what else has been read.
    async fn go_on(&mut self) -> Result<(), End> {
        if self.paused_until.is_none()
            && let Some(publish) = self.held.take()
        {
            Box::pin(self.publish(publish)).await?;
        }
        self.packets().await
    }

    async fn packets(&mut self) -> Result<(), End> {
        while self.may_read() {
            match self.decoder.decode(&mut self.input)? {
                Some(packet) => self.packet(packet).await?,
                None => break,
            }
        }
        if self.input.is_empty() {
            // A waiting connection keeps no buffer.
            self.input = BytesMut::new();
        }
        Ok(())
    }

    async fn packet(&mut self, packet: Packet) -> Result<(), End> {
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
                encode_pingresp(&mut self.out);
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
            let reason = match self.version {
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
        let reason = match self.version {
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
            if self.expiry == 0 && asked > 0 {
                // [MQTT-3.14.2-2]
                return End::ours(
                    "protocol",
                    ReasonCode::ProtocolError,
                    "a session expiry after none at CONNECT",
                );
            }
            let max = u32::try_from(self.edge.config.max_session_expiry.as_secs()).unwrap_or(u32::MAX);
            self.expiry = asked.min(max);
        }
        match disconnect.reason {
            ReasonCode::Success => End::Goodbye,
            _ => End::Left,
        }
    }

    /// Deals with all mail, even when some of it ends the connection: the cursors must not pass over what was not taken.
    async fn take_mail(&mut self) -> Result<(), End> {
        let mut mail = std::mem::take(&mut self.mail);
        let mut end = Ok(());
        for one in mail.drain(..) {
            let left = self.receiver.mail(one);
            match self.left(left).await {
                Err(reason) if end.is_ok() => {
                    end = Err(reason);
                    self.receiver.stop();
                }
                _ => {}
            }
        }
        // A busy connection keeps its vector, a quiet one does not.
        if mail.capacity() <= 64 {
            self.mail = mail;
        }
        end
    }

    async fn left(&mut self, left: Left) -> Result<(), End> {
        match left {
            Left::Attached(token, boundaries) => Box::pin(self.attached(token, &boundaries)).await,
            Left::Mail(Mail::Retained(found, granted)) => {
                found
                    .into_iter()
                    .for_each(|delivery| self.receiver.retained(delivery, granted));
            }
            Left::Mail(Mail::Settled { token, outcome }) => return self.settled(token, outcome),
            Left::Mail(Mail::TakenOver(done)) => {
                self.handover.push(done);
                return Err(End::TakenOver);
            }
            Left::Mail(Mail::Refused(refusal)) => {
                let code = refusal.kind.code();
                return Err(End::ours(code, ReasonCode::NotAuthorized, refusal.detail));
            }
            Left::Mail(Mail::Leave) => {
                let detail = "this server is cut off from the rest; connect again";
                return Err(End::ours("server-draining", ReasonCode::ServerBusy, detail));
            }
            Left::Nothing | Left::Mail(_) => {}
        }
        Ok(())
    }

    /// Writes what the session hands out, and what waits, as far as the socket takes it.
    async fn hand_out(&mut self) -> Result<(), End> {
        loop {
            let mut write = std::mem::take(&mut self.write);
            // Another edge may hold the session by now; what is handed out waits until this one knows.
            if self.is_ours().await? {
                self.receiver.outputs(&mut write);
            }
            let any = !write.is_empty();
            for output in write.drain(..) {
                self.output(output);
            }
            if write.capacity() <= 64 {
                self.write = write;
            }
            if !self.out.is_empty() {
                self.wire.write_now(&mut self.out).await.map_err(|_| End::Lost)?;
            }
            let slow = self.out.len() > HIGH_WATER;
            if slow != self.throttled {
                self.throttled = slow;
                self.receiver.throttle(slow);
            } else if !any {
                break;
            }
        }
        if self.out.is_empty() && self.out.capacity() > 0 {
            self.out = BytesMut::new();
        }
        Ok(())
    }

    /// Whether the session is known to be held here: the edge holds its lease, and has without a break since the store said
    /// so. Otherwise the store is asked, by storing the state.
    async fn is_ours(&mut self) -> Result<bool, End> {
        let core = self.edge.core.clone();
        let (term, now) = (core.lease.term(), Instant::now());
        if !core.lease.is_held() {
            return Ok(false);
        }
        if self.term == term || !self.stored {
            return Ok(true);
        }
        if now < self.ask_again {
            return Ok(false);
        }
        match self.store_now().await {
            Some(true) => {
                self.term = term;
                Ok(core.lease.is_held())
            }
            Some(false) => Err(End::TakenOver),
            None => {
                self.ask_again = Instant::now() + ASK_AGAIN;
                Ok(false)
            }
        }
    }

    /// The next time that something is due by the clock.
    fn rearm(&self, timer: std::pin::Pin<&mut tokio::time::Sleep>) {
        let now = Instant::now();
        let mut due = now + TIDY;
        if !self.keep_alive.is_zero() {
            due = due.min((self.last_read + self.keep_alive).max(now + Duration::from_millis(1)));
        }
        if let Some(at) = self.who.expires_at {
            let left = at.saturating_sub(self.edge.core.clock.unix_millis() / 1000);
            due = due.min(now + Duration::from_secs(left.max(1)).min(EXPIRY_CHECK));
        }
        if self.is_dirty() {
            due = due.min(now + self.edge.core.saver.interval());
        }
        if self.stored && self.term != self.edge.core.lease.term() {
            due = due.min(self.ask_again.max(now + Duration::from_millis(1)));
        }
        if self.receiver.has_delivered() {
            due = due.min(now + self.edge.core.config.delivered_interval.get());
        }
        if let Some(until) = self.paused_until {
            due = due.min(until);
        }
        // A timer that is due sooner stays: it finds nothing to do and is set anew. Setting it at every turn would cost more.
        if timer.deadline() <= now || due < timer.deadline() {
            timer.reset(due);
        }
    }

    fn is_dirty(&self) -> bool {
        let changed = self.receiver.session.revision() != self.saved_revision;
        self.expiry > 0 && (changed || self.received_unsaved)
    }

    async fn time_passes(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if !self.may_read() {
            // We do not listen, so the client's silence says nothing.
            self.last_read = now;
        }
        if !self.keep_alive.is_zero() && now >= self.last_read + self.keep_alive {
            let detail = "nothing was heard for one and a half times the keep alive";
            return Err(End::ours("keep-alive", ReasonCode::KeepAliveTimeout, detail));
        }
        let unix = self.edge.core.clock.unix_millis() / 1000;
        if self.who.expires_at.is_some_and(|at| at <= unix) {
            return Err(End::ours(
                "unauthorized",
                ReasonCode::NotAuthorized,
                "the access token has expired",
            ));
        }
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
            self.go_on().await?;
        }
        if self.is_dirty() {
            self.save();
        }
        if self.receiver.has_delivered() {
            self.receiver.report_delivered();
        }
        if self.out.is_empty() && self.receiver.session.is_idle() {
            self.receiver.session.shrink();
        }
        Ok(())
    }

    fn save(&mut self) {
        self.saved_revision = self.receiver.session.revision();
        let state = self.state();
        let saver = &self.edge.core.saver;
        saver.save(self.key.clone(), self.epoch, state, &self.mailbox);
    }

    /// What a kept session subscribes to is stored before SUBACK says that it does: no crash of this edge takes it back.
    /// When the store is away the session goes on, and is stored when it is back.
    pub async fn keep_subscriptions(&mut self) {
        if self.expiry > 0 {
            let _later = self.store_now().await;
        }
    }

    /// Stores the session's state, in one write with those of all others that wait for theirs: whether the session is held here. `None` when the store does not say.
    async fn store_now(&mut self) -> Option<bool> {
        let (core, revision) = (self.edge.core.clone(), self.receiver.session.revision());
        let state = self.state();
        let storing = core
            .saver
            .store(self.key.clone(), self.epoch, state, &self.mailbox);
        let kept = tokio::time::timeout(STORED, storing).await.ok().flatten();
        // What was not stored in time the saver stores later.
        self.saved_revision = revision;
        kept
    }

    /// What is stored of the session: nothing of one that ends with its connection.
    fn state(&mut self) -> bytes::Bytes {
        self.received_unsaved = false;
        match self.expiry {
            0 => bytes::Bytes::new(),
            _ => self.receiver.state_without(&self.outbox.unsettled()),
        }
    }

    /// Leaving: what the client sent is settled first, as long as that takes less than the grace period allows.
    async fn drain(&mut self) -> End {
        let deadline = Instant::now() + self.edge.core.config.commit_timeout.get();
        while !self.outbox.is_empty() {
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

    async fn finish(mut self: Box<Self>, end: End) {
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
        self.edge.users.leave(&self.who, self.user_rate.take());
        let ended = self.ended(&end);
        // Kept apart: a connection that waits for its client has no room for it.
        Box::pin(edge::store_and_say(ended, (*self).say_goodbye(end))).await;
    }

    /// A QoS 2 message that is on its way into the log is a resend when it comes again, one that did not get there is not.
    async fn hear_last_outcomes(&mut self) {
        let deadline = Instant::now() + LAST_OUTCOMES;
        while self.outbox.has_unsettled_qos2() {
            let taken = tokio::time::timeout_at(deadline, self.mailbox.take(&mut self.mail)).await;
            if taken.is_err() {
                return;
            }
            self.take_last_mail();
        }
    }

    fn take_last_mail(&mut self) {
        for mail in std::mem::take(&mut self.mail) {
            match self.receiver.mail(mail) {
                Left::Mail(Mail::Settled { token, outcome }) => self.outbox.settle(token, outcome),
                Left::Mail(Mail::TakenOver(done)) => self.handover.push(done),
                _ => {}
            }
        }
    }

    /// Stores the end of the session, then lets go of it and tells whoever waits for it. Even a session that ends with its
    /// connection is closed: persistence remembers that it is open.
    fn ended(&mut self, end: &End) -> impl Future<Output = ()> + use<> {
        let (core, number, client) = (self.edge.core.clone(), self.number, self.client.clone());
        let (mailbox, present) = (self.mailbox.clone(), self.present.take());
        let handover = std::mem::take(&mut self.handover);
        let close = CloseSession {
            key: self.key.clone(),
            epoch: self.epoch,
            state: self.state(),
            expiry: self.expiry,
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
        if self.version == Version::V5 && reason != ReasonCode::Success {
            let mut disconnect = Disconnect::new(reason);
            if self.problem_information {
                let properties = DisconnectProperties {
                    reason_string: Utf8::try_from(detail).ok(),
                    ..Default::default()
                };
                disconnect.properties = Some(Box::new(properties));
            }
            self.write_packet(&Packet::Disconnect(disconnect));
        }
        let _late = tokio::time::timeout(LINGER, self.wire.close(&mut self.out, close_code)).await;
    }

    /// Encodes a packet of ours. One that the peer's version cannot carry, or that exceeds its maximum, is left out.
    pub fn write_packet(&mut self, packet: &Packet) {
        match packet.encoded_len(self.version) {
            Ok(len) if len <= self.max_packet => {
                if let Err(error) = packet.encode(self.version, &mut self.out) {
                    debug!(%error, "a packet cannot be written");
                }
            }
            Ok(_) => debug!("a packet exceeds the client's maximum packet size"),
            Err(error) => debug!(%error, "a packet cannot be written"),
        }
    }
}
