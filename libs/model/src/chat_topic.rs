//! The topics that conversations live on (the patterns of deployed clients).

use crate::ids::INTERNAL;
use crate::{TopicName, UserId};

/// What sort of conversation a topic carries. Names follow the deployed clients' thread types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ThreadKind {
    /// `org/agent/{agent}/{visitor}`
    Agent,
    /// `org/workgroup/{workgroup}/{visitor}`
    Workgroup,
    /// `org/robot/{robot}/{visitor}` and `org/robot/{robot}/{user}/{random}`, `robot/{robot}/{visitor}`
    Robot,
    /// `org/unified/{entrance}/{visitor}`
    Unified,
    /// `org/kb/{kb}/{visitor}`, `org/kbdoc/{doc}/{visitor}`
    Kbase,
    /// `org/member/{member}/{member}` and `private/{a}/{b}`: two colleagues
    Member,
    /// `org/group/{group}`, `group/{group}`
    Group,
    /// `org/ticket/…/{ticket}`
    Ticket,
    /// `org/queue/{desk}`
    Queue,
    /// `file/{user}`, `clipboard/{user}`, `system/{user}`: a user with itself or the system
    Own,
    /// `org/{org}`, `org/member/{m}`, `org/agent/{a}`, `org/department/{d}`, `org/workgroup/{w}`: notices to a whole unit
    Default,
    /// `user/{user}` and below: what services tell one user
    User,
}

impl ThreadKind {
    /// The `thread.type` name on the wire.
    pub fn type_name(self) -> &'static str {
        match self {
            ThreadKind::Agent => "AGENT",
            ThreadKind::Workgroup => "WORKGROUP",
            ThreadKind::Robot => "ROBOT",
            ThreadKind::Unified => "UNIFIED",
            ThreadKind::Kbase => "KBASE",
            ThreadKind::Member => "MEMBER",
            ThreadKind::Group => "GROUP",
            ThreadKind::Ticket => "TICKET_INTERNAL",
            ThreadKind::Queue => "QUEUE",
            ThreadKind::Own => "ASSISTANT",
            ThreadKind::Default | ThreadKind::User => "CHANNEL",
        }
    }

    /// Whether one party is a customer.
    pub fn is_service(self) -> bool {
        use ThreadKind::{Agent, Kbase, Robot, Unified, Workgroup};
        matches!(self, Agent | Workgroup | Robot | Unified | Kbase)
    }
}

/// A chat topic, taken apart. Borrowed from the topic string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChatTopic<'a> {
    /// The sort of conversation.
    pub kind: ThreadKind,
    /// Whether it is the side channel of a thread (`…_internal`), which no visitor sees.
    pub internal: bool,
    /// The desk, group, first member, or owner.
    pub desk: &'a str,
    /// The visitor, second member or ticket, where there is one.
    pub party: Option<&'a str>,
}

impl<'a> ChatTopic<'a> {
    /// Takes a topic apart; `None` when it is an ordinary topic.
    pub fn parse(topic: &'a str) -> Option<ChatTopic<'a>> {
        let (thread, internal) = match topic.strip_suffix(INTERNAL) {
            Some(thread) => (thread, true),
            None => (topic, false),
        };
        let mut it = thread.split('/');
        let mut next = || it.next();
        let parts = [next(), next(), next(), next(), next(), next()];
        if parts.iter().flatten().any(|p| p.is_empty()) {
            return None;
        }
        let (kind, desk, party) = classify(&parts)?;
        Some(ChatTopic {
            kind,
            internal,
            desk,
            party,
        })
    }

    /// The customer of a service thread.
    pub fn visitor(&self) -> Option<&'a str> {
        if self.kind.is_service() { self.party } else { None }
    }

    /// The topic of the thread that a topic belongs to: without what makes it a side channel.
    pub fn thread(topic: &str) -> &str {
        topic.strip_suffix(INTERNAL).unwrap_or(topic)
    }

    /// The one topic under which a colleague thread is kept, whichever side names it: the smaller member first.
    /// Every other topic is its own.
    pub fn canonical(topic: &TopicName) -> TopicName {
        match ChatTopic::parse(topic) {
            Some(ChatTopic {
                kind: ThreadKind::Member,
                internal,
                desk,
                party: Some(party),
            }) if party < desk => TopicName::trusted(member_topic(topic, party, desk, internal)),
            _ => topic.clone(),
        }
    }

    /// The topic under which the holder of one of `identities` sees a colleague thread: its own uid first.
    /// `None` when the topic is no colleague thread, or is seen as it is.
    pub fn seen_by<'i>(topic: &str, mut identities: impl Iterator<Item = &'i UserId>) -> Option<TopicName> {
        match ChatTopic::parse(topic) {
            Some(ChatTopic {
                kind: ThreadKind::Member,
                internal,
                desk,
                party: Some(party),
            }) if identities.any(|id| id.as_str() == party) => {
                Some(TopicName::trusted(member_topic(topic, party, desk, internal)))
            }
            _ => None,
        }
    }
}

fn member_topic(like: &str, first: &str, second: &str, internal: bool) -> String {
    let prefix = if like.starts_with("private/") {
        "private"
    } else {
        "org/member"
    };
    format!(
        "{prefix}/{first}/{second}{}",
        if internal { INTERNAL } else { "" }
    )
}

type Parts<'a> = [Option<&'a str>; 6];

fn classify<'a>(parts: &Parts<'a>) -> Option<(ThreadKind, &'a str, Option<&'a str>)> {
    use ThreadKind as K;
    Some(match *parts {
        [Some("user"), Some(u), ..] => (K::User, u, None),
        [Some("file" | "clipboard" | "system"), Some(u), None, ..] => (K::Own, u, None),
        [Some("group"), Some(g), None, ..] => (K::Group, g, None),
        [Some("private"), Some(a), Some(b), None, ..] => (K::Member, a, Some(b)),
        [Some("robot"), Some(r), Some(v), None, ..] => (K::Robot, r, Some(v)),
        [Some("org"), Some(_), ..] => return classify_org(parts),
        _ => return None,
    })
}

fn classify_org<'a>(parts: &Parts<'a>) -> Option<(ThreadKind, &'a str, Option<&'a str>)> {
    use ThreadKind as K;
    Some(match *parts {
        [_, Some("agent"), Some(a), Some(v), None, _] => (K::Agent, a, Some(v)),
        [_, Some("workgroup"), Some(w), Some(v), None, _] => (K::Workgroup, w, Some(v)),
        [_, Some("robot"), Some(r), Some(v), _, None] => (K::Robot, r, Some(v)),
        [_, Some("unified"), Some(u), Some(v), None, _] => (K::Unified, u, Some(v)),
        [_, Some("kb" | "kbdoc"), Some(k), Some(v), None, _] => (K::Kbase, k, Some(v)),
        [_, Some("member"), Some(a), Some(b), None, _] => (K::Member, a, Some(b)),
        [_, Some("group"), Some(g), None, ..] => (K::Group, g, None),
        [_, Some("queue"), Some(q), None, ..] => (K::Queue, q, None),
        [_, Some("ticket"), Some(_), Some(d), Some(t), None] => (K::Ticket, d, Some(t)),
        [
            _,
            Some("agent" | "member" | "department" | "workgroup"),
            Some(u),
            None,
            ..,
        ] => (K::Default, u, None),
        [_, Some(o), None, ..] => (K::Default, o, None),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patterns_of_deployed_clients_are_recognised() {
        let of = |t| ChatTopic::parse(t).map(|c| (c.kind, c.desk, c.party, c.internal));
        use ThreadKind as K;
        assert_eq!(
            of("org/agent/df_ag_uid/14"),
            Some((K::Agent, "df_ag_uid", Some("14"), false))
        );
        assert_eq!(
            of("org/agent/A/V_internal"),
            Some((K::Agent, "A", Some("V"), true))
        );
        assert_eq!(
            of("org/workgroup/w/v"),
            Some((K::Workgroup, "w", Some("v"), false))
        );
        assert_eq!(of("org/robot/r/u/1"), Some((K::Robot, "r", Some("u"), false)));
        assert_eq!(of("org/member/a/b"), Some((K::Member, "a", Some("b"), false)));
        assert_eq!(
            of("org/ticket/department/d/t"),
            Some((K::Ticket, "d", Some("t"), false))
        );
        assert_eq!(of("user/u/messages"), Some((K::User, "u", None, false)));
        assert_eq!(
            of("org/df_org_uid"),
            Some((K::Default, "df_org_uid", None, false))
        );
        assert_eq!(of("file/u"), Some((K::Own, "u", None, false)));
        for ordinary in [
            "test",
            "a/b/c",
            "org",
            "org/agent/a/b/c/d",
            "org//a",
            "sensors/org/agent/a/b",
        ] {
            assert_eq!(of(ordinary), None, "{ordinary}");
        }
    }

    #[test]
    fn both_colleagues_share_one_log_and_each_sees_its_own_side() {
        let ba = TopicName::trusted("org/member/b/a");
        assert_eq!(ChatTopic::canonical(&ba).as_str(), "org/member/a/b");
        assert_eq!(
            ChatTopic::canonical(&TopicName::trusted("org/member/a/b")).as_str(),
            "org/member/a/b"
        );
        let b = [UserId::new("u2"), UserId::new("b")];
        assert_eq!(
            ChatTopic::seen_by("org/member/a/b", b.iter()).as_deref(),
            Some("org/member/b/a")
        );
        let a = [UserId::new("a")];
        assert_eq!(ChatTopic::seen_by("org/member/a/b", a.iter()), None);
    }
}
