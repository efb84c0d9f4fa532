//! AclAccess rules for topics that are no chat topics: in the order they are written, first match wins.

mod pattern;
#[cfg(test)]
mod tests;

pub use pattern::TopicPattern;
use pattern::{Bindings, Level};
use serde::{Deserialize, Serialize};

use model::{Origin, Principal, Role, TopicFilter, TopicName, UserId};

/// The `auth.acl` section.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AclConfig {
    /// What holds when no rule matches. Default: deny, in dev allow.
    pub default: Option<Action>,
    /// The rules, first match wins.
    pub rules: Vec<AclRule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AclRule {
    /// What a match means.
    pub action: Action,
    /// Whom it is about.
    pub who: Who,
    /// What it is about.
    pub access: AclAccess,
    /// The topics: an MQTT filter in which `${uid}`, `${org}` and `${clientid}` stand for the client's own.
    pub filter: TopicPattern,
}

/// Allow or deny.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It may.
    Allow,
    /// It may not.
    Deny,
}

/// Publishing, subscribing or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AclAccess {
    /// Sending to a topic, a will and a retained message included.
    Publish,
    /// Receiving from it.
    Subscribe,
    /// Both.
    All,
}

/// Whom a rule is about: `all`, `agent`, `visitor`, `admin`, `service`, `anonymous` or `user:<uid>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Who {
    /// Everybody, the anonymous too.
    All,
    /// Users with a token of that role.
    Role(Role),
    /// MQTT clients without a token. Visitors who do not prove who they are have conversations only, whatever the rules say.
    Anonymous,
    /// The user with that `sub`.
    User(UserId),
}

impl TryFrom<String> for Who {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "all" => Ok(Self::All),
            "anonymous" => Ok(Self::Anonymous),
            "agent" => Ok(Self::Role(Role::Agent)),
            "visitor" => Ok(Self::Role(Role::Visitor)),
            "admin" => Ok(Self::Role(Role::Admin)),
            "service" => Ok(Self::Role(Role::Service)),
            other => other.strip_prefix("user:").and_then(|uid| UserId::checked(uid).ok()).map(Self::User).ok_or_else(|| {
                format!("reading an access rule: who is {text:?}, none of all, agent, visitor, admin, service, anonymous, user:<uid>")
            }),
        }
    }
}

impl From<Who> for String {
    fn from(who: Who) -> Self {
        match who {
            Who::All => "all".to_owned(),
            Who::Role(Role::Agent) => "agent".to_owned(),
            Who::Role(Role::Visitor) => "visitor".to_owned(),
            Who::Role(Role::Admin) => "admin".to_owned(),
            Who::Role(Role::Service) => "service".to_owned(),
            Who::Anonymous => "anonymous".to_owned(),
            Who::User(uid) => format!("user:{uid}"),
        }
    }
}

/// The rules in force. They are about clients; a part of Longwire itself ([`Origin::Service`]) may use every topic
/// that does not begin with `$`, and an [`Origin::AnonymousVisitor`] none.
#[derive(Debug, Clone)]
pub struct Acl {
    rules: Vec<AclRule>,
    default: Action,
}

impl Acl {
    /// Takes over the configured rules; without a configured default what they do not match is denied.
    #[must_use]
    pub fn new(config: &AclConfig) -> Self {
        Self {
            rules: config.rules.clone(),
            default: config.default.unwrap_or(Action::Deny),
        }
    }

    /// Whether `who` may publish to the topic name `topic`. Never for a `$`-topic or what is no topic name.
    #[must_use]
    pub fn may_publish(&self, who: &Principal, client_id: &str, topic: &TopicName) -> bool {
        self.grants(AclAccess::Publish, who, client_id, topic)
    }

    /// Whether `who` may receive from the topic name `topic`: the question to ask per message, for live, retained and
    /// replayed ones alike. Whatever [`may_subscribe`](Self::may_subscribe) lets through, this does.
    #[must_use]
    pub fn may_receive(&self, who: &Principal, client_id: &str, topic: &TopicName) -> bool {
        self.grants(AclAccess::Subscribe, who, client_id, topic)
    }

    /// Whether `who` may subscribe to `filter` as a whole: not when a topic it matches is denied, or allowed by
    /// several rules only in parts. Never when it begins with `$` (take the `$share/<group>/` off first) or is no filter.
    #[must_use]
    pub fn may_subscribe(&self, who: &Principal, client_id: &str, filter: &TopicFilter) -> bool {
        let Some(asked) = pattern::parse_filter(filter) else {
            return false;
        };
        match who.origin {
            Origin::Service => return true,
            Origin::AnonymousVisitor => return false,
            Origin::Token | Origin::AnonymousMqtt => {}
        }
        let bindings = bindings(who, client_id);
        for rule in self.rules_for(AclAccess::Subscribe, who) {
            match rule.action {
                Action::Deny if rule.filter.overlaps(&asked, &bindings) => return false,
                Action::Allow if rule.filter.covers(&asked, &bindings) => return true,
                _ => {}
            }
        }
        self.default == Action::Allow
    }

    fn grants(&self, access: AclAccess, who: &Principal, client_id: &str, topic: &TopicName) -> bool {
        let Some(levels) = pattern::parse_filter(topic) else {
            return false;
        };
        if levels.iter().any(|level| !matches!(level, Level::Name(_))) {
            return false;
        }
        match who.origin {
            Origin::Service => return true,
            Origin::AnonymousVisitor => return false,
            Origin::Token | Origin::AnonymousMqtt => {}
        }
        let bindings = bindings(who, client_id);
        let matched = self
            .rules_for(access, who)
            .find(|rule| rule.filter.covers(&levels, &bindings));
        matched.map_or(self.default, |rule| rule.action) == Action::Allow
    }

    fn rules_for<'a>(&'a self, access: AclAccess, who: &'a Principal) -> impl Iterator<Item = &'a AclRule> {
        self.rules.iter().filter(move |rule| {
            (rule.access == AclAccess::All || rule.access == access) && concerns(&rule.who, who)
        })
    }
}

/// A uid that nobody vouches for fills no `${uid}`.
fn bindings<'a>(who: &'a Principal, client_id: &'a str) -> Bindings<'a> {
    Bindings {
        uid: (who.origin == Origin::Token).then(|| who.user.as_str()),
        org: who.org.as_str(),
        client_id,
    }
}

fn concerns(rule: &Who, who: &Principal) -> bool {
    let known = who.origin == Origin::Token;
    match rule {
        Who::All => true,
        Who::Anonymous => who.origin == Origin::AnonymousMqtt,
        Who::Role(role) => known && *role == who.role,
        Who::User(uid) => known && *uid == who.user,
    }
}
