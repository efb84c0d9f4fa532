//! A connected client: one task, one loop. Each turn takes what there is (packets, mail, a page of backlog, time), deals
//! with all of it, and writes once.

mod acknowledge;
mod close;
mod end;
mod inbound;
mod lifecycle;
mod mail;
mod outbound;
mod outbox;
mod pending;
mod publish;
mod subscribe;
mod turns;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use contract::persistence::SessionKey;
use edge::mailbox::{Mail, Mailbox};
use edge::presence::Present;
use edge::rate::{Bucket, Shared};
use edge::receiver::{Item, Receiver};
use model::{PartitionId, Principal};
use mqtt_codec::{ConnAck, Decoder, Packet, Publish, PublishRef, Utf8, Version};
use runtime::lifecycle::Stop;
use session::Output;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use self::outbox::Outbox;
use self::pending::PendingSubscribe;
use crate::edge::Edge;
use crate::transport::Wire;

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

    pub(crate) fn write_publish(&mut self, publish: &PublishRef<'_>) -> bool {
        match publish.encoded_len(self.version) {
            Ok(len) if len <= self.max_packet => publish.encode(self.version, &mut self.out).is_ok(),
            _ => false,
        }
    }
}
