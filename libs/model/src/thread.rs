//! The life of a thread: what it is now, what may be done with it, and what comes of that.
//!
//! ```text
//!  (none) ─ open ─► CHATTING ─ close ─► CLOSED ─ open ─► …
//!              └──► QUEUING, OFFLINE ─ assign ─► CHATTING        offer ─► accept | decline
//! ```
//!
//! [`Thread::decide`] turns a [`Step`] that somebody wants into a [`Change`], or says why not; [`Thread::apply`] takes in a change
//! that is in the log. Between the two stands the owner of the partition: a change names the version of the thread that it was
//! decided on, and is accepted if that is still the latest ([`Change::expects`]). So of two that race one is decided anew.

mod decide;
mod members;
#[cfg(test)]
mod tests;

pub use decide::{Refused, Step};
pub use members::{Members, Membership};

use crate::{Position, UnixMillis, UserId};

/// What a thread is doing. The names are those of deployed clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ThreadStatus {
    /// A message is there, and nobody has decided yet who answers.
    #[default]
    New,
    /// Nobody of its desk is there; who comes first gets it.
    Offline,
    /// All of its desk are busy; it waits for a place.
    Queuing,
    /// A robot answers.
    Roboting,
    /// Somebody answers.
    Chatting,
    /// It is over, until its visitor writes again.
    Closed,
}

impl ThreadStatus {
    /// The name on the wire and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            ThreadStatus::New => "NEW",
            ThreadStatus::Offline => "OFFLINE",
            ThreadStatus::Queuing => "QUEUING",
            ThreadStatus::Roboting => "ROBOTING",
            ThreadStatus::Chatting => "CHATTING",
            ThreadStatus::Closed => "CLOSED",
        }
    }

    /// From its name; `None` when it is no status.
    pub fn parse(name: &str) -> Option<Self> {
        use ThreadStatus::{Chatting, Closed, New, Offline, Queuing, Roboting};
        let all = [New, Offline, Queuing, Roboting, Chatting, Closed];
        all.into_iter().find(|s| s.as_str() == name)
    }

    /// Whether it waits for an agent.
    pub fn is_waiting(self) -> bool {
        matches!(self, ThreadStatus::Offline | ThreadStatus::Queuing)
    }
}

/// A thread as its log has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Thread {
    /// Where its latest change stands; [`Position::START`] when it never had one.
    pub version: Position,
    /// What it is doing.
    pub status: ThreadStatus,
    /// The uid of the agent that has it.
    pub agent: Option<UserId>,
    /// The agent whose own desk it is at: it takes part as long as nobody else was given its place, closed or not.
    pub desk_agent: Option<UserId>,
    /// Who takes part now: memberships that have not ended.
    pub members: Vec<Membership>,
    /// What is offered and not answered.
    pub offers: Vec<Offer>,
}

/// A thread offered to somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The uid of the message that offers it.
    pub uid: String,
    /// Whether whoever accepts comes besides the one that offers, not in its place.
    pub is_invitation: bool,
    /// The member that offers it.
    pub from: UserId,
    /// Who may accept it: uids of agents.
    pub to: Vec<UserId>,
    /// After this it is declined by itself.
    pub expires_at: UnixMillis,
}

/// What a change is about. Part of the log's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Act {
    /// It was opened, or opened again.
    Opened = 1,
    /// An agent was given to it.
    Assigned = 2,
    /// It is over.
    Closed = 3,
    /// It was offered to somebody.
    Offered = 4,
    /// An offer was accepted.
    Accepted = 5,
    /// An offer was refused, taken back, or not answered in time.
    Declined = 6,
    /// A member left, or was removed.
    Left = 7,
    /// It waits otherwise than before: for somebody to come, or for a place.
    Waiting = 8,
}

impl Act {
    /// From its number.
    pub fn from_number(n: i32) -> Option<Self> {
        use Act::{Accepted, Assigned, Closed, Declined, Left, Offered, Opened, Waiting};
        let all = [
            Opened, Assigned, Closed, Offered, Accepted, Declined, Left, Waiting,
        ];
        all.into_iter().find(|act| *act as i32 == n)
    }
}

/// A change of a thread: an entry of its own partition, which defines from where on it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What it is about.
    pub act: Act,
    /// The version that it was decided on; the owner refuses it when there is a later one.
    pub expects: Position,
    /// What the thread is doing from here on.
    pub status: ThreadStatus,
    /// Who has it from here on.
    pub agent: Option<UserId>,
    /// Memberships that begin. `since` [`Position::END`] stands for the change's own place, which is seen.
    pub joined: Vec<Membership>,
    /// Memberships that end here; the change is the last that they see.
    pub ended: Vec<Membership>,
    /// The users behind `ended` that still take part, by another of their identities.
    pub staying: Vec<UserId>,
    /// An offer that is open from here on.
    pub offer: Option<Offer>,
    /// The uid of an offer that is answered.
    pub settled: Option<String>,
}

impl Thread {
    /// Whether it goes on.
    pub fn is_open(&self) -> bool {
        self.version > Position::START && self.status != ThreadStatus::Closed
    }

    /// The membership of one of these uids, if one takes part.
    pub fn member<'a>(&self, mut uids: impl Iterator<Item = &'a UserId>) -> Option<&Membership> {
        uids.find_map(|uid| self.members.iter().find(|m| m.member == *uid))
    }

    /// Takes in a change that stands at this place of its log.
    pub fn apply(&mut self, position: Position, change: &Change) {
        self.version = position;
        self.status = change.status;
        self.agent.clone_from(&change.agent);
        self.members
            .retain(|m| !change.ended.iter().any(|ended| ended.member == m.member));
        let joined = change.joined.iter().map(|m| m.placed(position));
        self.members.extend(joined);
        let settled = |offer: &Offer| change.settled.as_deref() == Some(offer.uid.as_str());
        let is_over = change.status == ThreadStatus::Closed;
        self.offers.retain(|offer| !is_over && !settled(offer));
        self.offers.extend(change.offer.clone());
    }
}
