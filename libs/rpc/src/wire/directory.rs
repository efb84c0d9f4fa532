use model::UserId;

use super::{Malformed, Wire, given, read};
use crate::pb;
use contract::persistence::{AgentCard, AgentStatus, DeskEntry, DirectoryChange, DirectoryUid, Listed};
use pb::directory_change_request::Change;

impl Wire for AgentStatus {
    type Message = i32;

    fn to_wire(self) -> i32 {
        match self {
            AgentStatus::Available => pb::AgentStatus::Available.into(),
            AgentStatus::Away => pb::AgentStatus::Away.into(),
        }
    }

    fn from_wire(m: i32) -> Result<Self, Malformed> {
        match pb::AgentStatus::try_from(m) {
            Ok(pb::AgentStatus::Available | pb::AgentStatus::Unspecified) => Ok(AgentStatus::Available),
            Ok(pb::AgentStatus::Away) => Ok(AgentStatus::Away),
            Err(_) => Err(Malformed::new(
                "the status of an agent",
                format!("{m} is none that is known"),
            )),
        }
    }
}

impl Wire for DirectoryUid {
    type Message = pb::DirectoryUid;

    fn to_wire(self) -> pb::DirectoryUid {
        let (what, kind) = match self {
            DirectoryUid::Agent => (pb::DirectoryWhat::Agent, 0),
            DirectoryUid::User => (pb::DirectoryWhat::User, 0),
            DirectoryUid::Desk(kind) => (pb::DirectoryWhat::Desk, kind.to_wire()),
        };
        let what = what.into();
        pb::DirectoryUid { what, kind }
    }

    fn from_wire(m: pb::DirectoryUid) -> Result<Self, Malformed> {
        match pb::DirectoryWhat::try_from(m.what) {
            Ok(pb::DirectoryWhat::Agent) => Ok(DirectoryUid::Agent),
            Ok(pb::DirectoryWhat::User) => Ok(DirectoryUid::User),
            Ok(pb::DirectoryWhat::Desk) => Ok(DirectoryUid::Desk(read(m.kind)?)),
            Ok(pb::DirectoryWhat::Unspecified) | Err(_) => {
                let why = format!("{} is nothing that is known", m.what);
                Err(Malformed::new("what a uid is", why))
            }
        }
    }
}

impl Wire for DeskEntry {
    type Message = pb::DeskEntry;

    fn to_wire(self) -> pb::DeskEntry {
        pb::DeskEntry {
            card: Some(self.card.to_wire()),
            kind: self.kind.to_wire(),
            agents: self.agents.to_wire(),
        }
    }

    fn from_wire(m: pb::DeskEntry) -> Result<Self, Malformed> {
        Ok(Self {
            card: given("the card of a desk", m.card)?,
            kind: read(m.kind)?,
            agents: read(m.agents)?,
        })
    }
}

/// Agents without a total.
pub(crate) struct Agents(pub Vec<AgentCard>);

impl Wire for Agents {
    type Message = pb::AgentsAnswer;

    fn to_wire(self) -> pb::AgentsAnswer {
        pb::AgentsAnswer {
            agents: self.0.to_wire(),
            total: 0,
        }
    }

    fn from_wire(m: pb::AgentsAnswer) -> Result<Self, Malformed> {
        Ok(Self(read(m.agents)?))
    }
}

impl Wire for Listed<AgentCard> {
    type Message = pb::AgentsAnswer;

    fn to_wire(self) -> pb::AgentsAnswer {
        pb::AgentsAnswer {
            agents: self.entries.to_wire(),
            total: self.total,
        }
    }

    fn from_wire(m: pb::AgentsAnswer) -> Result<Self, Malformed> {
        Ok(Self {
            entries: read(m.agents)?,
            total: m.total,
        })
    }
}

impl Wire for Listed<DeskEntry> {
    type Message = pb::DesksAnswer;

    fn to_wire(self) -> pb::DesksAnswer {
        pb::DesksAnswer {
            desks: self.entries.to_wire(),
            total: self.total,
        }
    }

    fn from_wire(m: pb::DesksAnswer) -> Result<Self, Malformed> {
        Ok(Self {
            entries: read(m.desks)?,
            total: m.total,
        })
    }
}

impl Wire for (UserId, AgentStatus) {
    type Message = pb::StatusChange;

    fn to_wire(self) -> pb::StatusChange {
        pb::StatusChange {
            agent: self.0.to_wire(),
            status: self.1.to_wire(),
        }
    }

    fn from_wire(m: pb::StatusChange) -> Result<Self, Malformed> {
        Ok((read(m.agent)?, read(m.status)?))
    }
}

impl Wire for DirectoryChange {
    type Message = Change;

    fn to_wire(self) -> Change {
        match self {
            DirectoryChange::PutAgent(agent) => Change::PutAgent(agent.to_wire()),
            DirectoryChange::PutDesk(desk) => Change::PutDesk(desk.to_wire()),
            DirectoryChange::RemoveAgent(uid) => Change::RemoveAgent(uid.to_wire()),
            DirectoryChange::RemoveDesk(uid) => Change::RemoveDesk(uid.to_wire()),
            DirectoryChange::SetStatus(uid, status) => Change::SetStatus((uid, status).to_wire()),
        }
    }

    fn from_wire(m: Change) -> Result<Self, Malformed> {
        Ok(match m {
            Change::PutAgent(agent) => DirectoryChange::PutAgent(read(agent)?),
            Change::PutDesk(desk) => DirectoryChange::PutDesk(read(desk)?),
            Change::RemoveAgent(uid) => DirectoryChange::RemoveAgent(read(uid)?),
            Change::RemoveDesk(uid) => DirectoryChange::RemoveDesk(read(uid)?),
            Change::SetStatus(change) => {
                let (uid, status) = read(change)?;
                DirectoryChange::SetStatus(uid, status)
            }
        })
    }
}
