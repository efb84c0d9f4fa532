//! Who may speak on a chat topic and who may see what is said: one set of rules for live delivery, backlog, retained
//! messages and history alike. Ordinary topics are a matter of the configured ACL, not of this module.

use crate::ids::INTERNAL;
use crate::thread::Members;
use crate::{ChatTopic, MessageType, Origin, Principal, Role, ThreadKind};

/// What a topic's rules say of a principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It takes part: publishes and receives.
    Member,
    /// It receives only.
    Reader,
    /// It publishes only.
    Writer,
    /// The topic alone does not decide: it depends on the thread's [`Members`].
    AskMembers,
    /// A thread of its own desk: it takes part, unless somebody else was given its place.
    OwnDesk,
    /// It took part once: it may read what was said meanwhile, and no more.
    Former,
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
        if who.role == Role::Service && who.origin == Origin::Token {
            return service(who, topic);
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
            _ if visitor => Access::AskMembers,
            ThreadKind::Agent if who.acts_as(topic.desk) && topic.party.is_some() => Access::OwnDesk,
            ThreadKind::Agent if who.acts_as(topic.desk) => Access::Member,
            ThreadKind::Queue if who.acts_as(topic.desk) => Access::Member,
            ThreadKind::Member => colleague(who, topic),
            ThreadKind::Default if topic.desk == who.org.as_str() || who.acts_as(topic.desk) => {
                Access::Reader
            }
            _ => Access::AskMembers,
        }
    }

    /// The final word, with the thread's members at hand.
    pub fn with_members(who: &Principal, topic: &ChatTopic<'_>, members: &Members) -> Access {
        let by_topic = Access::by_topic(who, topic);
        let by_default = match by_topic {
            Access::AskMembers => Access::None,
            Access::OwnDesk => Access::Member,
            decided => return decided,
        };
        let mut own = members.of(|member| who.acts_as(member)).peekable();
        match own.peek().is_some() {
            false => by_default,
            true if own.any(|m| m.lasts()) => Access::Member,
            true => Access::Former,
        }
    }

    /// Whether the topic alone decides.
    pub fn is_decided(self) -> bool {
        !matches!(self, Access::AskMembers | Access::OwnDesk)
    }

    /// Whether it may publish.
    pub fn may_publish(self) -> bool {
        matches!(self, Access::Member | Access::OwnDesk | Access::Writer)
    }

    /// Whether it may receive what is said from now on.
    pub fn may_receive(self) -> bool {
        matches!(self, Access::Member | Access::OwnDesk | Access::Reader)
    }

    /// Whether it may read what was said, as far as its memberships cover that.
    pub fn may_read(self) -> bool {
        self == Access::Former || self.may_receive()
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

/// A service writes into every conversation of its organisation. It receives those that name it: as the robot or the desk
/// for which it speaks, or as their owner.
fn service(who: &Principal, topic: &ChatTopic<'_>) -> Access {
    let unit = topic.kind == ThreadKind::Default && topic.desk == who.org.as_str();
    if unit || who.acts_as(topic.desk) || topic.party.is_some_and(|party| who.acts_as(party)) {
        Access::Member
    } else {
        Access::Writer
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

/// Whether a role may be shown a message of this type, in any case, on this topic. To visitors the table of
/// [`MessageType`] applies, and internal topics are closed.
pub fn is_visible_to_role(role: Role, topic: &str, message_type: &str) -> Visibility {
    let shown = role != Role::Visitor
        || (!topic.ends_with(INTERNAL) && MessageType::rule(message_type).shows_to_visitors());
    match shown {
        true => Visibility::Shown,
        false => Visibility::Hidden,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::thread::Membership;
    use crate::{OrgId, Position, UserId};

    fn who(user: &str, role: Role, aliases: &[&str], origin: Origin) -> Principal {
        let mut p = Principal::new(OrgId::new("o"), UserId::new(user), role, origin);
        p.aliases = aliases.iter().map(UserId::new).collect();
        p
    }

    fn access(p: &Principal, topic: &str, members: &[&str]) -> Access {
        let of = |uid: &&str| match uid.strip_prefix('-') {
            None => Membership::from((*uid).into(), (*uid).into(), Position(1)),
            Some(uid) => Membership {
                until: Position(9),
                ..Membership::from(uid.into(), uid.into(), Position(1))
            },
        };
        let members = Members {
            version: Position(9),
            all: members.iter().map(of).collect(),
        };
        Access::with_members(p, &ChatTopic::parse(topic).unwrap(), &members)
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
        assert_eq!(access(&a, "org/workgroup/w/v", &["-a1"]), Access::Former);
        assert_eq!(access(&a, "org/workgroup/w/v", &["-a1", "a1"]), Access::Member);
        assert_eq!(
            access(&a, "org/agent/a1/v", &["-a1", "a2"]),
            Access::Former,
            "given away"
        );
        assert_eq!(
            access(&a, "org/agent/a1/v_internal", &["-a1", "a2"]),
            Access::Former
        );
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
    fn a_service_writes_everywhere_and_receives_what_names_it() {
        let s = who("bot", Role::Service, &["robot1"], Origin::Token);
        for topic in [
            "org/agent/a/v",
            "org/agent/a/v_internal",
            "org/workgroup/w/v",
            "org/member/m1/m2",
            "org/group/g",
            "user/v1",
            "system/u1",
        ] {
            let access = access(&s, topic, &[]);
            assert!(access.may_publish() && !access.may_receive(), "{topic}");
        }
        for topic in ["org/robot/robot1/v", "user/bot", "file/bot", "org/o"] {
            let access = access(&s, topic, &[]);
            assert!(access.may_publish() && access.may_receive(), "{topic}");
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
                v("NOTIFICATION_RATE_SUBMITTED"),
                v("transfer"),
                v("Transfer_of_the_future"),
            ],
            [Hidden; 6]
        );
        assert_eq!(
            [
                v("INVITE_VISITOR_ACCEPT"),
                v("TEXT"),
                v("INVITE_VISITOR"),
                v("INVITE_AUDIO"),
                v("invite_video_accept"),
                v("WEBRTC_AUDIO_INVITE"),
            ],
            [Shown; 6]
        );
        assert_eq!(
            is_visible_to_role(Role::Agent, "org/agent/a/v_internal", "TRANSFER"),
            Shown
        );
    }
}
