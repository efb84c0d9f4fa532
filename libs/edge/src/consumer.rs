//! The receiving half of a connection, the same for every protocol: what it receives, the session machine, the backlog it
//! reads, the progress it reports. The protocol's edge writes what comes out and says what was acknowledged.

mod membership;

pub use membership::{Asked, asked_for_threads};

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use contract::RpcError;
use contract::persistence::{BacklogFilter, BacklogLane, BacklogPage, BacklogRequest, MemberTopic};
use futures::future::BoxFuture;
use model::{Concerned, OrgId, PartitionId, Position, Principal, TopicFilter, TopicName, UnixMillis};
use session::{Ack, Fetch, Limits, Output, Page, SavedState, Session};
use smallvec::SmallVec;
use tokio::time::timeout_at;
use tokio_util::task::AbortOnDropHandle;
use wire::Kind;

use crate::attach::Attaching;
use crate::delivered::{Delivered, Note};
use crate::delivery::Delivery;
use crate::mailbox::{Boundaries, Mail, Mailbox};
use crate::{Core, access, audience, presence};

/// How long to wait after a failed read of the backlog.
const RETRY: Duration = Duration::from_millis(500);

/// A delivery with what this connection makes of it.
#[derive(Debug, Clone)]
pub struct Item {
    /// What to write.
    pub delivery: Arc<Delivery>,
    qos: u8,
    note: bool,
    author: bool,
    retained: bool,
    /// Whether the client is told that it was published to be retained.
    retain: bool,
    ids: Option<Arc<[u32]>>,
}

/// What the session's subscriptions make of an entry.
#[derive(Debug, Default, PartialEq, Eq)]
struct Matched {
    /// The highest QoS granted; `None` if none matches.
    qos: Option<u8>,
    /// Whether one asked to be told what was published to be retained.
    retain: bool,
    /// Their identifiers; `None` if none has one.
    ids: Option<Arc<[u32]>>,
}

impl session::Item for Item {
    type Token = Option<Note>;

    fn partition(&self) -> PartitionId {
        self.delivery.partition
    }
    fn position(&self) -> Position {
        self.delivery.position
    }
    fn qos(&self) -> u8 {
        self.qos
    }
    fn cost(&self) -> usize {
        self.delivery.cost()
    }
    fn token(&self) -> Self::Token {
        self.note.then(|| Note::of(&self.delivery))
    }
}

impl Item {
    /// Whether the client is told that it is a retained message: it was kept, and is sent to a new subscription, or that is what
    /// a subscription asked for.
    pub fn is_retained(&self) -> bool {
        self.retained || self.retain
    }

    /// The identifiers of the subscriptions because of which it is sent.
    pub fn subscription_ids(&self) -> &[u32] {
        self.ids.as_deref().unwrap_or_default()
    }

    /// Whether the connection's user sent it.
    pub fn is_own(&self) -> bool {
        self.author
    }
}

type Reading = BoxFuture<'static, (u32, Result<BacklogPage, RpcError>)>;

/// The receiving half of a connection.
pub struct Consumer {
    core: Arc<Core>,
    who: Arc<Principal>,
    client: Arc<str>,
    mailbox: Arc<Mailbox>,
    /// The session machine. Acknowledge through the methods of the consumer, which note what was delivered.
    pub session: Session<Item>,
    /// What it receives without asking.
    implied: Vec<Implied>,
    reading: Option<Reading>,
    delivered: Delivered,
    out: Vec<Output<Item>>,
    next_attach: u64,
    /// Every attach under way.
    attaching: Vec<AbortOnDropHandle<()>>,
    /// Attaches under way of what it receives from the beginning: by name, the partition of each.
    initial: Vec<(u64, PartitionId)>,
    /// It does not wait for them any more.
    late: bool,
    grants: Vec<(u64, PartitionId)>,
    /// Partitions of which the edge has lost entries: what comes live has holes until the edge has a boundary again.
    broken: Vec<PartitionId>,
    /// Boundaries of partitions that are broken, or in which an attach is under way: until that is over, what comes live has holes.
    held: Vec<(PartitionId, Position)>,
    /// Retained messages that the window has had no room for yet.
    kept: VecDeque<Item>,
    /// Threads that the user is no longer to see: what is buffered of them is not handed out.
    revoked: Vec<TopicName>,
    /// Partitions in which the session has not begun yet.
    fresh: Vec<Fresh>,
    /// How far the saved session had got, if there is one.
    resumed: Option<Vec<(PartitionId, Position)>>,
    /// It has begun in a partition that the saved session did not have.
    begun_anew: bool,
    /// Up to where the partitions had been given out when the threads were asked for.
    asked: Asked,
    /// Where a new session begins in its user's own topic: from `asked` to here it is told of memberships only.
    began: Option<Position>,
    /// Whether it follows its user into the threads that the user is made a member of.
    entitled: bool,
    hears_presence: bool,
}

/// A partition in which the session begins when its first attach is complete.
struct Fresh {
    partition: PartitionId,
    /// Up to where it had been given out when the connection was entered.
    entered: Position,
    /// The highest position that came before it began.
    early: Position,
    /// It has begun already, where the connection was entered: what came early is to be read.
    begun: bool,
}

struct Implied {
    filter: TopicFilter,
    start: Vec<(PartitionId, Position)>,
}

/// What is left of mail for the protocol's edge to deal with.
#[derive(Debug)]
pub enum Left {
    /// Nothing.
    Nothing,
    /// An attach that the edge asked for is complete; with the boundaries of each filter.
    Attached(u64, Vec<Boundaries>),
    /// Mail that is not about receiving.
    Mail(Mail),
}

impl Consumer {
    /// A consumer of a new session, or of one that goes on from `saved`. `client` is the client id.
    pub fn new(
        core: Arc<Core>,
        who: Arc<Principal>,
        client: &str,
        mailbox: Arc<Mailbox>,
        limits: Limits,
        saved: Option<(SavedState, u64)>,
    ) -> Self {
        let mut resumed = None;
        let session = match saved {
            Some((state, epoch)) => {
                resumed = Some(state.lanes.iter().map(|l| (l.partition, l.sent)).collect());
                Session::resume(state, limits, epoch)
            }
            None => Session::new(limits),
        };
        Self {
            core,
            who,
            client: client.into(),
            mailbox,
            session,
            implied: Vec::new(),
            reading: None,
            delivered: Delivered::default(),
            out: Vec::new(),
            next_attach: 1,
            attaching: Vec::new(),
            initial: Vec::new(),
            late: false,
            grants: Vec::new(),
            broken: Vec::new(),
            held: Vec::new(),
            kept: VecDeque::new(),
            revoked: Vec::new(),
            fresh: Vec::new(),
            resumed,
            begun_anew: false,
            asked: Asked::default(),
            began: None,
            entitled: false,
            hears_presence: false,
        }
    }

    /// The user on whose behalf it receives.
    pub fn principal(&self) -> &Arc<Principal> {
        &self.who
    }

    /// Begins to receive: what the principal is entitled to (if `entitled`), the threads it is a member of, and what the
    /// session subscribed to before.
    /// `asked` is what [`asked_for_threads`] said before the threads were asked for: who became a member since then is told
    /// so, though the session begins later.
    pub fn begin(&mut self, entitled: bool, threads: &[MemberTopic], asked: Asked) {
        self.entitled = entitled;
        self.asked = asked;
        if entitled {
            let of_principal = audience::of_principal(&self.who);
            self.implied
                .extend(of_principal.into_iter().map(|filter| Implied {
                    filter,
                    start: Vec::new(),
                }));
            for thread in threads {
                self.imply_thread(thread);
            }
        }
        let subscribed = self.session.subscriptions().iter().map(|s| s.filter.clone());
        let filters: Vec<TopicFilter> = self
            .implied
            .iter()
            .map(|i| i.filter.clone())
            .chain(subscribed)
            .collect();
        let known: Vec<PartitionId> = self.session.partitions().collect();
        let attaching = self.enter(&filters);
        // Each partition for itself: an owner that does not answer holds up its own topics only.
        for (partition, entered, attaching) in attaching.by_partition() {
            let token = self.await_boundaries(attaching);
            self.initial.push((token, partition));
            if !known.contains(&partition) {
                self.fresh.push(Fresh {
                    partition,
                    entered,
                    early: Position::START,
                    begun: false,
                });
            }
        }
        self.session.start(&mut self.out);
        // Nothing comes live in the others; what is owed of them has to be read all the same.
        let concerned = |p: &PartitionId| self.initial.iter().any(|(_, i)| i == p);
        let others: Vec<PartitionId> = known.into_iter().filter(|p| !concerned(p)).collect();
        others.into_iter().for_each(|p| self.hold(p, Position::START));
        self.release_held();
    }

    /// Whether what it received from the beginning has been attached, or is not waited for any more: from then on nothing is
    /// missed that anybody sends.
    pub fn is_attached(&self) -> bool {
        self.initial.is_empty() || self.late
    }

    /// Attaches filters; [`Left::Attached`] with the returned name tells when they are complete.
    pub fn attach(&mut self, filters: &[TopicFilter]) -> u64 {
        let attaching = self.enter(filters);
        self.await_boundaries(attaching)
    }

    fn enter(&self, filters: &[TopicFilter]) -> Attaching {
        let attachments = &self.core.attachments;
        attachments.attach(&self.mailbox, &self.who.org, filters)
    }

    fn await_boundaries(&mut self, attaching: Attaching) -> u64 {
        let token = self.next_attach;
        self.next_attach += 1;
        self.attaching.retain(|attach| !attach.is_finished());
        self.attaching.push(attaching.tell(&self.mailbox, token));
        token
    }

    /// Where a new subscription to `filter` begins: what is given out from now on is its. Call before [`Self::attach`].
    pub fn start_of(&self, filter: &TopicFilter) -> Vec<(PartitionId, Position)> {
        let start = |p| (p, self.core.attachments.given_out(p));
        self.concerned(filter).into_iter().map(start).collect()
    }

    fn concerned(&self, filter: &TopicFilter) -> Concerned {
        self.core.partitioning.of_filter(&self.who.org, filter)
    }

    /// Takes filters away that neither a subscription nor the entitlement needs any more.
    pub fn detach(&self, filter: &TopicFilter) {
        if !self.implied.iter().any(|i| i.filter == *filter) {
            self.core
                .attachments
                .detach(&self.mailbox, &self.who.org, [filter]);
        }
    }

    /// Ends receiving.
    pub fn leave(&self) {
        let subscribed = self.session.subscriptions().iter().map(|s| &s.filter);
        let filters = self.implied.iter().map(|i| &i.filter).chain(subscribed);
        self.core.attachments.leave(&self.mailbox, &self.who.org, filters);
    }

    /// Deals with mail about receiving; gives back what is not.
    pub fn mail(&mut self, mail: Mail) -> Left {
        match mail {
            Mail::Live(delivery) if self.is_early(delivery.partition, delivery.position) => Left::Nothing,
            Mail::Live(delivery) => {
                if let Some(item) = self.item(delivery) {
                    self.session.live(item, &mut self.out);
                }
                Left::Nothing
            }
            Mail::Gap(partition) => {
                if !self.broken.contains(&partition) {
                    self.broken.push(partition);
                }
                self.session.gap(partition);
                Left::Nothing
            }
            Mail::Boundary(partition, boundary) => {
                self.broken.retain(|p| *p != partition);
                self.goes_on_from(partition, boundary);
                Left::Nothing
            }
            Mail::Skipped(partition, upto) => {
                self.session.gap(partition);
                self.goes_on_from(partition, upto);
                Left::Nothing
            }
            Mail::Attached { token, boundaries } => self.attached(token, boundaries),
            other => Left::Mail(other),
        }
    }

    /// Whether this comes before the session has begun in its partition; then it is only noted how far things have got. What has
    /// no place in the log is never early.
    fn is_early(&mut self, partition: PartitionId, position: Position) -> bool {
        if position == Position::START {
            return false;
        }
        let fresh = self.fresh.iter_mut().find(|f| f.partition == partition);
        fresh.map(|f| f.early = position.max(f.early)).is_some()
    }

    fn goes_on_from(&mut self, partition: PartitionId, boundary: Position) {
        if !self.is_early(partition, boundary) && self.session.partitions().any(|p| p == partition) {
            self.hold(partition, boundary);
            self.release_held();
        }
    }

    /// The session begins where its topics were attached, neither before nor after: what came live meanwhile is read.
    fn begin_fresh(&mut self, partition: PartitionId, boundaries: &[Boundaries]) {
        let Some(i) = self.fresh.iter().position(|f| f.partition == partition) else {
            return;
        };
        let fresh = self.fresh.swap_remove(i);
        if fresh.begun {
            self.hold(partition, fresh.early);
            return;
        }
        let boundary = boundaries
            .iter()
            .flatten()
            .map(|(_, b)| *b)
            .max()
            .unwrap_or_default();
        self.begin_at(partition, boundary);
        if fresh.early > boundary || self.broken.contains(&partition) {
            self.session.gap(partition);
            self.hold(partition, fresh.early);
        }
    }

    fn begin_at(&mut self, partition: PartitionId, boundary: Position) {
        self.session.boundary(partition, boundary, &mut self.out);
        self.begun_anew = true;
        self.read_from_grants(partition, boundary);
        self.hear_of_grants(partition, boundary);
    }

    /// Whether the session has begun in a partition where it did not stand before. To be stored before the client is told that it
    /// receives: after a crash it would begin later.
    pub fn has_begun_anew(&self) -> bool {
        self.begun_anew
    }

    /// Owners that have not answered are not waited for: in their partitions the session begins with what had not been given
    /// out when it was entered, which may be a moment ago.
    fn begin_late(&mut self) {
        self.late = true;
        let mut begun = Vec::new();
        for fresh in self.fresh.iter_mut().filter(|f| !f.begun) {
            fresh.begun = true;
            begun.push((fresh.partition, fresh.entered));
        }
        for (partition, entered) in begun {
            self.begin_at(partition, entered);
            self.session.gap(partition);
        }
    }

    /// Waits until what it receives from the beginning is attached, for so long, or until another connection wants the session.
    /// Returns mail that is about something else, for later.
    pub async fn attached_from_the_beginning(&mut self, limit: Duration) -> Vec<Mail> {
        let (mut taken, mut later) = (Vec::new(), Vec::new());
        let deadline = tokio::time::Instant::now() + limit;
        while !self.is_attached() && !later.iter().any(|mail| matches!(mail, Mail::TakenOver(_))) {
            let mailbox = self.mailbox.clone();
            if timeout_at(deadline, mailbox.take(&mut taken)).await.is_err() {
                self.begin_late();
                break;
            }
            later.extend(taken.drain(..).filter_map(|mail| match self.mail(mail) {
                Left::Mail(mail) => Some(mail),
                Left::Nothing | Left::Attached(..) => None,
            }));
        }
        later
    }

    fn attached(&mut self, token: u64, boundaries: Vec<Boundaries>) -> Left {
        let initial = self.initial.iter().position(|(t, _)| *t == token);
        let grant = self.grants.iter().position(|(t, _)| *t == token);
        if initial.is_none() && grant.is_none() {
            return Left::Attached(token, boundaries);
        }
        if let Some(i) = initial {
            let (_, partition) = self.initial.swap_remove(i);
            self.begin_fresh(partition, &boundaries);
        }
        if let Some(i) = grant {
            self.grants.swap_remove(i);
        }
        for (partition, boundary) in boundaries.into_iter().flatten() {
            self.hold(partition, boundary);
        }
        self.release_held();
        Left::Nothing
    }

    fn hold(&mut self, partition: PartitionId, boundary: Position) {
        match self.held.iter_mut().find(|(p, _)| *p == partition) {
            Some((_, held)) => *held = boundary.max(*held),
            None => self.held.push((partition, boundary)),
        }
    }

    /// Gives the session the boundaries of partitions that are whole and in which no attach is under way any more.
    fn release_held(&mut self) {
        for (partition, boundary) in std::mem::take(&mut self.held) {
            let mut attaching = self.initial.iter().chain(&self.grants);
            if self.broken.contains(&partition) || attaching.any(|(_, p)| *p == partition) {
                self.held.push((partition, boundary));
            } else {
                self.session.boundary(partition, boundary, &mut self.out);
            }
        }
    }

    /// Hands out a retained message to a new subscription with this granted QoS.
    pub fn retained(&mut self, delivery: Arc<Delivery>, granted: u8) {
        let qos = granted.min(u8::try_from(delivery.entry.qos).unwrap_or(0));
        let matched = self.matched(&delivery);
        let item = Item {
            delivery,
            qos,
            note: false,
            author: false,
            retained: true,
            retain: matched.retain,
            ids: matched.ids,
        };
        self.kept.push_back(item);
    }

    /// The session takes no more of these than it has room for.
    fn hand_out_retained(&mut self) {
        while let Some(item) = self.kept.front() {
            let before = self.out.len();
            self.session.live(item.clone(), &mut self.out);
            if self.out.len() == before {
                return;
            }
            self.kept.pop_front();
        }
        self.kept.shrink_to_fit();
    }

    /// What this connection makes of an entry; `None` if it is not for it.
    fn item(&self, delivery: Arc<Delivery>) -> Option<Item> {
        let entry = &delivery.entry;
        if self.is_revoked(&entry.topic) || self.is_before_beginning(&delivery) {
            return None;
        }
        let author = entry.sender == self.who.user.as_str();
        let matched = self.matched(&delivery);
        let qos = match entry.known_kind() {
            Kind::Membership => 0,
            Kind::Unspecified => return None,
            Kind::Generic => matched.qos?.min(u8::try_from(entry.qos).unwrap_or(0)),
            Kind::Transient if presence::is_news(entry) && (author || !self.hears_presence()) => return None,
            Kind::Transient if delivery.is_visible_to(&self.who) => 0,
            Kind::Transient => return None,
            _ if delivery.is_visible_to(&self.who) => 1,
            _ => return None,
        };
        let note = !author && entry.known_kind() == Kind::Chat && !self.who.acts_as(&entry.author);
        Some(Item {
            delivery,
            qos,
            note,
            author,
            retained: false,
            retain: matched.retain,
            ids: matched.ids,
        })
    }

    /// From now on it is told who of those it talks to comes and goes.
    pub fn hear_presence(&mut self) {
        self.hears_presence = true;
    }

    fn hears_presence(&self) -> bool {
        let mut subscribed = self.session.subscriptions().iter();
        self.hears_presence || subscribed.any(|s| s.filter.as_str() == access::PRESENCE_FILTER)
    }

    /// What the subscriptions make of an entry, in one pass. Conversations need none, so of them only what is told beside is
    /// looked for.
    fn matched(&self, delivery: &Delivery) -> Matched {
        let entry = &delivery.entry;
        let generic = entry.known_kind() == Kind::Generic;
        let own = !entry.client.is_empty()
            && entry.client == *self.client
            && entry.sender == self.who.user.as_str();
        let (mut matched, mut ids) = (Matched::default(), SmallVec::<[u32; 4]>::new());
        for s in self.session.subscriptions() {
            let retain = s.retain_as_published && entry.retain;
            let counts = generic || s.id.is_some() || retain;
            if !counts || (s.no_local && own) || !s.filter.matches(&entry.topic) {
                continue;
            }
            matched.qos = matched.qos.max(Some(s.qos));
            matched.retain |= retain;
            ids.extend(s.id);
        }
        if !ids.is_empty() {
            matched.ids = Some(Arc::from(&ids[..]));
        }
        matched
    }

    /// What to write now. Fetches and grants are dealt with here and do not come out.
    pub fn outputs(&mut self, write: &mut Vec<Output<Item>>) {
        self.hand_out_retained();
        while !self.out.is_empty() {
            for output in std::mem::take(&mut self.out) {
                match output {
                    Output::Fetch(fetch) => self.reading = Some(self.read(fetch)),
                    Output::Send { item, .. } if item.delivery.entry.known_kind() == Kind::Membership => {
                        self.membership(&item.delivery);
                    }
                    Output::Send {
                        item, packet_id, qos, ..
                    } if !self.is_still_visible(&item) => {
                        // What may not be shown any more is passed over as if it had been acknowledged.
                        let _passed = match packet_id {
                            Some(id) if qos == 2 => self.session.rec(id, false, &mut self.out),
                            Some(id) => self.session.ack(id, &mut self.out),
                            None => Ack::Unknown,
                        };
                    }
                    output => write.push(output),
                }
            }
        }
    }

    fn is_still_visible(&self, item: &Item) -> bool {
        let now = if item.delivery.entry.expires_at == 0 {
            UnixMillis(0)
        } else {
            self.core.now()
        };
        !item.delivery.is_expired(now) && !self.is_revoked(&item.delivery.entry.topic)
    }

    fn read(&self, fetch: Fetch) -> Reading {
        let implied = self.implied.iter().map(|i| BacklogFilter {
            filter: i.filter.clone(),
            start: i.start.clone(),
        });
        let subscribed = self.session.subscriptions().iter();
        let subscribed = subscribed.map(|s| BacklogFilter {
            filter: s.filter.clone(),
            start: s.start.clone(),
        });
        let filters = match fetch.filter {
            Some(filter) => vec![BacklogFilter {
                filter,
                start: Vec::new(),
            }],
            // A page carries the filters that have something in its partitions, not all that the session has.
            None => (implied.chain(subscribed))
                .filter(|f| {
                    let concerned = self.concerned(&f.filter);
                    fetch.lanes.iter().any(|l| concerned.contains(l.partition))
                })
                .collect(),
        };
        let lanes = fetch.lanes.iter().map(|l| BacklogLane {
            partition: l.partition,
            after: l.after,
            upto: l.upto,
        });
        let request = BacklogRequest {
            org: self.who.org.clone(),
            lanes: lanes.collect(),
            filters,
            max_entries: fetch.max_entries,
            max_bytes: fetch.max_bytes,
        };
        let persistence = self.core.persistence.clone();
        Box::pin(async move {
            let page = persistence.backlog(request).await;
            if page.is_err() {
                tokio::time::sleep(RETRY).await;
            }
            (fetch.number, page)
        })
    }

    /// Waits for the backlog that is being read, for ever if none is, and takes it in. Cancel safe.
    pub async fn fetched(&mut self) {
        let Some(reading) = &mut self.reading else {
            return std::future::pending().await;
        };
        let (number, page) = reading.await;
        self.reading = None;
        match page {
            Ok(page) => {
                let page = self.page(page);
                self.session.page(number, page, &mut self.out);
            }
            Err(error) => {
                tracing::debug!(%error, "a backlog is not to be had yet");
                self.session.fetch_failed(number, &mut self.out);
            }
        }
    }

    fn page(&self, page: BacklogPage) -> Page<Item> {
        let whole = page.entries.iter().map(|e| e.entry.len()).sum();
        let entries = page.entries.into_iter().filter_map(|e| {
            let entry = wire::frame::decode_entry(e.entry).ok()?;
            let delivery = Delivery::out_of(whole, e.partition, e.position, e.prev, entry);
            self.item(Arc::new(delivery))
        });
        Page {
            entries: entries.collect(),
            covered: page.covered,
        }
    }

    /// PUBACK, or STOMP ACK in `client-individual` mode.
    pub fn ack(&mut self, packet_id: u16) -> Ack<()> {
        let ack = self.session.ack(packet_id, &mut self.out);
        self.noted(ack)
    }

    /// PUBREC.
    pub fn rec(&mut self, packet_id: u16, accepted: bool) -> Ack<()> {
        let ack = self.session.rec(packet_id, accepted, &mut self.out);
        self.noted(ack)
    }

    /// PUBCOMP.
    pub fn comp(&mut self, packet_id: u16) -> Ack<()> {
        let ack = self.session.comp(packet_id, &mut self.out);
        self.noted(ack)
    }

    /// STOMP ACK in `client` mode: everything up to this item.
    pub fn ack_through(&mut self, packet_id: u16) -> Ack<()> {
        let mut tokens = Vec::new();
        let ack = self.session.ack_through(packet_id, &mut tokens, &mut self.out);
        tokens
            .into_iter()
            .flatten()
            .for_each(|note| self.delivered.note(note));
        ack
    }

    /// STOMP NACK: the item comes again.
    pub fn nack(&mut self, packet_id: u16) -> Ack<()> {
        match self.session.nack(packet_id, &mut self.out) {
            Ack::Done(_) => Ack::Done(None),
            Ack::Unknown => Ack::Unknown,
            Ack::Mismatch => Ack::Mismatch,
        }
    }

    /// Whether the connection takes no more for now.
    pub fn throttle(&mut self, on: bool) {
        self.session.throttle(on, &mut self.out);
    }

    fn noted(&mut self, ack: Ack<Option<Note>>) -> Ack<()> {
        match ack {
            Ack::Done(token) => {
                if let Some(note) = token.flatten() {
                    self.delivered.note(note);
                }
                Ack::Done(None)
            }
            Ack::Unknown => Ack::Unknown,
            Ack::Mismatch => Ack::Mismatch,
        }
    }

    /// Whether acknowledged messages wait to be reported as delivered.
    pub fn has_delivered(&self) -> bool {
        !self.delivered.is_empty()
    }

    /// Reports acknowledged messages as delivered. Call every `delivered_interval`, and at the end.
    pub fn report_delivered(&mut self) {
        self.delivered.flush(&self.core, &self.who);
    }

    /// Hands out nothing more: the connection is ending. What was handed out counts as sent, though it may never have
    /// been written; mail may still be given, so that the cursors can follow.
    pub fn stop(&mut self) {
        self.session.throttle(true, &mut self.out);
        self.outputs(&mut Vec::new());
    }

    /// Lets the cursors of quiet partitions follow what was given out. All mail must have been taken since the positions
    /// were read: pass the result of [`Self::given_out`] from before the mailbox was emptied.
    pub fn upto(&mut self, given_out: &[(PartitionId, Position)]) {
        given_out.iter().for_each(|(p, at)| self.session.upto(*p, *at));
    }

    /// See [`Self::upto`].
    pub fn given_out(&self) -> Vec<(PartitionId, Position)> {
        self.session
            .partitions()
            .map(|p| (p, self.core.attachments.given_out(p)))
            .collect()
    }

    /// The state to store.
    pub fn state(&mut self) -> Bytes {
        self.state_without(&[])
    }

    /// The same without these inbound QoS 2 packet ids: of what they brought it is not known that it is stored. Whoever goes on from
    /// this must take it when it comes again, not acknowledge it as something that is there.
    pub fn state_without(&mut self, unsettled: &[u16]) -> Bytes {
        let mut saved = self.session.save();
        saved.received.retain(|id| !unsettled.contains(id));
        saved.encode().into()
    }

    /// The tenant it receives from.
    pub fn org(&self) -> &OrgId {
        &self.who.org
    }
}
