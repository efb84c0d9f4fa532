//! Everything together.

use model::{PartitionId, Position};
use session::{Ack, Output, Page, SavedState, Session, Subscription};

use crate::client::{Client, Down, Up};
use crate::edges::{Accepted, EDGES, Edge, Frame, Holder, Owner, Reply, limits};
use crate::ledger::Status;
use crate::log::{CLIENTS, Log, PARTITIONS, Thing, filter_of, is_entitled, partition_of};
use crate::op::{Op, What};

type Checked = Result<(), String>;

/// Topics that both clients receive from the beginning, that are granted, and that are subscribed to.
const SHARED: [usize; 3] = [2, 3, 4];
const GRANTED: [usize; 3] = [5, 6, 7];
const SUBSCRIBED: usize = 8;

pub struct World {
    log: Log,
    owners: [Owner; PARTITIONS],
    edges: [Edge; EDGES],
    clients: [Client; CLIENTS],
    holders: Vec<Holder>,
}

impl World {
    /// Each client's session exists and is saved, with a lane in each partition.
    pub fn new() -> Self {
        let mut clients: [Client; CLIENTS] = Default::default();
        for (c, client) in clients.iter_mut().enumerate() {
            client.entitled = SHARED.iter().chain([&c]).map(|t| (*t, Position::START)).collect();
            let mut session = Session::<Thing>::new(limits(0));
            for p in 0..PARTITIONS {
                session.boundary(PartitionId(p as u16), Position::START, &mut Vec::new());
            }
            client.stored.state = session.save().encode();
        }
        Self {
            log: Log::default(),
            owners: Default::default(),
            edges: std::array::from_fn(|_| Edge::new()),
            clients,
            holders: Vec::new(),
        }
    }

    pub fn apply(&mut self, op: Op) -> Checked {
        let (a, b) = (op.a, op.b);
        let (p, e, c) = (a % PARTITIONS, b % EDGES, a % CLIENTS);
        match op.what {
            What::Publish => self.publish(a, b),
            What::PublishAgain => self.publish_again(a, b)?,
            What::Recall => self.recall(a),
            What::Grant => self.grant(c, b),
            What::Subscribe => self.subscribe(c)?,
            What::Route => self.route(p, 1 + b % 4, false),
            What::RestartOwner => self.restart_owner(p, b % 4),
            What::Frame => self.frame(e, p)?,
            What::LoseFrame => drop(self.edges[e].lines[p].frames.pop_front()),
            What::RepeatFrame => {
                let frames = &mut self.edges[e].lines[p].frames;
                frames.extend(frames.front().copied());
            }
            What::Attach => self.attach(e, p),
            What::AttachReply => self.attach_reply(e, p)?,
            What::Apply => {
                self.log.applied[p] = self.log.partitions[p].len().min(self.log.applied[p] + b % 9)
            }
            What::Stall => self.log.stalled = !self.log.stalled,
            What::Answer => self.answer(a, 1 + b % 6)?,
            What::FailFetch => self.fail_fetch(a)?,
            What::Read if self.clients[c].paused => {}
            What::Read => (0..=b % 4).try_for_each(|_| self.clients[c].read())?,
            What::Pause => self.clients[c].paused = !self.clients[c].paused,
            What::Ack => self.clients[c].answer(if b.is_multiple_of(3) { b / 3 } else { 0 }, false),
            What::Nack => self.clients[c].answer(b, true),
            What::Arrive => (0..=b % 3).try_for_each(|_| self.arrive(c))?,
            What::DropLink => self.clients[c].lose_link(),
            What::Close => self.close(c)?,
            What::Connect => self.connect(c, e, b / 2)?,
            What::Save => self.save_one(a)?,
            What::Crash => self.crash(e),
            What::Throttle => self.with_holder(a, |h| h.session.throttle(b.is_multiple_of(2), &mut h.out))?,
            What::Shed => self.with_holder(a, |h| h.session.shed())?,
        }
        self.check_memory()
    }

    fn publish(&mut self, a: usize, b: usize) {
        let topics = CLIENTS + SHARED.len() + GRANTED.len() + 1;
        for i in 0..=b % 3 {
            let qos = [1, 1, 2, 0, 2][(b + i) % 5];
            self.log.publish((a + i) % topics, qos, b, None);
        }
    }

    fn publish_again(&mut self, a: usize, b: usize) -> Checked {
        if self.log.things.is_empty() {
            return Ok(());
        }
        let first = self.log.things[a % self.log.things.len()];
        match self
            .log
            .publish_again(first.uid, if b.is_multiple_of(2) { first.payload } else { b })
        {
            Some(position) if position != first.position => Err("a resend has another position".into()),
            _ => Ok(()),
        }
    }

    /// Persistence leaves it out from now on; whoever has it keeps it.
    fn recall(&mut self, a: usize) {
        if self.log.things.is_empty() {
            return;
        }
        let uid = a % self.log.things.len();
        if self.log.things[uid].grant.is_none() {
            self.log.things[uid].recalled = true;
            self.holders.iter_mut().for_each(|h| h.ledger.on_recall(uid));
            self.clients
                .iter_mut()
                .for_each(|c| c.stored.ledger.on_recall(uid));
        }
    }

    /// A membership that reaches back some way, told on the user's own topic.
    fn grant(&mut self, c: usize, b: usize) {
        let topic = GRANTED[b % GRANTED.len()];
        if self.clients[c].entitled.iter().all(|(t, _)| *t != topic) {
            let p = partition_of(topic);
            let count = self.log.partitions[p].len();
            let after = self.log.position_of(p, count.saturating_sub(b / 3 % 6));
            self.clients[c].entitled.push((topic, after));
            self.log.publish(c, 0, b, Some((topic, after)));
        }
    }

    /// SUBSCRIBE on a live connection; answered when it is saved.
    fn subscribe(&mut self, c: usize) -> Checked {
        let Some(h) = self.latest(c) else { return Ok(()) };
        let holder = &mut self.holders[h];
        let at = self.edges[holder.edge].lines[partition_of(SUBSCRIBED)].last;
        let again = holder.audience.iter().any(|(t, _)| *t == SUBSCRIBED);
        let subscription = Subscription {
            filter: filter_of(SUBSCRIBED),
            qos: 1,
            no_local: false,
            retain_as_published: false,
            retain_handling: 0,
            id: None,
            start: vec![(PartitionId(partition_of(SUBSCRIBED) as u16), at)],
        };
        if holder.session.subscribe(subscription) != again {
            return Err("a subscription is not remembered".into());
        }
        if !again {
            let made = holder
                .session
                .subscriptions()
                .first()
                .and_then(|s| s.start.first());
            let cursor = holder
                .session
                .cursor(PartitionId(partition_of(SUBSCRIBED) as u16));
            let at = made.map(|s| s.1).or(cursor).unwrap_or(at);
            holder.audience.push((SUBSCRIBED, at));
            self.clients[c].entitled.push((SUBSCRIBED, at));
        }
        self.save(h)
    }

    /// The owner gives the next entries to the edges; a heartbeat is a frame without any, so that the loss of the last
    /// one is noticed.
    fn route(&mut self, p: usize, count: usize, heartbeat: bool) {
        let owner = &mut self.owners[p];
        let (from, to) = (
            owner.routed,
            (owner.routed + count).min(self.log.partitions[p].len()),
        );
        if from == to && !heartbeat {
            return;
        }
        owner.routed = to;
        for (e, edge) in self.edges.iter_mut().enumerate() {
            if owner.attached[e] {
                let frame = Frame {
                    owner: owner.epoch,
                    number: owner.numbers[e],
                    from,
                    to,
                };
                owner.numbers[e] += 1;
                edge.lines[p].frames.push_back(frame);
            }
        }
    }

    /// Another owner reads on from a checkpoint: it knows no edge and routes a little again.
    fn restart_owner(&mut self, p: usize, back: usize) {
        let old = self.owners[p];
        self.owners[p] = Owner {
            epoch: old.epoch + 1,
            routed: old.routed.saturating_sub(back),
            ..Owner::default()
        };
        for e in 0..EDGES {
            self.edges[e].lines[p].lose();
            self.gap(e, p);
        }
    }

    fn gap(&mut self, e: usize, p: usize) {
        for h in self.holders.iter_mut().filter(|h| h.edge == e) {
            h.session.gap(PartitionId(p as u16));
        }
    }

    fn frame(&mut self, e: usize, p: usize) -> Checked {
        let Some(frame) = self.edges[e].lines[p].frames.pop_front() else {
            return Ok(());
        };
        let upto = self.log.position_of(p, frame.to);
        let accepted = self.edges[e].lines[p].accept(&frame, upto);
        match accepted {
            Accepted::Stale => return Ok(()),
            Accepted::Gap => self.gap(e, p),
            Accepted::Next | Accepted::Early | Accepted::Again => {}
        }
        for h in 0..self.holders.len() {
            if self.holders[h].edge != e {
                continue;
            }
            for i in frame.from..frame.to {
                let thing = self.log.things[self.log.partitions[p][i]];
                let holder = &mut self.holders[h];
                if is_entitled(&holder.audience, &thing) {
                    holder.session.live(thing, &mut holder.out);
                    self.drain(h)?;
                }
            }
            if accepted == Accepted::Next {
                self.holders[h].session.upto(PartitionId(p as u16), upto);
            }
        }
        Ok(())
    }

    /// The owner hears that an edge wants to attach.
    fn attach(&mut self, e: usize, p: usize) {
        let (line, owner) = (&mut self.edges[e].lines[p], &mut self.owners[p]);
        if std::mem::take(&mut line.asking) {
            owner.attached[e] = true;
            let boundary = self.log.position_of(p, owner.routed);
            line.replies.push_back(Reply {
                request: line.request,
                owner: owner.epoch,
                boundary,
                number: owner.numbers[e],
            });
        }
    }

    fn attach_reply(&mut self, e: usize, p: usize) -> Checked {
        let line = &mut self.edges[e].lines[p];
        let Some(reply) = line.replies.pop_front() else {
            return Ok(());
        };
        if !line.attach(&reply, self.owners[p].epoch) {
            return Ok(());
        }
        let boundary = line.last;
        for h in 0..self.holders.len() {
            let holder = &mut self.holders[h];
            if holder.edge == e {
                holder
                    .session
                    .boundary(PartitionId(p as u16), boundary, &mut holder.out);
                self.drain(h)?;
            }
        }
        Ok(())
    }

    fn answer(&mut self, a: usize, size: usize) -> Checked {
        let page = |h: &Holder, log: &Log| {
            let (fetch, audience) = h.fetch.as_ref()?;
            Some((fetch.number, log.answer(fetch, audience, size)?))
        };
        let Some(h) = self.pick(a) else { return Ok(()) };
        if let Some((number, page)) = page(&self.holders[h], &self.log) {
            let holder = &mut self.holders[h];
            holder.fetch = None;
            holder.session.page(number, page, &mut holder.out);
        }
        self.drain(h)
    }

    fn fail_fetch(&mut self, a: usize) -> Checked {
        self.with_holder(a, |h| {
            if let Some((fetch, _)) = h.fetch.take() {
                let late = Page {
                    entries: Vec::new(),
                    covered: Vec::new(),
                };
                h.session.page(fetch.number.wrapping_sub(1), late, &mut h.out);
                h.session.fetch_failed(fetch.number, &mut h.out);
            }
        })
    }

    /// One answer of the client reaches the edge that it is connected to.
    fn arrive(&mut self, c: usize) -> Checked {
        let (Some(up), Some(h)) = (self.clients[c].up.pop_front(), self.connected(c)) else {
            return Ok(());
        };
        let Holder {
            session, out, ledger, ..
        } = &mut self.holders[h];
        let (id, result) = match up {
            Up::Ack(id) => (id, session.ack(id, out)),
            Up::Nack(id) => (id, session.nack(id, out)),
            Up::Rec(id) => (id, session.rec(id, true, out)),
            Up::Comp(id) => (id, session.comp(id, out)),
        };
        let known = ledger.ids.get(&id).copied();
        let waited = known.filter(|uid| !self.log.things[*uid].recalled);
        match (result, waited) {
            (Ack::Done(Some(token)), _) if known != Some(token) => {
                return Err(format!("{up:?} acknowledged {token}, not {known:?}"));
            }
            (Ack::Unknown | Ack::Mismatch, Some(uid)) => return Err(format!("{up:?} of {uid}: {result:?}")),
            _ => {}
        }
        match up {
            Up::Ack(_) | Up::Comp(_) => ledger.on_end(id),
            Up::Rec(_) => ledger.on_rec(id),
            Up::Nack(_) => ledger.on_nack(id),
        }
        self.drain(h)
    }

    /// The edge notices that the client has gone, and saves.
    fn close(&mut self, c: usize) -> Checked {
        self.clients[c].lose_link();
        while let Some(h) = self.holders.iter().position(|h| h.client == c) {
            self.retire(h, true)?;
        }
        Ok(())
    }

    /// The client connects; whoever held the session before is told, or does not hear of it yet.
    fn connect(&mut self, c: usize, e: usize, b: usize) -> Checked {
        self.clients[c].lose_link();
        let mut h = 0;
        while h < self.holders.len() {
            let old = &self.holders[h];
            let (mine, here) = (old.client == c, old.edge == e);
            if mine && (here || b.is_multiple_of(3)) {
                self.retire(h, !b.is_multiple_of(5))?;
                continue;
            }
            if mine {
                self.forgive(h);
            }
            h += 1;
        }
        let client = &mut self.clients[c];
        client.stored.epoch += 1;
        client.link = Some(client.stored.epoch);
        self.open(c, e, b)
    }

    fn open(&mut self, c: usize, e: usize, b: usize) -> Checked {
        let client = &self.clients[c];
        let saved = SavedState::decode(&client.stored.state).map_err(|e| e.to_string())?;
        let known = saved
            .lanes
            .iter()
            .find(|l| usize::from(l.partition.0) == partition_of(c));
        let known = known.map_or(Position::START, |l| l.sent);
        let mut audience: Vec<_> = SHARED.iter().chain([&c]).map(|t| (*t, Position::START)).collect();
        let grants = self
            .log
            .things
            .iter()
            .filter(|t| t.topic == c && t.position <= known);
        audience.extend(grants.filter_map(|t| t.grant));
        let cursor = saved
            .lanes
            .iter()
            .find(|l| usize::from(l.partition.0) == partition_of(SUBSCRIBED));
        let cursor = cursor.map_or(Position::START, |l| l.cursor);
        for s in &saved.subscriptions {
            // A start that the cursor has passed is not kept.
            audience.push((SUBSCRIBED, s.start.first().map_or(cursor, |s| s.1)));
        }
        let limits = limits(b);
        let mut holder = Holder {
            client: c,
            edge: e,
            epoch: client.stored.epoch,
            session: Session::resume(saved, limits, client.stored.epoch),
            out: Vec::new(),
            audience,
            fetch: None,
            ledger: client.stored.ledger.clone(),
            limits,
        };
        holder.ledger.reconnect();
        holder.session.start(&mut holder.out);
        self.holders.push(holder);
        self.edges[e].lines.iter_mut().for_each(|l| l.asking = true);
        self.drain(self.holders.len() - 1)
    }

    fn crash(&mut self, e: usize) {
        while let Some(h) = self.holders.iter().position(|h| h.edge == e) {
            self.forgive(h);
            let holder = self.holders.remove(h);
            let client = &mut self.clients[holder.client];
            if client.link == Some(holder.epoch) {
                client.lose_link();
            }
        }
        self.edges[e] = Edge::new();
        self.owners.iter_mut().for_each(|o| o.attached[e] = false);
    }

    /// What this holder knows and has not saved will be forgotten.
    fn forgive(&mut self, h: usize) {
        let holder = &self.holders[h];
        let client = &mut self.clients[holder.client];
        if holder.epoch == client.stored.epoch {
            client
                .forgiven
                .extend(holder.ledger.forgotten_in(&client.stored.ledger));
        }
    }

    fn retire(&mut self, h: usize, save: bool) -> Checked {
        let held = (self.holders[h].client, self.holders[h].epoch);
        if save {
            self.save(h)?;
        }
        if self.holders.get(h).is_some_and(|h| (h.client, h.epoch) == held) {
            self.forgive(h);
            self.holders.remove(h);
        }
        Ok(())
    }

    fn save_one(&mut self, a: usize) -> Checked {
        self.pick(a).map_or(Ok(()), |h| self.save(h))
    }

    /// Stores the session; a stale holder is refused and ends itself.
    fn save(&mut self, h: usize) -> Checked {
        let holder = &mut self.holders[h];
        let client = &mut self.clients[holder.client];
        if holder.epoch != client.stored.epoch {
            self.holders.remove(h);
            return Ok(());
        }
        let state = holder.session.save();
        client.stored.state = state.encode();
        client.stored.ledger = holder.ledger.clone();
        self.check_cursors(h, &state)
    }

    /// Nothing that the session is entitled to lies unacknowledged at or below a cursor.
    fn check_cursors(&self, h: usize, state: &SavedState) -> Checked {
        let holder = &self.holders[h];
        for lane in &state.lanes {
            let p = usize::from(lane.partition.0);
            for uid in &self.log.partitions[p] {
                let thing = &self.log.things[*uid];
                let passed = thing.position <= lane.cursor && is_entitled(&holder.audience, thing);
                let on_the_side = (state.catch_ups.iter())
                    .any(|c| c.filter == filter_of(thing.topic) && thing.position > c.lane.cursor);
                let acked = holder.ledger.status(*uid) == Status::Acked;
                if passed && !on_the_side && !acked && !thing.recalled {
                    return Err(format!("the cursor {lane:?} has passed {thing:?}"));
                }
            }
        }
        Ok(())
    }

    /// Does what the session says.
    fn drain(&mut self, h: usize) -> Checked {
        for output in std::mem::take(&mut self.holders[h].out) {
            let holder = &mut self.holders[h];
            let client = &mut self.clients[holder.client];
            let down = match output {
                Output::Fetch(fetch) => {
                    if holder.fetch.is_some() {
                        return Err("two fetches at once".into());
                    }
                    holder.fetch = Some((fetch, holder.audience.clone()));
                    continue;
                }
                Output::Release(id) => {
                    holder.ledger.on_release(id)?;
                    Down::Release(id)
                }
                Output::Send {
                    packet_id,
                    qos,
                    dup,
                    item,
                } => {
                    // It may have been recalled while it was buffered.
                    let item = self.log.things[item.uid];
                    if !is_entitled(&holder.audience, &item) {
                        return Err(format!("not entitled to {item:?}"));
                    }
                    let window = usize::from(holder.limits.window);
                    holder.ledger.on_send(packet_id, qos, dup, &item, window)?;
                    Down::Publish {
                        id: packet_id,
                        qos,
                        thing: item,
                    }
                }
            };
            match down {
                Down::Publish {
                    thing:
                        Thing {
                            grant: Some((topic, after)),
                            ..
                        },
                    ..
                } => {
                    let p = partition_of(topic);
                    holder.audience.push((topic, after));
                    holder
                        .session
                        .catch_up(PartitionId(p as u16), filter_of(topic), after);
                    self.edges[holder.edge].lines[p].asking = true;
                }
                _ if client.link == Some(holder.epoch) => client.down.push_back(down),
                _ => {}
            }
        }
        Ok(())
    }

    fn check_memory(&self) -> Checked {
        for h in &self.holders {
            let (items, bytes) = h.session.buffered();
            let most = (h.limits.buffer_items + h.limits.page_entries) as usize;
            if items > most || (items == 0) != (bytes == 0) {
                return Err(format!(
                    "{items} items with {bytes} bytes are buffered, {:?}",
                    h.limits
                ));
            }
            if h.session.inflight() > 8 * (PARTITIONS + 1) {
                return Err(format!("{} items are in flight", h.session.inflight()));
            }
        }
        Ok(())
    }

    fn pick(&self, a: usize) -> Option<usize> {
        a.checked_rem(self.holders.len())
    }

    fn with_holder(&mut self, a: usize, f: impl FnOnce(&mut Holder)) -> Checked {
        let Some(h) = self.pick(a) else { return Ok(()) };
        f(&mut self.holders[h]);
        self.drain(h)
    }

    /// The holder that the client is connected to.
    fn connected(&self, c: usize) -> Option<usize> {
        let link = self.clients[c].link?;
        self.holders.iter().position(|h| h.client == c && h.epoch == link)
    }

    fn latest(&self, c: usize) -> Option<usize> {
        self.connected(c)
            .filter(|h| self.holders[*h].epoch == self.clients[c].stored.epoch)
    }

    /// Everything works, the clients read and answer: in the end each has all that it is entitled to.
    pub fn come_to_rest(&mut self) -> Checked {
        self.log.stalled = false;
        for c in 0..CLIENTS {
            self.clients[c].paused = false;
            if self.connected(c).is_none() {
                self.connect(c, c % EDGES, 7)?;
            }
        }
        for h in 0..self.holders.len() {
            self.with_holder(h, |h| h.session.throttle(false, &mut h.out))?;
        }
        for round in 0..3000 {
            if round > 0 && self.is_at_rest() {
                return self.check_complete();
            }
            self.move_everything(round)?;
            self.check_memory()?;
        }
        Err("it does not come to rest".into())
    }

    fn move_everything(&mut self, round: usize) -> Checked {
        for p in 0..PARTITIONS {
            self.route(p, 1000, round == 0);
            self.log.applied[p] = self.log.partitions[p].len();
            for e in 0..EDGES {
                self.attach(e, p);
                self.frame(e, p)?;
                self.attach_reply(e, p)?;
            }
        }
        for h in 0..self.holders.len() {
            self.answer(h, 5)?;
        }
        for c in 0..CLIENTS {
            self.clients[c].read()?;
            self.clients[c].answer(0, false);
            self.arrive(c)?;
        }
        Ok(())
    }

    fn is_at_rest(&self) -> bool {
        let lines = self.edges.iter().flat_map(|e| &e.lines);
        let quiet = |c: &Client| c.down.is_empty() && c.up.is_empty() && c.pending.is_empty();
        let idle = |c: usize| {
            self.connected(c)
                .is_some_and(|h| self.holders[h].session.is_idle())
        };
        (0..PARTITIONS).all(|p| self.owners[p].routed == self.log.partitions[p].len())
            && lines
                .clone()
                .all(|l| !l.asking && l.frames.is_empty() && l.replies.is_empty())
            && self.clients.iter().all(quiet)
            && (0..CLIENTS).all(idle)
    }

    fn check_complete(&mut self) -> Checked {
        for c in 0..CLIENTS {
            let client = &self.clients[c];
            for thing in self.log.things.iter().filter(|t| t.qos > 0 && !t.recalled) {
                if is_entitled(&client.entitled, thing) && !client.has(thing.uid) {
                    return Err(format!("client {c} never got {thing:?}"));
                }
            }
            if let Some(h) = self.latest(c) {
                self.save(h)?;
                let state = SavedState::decode(&self.clients[c].stored.state).map_err(|e| e.to_string())?;
                if !state.inflight.is_empty() || !state.catch_ups.is_empty() {
                    return Err(format!("at rest, but saved {state:?}"));
                }
            }
        }
        Ok(())
    }
}
