//! Who may speak on a chat topic and who may see what is said: one set of rules for live delivery, backlog, retained
//! messages and history alike. Ordinary topics are a matter of the configured ACL, not of this module.

use crate::{ChatTopic, Origin, Principal, Role, ThreadKind, UserId};

/// Who belongs to a thread beyond those that its topic names. `version` grows at each change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Membership {
    /// Grows at each change; 0 when the thread is not known.
    pub version: u64,
    /// Users (or aliases) that were made members: assigned agents, invited colleagues, group members.
    pub members: Vec<UserId>,
}

/// What a topic's rules say of a principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It takes part: publishes and receives.
    Member,
    /// It receives only.
    Reader,
    /// The topic alone does not decide: it depends on the thread's [`Membership`].
    AskMembership,
    /// Neither.
    None,
}

/// What the filter by role lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// May be shown.
    Shown,
    /// Is kept from this role.
    Hidden,
}

impl Access {
    /// What the topic alone says. Never looks anything up, so it is fit for the hot path; most threads name their
    /// parties in the topic.
    pub fn by_topic(who: &Principal, topic: &ChatTopic<'_>) -> Access {
        match who.origin {
            Origin::AnonymousMqtt => return Access::None,
            Origin::Service => return Access::Member,
            Origin::AnonymousVisitor | Origin::Token => {}
        }
        let visitor = who.role == Role::Visitor;
        if topic.internal && visitor {
            return Access::None;
        }
        match topic.kind {
            ThreadKind::User => owner(who, topic.desk, Access::Reader),
            _ if who.origin == Origin::AnonymousVisitor => own_thread(who, topic),
            ThreadKind::Own => owner(who, topic.desk, Access::Member),
            kind if visitor && kind.is_service() => own_thread(who, topic),
            _ if visitor => Access::AskMembership,
            ThreadKind::Agent if who.acts_as(topic.desk) => Access::Member,
            ThreadKind::Queue if who.acts_as(topic.desk) => Access::Member,
            ThreadKind::Member => colleague(who, topic),
            ThreadKind::Default if topic.desk == who.org.as_str() || who.acts_as(topic.desk) => {
                Access::Reader
            }
            _ => Access::AskMembership,
        }
    }

    /// The final word, with the thread's membership at hand.
    pub fn with_membership(who: &Principal, topic: &ChatTopic<'_>, membership: &Membership) -> Access {
        match Access::by_topic(who, topic) {
            Access::AskMembership if membership.members.iter().any(|m| who.acts_as(m)) => Access::Member,
            Access::AskMembership => Access::None,
            decided => decided,
        }
    }

    /// Whether it may publish.
    pub fn may_publish(self) -> bool {
        self == Access::Member
    }

    /// Whether it may receive.
    pub fn may_receive(self) -> bool {
        matches!(self, Access::Member | Access::Reader)
    }
}

fn owner(who: &Principal, uid: &str, then: Access) -> Access {
    if who.acts_as(uid) { then } else { Access::None }
}

fn own_thread(who: &Principal, topic: &ChatTopic<'_>) -> Access {
    match topic.visitor() {
        Some(visitor) if visitor == who.user.as_str() => Access::Member,
        _ => Access::None,
    }
}

fn colleague(who: &Principal, topic: &ChatTopic<'_>) -> Access {
    let second = topic.party.is_some_and(|p| who.acts_as(p));
    if who.acts_as(topic.desk) || second {
        Access::Member
    } else {
        Access::None
    }
}

/// Whether a role may be shown a message of this type on this topic. TRANSFER*, INVITE* (but INVITE_VISITOR*),
/// NOTIFICATION_* and internal topics never reach a visitor.
pub fn is_visible_to_role(role: Role, topic: &str, message_type: &str) -> Visibility {
    if role != Role::Visitor {
        return Visibility::Shown;
    }
    let hidden = topic.ends_with("_internal")
        || message_type.starts_with("TRANSFER")
        || message_type.starts_with("NOTIFICATION_")
        || (message_type.starts_with("INVITE") && !message_type.starts_with("INVITE_VISITOR"));
    if hidden {
        Visibility::Hidden
    } else {
        Visibility::Shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OrgId;

    fn who(user: &str, role: Role, aliases: &[&str], origin: Origin) -> Principal {
        let mut p = Principal::new(OrgId::new("o"), UserId::new(user), role, origin);
        p.aliases = aliases.iter().map(UserId::new).collect();
        p
    }

    fn access(p: &Principal, topic: &str, members: &[&str]) -> Access {
        let membership = Membership {
            version: 1,
            members: members.iter().map(UserId::new).collect(),
        };
        Access::with_membership(p, &ChatTopic::parse(topic).unwrap(), &membership)
    }

    #[test]
    fn a_visitor_has_its_own_threads_and_nothing_else() {
        for origin in [Origin::Token, Origin::AnonymousVisitor] {
            let v = who("v1", Role::Visitor, &[], origin);
            assert_eq!(access(&v, "org/agent/a/v1", &[]), Access::Member);
            assert_eq!(access(&v, "org/workgroup/w/v1", &[]), Access::Member);
            for other in [
                "org/agent/a/v2",
                "org/agent/a/v1_internal",
                "org/agent/v1/v2",
                "org/member/v1/b",
                "user/v2",
            ] {
                assert_eq!(access(&v, other, &[]), Access::None, "{other}");
            }
            assert_eq!(access(&v, "user/v1", &[]), Access::Reader);
        }
    }

    #[test]
    fn an_agent_has_its_desks_its_memberships_and_its_colleague_threads() {
        let a = who("u1", Role::Agent, &["a1", "m1"], Origin::Token);
        assert_eq!(access(&a, "org/agent/a1/v", &[]), Access::Member);
        assert_eq!(access(&a, "org/agent/a1/v_internal", &[]), Access::Member);
        assert_eq!(access(&a, "org/agent/a2/v", &[]), Access::None);
        assert_eq!(access(&a, "org/workgroup/w/v", &["a1"]), Access::Member);
        assert_eq!(access(&a, "org/workgroup/w/v", &["a2"]), Access::None);
        assert_eq!(access(&a, "org/member/m2/m1", &[]), Access::Member);
        assert_eq!(access(&a, "org/member/m2/m3", &["a1"]), Access::None);
        assert_eq!(access(&a, "user/u1/messages", &[]), Access::Reader);
        assert_eq!(access(&a, "user/u2", &[]), Access::None);
        assert_eq!(access(&a, "file/u1", &[]), Access::Member);
        assert_eq!(access(&a, "org/o", &[]), Access::Reader);
    }

    #[test]
    fn an_anonymous_mqtt_client_has_no_chat_topic() {
        let p = who("x", Role::Visitor, &[], Origin::AnonymousMqtt);
        for topic in ["org/agent/a/x", "user/x", "org/o", "file/x"] {
            assert_eq!(access(&p, topic, &["x"]), Access::None, "{topic}");
        }
    }

    #[test]
    fn visitors_are_not_shown_the_staff_side() {
        use Visibility::{Hidden, Shown};
        let v = |t| is_visible_to_role(Role::Visitor, "org/agent/a/v", t);
        assert_eq!(
            [
                v("TRANSFER_ACCEPT"),
                v("INVITE"),
                v("INVITE_GROUP"),
                v("NOTIFICATION_RATE_SUBMITTED")
            ],
            [Hidden; 4]
        );
        assert_eq!(
            [v("INVITE_VISITOR_ACCEPT"), v("TEXT"), v("INVITE_VISITOR")],
            [Shown; 3]
        );
        assert_eq!(
            is_visible_to_role(Role::Agent, "org/agent/a/v_internal", "TRANSFER"),
            Shown
        );
    }
}
