//! Which memberships a session knows, so that what begins with one is read once: with the list that a connection begins with, by
//! the notice, or by the change of the thread, whichever comes first, on this connection or a later one.

use model::thread::Membership;
use model::{PartitionId, Position};
use session::SavedMembership;

/// The memberships whose threads the session reads.
#[derive(Debug, Default)]
pub(super) struct Known {
    known: Vec<SavedMembership>,
    /// The session was saved before it kept them: it knew those that it is named first.
    pub unsaved: bool,
}

/// A visitor's own thread is one stretch, wherever its memberships begin: nothing of it is hidden from the visitor.
fn since(thread: &str, membership: &Membership) -> Position {
    let own = membership.member == membership.user && thread.ends_with(membership.member.as_str());
    if own { Position::START } else { membership.since }
}

fn hash(thread: &str) -> u64 {
    // The same on every edge, of whatever version.
    wire::envelope::uid_key("", "", thread) as u64
}

impl Known {
    pub fn of(saved: Option<Vec<SavedMembership>>) -> Self {
        Self {
            unsaved: saved.is_none(),
            known: saved.unwrap_or_default(),
        }
    }

    fn find(&mut self, thread: &str, membership: &Membership) -> Option<&mut SavedMembership> {
        let (thread, since) = (hash(thread), since(thread, membership));
        let is_it = |m: &&mut SavedMembership| m.thread == thread && m.since == since;
        self.known.iter_mut().find(is_it)
    }

    /// One that begins, by a change of the thread or a notice: from where on it has to be read, if it was not known.
    pub fn begins(
        &mut self,
        thread: &str,
        partition: PartitionId,
        membership: &Membership,
    ) -> Option<Position> {
        let Some(known) = self.find(thread, membership) else {
            self.known.push(SavedMembership {
                thread: hash(thread),
                partition,
                since: since(thread, membership),
                until: membership.until,
                left: false,
                over: false,
            });
            return Some(membership.since);
        };
        known.over = false;
        let is_back = known.left && known.since == Position::START;
        is_back.then(|| {
            let had = std::mem::replace(&mut known.until, Position::END);
            known.left = false;
            membership.since.max(had)
        })
    }

    /// One that the store names, perhaps not knowing that it has ended: as it is, and from where on it has to be read, if it was
    /// not known. `None` if nothing more comes of it.
    pub fn named(
        &mut self,
        thread: &str,
        partition: PartitionId,
        membership: &Membership,
    ) -> Option<(Membership, Option<Position>)> {
        let mut membership = membership.clone();
        if let Some(known) = self
            .find(thread, &membership)
            .filter(|known| known.since > Position::START)
        {
            if known.left {
                return None;
            }
            membership.until = membership.until.min(known.until);
        }
        let unread = self.begins(thread, partition, &membership);
        Some((membership, unread))
    }

    /// A visitor's own threads that are none of these are left: up to where the session has got it has everything of them.
    pub fn leave_all_but<'a>(
        &mut self,
        threads: impl Iterator<Item = &'a str>,
        sent: impl Fn(PartitionId) -> Position,
    ) {
        let threads: Vec<u64> = threads.map(hash).collect();
        let own = self.known.iter_mut().filter(|m| m.since == Position::START);
        for known in own.filter(|m| !m.left && !threads.contains(&m.thread)) {
            (known.left, known.until) = (true, sent(known.partition));
        }
    }

    /// A membership of the thread has ended there.
    pub fn ends(&mut self, thread: &str, membership: &Membership) {
        if let Some(known) = self.find(thread, membership) {
            known.until = known.until.min(membership.until);
        }
    }

    /// The notice that one has ended: the store names it no more as one that lasts.
    pub fn is_over(&mut self, thread: &str, membership: &Membership) {
        let own = since(thread, membership) == Position::START;
        if let Some(known) = self.find(thread, membership).filter(|_| !own) {
            known.over = true;
            known.until = known.until.min(membership.until);
        }
        self.known.retain(|m| !(m.left && m.over));
    }

    /// A thread of which nothing more comes.
    pub fn leave(&mut self, thread: &str) {
        let thread = hash(thread);
        for known in self.known.iter_mut().filter(|m| m.thread == thread) {
            known.left = true;
        }
        self.known.retain(|m| !(m.left && m.over));
    }

    pub fn save(&self) -> Vec<SavedMembership> {
        self.known.clone()
    }
}
