use bytes::Bytes;
use model::{Membership, Position};

use super::{Malformed, Wire, given, read};
use crate::pb;
use contract::persistence::{
    AgentCard, Desk, DeskKind, MemberTopic, OpenThread, OpenedThread, ThreadCard, ThreadPage, ThreadsRequest,
    UserCard,
};

impl Wire for Membership {
    type Message = pb::MembershipAnswer;

    fn to_wire(self) -> pb::MembershipAnswer {
        pb::MembershipAnswer {
            version: self.version,
            members: self.members.to_wire(),
        }
    }

    fn from_wire(m: pb::MembershipAnswer) -> Result<Self, Malformed> {
        Ok(Self {
            version: m.version,
            members: read(m.members)?,
        })
    }
}

impl Wire for MemberTopic {
    type Message = pb::MemberTopic;

    fn to_wire(self) -> pb::MemberTopic {
        pb::MemberTopic {
            topic: self.topic.to_wire(),
            partition: self.partition.to_wire(),
            since: self.since.to_wire(),
        }
    }

    fn from_wire(m: pb::MemberTopic) -> Result<Self, Malformed> {
        Ok(Self {
            topic: read(m.topic)?,
            partition: read(m.partition)?,
            since: read(m.since)?,
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
        }
    }

    fn from_wire(m: pb::AgentCard) -> Result<Self, Malformed> {
        Ok(Self {
            card: given("an agent's card", m.card)?,
            user: read(m.user)?,
        })
    }
}

impl Wire for DeskKind {
    type Message = i32;

    fn to_wire(self) -> i32 {
        match self {
            DeskKind::Agent => pb::DeskKind::Agent.into(),
            DeskKind::Workgroup => pb::DeskKind::Workgroup.into(),
        }
    }

    fn from_wire(m: i32) -> Result<Self, Malformed> {
        match pb::DeskKind::try_from(m) {
            Ok(pb::DeskKind::Agent) => Ok(DeskKind::Agent),
            Ok(pb::DeskKind::Workgroup) => Ok(DeskKind::Workgroup),
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
            online: self.online.to_wire(),
            at: self.at.to_wire(),
        }
    }

    fn from_wire(m: pb::OpenThreadRequest) -> Result<Self, Malformed> {
        Ok(Self {
            org: read(m.org)?,
            desk: read(m.desk)?,
            visitor: given("the card of a visitor", m.visitor)?,
            online: read(m.online)?,
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
            joined: self.joined.to_wire(),
        }
    }

    fn from_wire(m: pb::OpenedThread) -> Result<Self, Malformed> {
        Ok(Self {
            thread: given("an opened thread", m.thread)?,
            created: m.created,
            joined: read(m.joined)?,
        })
    }
}

impl Wire for ThreadsRequest {
    type Message = pb::ThreadsRequest;

    fn to_wire(self) -> pb::ThreadsRequest {
        pb::ThreadsRequest {
            org: self.org.to_wire(),
            identities: self.identities.to_wire(),
            unreplied: self.unreplied,
            page: self.page,
            size: self.size,
        }
    }

    fn from_wire(m: pb::ThreadsRequest) -> Result<Self, Malformed> {
        Ok(Self {
            org: read(m.org)?,
            identities: read(m.identities)?,
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
