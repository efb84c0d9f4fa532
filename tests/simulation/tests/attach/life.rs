//! Threads as the log has them: what the model of the store, whoever changes them and the ledger read of one.

use model::thread::{Members, Membership, Thread};
use model::{PartitionId, Position, UserId};

use crate::log::Log;

/// Threads with a life of their own. Each is a visitor's, and agents come and go.
pub const THREADS: [&str; 2] = ["org/workgroup/w/v0", "org/workgroup/w/v1"];

/// A thread, up to a place of its log.
#[derive(Default)]
pub struct Life {
    pub thread: Thread,
    pub members: Members,
    /// What the visitor said first since the thread was last changed; nothing, or something seen already.
    pub said: Option<Position>,
}

/// The user of an agent, by the uid under which it serves.
pub fn user_of(member: &str) -> String {
    member.replace('m', "a")
}

impl Life {
    pub fn of(log: &Log, p: PartitionId, topic: &str, upto: Position) -> Self {
        log.after(p, Position::START, |entries| {
            let mut life = Self::default();
            let there = entries.iter().take_while(|e| e.position <= upto);
            for e in there.filter(|e| e.entry.topic == topic) {
                let change = e.entry.change.as_ref().and_then(|c| c.to_change());
                if let Some(change) = change {
                    life.thread.apply(e.position, &change);
                    life.members.apply(e.position, &change);
                    life.said = None;
                } else if topic.ends_with(&e.entry.sender) {
                    life.said.get_or_insert(e.position);
                }
            }
            life
        })
    }

    /// The memberships of whoever goes by these uids.
    pub fn memberships(&self, identities: &[UserId]) -> Vec<Membership> {
        self.members.of(|uid| identities.contains(uid)).cloned().collect()
    }

    /// Whether somebody has been a member, and is none now.
    pub fn has_left(&self, member: &str) -> bool {
        let mut of = self
            .members
            .all
            .iter()
            .filter(|m| m.member.as_str() == member)
            .peekable();
        of.peek().is_some() && !of.any(Membership::lasts)
    }

    /// Whether a membership of somebody has ended, whatever began since.
    pub fn had_left(&self, member: &str) -> bool {
        let mut of = self.members.all.iter().filter(|m| m.member.as_str() == member);
        of.any(|m| !m.lasts())
    }

    /// Whether a user was a member, and is none since before that.
    pub fn left_before(&self, user: &str, position: Position) -> bool {
        let mut of = self
            .members
            .all
            .iter()
            .filter(|m| m.user.as_str() == user)
            .peekable();
        of.peek().is_some() && of.all(|m| m.until <= position)
    }

    /// Whether a user may see what stands there.
    pub fn covers(&self, user: &str, position: Position) -> bool {
        let own = |m: &&Membership| m.user.as_str() == user;
        self.members.all.iter().filter(own).any(|m| m.covers(position))
    }
}
