//! One connection of a session, as a protocol's edge runs it: opens the session, attaches, hands out, stores progress.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use contract::RpcError;
use contract::persistence::{CloseSession, OpenSession, SaveSession, SessionKey};
use edge::Core;
use edge::mailbox::{Mail, Mailbox};
use edge::receiver::{Left, Receiver, asked_for_threads};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use model::{Origin, PartitionId, Position, Principal, Role, TopicFilter, UnixMillis};
use parking_lot::Mutex;
use session::{Limits, Output, SavedState, Subscription};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Duration, Instant, sleep_until, timeout};

use crate::chance::Chance;
use crate::ledger::{Ledger, Place};
use crate::process::Process;

/// How many entries wait in a mailbox, at most.
const MAILBOX: usize = 5;
/// How long a client waits for its connection to stand.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long an owner is waited for.
const ATTACH_LIMIT: Duration = Duration::from_millis(100);
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// What a client asks of its connection.
#[derive(Debug, Clone)]
pub enum Ask {
    Subscribe(TopicFilter),
    Unsubscribe(TopicFilter),
}

/// The client's end of a connection.
#[derive(Default)]
pub struct Socket {
    closed: AtomicBool,
    connected: AtomicBool,
    ended: AtomicBool,
    asked: Mutex<VecDeque<Ask>>,
    woken: Notify,
}

impl Socket {
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.woken.notify_one();
    }

    pub fn ask(&self, ask: Ask) {
        self.asked.lock().push_back(ask);
        self.woken.notify_one();
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Whether the client was told that its connection stands, and nothing else since.
    pub fn stands(&self) -> bool {
        self.connected.load(Ordering::Relaxed) && !self.is_over()
    }

    /// Whether the server's end is gone, or the client's.
    pub fn is_over(&self) -> bool {
        self.is_closed() || self.ended.load(Ordering::Relaxed)
    }
}

/// Who connects where.
#[derive(Clone)]
pub struct With {
    pub core: Arc<Core>,
    pub process: Arc<Process>,
    pub chance: Arc<Chance>,
    pub ledger: Arc<Ledger>,
    pub socket: Arc<Socket>,
    pub session: usize,
    /// Numbers connections over the whole run.
    pub connection: u64,
}

/// What is granted, but not stored yet.
struct Granted {
    filter: TopicFilter,
    heads: Vec<Position>,
}

type Saving = BoxFuture<'static, Result<Vec<bool>, RpcError>>;

struct Connection {
    with: With,
    key: SessionKey,
    epoch: u64,
    mailbox: Arc<Mailbox>,
    receiver: Receiver,
    /// When each item is acknowledged.
    acks: Vec<(Instant, u16, Place)>,
    acked: Vec<Place>,
    pending: Vec<(u64, TopicFilter, bool)>,
    granted: Vec<Granted>,
    saving: Option<Saving>,
    /// What the save under way will have stored.
    stored: (Vec<Place>, Vec<Granted>),
    next_save: Instant,
    revision: u32,
    handover: Vec<oneshot::Sender<()>>,
}

/// The user of a session: agents with a desk each, and visitors.
pub fn principal(session: usize) -> Principal {
    let (name, role) = match session % 2 {
        0 => (format!("a{}", session / 2), Role::Agent),
        _ => (format!("v{}", session / 2), Role::Visitor),
    };
    let mut who = Principal::new("o".into(), name.as_str().into(), role, Origin::Token);
    if role == Role::Agent {
        who.aliases.push(name.replace('a', "m").as_str().into());
    }
    who
}

/// Runs a connection to its end.
pub async fn run(with: With) {
    let socket = with.socket.clone();
    let opening = timeout(PATIENCE, open(with)).await;
    if let Ok(Some(connection)) = opening {
        connection.serve().await;
    }
    socket.ended.store(true, Ordering::Relaxed);
}

async fn open(with: With) -> Option<Connection> {
    let (core, who) = (with.core.clone(), Arc::new(principal(with.session)));
    with.process.pass().await;
    with.chance.note(
        "opening",
        [with.session as u64, with.connection, with.process.number, 0],
    );
    if !core.lease.is_held() {
        return None;
    }
    let key = SessionKey {
        org: who.org.clone(),
        user: who.user.clone(),
        client: "c".into(),
    };
    let mailbox = Mailbox::new(MAILBOX, 1 << 20);
    core.take_over(&key, with.connection, &mailbox).await;
    let open = OpenSession {
        key: key.clone(),
        clean_start: false,
        expiry: u32::MAX,
        will: None,
        edge: core.id.clone(),
        identities: who.identities().cloned().collect(),
    };
    let asked = asked_for_threads(&core);
    let opened = core.persistence.open_session(open).await.ok()?;
    core.registry.opened(&key, with.connection, opened.epoch);
    if let Some(former) = opened.previous_edge.filter(|former| *former != core.id) {
        let (core, key) = (core.clone(), key.clone());
        tokio::spawn(async move { core.drop_at(&former, &key, Some(opened.epoch)).await });
    }
    let saved = match opened.present {
        true => Some((SavedState::decode(&opened.state).ok()?, opened.epoch)),
        false => None,
    };
    let present = saved.is_some();
    let limits = Limits {
        window: 4,
        buffer_items: 4,
        page_entries: 5,
        ..Limits::default()
    };
    let mut receiver = Receiver::new(core.clone(), who, "c", mailbox.clone(), limits, saved);
    let threads = receiver.threads(opened.threads).await.ok()?;
    core.attachments.join(&mailbox);
    receiver.begin(true, &threads, asked);
    let later = receiver.attached_from_the_beginning(ATTACH_LIMIT).await;
    let mut connection = Connection {
        next_save: Instant::now() + SAVE_EVERY,
        revision: 0,
        with,
        key,
        epoch: opened.epoch,
        mailbox: mailbox.clone(),
        receiver,
        acks: Vec::new(),
        acked: Vec::new(),
        pending: Vec::new(),
        granted: Vec::new(),
        saving: None,
        stored: (Vec::new(), Vec::new()),
        handover: Vec::new(),
    };
    if later
        .iter()
        .any(|mail| matches!(mail, Mail::TakenOver(_) | Mail::Leave))
    {
        connection.receiver.leave();
        return None;
    }
    later.into_iter().for_each(|mail| mailbox.push(mail));
    if !present {
        let save = vec![connection.save_now()];
        if !core
            .persistence
            .save_sessions(save)
            .await
            .is_ok_and(|kept| kept == [true])
        {
            connection.receiver.leave();
            return None;
        }
    }
    connection.with.process.pass().await;
    let with = &connection.with;
    if with.socket.is_closed() {
        connection.receiver.leave();
        return None;
    }
    with.chance.note(
        "connected",
        [
            with.session as u64,
            with.connection,
            with.process.number,
            u64::from(present),
        ],
    );
    with.ledger.connected(
        with.session,
        with.connection,
        &edge::audience::of_principal(connection.receiver.principal()),
    );
    with.socket.connected.store(true, Ordering::Relaxed);
    Some(connection)
}

impl Connection {
    async fn serve(mut self) {
        let mut mail = Vec::new();
        while self.turn(&mut mail).await {}
        self.finish(mail).await;
    }

    /// One round; false when the connection is over.
    async fn turn(&mut self, mail: &mut Vec<Mail>) -> bool {
        self.with.process.pass().await;
        if self.with.socket.is_closed() {
            return false;
        }
        let now = Instant::now();
        self.hand_out(now);
        self.acknowledge(now);
        self.hear_asks();
        if self.saving.is_none() && now >= self.next_save && self.is_dirty() {
            self.begin_saving();
        }
        let wake = (self.acks.iter().map(|(at, ..)| *at))
            .chain((self.saving.is_none() && self.is_dirty()).then_some(self.next_save))
            .min()
            .unwrap_or(now + Duration::from_secs(5));
        let (socket, mailbox) = (self.with.socket.clone(), self.mailbox.clone());
        let saved = async {
            match &mut self.saving {
                Some(saving) => saving.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = socket.woken.notified() => true,
            kept = saved => self.saved(kept),
            () = mailbox.take(mail) => self.take(mail),
            () = self.receiver.fetched() => true,
            () = sleep_until(wake) => true,
        }
    }

    fn hand_out(&mut self, now: Instant) {
        if !self.with.core.lease.is_held() {
            return;
        }
        let mut write = Vec::new();
        // An acknowledgement may let the next one out.
        self.receiver.outputs(&mut write);
        for output in write {
            let Output::Send {
                packet_id, item, dup, ..
            } = output
            else {
                continue;
            };
            let (d, with) = (&item.delivery, &self.with);
            let place = (d.partition, d.position);
            let numbers = [
                with.session as u64,
                u64::from(d.partition.0),
                d.position.0,
                u64::from(dup),
            ];
            with.chance.note("got", numbers);
            if d.position > Position::START {
                with.ledger
                    .got(with.session, with.connection, place, &d.entry.uid, d.prev);
            }
            if let Some(id) = packet_id {
                let later = match with.chance.below(4) {
                    0 => with.chance.below(2000),
                    _ => with.chance.below(10),
                };
                self.acks.push((now + Duration::from_millis(later), id, place));
            }
        }
    }

    fn acknowledge(&mut self, now: Instant) {
        let due: Vec<_> = self.acks.extract_if(.., |(at, ..)| *at <= now).collect();
        for (_, id, place) in due {
            self.receiver.ack(id);
            self.acked.push(place);
        }
        self.hand_out(now);
    }

    fn hear_asks(&mut self) {
        let asked: Vec<Ask> = self.with.socket.asked.lock().drain(..).collect();
        for ask in asked {
            match ask {
                Ask::Subscribe(filter) => {
                    self.with.ledger.subscribes(self.with.session, &filter);
                    let start = self.receiver.start_of(&filter);
                    let existed = self.receiver.session.subscribe(Subscription {
                        filter: filter.clone(),
                        qos: 1,
                        no_local: false,
                        retain_as_published: false,
                        retain_handling: 0,
                        id: None,
                        start,
                    });
                    let token = self.receiver.attach(std::slice::from_ref(&filter));
                    self.pending.push((token, filter, existed));
                }
                Ask::Unsubscribe(filter) => {
                    let with = &self.with;
                    with.ledger.unsubscribed(with.session, with.connection, &filter);
                    self.pending.retain(|(_, f, _)| *f != filter);
                    self.granted.retain(|g| g.filter != filter);
                    self.stored.1.retain(|g| g.filter != filter);
                    if self.receiver.session.unsubscribe(&filter) {
                        self.receiver.detach(&filter);
                    }
                }
            }
        }
    }

    /// False when the connection is to end.
    fn take(&mut self, mail: &mut Vec<Mail>) -> bool {
        let live = mail.iter().filter(|m| matches!(m, Mail::Live(_))).count();
        if live > MAILBOX {
            self.with
                .ledger
                .fail(format!("{live} entries were in a mailbox for {MAILBOX}"));
        }
        let mut goes_on = true;
        for one in mail.drain(..) {
            match self.receiver.mail(one) {
                Left::Nothing => {}
                Left::Attached(token, boundaries) => {
                    self.attached(token, boundaries.into_iter().flatten().collect())
                }
                Left::Mail(Mail::TakenOver(done)) => {
                    self.handover.push(done);
                    goes_on = false;
                }
                Left::Mail(Mail::Leave) => goes_on = false,
                Left::Mail(Mail::Verify) => {
                    self.next_save = Instant::now();
                    self.revision = u32::MAX;
                }
                Left::Mail(_) => {}
            }
        }
        goes_on
    }

    fn attached(&mut self, token: u64, boundaries: Vec<Place>) {
        let Some(i) = self.pending.iter().position(|(t, ..)| *t == token) else {
            return;
        };
        let (_, filter, existed) = self.pending.remove(i);
        if !existed {
            self.receiver.session.subscribed_at(&filter, boundaries);
        }
        let heads = self.with.ledger.heads();
        self.granted.push(Granted { filter, heads });
    }

    fn is_dirty(&self) -> bool {
        self.receiver.session.revision() != self.revision
    }

    fn save_now(&mut self) -> SaveSession {
        self.revision = self.receiver.session.revision();
        SaveSession {
            key: self.key.clone(),
            epoch: self.epoch,
            state: self.receiver.state(),
        }
    }

    fn begin_saving(&mut self) {
        let save = self.save_now();
        self.stored = (std::mem::take(&mut self.acked), std::mem::take(&mut self.granted));
        let persistence = self.with.core.persistence.clone();
        self.saving = Some(async move { persistence.save_sessions(vec![save]).await }.boxed());
    }

    fn saved(&mut self, kept: Result<Vec<bool>, RpcError>) -> bool {
        self.saving = None;
        self.next_save = Instant::now() + SAVE_EVERY;
        let (acked, granted) = std::mem::take(&mut self.stored);
        match kept {
            Ok(kept) if kept == [true] => self.is_stored(&acked, granted),
            Ok(_) => return false,
            Err(_) => {
                self.acked.extend(acked);
                self.granted.extend(granted);
                self.revision = u32::MAX;
            }
        }
        true
    }

    fn is_stored(&self, acked: &[Place], granted: Vec<Granted>) {
        self.with.ledger.done(self.with.session, acked);
        for g in granted {
            let with = &self.with;
            with.ledger
                .subscribed(with.session, with.connection, &g.filter, &g.heads);
        }
    }

    async fn finish(mut self, mut mail: Vec<Mail>) {
        self.receiver.stop();
        let given_out: Vec<(PartitionId, Position)> = self.receiver.given_out();
        self.mailbox.try_take(&mut mail);
        self.take(&mut mail);
        self.receiver.upto(&given_out);
        self.receiver.leave();
        // An older state must not be written after the last one.
        if let Some(saving) = self.saving.take() {
            let kept = saving.await;
            self.saved(kept);
        }
        let close = CloseSession {
            key: self.key.clone(),
            epoch: self.epoch,
            state: self.last_state(),
            expiry: u32::MAX,
            at: UnixMillis(0),
            publish_will: false,
        };
        let _unless_it_fails = self.with.core.persistence.close_session(close).await;
        self.with.core.registry.remove(&self.key, self.with.connection);
        self.mailbox.close();
        for next in self.handover {
            let _gone = next.send(());
        }
    }

    fn last_state(&mut self) -> Bytes {
        self.receiver.state()
    }
}
