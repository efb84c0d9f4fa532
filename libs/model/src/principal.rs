//! Who is at the other end of a connection.

use crate::{OrgId, UserId};

/// What a user is for the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Serves customers.
    Agent,
    /// Is a customer.
    Visitor,
    /// Administers an org.
    Admin,
    /// A program that speaks for robots and for the system, into any conversation of its org.
    Service,
}

impl Role {
    /// The word for it, as in tokens.
    pub fn name(self) -> &'static str {
        match self {
            Role::Agent => "agent",
            Role::Visitor => "visitor",
            Role::Admin => "admin",
            Role::Service => "service",
        }
    }

    /// The number it is stored and sent as.
    pub fn number(self) -> u32 {
        match self {
            Role::Agent => 1,
            Role::Visitor => 2,
            Role::Admin => 3,
            Role::Service => 4,
        }
    }

    /// From that number; unknown numbers are the least trusted role.
    pub fn from_number(n: u32) -> Role {
        match n {
            1 => Role::Agent,
            3 => Role::Admin,
            4 => Role::Service,
            _ => Role::Visitor,
        }
    }
}

/// How the principal came to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A verified token that proves the identity.
    Token,
    /// An MQTT client without a password, where that is allowed: ordinary topics only.
    AnonymousMqtt,
    /// A visitor that says who it is and does not show it, where that is allowed: without a token, or with one that was
    /// given for the saying. It has the threads whose topic ends in its uid, and nothing else.
    AnonymousVisitor,
    /// A part of Longwire itself, or an operator's command.
    Service,
}

/// What stands before the uid in the address of one that did not prove who it is. No uid has a slash.
const UNPROVEN: &str = "unproven/";

/// The identity behind a connection or a request. The sender of a message is this, never what its payload says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The tenant.
    pub org: OrgId,
    /// The token's `sub`, or the visitor uid.
    pub user: UserId,
    /// What the user is.
    pub role: Role,
    /// Further uids that the user acts under.
    pub aliases: Vec<UserId>,
    /// The display name of the token; empty when it has none.
    pub nickname: String,
    /// The avatar of the token; empty when it has none.
    pub avatar: String,
    /// How it is known.
    pub origin: Origin,
    /// When the identity ends, in Unix seconds.
    pub expires_at: Option<u64>,
}

impl Principal {
    /// A principal with no aliases and no expiry.
    pub fn new(org: OrgId, user: UserId, role: Role, origin: Origin) -> Self {
        let (nickname, avatar) = (String::new(), String::new());
        Self {
            org,
            user,
            role,
            aliases: Vec::new(),
            nickname,
            avatar,
            origin,
            expires_at: None,
        }
    }

    /// Whether the user may speak as `uid`: its own or one of its aliases.
    pub fn acts_as(&self, uid: &str) -> bool {
        self.user.as_str() == uid || self.aliases.iter().any(|a| a.as_str() == uid)
    }

    /// What is proven besides a uid when one of the staff uses it: that it is a desk's, though the directory may not have it. No uid
    /// of a client holds a slash.
    pub fn staff_mark(uid: &str) -> UserId {
        UserId::from(format!("staff/{uid}"))
    }

    /// Its own uid and its aliases.
    pub fn identities(&self) -> impl Iterator<Item = &UserId> {
        std::iter::once(&self.user).chain(self.aliases.iter())
    }

    /// Whether it has shown that it is who it says.
    pub fn is_proven(&self) -> bool {
        matches!(self.origin, Origin::Token | Origin::Service)
    }

    /// The name under which its sessions and connections are kept. Who merely says who it is has a name that no proven user
    /// has: it never opens that user's sessions, takes over its connections, or stands in its place in the address book.
    pub fn address(&self) -> UserId {
        match self.is_proven() {
            true => self.user.clone(),
            false => UserId::unproven(&self.user),
        }
    }

    /// Whether it serves customers: an agent or an admin.
    pub fn is_staff(&self) -> bool {
        matches!(self.role, Role::Agent | Role::Admin)
            && matches!(self.origin, Origin::Token | Origin::Service)
    }
}

impl UserId {
    /// The address of whoever says that it is `uid`: see [`Principal::address`].
    pub fn unproven(uid: &UserId) -> UserId {
        UserId::new(format!("{UNPROVEN}{uid}"))
    }

    /// The uid of an address, and whether it is that of one who proved it.
    pub fn of_address(address: &UserId) -> (UserId, bool) {
        match address.strip_prefix(UNPROVEN) {
            Some(uid) => (UserId::new(uid), false),
            None => (address.clone(), true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_merely_says_who_it_is_has_an_address_that_no_user_can_have() {
        let who = |origin| Principal::new(OrgId::new("o"), UserId::new("u7"), Role::Visitor, origin);
        for origin in [Origin::Token, Origin::Service] {
            assert_eq!(who(origin).address(), UserId::new("u7"));
        }
        for origin in [Origin::AnonymousVisitor, Origin::AnonymousMqtt] {
            let address = who(origin).address();
            assert!(UserId::checked(&address).is_err(), "{address} could be a user's");
            assert_eq!(UserId::of_address(&address), (UserId::new("u7"), false));
        }
        assert_eq!(UserId::of_address(&UserId::new("u7")), (UserId::new("u7"), true));
    }
}
