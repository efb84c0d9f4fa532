//! One connection: its loop, its clocks, its end.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use contract::ErrorKind;
use edge::Refusal;
use edge::delivery::Delivery;
use edge::mailbox::{Mail, Mailbox};
use edge::presence::Present;
use edge::rate::{Bucket, Shared};
use model::PartitionId;
use runtime::lifecycle::Stop;
use stomp_codec::{Command, Decoder, Frame, Item, Version, encode_receipt, validate};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::bye::Bye;
use crate::clocks::{Clocks, has_passed};
use crate::connect::{Hello, say_last};
use crate::echo::{self, Echoes};
use crate::identity::Identity;
use crate::send::{Fence, Pending};
use crate::service::Edge;
use crate::socket::{Lost, Socket, Turn};
use crate::subscription::{self, Sub};

/// How much waits to be decoded before reading pauses, unless it is one frame.
const READ_AHEAD: usize = 64 * 1024;
/// A client that leaves more than this unread is not decoded further.
const WRITE_AHEAD: usize = 256 * 1024;

/// A connection that has said who it is.
pub(crate) struct Connection {
    pub edge: Arc<Edge>,
    pub socket: Socket,
    decoder: Decoder,
    input: BytesMut,
    /// Whether the decoder has seen all of `input`.
    hungry: bool,
    /// The partition that it sent to last: while too much waits there, nothing more is decoded.
    pub busy: Option<PartitionId>,
    pub version: Version,
    pub identity: Identity,
    pub client: Option<String>,
    session: String,
    pub mailbox: Arc<Mailbox>,
    mail: Vec<Mail>,
    pub subs: Vec<Sub>,
    pub throttled: bool,
    /// Something has been acknowledged since progress was last shared.
    pub acknowledged: bool,
    /// The name of the last thing that something is awaited for: a SEND, an attach, a subscription.
    last_token: u64,
    pub pending: BTreeMap<u64, Pending>,
    pub fences: Vec<Fence>,
    pub echoes: Echoes,
    pub transactions: HashMap<String, Vec<Frame>>,
    bucket: Bucket,
    user_bucket: Option<Shared>,
    /// Its place in the address book, when it is known who it is.
    present: Option<Present>,
    /// Looks whether it may go on, if it merely says who it is.
    watch: Option<AbortOnDropHandle<()>>,
    clocks: Clocks,
    leaving: bool,
    draining: bool,
    /// The peer has closed; what it sent before is still handled.
    gone: bool,
}

enum Event {
    Socket(Result<Turn, Lost>),
    Drain,
    Echo(Option<Arc<Delivery>>),
    Other,
}

impl Connection {
    /// After CONNECTED has been put.
    pub fn new(edge: Arc<Edge>, socket: Socket, decoder: Decoder, input: BytesMut, hello: Hello) -> Self {
        let limits = &edge.config.limits;
        let clocks = Clocks::new(hello.beats, hello.identity.who.expires_at, edge.core.now());
        let monotonic = edge.core.clock.monotonic();
        let mailbox = Mailbox::new(limits.buffer, limits.buffer_bytes.as_usize());
        edge.core.attachments.join(&mailbox);
        let mut connection = Self {
            bucket: Bucket::new(limits.connection_rate, monotonic),
            user_bucket: None,
            present: None,
            watch: None,
            socket,
            decoder,
            input,
            hungry: false,
            busy: None,
            version: hello.version,
            identity: hello.identity,
            client: hello.client,
            session: hello.session,
            mailbox,
            mail: Vec::new(),
            subs: Vec::new(),
            throttled: false,
            acknowledged: false,
            last_token: 0,
            pending: BTreeMap::new(),
            fences: Vec::new(),
            echoes: Echoes::new(),
            transactions: HashMap::new(),
            clocks,
            leaving: false,
            draining: false,
            gone: false,
            edge,
        };
        connection.bound();
        connection
    }

    /// It is known who the client is.
    pub fn bound(&mut self) {
        if self.identity.is_bound() && self.present.is_none() {
            let edge = &self.edge;
            let now = edge.core.clock.monotonic();
            let rate = edge.config.limits.user_rate;
            self.user_bucket = edge.users.enter(&self.identity.who, rate, now);
            let connection = format!("{}/stomp/{}", self.identity.who.user, self.session);
            let who = &self.identity.who;
            self.present = Some(edge.core.present.enter(who, &connection, "stomp"));
            self.watch = edge.core.proofs.watch(who, &self.mailbox);
        }
    }

    /// Serves it to its end.
    pub async fn run(mut self, stop: &Stop) {
        let bye = self.until_bye(stop).await;
        self.edge.metrics.close(bye.code());
        if self.socket.write_now().await.is_ok() {
            self.written();
        }
        let ended = self.ended();
        let said = say_last(self.socket, &bye, Some(self.version));
        Box::pin(edge::store_and_say(ended, said)).await;
    }

    async fn until_bye(&mut self, stop: &Stop) -> Bye {
        loop {
            match self.step(stop).await {
                Ok(()) => {}
                Err(bye) => return bye,
            }
        }
    }

    async fn step(&mut self, stop: &Stop) -> Result<(), Bye> {
        self.frames().await?;
        if self.gone && self.hungry {
            return Err(Bye::Gone);
        }
        self.flush().await?;
        if self.pending.is_empty() {
            if self.leaving {
                return Err(Bye::Done);
            }
            if self.draining {
                return Err(Bye::draining(self.edge.jitter()));
            }
        }
        match self.wait(stop).await? {
            Event::Socket(Ok(Turn::Read)) => self.clocks.read(),
            Event::Socket(Ok(Turn::Written)) | Event::Other => {}
            Event::Socket(Err(Lost::Closed)) => self.peer_closed(),
            Event::Socket(Err(lost)) => return Err(lost.into()),
            Event::Echo(delivery) => delivery.into_iter().for_each(|d| self.echo(&d)),
            // Not all clients at once: they would come back at once.
            Event::Drain => self.clocks.drain = Some(Instant::now() + self.edge.jitter() / 5),
        }
        if !self.mail.is_empty() {
            self.sort_mail().await?;
        }
        self.tick().await
    }

    async fn wait(&mut self, stop: &Stop) -> Result<Event, Bye> {
        let due = self.clocks.due();
        // A frame may be larger than what is read ahead; the decoder bounds it.
        let room = READ_AHEAD + if self.hungry { self.input.len() } else { 0 };
        let (staying, open) = (self.clocks.drain.is_none(), !self.gone);
        let core = self.edge.core.clone();
        let Self {
            socket,
            input,
            mailbox,
            mail,
            subs,
            echoes,
            busy,
            ..
        } = self;
        Ok(tokio::select! {
            () = stop.hard().cancelled() => return Err(Bye::Gone),
            () = stop.soft().cancelled(), if staying => Event::Drain,
            turn = socket.turn(room, input), if open => Event::Socket(turn),
            () = mailbox.take(mail) => Event::Other,
            () = subscription::fetched(subs) => Event::Other,
            echo = echo::read(echoes), if !echoes.is_empty() => Event::Echo(echo),
            () = core.room(*busy), if core.is_full(*busy) => Event::Other,
            () = tokio::time::sleep_until(due) => Event::Other,
        })
    }

    /// Decodes and handles what has come, as far as that may be done now.
    async fn frames(&mut self) -> Result<(), Bye> {
        loop {
            self.hungry = false;
            if !self.may_decode() {
                return Ok(());
            }
            let frame = match self.decoder.decode(&mut self.input)? {
                Some(Item::Frame(frame)) => frame,
                Some(Item::HeartBeat) => continue,
                None => {
                    self.hungry = true;
                    if self.input.is_empty() {
                        self.input = BytesMut::new();
                    }
                    return Ok(());
                }
            };
            self.handle(frame).await?;
        }
    }

    fn may_decode(&self) -> bool {
        !self.leaving
            && !self.draining
            && self.pending.len() < usize::from(self.edge.config.limits.receive_maximum)
            && (self.gone || self.socket.queued() < WRITE_AHEAD)
            && !self.edge.core.is_full(self.busy)
    }

    async fn handle(&mut self, frame: Frame) -> Result<(), Bye> {
        validate(&frame, self.version)
            .map_err(|e| Bye::refused(Refusal::invalid(e.to_string()), frame.get("receipt")))?;
        let in_transaction = frame.get("transaction").is_some();
        match frame.command {
            Command::Send | Command::Ack | Command::Nack if in_transaction => self.put_aside(frame),
            Command::Send => self.send(&frame).await,
            Command::Ack | Command::Nack => {
                self.acknowledge(&frame)?;
                self.answer(&frame);
                Ok(())
            }
            Command::Subscribe => self.subscribe(&frame).await,
            Command::Unsubscribe => self.unsubscribe(&frame).await,
            Command::Begin => self.begin(&frame),
            Command::Commit => self.commit(&frame).await,
            Command::Abort => self.abort(&frame),
            Command::Disconnect => {
                self.leaving = true;
                self.store_progress().await;
                self.answer_after_all(&frame);
                Ok(())
            }
            other => {
                let detail = format!("{other} is not for an open connection");
                Err(Bye::refused(Refusal::invalid(detail), frame.get("receipt")))
            }
        }
    }

    /// RECEIPT, if one was asked for.
    pub fn answer(&mut self, frame: &Frame) {
        if let Some(receipt) = frame.get("receipt") {
            self.receipt(receipt);
        }
    }

    /// RECEIPT.
    pub fn receipt(&mut self, receipt: &str) {
        let version = self.version;
        self.socket.put(|out| encode_receipt(version, receipt, out));
    }

    /// Whether the peer has closed.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// The peer has closed: what it sent before is still handled, if that takes no longer than it may.
    pub fn peer_closed(&mut self) {
        self.gone = true;
        self.clocks.drain = Some(Instant::now() + self.edge.core.config.commit_timeout.get());
    }

    /// A name for something that is awaited, higher than all before it.
    pub fn token(&mut self) -> u64 {
        self.last_token += 1;
        self.last_token
    }

    /// The highest name given so far.
    pub fn last_token(&self) -> u64 {
        self.last_token
    }

    /// Takes one message from the rates.
    pub fn take_rate(&mut self) -> Result<(), Duration> {
        let now = self.edge.core.clock.monotonic();
        self.bucket.take(now)?;
        match &self.user_bucket {
            Some(bucket) => bucket.lock().take(now),
            None => Ok(()),
        }
    }

    async fn sort_mail(&mut self) -> Result<(), Bye> {
        let mut all = std::mem::take(&mut self.mail);
        for mail in all.drain(..) {
            match mail {
                Mail::Settled { token, outcome } => self.settled(token, &outcome)?,
                Mail::Attached { token, boundaries } => self.attached(token, boundaries).await?,
                Mail::Verify => self.edge.cursors.verify(),
                Mail::Refused(refusal) => return Err(Bye::refused(refusal, None)),
                Mail::Leave => self.clocks.drain = Some(Instant::now()),
                // Sessions of STOMP are shared, not taken over.
                Mail::TakenOver(done) => drop(done.send(())),
                mail => subscription::give(&mut self.subs, mail),
            }
        }
        if all.capacity() <= 64 {
            self.mail = all;
        }
        Ok(())
    }

    async fn tick(&mut self) -> Result<(), Bye> {
        let now = Instant::now();
        if self.input.len() >= READ_AHEAD && !self.hungry {
            // It is we who do not read.
            self.clocks.read();
        }
        if self.clocks.is_silent(now) {
            return Err(Bye::Silent);
        }
        if self.clocks.has_expired(now) {
            let detail = "the token has expired; connect again with a new one";
            return Err(Bye::refused(Refusal::new(ErrorKind::Unauthorized, detail), None));
        }
        if self.clocks.owes_beat(now) {
            if self.socket.is_drained() {
                self.socket.put(|out| out.extend_from_slice(b"\n"));
            }
            self.clocks.wrote();
        }
        if has_passed(self.clocks.report, now) {
            self.clocks.report = None;
            self.report();
        }
        if has_passed(self.clocks.drain, now) {
            self.drain(now)?;
        }
        Ok(())
    }

    /// The server leaves: first this client is not read any more, then, with all it sent settled, it is told.
    fn drain(&mut self, now: Instant) -> Result<(), Bye> {
        if self.gone {
            return Err(Bye::Gone);
        }
        if self.draining {
            return Err(Bye::draining(self.edge.jitter()));
        }
        self.draining = true;
        self.clocks.drain = Some(now + self.edge.core.config.commit_timeout.get());
        Ok(())
    }

    /// Something was written.
    pub fn wrote(&mut self) {
        self.clocks.wrote();
    }

    /// Something is worth reporting: progress, or messages that have arrived.
    pub fn report_soon(&mut self) {
        if self.clocks.report.is_none() {
            let config = &self.edge.core.config;
            let after = config.save_interval.get().min(config.delivered_interval.get());
            self.clocks.report = Some(Instant::now() + after);
        }
    }

    /// Stores what the client has acknowledged, before it is told that it may go: it may be at another edge at once.
    async fn store_progress(&mut self) {
        if self.socket.write_now().await.is_ok() {
            self.written();
        }
        self.report();
        let durables: Vec<_> = self.subs.iter().filter_map(|s| s.durable.clone()).collect();
        self.edge.cursors.store(&durables).await;
    }

    fn report(&mut self) {
        for sub in &mut self.subs {
            sub.report(&self.edge);
        }
    }

    /// Ends its subscriptions, and stores what outlives the connection.
    fn ended(&mut self) -> impl Future<Output = ()> + use<> {
        let edge = self.edge.clone();
        let (org, subs) = (self.identity.who.org.clone(), std::mem::take(&mut self.subs));
        let filters: Vec<_> = subs.iter().flat_map(Sub::filters).collect();
        edge.core.attachments.leave(&self.mailbox, &org, &filters);
        edge.users.leave(&self.identity.who, self.user_bucket.take());
        let present = self.present.take();
        async move {
            for mut sub in subs {
                sub.end(&edge).await;
            }
            drop(present);
        }
    }
}
