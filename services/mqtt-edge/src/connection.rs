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
    pub held: HeldSession,
    pub peer: Peer,
}

/// The session that this connection holds, as persistence knows it.
pub(crate) struct HeldSession {
    pub key: SessionKey,
    pub epoch: u64,
    /// The number of the connection, by which the registry tells it from the ones before and after.
    pub number: u64,
    /// Seconds that the session outlives the connection.
    pub expiry: u32,
    /// Whether persistence keeps the session: one that ends with its connection is kept for its will only.
    pub stored: bool,
    /// The edge's term in which the session was last known to be held here.
    pub term: u64,
    /// Not asked again before: the store did not say whether the session is held here.
    pub ask_again: Instant,
    pub saved_revision: u32,
    /// A QoS 2 message has been stored since the session was saved, which says so of its packet id.
    pub received_unsaved: bool,
}

/// What the client said of itself in CONNECT.
pub(crate) struct Peer {
    pub client: String,
    pub version: Version,
    /// One and a half times its Keep Alive; zero for none.
    pub keep_alive: Duration,
    /// The longest packet that it takes.
    pub max_packet: usize,
    pub problem_information: bool,
}

/// The socket, and what is between it and the packets.
struct Socket {
    wire: Wire,
    input: BytesMut,
    out: BytesMut,
    decoder: Decoder,
    last_read: Instant,
    /// The client does not read fast enough: nothing more is handed out to it.
    throttled: bool,
}

/// What the client publishes: what waits for its acknowledgement, and what it may still send.
struct Publishing {
    outbox: Outbox,
    rate: Bucket,
    user_rate: Option<Shared>,
    /// Reading pauses until then: a 3.1.1 client was too fast.
    paused_until: Option<Instant>,
    aliases: HashMap<u16, Utf8>,
    /// The partition that it published to last: while too much waits there, it is not read.
    busy: Option<PartitionId>,
    /// A PUBLISH whose time has not come: the client was too fast, or its SUBSCRIBE is not complete.
    delayed: Option<Publish>,
}

/// A connected client.
pub(crate) struct Connection {
    edge: Arc<Edge>,
    who: Arc<Principal>,
    peer: Peer,
    socket: Socket,
    held: HeldSession,
    receiver: Receiver,
    mailbox: Arc<Mailbox>,
    publishing: Publishing,
    subscribes: Vec<PendingSubscribe>,
    /// Who waits for the session's state to be stored.
    handover: Vec<oneshot::Sender<()>>,
    /// Its place in the address book.
    present: Option<Present>,
    /// Looks whether it may go on, if it merely says who it is.
    _watch: Option<AbortOnDropHandle<()>>,
    mail: Vec<Mail>,
    write: Vec<Output<Item>>,
}

impl Connection {
    pub fn new(edge: Arc<Edge>, wire: Wire, input: BytesMut, mut out: BytesMut, start: Start) -> Self {
        let peer = start.peer;
        if let Err(error) = Packet::ConnAck(Box::new(start.connack)).encode(peer.version, &mut out) {
            debug!(%error, "writing CONNACK");
        }
        let who = start.receiver.principal().clone();
        let (limits, now) = (&edge.config.limits, edge.core.clock.monotonic());
        let publishing = Publishing {
            outbox: Outbox::default(),
            rate: Bucket::new(limits.connection_rate, now),
            user_rate: edge.users.enter(&who, limits.user_rate, now),
            paused_until: None,
            aliases: HashMap::new(),
            busy: None,
            delayed: None,
        };
        let socket = Socket {
            wire,
            input,
            out,
            decoder: start.decoder,
            last_read: Instant::now(),
            throttled: false,
        };
        let present = edge.core.present.enter(&who, &start.held.key.client, "mqtt");
        let watch = edge.core.proofs.watch(&who, &start.mailbox);
        Self {
            edge,
            who,
            peer,
            socket,
            held: start.held,
            receiver: start.receiver,
            mailbox: start.mailbox,
            publishing,
            subscribes: Vec::new(),
            handover: Vec::new(),
            present: Some(present),
            _watch: watch,
            mail: Vec::new(),
            write: Vec::new(),
        }
    }

    /// Serves the client to its end, and stores what is left.
    pub async fn run(mut self: Box<Self>, stop: Stop) {
        let end = match self.turns(&stop).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        debug!(client = %self.peer.client, end = end.code(), "an MQTT connection ends");
        self.edge.metrics.close(end.code());
        Box::pin(self.finish(end)).await;
    }

    /// Encodes a packet of ours. One that the peer's version cannot carry, or that exceeds its maximum, is left out.
    pub fn write_packet(&mut self, packet: &Packet) {
        match packet.encoded_len(self.peer.version) {
            Ok(len) if len <= self.peer.max_packet => {
                if let Err(error) = packet.encode(self.peer.version, &mut self.socket.out) {
                    debug!(%error, "a packet cannot be written");
                }
            }
            Ok(_) => debug!("a packet exceeds the client's maximum packet size"),
            Err(error) => debug!(%error, "a packet cannot be written"),
        }
    }

    pub(crate) fn write_publish(&mut self, publish: &PublishRef<'_>) -> bool {
        match publish.encoded_len(self.peer.version) {
            Ok(len) if len <= self.peer.max_packet => {
                publish.encode(self.peer.version, &mut self.socket.out).is_ok()
            }
            _ => false,
        }
    }
}
