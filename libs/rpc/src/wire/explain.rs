use model::{Position, ReceiptKind, Role};

use super::{Malformed, Wire, read};
use crate::pb;
use crate::pb::explained_recipient::Tie as PbTie;
use contract::persistence::{
    ExplainRequest, Explained, ExplainedMember, ExplainedReceipt, ExplainedRecipient, StoredSession, Tie,
};

/// `None`: a service, or not known.
impl Wire for Option<Role> {
    type Message = i32;

    fn to_wire(self) -> i32 {
        let role = match self {
            None => pb::Role::None,
            Some(Role::Agent) => pb::Role::Agent,
            Some(Role::Visitor) => pb::Role::Visitor,
            Some(Role::Admin) => pb::Role::Admin,
            Some(Role::Service) => pb::Role::Service,
        };
        role.into()
    }

    fn from_wire(m: i32) -> Result<Self, Malformed> {
        Ok(
            match pb::Role::try_from(m).map_err(|error| Malformed::new("a role", error))? {
                pb::Role::None => None,
                pb::Role::Agent => Some(Role::Agent),
                pb::Role::Visitor => Some(Role::Visitor),
                pb::Role::Admin => Some(Role::Admin),
                pb::Role::Service => Some(Role::Service),
            },
        )
    }
}

impl Wire for ExplainRequest {
    type Message = pb::ExplainRequest;

    fn to_wire(self) -> pb::ExplainRequest {
        pb::ExplainRequest {
            org: self.org.to_wire(),
            uid: self.uid.to_wire(),
            also: self.also.to_wire(),
        }
    }

    fn from_wire(m: pb::ExplainRequest) -> Result<Self, Malformed> {
        Ok(Self {
            org: read(m.org)?,
            uid: read(m.uid)?,
            also: read(m.also)?,
        })
    }
}

impl Wire for Explained {
    type Message = pb::Explained;

    fn to_wire(self) -> pb::Explained {
        pb::Explained {
            partition: self.partition.to_wire(),
            position: self.position.to_wire(),
            parts: self.parts,
            topic: self.topic.to_wire(),
            sender: self.sender.to_wire(),
            sender_role: self.sender_role.to_wire(),
            author: self.author.to_wire(),
            kind: self.kind,
            accepted_at: self.accepted_at.to_wire(),
            recalled: self.recalled,
            in_history: self.in_history,
            state: self.state.to_wire(),
            receipts: self.receipts.to_wire(),
            members: self.members.to_wire(),
            recipients: self.recipients.to_wire(),
        }
    }

    fn from_wire(m: pb::Explained) -> Result<Self, Malformed> {
        Ok(Self {
            partition: read(m.partition)?,
            position: read(m.position)?,
            parts: m.parts,
            topic: read(m.topic)?,
            sender: read(m.sender)?,
            sender_role: read(m.sender_role)?,
            author: read(m.author)?,
            kind: m.kind,
            accepted_at: read(m.accepted_at)?,
            recalled: m.recalled,
            in_history: m.in_history,
            state: read(m.state)?,
            receipts: read(m.receipts)?,
            members: read(m.members)?,
            recipients: read(m.recipients)?,
        })
    }
}

impl Wire for ExplainedReceipt {
    type Message = pb::ExplainedReceipt;

    fn to_wire(self) -> pb::ExplainedReceipt {
        pb::ExplainedReceipt {
            by: self.by.to_wire(),
            state: Some(self.state).to_wire(),
            position: self.position.to_wire(),
        }
    }

    fn from_wire(m: pb::ExplainedReceipt) -> Result<Self, Malformed> {
        let state: Option<ReceiptKind> = read(m.state)?;
        Ok(Self {
            by: read(m.by)?,
            state: state.ok_or_else(|| Malformed::new("a receipt", "it does not say which"))?,
            position: read(m.position)?,
        })
    }
}

impl Wire for ExplainedMember {
    type Message = pb::ExplainedMember;

    fn to_wire(self) -> pb::ExplainedMember {
        pb::ExplainedMember {
            uid: self.uid.to_wire(),
            since: self.since.to_wire(),
        }
    }

    fn from_wire(m: pb::ExplainedMember) -> Result<Self, Malformed> {
        Ok(Self {
            uid: read(m.uid)?,
            since: read(m.since)?,
        })
    }
}

impl Wire for ExplainedRecipient {
    type Message = pb::ExplainedRecipient;

    fn to_wire(self) -> pb::ExplainedRecipient {
        let (tie, since) = match self.tie {
            Tie::Stranger => (PbTie::Stranger, Position::default()),
            Tie::Topic => (PbTie::Topic, Position::default()),
            Tie::Member(since) => (PbTie::Member, since),
            Tie::Reader => (PbTie::Reader, Position::default()),
            Tie::Left => (PbTie::Left, Position::default()),
        };
        pb::ExplainedRecipient {
            user: self.user.to_wire(),
            role: self.role.to_wire(),
            aliases: self.aliases.to_wire(),
            tie: tie.into(),
            since: since.to_wire(),
            sessions: self.sessions.to_wire(),
        }
    }

    fn from_wire(m: pb::ExplainedRecipient) -> Result<Self, Malformed> {
        let tie =
            PbTie::try_from(m.tie).map_err(|error| Malformed::new("what ties a user to a thread", error))?;
        Ok(Self {
            user: read(m.user)?,
            role: read(m.role)?,
            aliases: read(m.aliases)?,
            tie: match tie {
                PbTie::Stranger => Tie::Stranger,
                PbTie::Topic => Tie::Topic,
                PbTie::Member => Tie::Member(read(m.since)?),
                PbTie::Reader => Tie::Reader,
                PbTie::Left => Tie::Left,
            },
            sessions: read(m.sessions)?,
        })
    }
}

impl Wire for StoredSession {
    type Message = pb::StoredSession;

    fn to_wire(self) -> pb::StoredSession {
        pb::StoredSession {
            client: self.client.to_wire(),
            epoch: self.epoch,
            edge: self.edge.to_wire(),
            connected: self.connected,
            began_at: self.began_at.to_wire(),
            offline_since: self.offline_since.to_wire(),
            expires_at: self.expires_at.to_wire(),
            state: self.state,
        }
    }

    fn from_wire(m: pb::StoredSession) -> Result<Self, Malformed> {
        Ok(Self {
            client: read(m.client)?,
            epoch: m.epoch,
            edge: read(m.edge)?,
            connected: m.connected,
            began_at: read(m.began_at)?,
            offline_since: read(m.offline_since)?,
            expires_at: read(m.expires_at)?,
            state: m.state,
        })
    }
}
