//! Who sends, and what a row of the table says of it.

use crate::{Origin, Principal, Role};

/// Who sends a message, as far as the table is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sender {
    /// A customer, with or without a token.
    Visitor,
    /// An agent or an admin.
    Staff,
    /// The holder of a token of role service: it speaks for robots and for the system.
    Service,
    /// Longwire itself. It may send everything.
    Server,
}

impl Sender {
    /// What a principal is as a sender.
    pub fn of(who: &Principal) -> Sender {
        match (who.origin, who.role) {
            (Origin::Service, _) => Sender::Server,
            (Origin::AnonymousVisitor | Origin::AnonymousMqtt, _) | (_, Role::Visitor) => Sender::Visitor,
            (Origin::Token, Role::Service) => Sender::Service,
            (Origin::Token, Role::Agent | Role::Admin) => Sender::Staff,
        }
    }

    /// As a sentence names them.
    pub fn plural(self) -> &'static str {
        match self {
            Sender::Visitor => "visitors",
            Sender::Staff => "agents",
            Sender::Service => "services",
            Sender::Server => "the server",
        }
    }

    /// Whether its word about who speaks is believed: a robot, the system.
    pub fn speaks_for_the_system(self) -> bool {
        matches!(self, Sender::Service | Sender::Server)
    }
}

/// Who may send messages of a type, and whether visitors are shown them. Staff and services are shown everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    visitor: bool,
    staff: bool,
    service: bool,
    shown_to_visitors: bool,
}

impl Rule {
    pub(super) const fn new(visitor: bool, staff: bool, service: bool, shown_to_visitors: bool) -> Self {
        Self {
            visitor,
            staff,
            service,
            shown_to_visitors,
        }
    }

    /// Whether this sender may.
    pub fn lets(self, sender: Sender) -> bool {
        match sender {
            Sender::Visitor => self.visitor,
            Sender::Staff => self.staff,
            Sender::Service => self.service,
            Sender::Server => true,
        }
    }

    /// Whether visitors are shown messages of the type.
    pub fn shows_to_visitors(self) -> bool {
        self.shown_to_visitors
    }

    /// Those who may send it, as a sentence names them: "agents, services and the server".
    pub fn senders(self) -> String {
        let all = [Sender::Visitor, Sender::Staff, Sender::Service];
        let named: Vec<_> = all.into_iter().filter(|s| self.lets(*s)).collect();
        let named: Vec<_> = named.into_iter().map(Sender::plural).collect();
        match named.as_slice() {
            [] => "the server only".to_owned(),
            some => format!("{} and the server", some.join(", ")),
        }
    }
}
