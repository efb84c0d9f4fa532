//! Who belongs to a thread, and from where to where.

use crate::{Position, UserId};

/// A stretch of a thread that somebody belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The uid under which the thread knows it: an agent's, or a visitor's.
    pub member: UserId,
    /// The user behind it, who is told.
    pub user: UserId,
    /// What comes after this is seen.
    pub since: Position,
    /// And up to here; [`Position::END`] while it lasts.
    pub until: Position,
}

impl Membership {
    /// One that begins after a position and lasts.
    pub fn from(member: UserId, user: UserId, since: Position) -> Self {
        Self {
            member,
            user,
            since,
            until: Position::END,
        }
    }

    /// Whether it lasts.
    pub fn lasts(&self) -> bool {
        self.until == Position::END
    }

    /// Whether it covers a place of the thread.
    pub fn covers(&self, position: Position) -> bool {
        self.since < position && position <= self.until
    }

    /// The same where a change that begins it stands here: what is said of the change's own place is known now.
    #[must_use]
    pub fn placed(&self, change: Position) -> Self {
        let mut placed = self.clone();
        if placed.since == Position::END {
            placed.since = change.before();
        }
        placed
    }
}

/// Who belongs to a thread beyond those that its topic names, and who did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// Where the latest change of the thread stands; [`Position::START`] when there is none.
    pub version: Position,
    /// Every membership of the thread, those that have ended too.
    pub all: Vec<Membership>,
}

impl Members {
    /// Those of somebody who goes by these uids.
    pub fn of<'a>(&'a self, is_own: impl Fn(&UserId) -> bool + 'a) -> impl Iterator<Item = &'a Membership> {
        self.all.iter().filter(move |m| is_own(&m.member))
    }

    /// Takes in a change that stands at this place.
    pub fn apply(&mut self, position: Position, change: &super::Change) {
        if position <= self.version {
            return;
        }
        self.version = position;
        for ended in &change.ended {
            let mut lasting = self.all.iter_mut().filter(|m| m.lasts());
            match lasting.find(|m| m.member == ended.member) {
                Some(member) => member.until = position,
                // It took part by the topic.
                None => self.all.push(Membership {
                    until: position,
                    ..ended.clone()
                }),
            }
        }
        self.all.extend(change.joined.iter().map(|m| m.placed(position)));
    }
}
