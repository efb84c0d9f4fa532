//! As whom a session is held, and what is set aside of it for those who may see more.
//!
//! A session belongs to a user and a client id, and what its connection may see follows from the token: its role, and the
//! uids that the user acts under. When it is resumed as somebody who may not see all that the one before could, the lanes
//! go on, and pass over what is not for the new holder. So that the one before loses nothing, they are *set aside* as they
//! stood, and the session goes on from there when it comes back. What another holder was given meanwhile may come again.
//!
//! One position per partition is set aside, however many holders are owed something: the earliest. It is kept as long as
//! the session would be that nobody resumes.

use model::{Position, Principal, Role, TopicFilter, UnixMillis, UserId};

use crate::saved::{SavedCatchUp, SavedInflight, SavedLane, SavedPhase, SavedState, Subscription};

/// As whom a session is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The role of the token.
    pub role: Role,
    /// The user and what it acts under, ascending.
    pub identities: Vec<UserId>,
}

impl Holder {
    /// That of a principal.
    pub fn of(who: &Principal) -> Self {
        let mut identities: Vec<UserId> = who.identities().cloned().collect();
        identities.sort();
        identities.dedup();
        Self {
            role: who.role,
            identities,
        }
    }

    /// Whether it may see all that `other` may. Each role has rights that the others lack.
    pub fn covers(&self, other: &Holder) -> bool {
        let has = |uid| self.identities.binary_search(uid).is_ok();
        self.role == other.role && other.identities.iter().all(has)
    }
}

/// What is set aside of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// For whom; none of them covers another.
    pub holders: Vec<Holder>,
    /// Until when.
    pub until: UnixMillis,
    /// Where their session stood. Nothing behind the cursor counts as sent.
    pub lanes: Vec<SavedLane>,
    /// Catch-ups that were under way.
    pub catch_ups: Vec<SavedCatchUp>,
    /// What they subscribed to.
    pub subscriptions: Vec<Subscription>,
}

impl Aside {
    /// A session as it stands, for its holder.
    fn of(state: &SavedState, holder: Holder, until: UnixMillis) -> Self {
        let catch_up = |c: &SavedCatchUp| SavedCatchUp {
            lane: state.unsent(&c.lane, c.side),
            ..c.clone()
        };
        Self {
            holders: vec![holder],
            until,
            lanes: state.lanes.iter().map(|l| state.unsent(l, 0)).collect(),
            catch_ups: state.catch_ups.iter().map(catch_up).collect(),
            subscriptions: state.subscriptions.clone(),
        }
    }

    /// Both: the earlier of two positions, and everything that either looks for.
    fn join(&mut self, other: Aside) {
        for holder in other.holders {
            if !self.holders.iter().any(|h| h.covers(&holder)) {
                self.holders.retain(|h| !holder.covers(h));
                self.holders.push(holder);
            }
        }
        self.until = self.until.max(other.until);
        for lane in other.lanes {
            match self.lanes.iter_mut().find(|l| l.partition == lane.partition) {
                Some(known) if known.cursor <= lane.cursor => {}
                Some(known) => *known = lane,
                None => self.lanes.push(lane),
            }
        }
        for catch_up in other.catch_ups {
            add_catch_up(&mut self.catch_ups, catch_up);
        }
        for subscription in other.subscriptions {
            match self
                .subscriptions
                .iter_mut()
                .find(|s| s.filter == subscription.filter)
            {
                // Without the starts that lie between, more comes than must.
                Some(known) => known.start.retain(|s| subscription.start.contains(s)),
                None => self.subscriptions.push(subscription),
            }
        }
    }

    /// A subscription was ended by its client: whoever comes back does not have it either.
    pub fn unsubscribe(&mut self, filter: &TopicFilter) {
        self.subscriptions.retain(|s| s.filter != *filter);
    }
}

impl SavedState {
    /// The session as `holder` goes on with it at `now`; what it may not see is set aside for `life` milliseconds.
    ///
    /// A state that does not say who held it is taken to be its own.
    #[must_use]
    pub fn resumed_by(mut self, holder: Holder, now: UnixMillis, life: u64) -> Self {
        let until = UnixMillis(now.0.saturating_add(life));
        let former = self.holder.replace(holder.clone());
        let aside = self.aside.take().filter(|aside| now < aside.until);
        let (mut owed, mut others) = (None, None);
        if let Some(mut aside) = aside {
            // One that may see less than somebody who is owed something missed it too, unless it was there since.
            let was_there = former.as_ref().is_none_or(|former| former.covers(&holder));
            let is_owed = |h: &Holder| holder.covers(h) || (h.covers(&holder) && !was_there);
            owed = aside.holders.iter().any(is_owed).then(|| aside.clone());
            aside.holders.retain(|h| !holder.covers(h));
            others = (!aside.holders.is_empty()).then_some(aside);
        }
        let cut_off = former.filter(|former| !holder.covers(former));
        let instead = cut_off.is_some();
        if let Some(former) = cut_off {
            let stood = Aside::of(&self, former, until);
            match &mut others {
                Some(others) => others.join(stood),
                None => others = Some(Box::new(stood)),
            }
        }
        if let Some(owed) = owed {
            self.go_back(*owed, instead);
        }
        self.aside = others;
        self
    }

    /// Goes on from what was set aside. `instead`: not from where another holder has got, where that is earlier.
    fn go_back(&mut self, aside: Aside, instead: bool) {
        let stood = self.lanes.clone();
        self.lanes = stood.iter().map(|l| self.unsent(l, 0)).collect();
        let lanes: Vec<_> = (self.catch_ups.iter().map(|c| self.unsent(&c.lane, c.side))).collect();
        for (catch_up, lane) in self.catch_ups.iter_mut().zip(lanes) {
            catch_up.lane = lane;
        }
        for lane in aside.lanes {
            match self.lanes.iter_mut().find(|l| l.partition == lane.partition) {
                Some(known) if !instead && known.cursor <= lane.cursor => {}
                Some(known) => *known = lane,
                None => self.lanes.push(lane),
            }
        }
        for catch_up in aside.catch_ups {
            add_catch_up(&mut self.catch_ups, catch_up);
        }
        // What was subscribed to meanwhile begins where it did, though the lanes begin earlier.
        for subscription in &mut self.subscriptions {
            match aside
                .subscriptions
                .iter()
                .find(|s| s.filter == subscription.filter)
            {
                Some(before) => subscription.start.clone_from(&before.start),
                None => {
                    let begun = |l: &&SavedLane| subscription.start.iter().all(|(p, _)| *p != l.partition);
                    let begun: Vec<_> = stood
                        .iter()
                        .filter(begun)
                        .map(|l| (l.partition, l.sent))
                        .collect();
                    subscription.start.extend(begun);
                }
            }
        }
        for subscription in aside.subscriptions {
            if self.subscriptions.iter().all(|s| s.filter != subscription.filter) {
                self.subscriptions.push(subscription);
            }
        }
        // Everything behind the cursors comes again, under packet ids of its own. A handshake that has only to be ended
        // stands before all that: what comes again is not taken for what it was about.
        let lanes = &self.lanes;
        self.inflight.retain_mut(|entry| {
            give_up(entry);
            let lane = lanes.iter().find(|l| l.partition == entry.partition);
            (entry.side, entry.position) = (0, lane.map_or(entry.position, |l| l.cursor));
            lane.is_some() && entry.phase == SavedPhase::Released
        });
    }

    /// Ends the catch-ups that look for these. What is set aside keeps its own.
    pub fn end_catch_ups(&mut self, filters: &[TopicFilter]) {
        self.catch_ups.retain(|c| !filters.contains(&c.filter));
        self.end_handshakes();
    }

    /// A lane as if nothing of it had been handed out that is not acknowledged.
    fn unsent(&self, lane: &SavedLane, side: u16) -> SavedLane {
        let owed = |e: &&SavedInflight| e.partition == lane.partition && e.side == side;
        let owed = self
            .inflight
            .iter()
            .filter(owed)
            .filter(|e| e.phase != SavedPhase::Released);
        let oldest = owed.map(|e| e.position.before()).min();
        let cursor = oldest.map_or(lane.cursor, |oldest| oldest.min(lane.cursor));
        SavedLane {
            cursor,
            sent: cursor,
            ..*lane
        }
    }

    /// Of a lane that is not there any more nothing is owed. What is left of a handshake goes on under its partition's own.
    fn end_handshakes(&mut self) {
        let (lanes, catch_ups) = (&self.lanes, &self.catch_ups);
        self.inflight.retain_mut(|entry| {
            let of_side = |c: &SavedCatchUp| c.side == entry.side && c.lane.partition == entry.partition;
            if entry.side != 0 && !catch_ups.iter().any(of_side) {
                give_up(entry);
                entry.side = 0;
                return entry.phase == SavedPhase::Released
                    && lanes.iter().any(|l| l.partition == entry.partition);
            }
            true
        });
    }
}

/// It is not owed any more; with QoS 2 the client may hold its packet id, and is told to let go of it.
fn give_up(entry: &mut SavedInflight) {
    if entry.phase == SavedPhase::ExactlyOnce {
        entry.phase = SavedPhase::Released;
    }
}

/// Adds a catch-up under a number that is free in its partition; the earlier of two on one topic.
fn add_catch_up(all: &mut Vec<SavedCatchUp>, mut catch_up: SavedCatchUp) {
    let partition = catch_up.lane.partition;
    let same = |c: &&mut SavedCatchUp| c.lane.partition == partition && c.filter == catch_up.filter;
    if let Some(known) = all.iter_mut().find(same) {
        let cursor: Position = known.lane.cursor.min(catch_up.lane.cursor);
        (known.lane.cursor, known.lane.sent) = (cursor, cursor);
        known.upto = known.upto.max(catch_up.upto);
        return;
    }
    let taken = |side| {
        all.iter()
            .any(|c: &SavedCatchUp| c.lane.partition == partition && c.side == side)
    };
    if taken(catch_up.side) {
        let free = (1..=u16::MAX - 1).find(|side| !taken(*side));
        catch_up.side = free.unwrap_or(u16::MAX - 1);
    }
    all.push(catch_up);
}
