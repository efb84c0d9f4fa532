use bytes::Bytes;
use model::thread::{Members, Membership};
use model::{Position, Role};

use super::{Malformed, Wire, given, read};
use crate::pb;
use contract::persistence::{
    Actor, AgentCard, ChangeThread, Desk, DeskKind, MemberTopic, OpenThread, OpenedThread, ThreadCard,
    ThreadKey, ThreadPage, ThreadWish, ThreadsRequest, UserCard,
};

impl Wire for Membership {
    type Message = pb::Membership;

    fn to_wire(self) -> pb::Membership {
        pb::Membership {
            member: self.member.to_wire(),
            user: self.user.to_wire(),
            since: self.since.to_wire(),
            until: self.until.to_wire(),
        }
    }

    fn from_wire(m: pb::Membership) -> Result<Self, Malformed> {
        Ok(Self {
            member: read(m.member)?,
            user: read(m.user)?,
            since: read(m.since)?,
            until: read(m.until)?,
        })
    }
}

impl Wire for Members {
    type Message = pb::MembershipAnswer;

    fn to_wire(self) -> pb::MembershipAnswer {
        let lasting = self.all.iter().filter(|m| m.lasts());
        pb::MembershipAnswer {
            version: self.version.0,
            members: lasting.map(|m| m.member.to_string()).collect(),
            all: self.all.to_wire(),
        }
    }

    fn from_wire(m: pb::MembershipAnswer) -> Result<Self, Malformed> {
        Ok(Self {
            version: Position(m.version),
            all: read(m.all)?,
        })
    }
}

impl Wire for MemberTopic {
    type Message = pb::MemberTopic;

    fn to_wire(self) -> pb::MemberTopic {
        let since = self.memberships.iter().map(|m| m.since).min().unwrap_or_default();
        pb::MemberTopic {
            topic: self.topic.to_wire(),
            partition: self.partition.to_wire(),
            since: since.to_wire(),
            memberships: self.memberships.to_wire(),
        }
    }

    fn from_wire(m: pb::MemberTopic) -> Result<Self, Malformed> {
        Ok(Self {
            topic: read(m.topic)?,
            partition: read(m.partition)?,
            memberships: read(m.memberships)?,
        })
    }
}

impl Wire for ChangeThread {
    type Message = pb::ChangeThreadRequest;

    fn to_wire(self) -> pb::ChangeThreadRequest {
        use pb::change_thread_request::Thread;
        let mut m = pb::ChangeThreadRequest {
            org: self.org.to_wire(),
            thread: Some(match self.thread {
                ThreadKey::Topic(topic) => Thread::Topic(topic.to_wire()),
                ThreadKey::Uid(uid) => Thread::ThreadUid(uid),
            }),
            user: self.by.user.to_wire(),
            role: Some(self.by.role).to_wire(),
            identities: self.by.identities.to_wire(),
            uid: self.uid,
            at: self.at.to_wire(),
            ..pb::ChangeThreadRequest::default()
        };
        let wish = match self.wish {
            ThreadWish::Close => pb::Wish::Close,
            ThreadWish::Leave => pb::Wish::Leave,
            ThreadWish::Offer {
                invitation,
                to,
                colleague,
            } => {
                (m.invitation, m.to) = (invitation, to.to_wire());
                m.colleague = colleague.to_wire();
                pb::Wish::Offer
            }
            ThreadWish::Accept(offer) => {
                m.offer = offer;
                pb::Wish::Accept
            }
            ThreadWish::Decline(offer) => {
                m.offer = offer;
                pb::Wish::Decline
            }
            ThreadWish::Remove(member) => {
                m.to = vec![member.to_wire()];
                pb::Wish::Remove
            }
        };
        m.wish = wish.into();
        m
    }

    fn from_wire(m: pb::ChangeThreadRequest) -> Result<Self, Malformed> {
        use pb::change_thread_request::Thread;
        let unknown = || {
            Malformed::new(
                "a wish to change a thread",
                format!("{} is none that is known", m.wish),
            )
        };
        let wish = match pb::Wish::try_from(m.wish) {
            Ok(pb::Wish::Close) => ThreadWish::Close,
            Ok(pb::Wish::Leave) => ThreadWish::Leave,
            Ok(pb::Wish::Offer) => ThreadWish::Offer {
                invitation: m.invitation,
                to: read(m.to)?,
                colleague: read(m.colleague)?,
            },
            Ok(pb::Wish::Accept) => ThreadWish::Accept(m.offer),
            Ok(pb::Wish::Decline) => ThreadWish::Decline(m.offer),
            Ok(pb::Wish::Remove) => {
                let member = m.to.into_iter().next();
                ThreadWish::Remove(given("the member to remove", member)?)
            }
            Ok(pb::Wish::Unspecified) | Err(_) => return Err(unknown()),
        };
        let role: Option<Role> = read(m.role)?;
        Ok(Self {
            org: read(m.org)?,
            thread: match m.thread {
                Some(Thread::Topic(topic)) => ThreadKey::Topic(read(topic)?),
                Some(Thread::ThreadUid(uid)) => ThreadKey::Uid(uid),
                None => return Err(Malformed::new("which thread to change", "it is missing")),
            },
            by: Actor {
                user: read(m.user)?,
                role: role.ok_or_else(|| Malformed::new("the role of who wishes", "it is missing"))?,
                identities: read(m.identities)?,
            },
            wish,
            uid: m.uid,
            at: read(m.at)?,
        })
    }
}

impl Wire for UserCard {
    type Message = pb::UserCard;

    fn to_wire(self) -> pb::UserCard {
        pb::UserCard {
            uid: self.uid.to_wire(),
            nickname: self.nickname,
            avatar: self.avatar,
        }
    }

    fn from_wire(m: pb::UserCard) -> Result<Self, Malformed> {
        Ok(Self {
            uid: read(m.uid)?,
            nickname: m.nickname,
            avatar: m.avatar,
        })
    }
}

impl Wire for AgentCard {
    type Message = pb::AgentCard;

    fn to_wire(self) -> pb::AgentCard {
        pb::AgentCard {
            card: Some(self.card.to_wire()),
            user: self.user.to_wire(),
            status: self.status.to_wire(),
            max_threads: self.max_threads,
        }
    }

    fn from_wire(m: pb::AgentCard) -> Result<Self, Malformed> {
        Ok(Self {
            card: given("an agent's card", m.card)?,
            user: read(m.user)?,
            status: read(m.status)?,
            max_threads: m.max_threads,
        })
    }
}

impl Wire for DeskKind {
    type Message = i32;

    fn to_wire(self) -> i32 {
        match self {
            DeskKind::Agent => pb::DeskKind::Agent.into(),
            DeskKind::Workgroup => pb::DeskKind::Workgroup.into(),
            DeskKind::Robot => pb::DeskKind::Robot.into(),
            DeskKind::Unified => pb::DeskKind::Unified.into(),
            DeskKind::Kb => pb::DeskKind::Kb.into(),
            DeskKind::KbDoc => pb::DeskKind::KbDoc.into(),
            DeskKind::Ticket => pb::DeskKind::Ticket.into(),
        }
    }

    fn from_wire(m: i32) -> Result<Self, Malformed> {
        match pb::DeskKind::try_from(m) {
            Ok(pb::DeskKind::Agent) => Ok(DeskKind::Agent),
            Ok(pb::DeskKind::Workgroup) => Ok(DeskKind::Workgroup),
            Ok(pb::DeskKind::Robot) => Ok(DeskKind::Robot),
            Ok(pb::DeskKind::Unified) => Ok(DeskKind::Unified),
            Ok(pb::DeskKind::Kb) => Ok(DeskKind::Kb),
            Ok(pb::DeskKind::KbDoc) => Ok(DeskKind::KbDoc),
            Ok(pb::DeskKind::Ticket) => Ok(DeskKind::Ticket),
            Ok(pb::DeskKind::Unspecified) | Err(_) => Err(Malformed::new(
                "what a desk is",
                format!("{m} is no kind that is known"),
            )),
        }
    }
}

impl Wire for Desk {
    type Message = pb::DeskAnswer;

    fn to_wire(self) -> pb::DeskAnswer {
        pb::DeskAnswer {
            kind: self.kind.to_wire(),
            card: Some(self.card.to_wire()),
            agents: self.agents.to_wire(),
        }
    }

    fn from_wire(m: pb::DeskAnswer) -> Result<Self, Malformed> {
        Ok(Self {
            kind: read(m.kind)?,
            card: given("the card of a desk", m.card)?,
            agents: read(m.agents)?,
        })
    }
}

impl Wire for OpenThread {
    type Message = pb::OpenThreadRequest;

    fn to_wire(self) -> pb::OpenThreadRequest {
        pb::OpenThreadRequest {
            org: self.org.to_wire(),
            desk: self.desk.to_wire(),
            visitor: Some(self.visitor.to_wire()),
            online: Vec::new(),
            at: self.at.to_wire(),
        }
    }

    fn from_wire(m: pb::OpenThreadRequest) -> Result<Self, Malformed> {
        Ok(Self {
            org: read(m.org)?,
            desk: read(m.desk)?,
            visitor: given("the card of a visitor", m.visitor)?,
            at: read(m.at)?,
        })
    }
}

impl Wire for (Position, Bytes) {
    type Message = pb::LastMessage;

    fn to_wire(self) -> pb::LastMessage {
        pb::LastMessage {
            position: self.0.to_wire(),
            entry: self.1,
        }
    }

    fn from_wire(m: pb::LastMessage) -> Result<Self, Malformed> {
        Ok((read(m.position)?, m.entry))
    }
}

impl Wire for ThreadCard {
    type Message = pb::ThreadCard;

    fn to_wire(self) -> pb::ThreadCard {
        pb::ThreadCard {
            uid: self.uid,
            topic: self.topic.to_wire(),
            kind: self.kind,
            status: self.status,
            visitor: Some(self.visitor.to_wire()),
            agent: self.agent.to_wire(),
            last: self.last.to_wire(),
            updated_at: self.updated_at.to_wire(),
            unread: self.unread,
            unreplied_since: self.unreplied_since.to_wire(),
        }
    }

    fn from_wire(m: pb::ThreadCard) -> Result<Self, Malformed> {
        Ok(Self {
            uid: m.uid,
            topic: read(m.topic)?,
            kind: m.kind,
            status: m.status,
            visitor: given("the visitor of a thread", m.visitor)?,
            agent: read(m.agent)?,
            last: read(m.last)?,
            updated_at: read(m.updated_at)?,
            unread: m.unread,
            unreplied_since: read(m.unreplied_since)?,
        })
    }
}

impl Wire for OpenedThread {
    type Message = pb::OpenedThread;

    fn to_wire(self) -> pb::OpenedThread {
        pb::OpenedThread {
            thread: Some(self.thread.to_wire()),
            created: self.created,
            joined: Vec::new(),
            version: self.version.to_wire(),
            queue: self.queue,
        }
    }

    fn from_wire(m: pb::OpenedThread) -> Result<Self, Malformed> {
        Ok(Self {
            thread: given("an opened thread", m.thread)?,
            created: m.created,
            version: read(m.version)?,
            queue: m.queue,
        })
    }
}

impl Wire for ThreadsRequest {
    type Message = pb::ThreadsRequest;

    fn to_wire(self) -> pb::ThreadsRequest {
        pb::ThreadsRequest {
            org: self.org.to_wire(),
            identities: self.identities.to_wire(),
            open: self.open,
            unreplied: self.unreplied,
            page: self.page,
            size: self.size,
        }
    }

    fn from_wire(m: pb::ThreadsRequest) -> Result<Self, Malformed> {
        Ok(Self {
            org: read(m.org)?,
            identities: read(m.identities)?,
            open: m.open,
            unreplied: m.unreplied,
            page: m.page,
            size: m.size,
        })
    }
}

impl Wire for ThreadPage {
    type Message = pb::ThreadPage;

    fn to_wire(self) -> pb::ThreadPage {
        pb::ThreadPage {
            threads: self.threads.to_wire(),
            total: self.total,
        }
    }

    fn from_wire(m: pb::ThreadPage) -> Result<Self, Malformed> {
        Ok(Self {
            threads: read(m.threads)?,
            total: m.total,
        })
    }
}
