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
}

impl Role {
    /// The number it is stored and sent as.
    pub fn number(self) -> u32 {
        match self {
            Role::Agent => 1,
            Role::Visitor => 2,
            Role::Admin => 3,
        }
    }

    /// From that number; unknown numbers are the least trusted role.
    pub fn from_number(n: u32) -> Role {
        match n {
            1 => Role::Agent,
            3 => Role::Admin,
            _ => Role::Visitor,
        }
    }
}

/// How the principal came to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A verified token.
    Token,
    /// An MQTT client without a password, where that is allowed: ordinary topics only.
    AnonymousMqtt,
    /// A visitor without a token, where that is allowed: only threads whose topic ends in its uid.
    AnonymousVisitor,
    /// A part of Longwire itself, or an operator's command.
    Service,
}

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

    /// Its own uid and its aliases.
    pub fn identities(&self) -> impl Iterator<Item = &UserId> {
        std::iter::once(&self.user).chain(self.aliases.iter())
    }

    /// Whether it serves customers: an agent or an admin.
    pub fn is_staff(&self) -> bool {
        matches!(self.role, Role::Agent | Role::Admin)
            && matches!(self.origin, Origin::Token | Origin::Service)
    }
}
