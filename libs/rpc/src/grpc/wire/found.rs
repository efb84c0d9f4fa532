use model::{MessageUid, UserId};

use super::{Malformed, Wire, read};
use crate::grpc::pb;
use crate::persistence::Found;

impl Wire for (UserId, MessageUid) {
    type Message = pb::SentKey;

    fn to_wire(self) -> pb::SentKey {
        pb::SentKey {
            sender: self.0.to_wire(),
            uid: self.1.to_wire(),
        }
    }

    fn from_wire(m: pb::SentKey) -> Result<Self, Malformed> {
        Ok((read(m.sender)?, read(m.uid)?))
    }
}

impl Wire for Found {
    type Message = pb::Found;

    fn to_wire(self) -> pb::Found {
        pb::Found {
            position: self.position.to_wire(),
            topic: self.topic.to_wire(),
            sender: self.sender.to_wire(),
            author: self.author.to_wire(),
            digest: self.digest,
            accepted_at: self.accepted_at.to_wire(),
        }
    }

    fn from_wire(m: pb::Found) -> Result<Self, Malformed> {
        Ok(Self {
            position: read(m.position)?,
            topic: read(m.topic)?,
            sender: read(m.sender)?,
            author: read(m.author)?,
            digest: m.digest,
            accepted_at: read(m.accepted_at)?,
        })
    }
}

/// One answer for each that was asked for. A list of optional messages has to be a list of messages with an option.
pub(crate) struct Findings(pub(crate) Vec<Option<Found>>);

impl Wire for Findings {
    type Message = pb::FoundAnswer;

    fn to_wire(self) -> pb::FoundAnswer {
        let finding = |found: Option<Found>| pb::Finding {
            found: found.to_wire(),
        };
        pb::FoundAnswer {
            findings: self.0.into_iter().map(finding).collect(),
        }
    }

    fn from_wire(m: pb::FoundAnswer) -> Result<Self, Malformed> {
        let found = m.findings.into_iter().map(|finding| read(finding.found));
        Ok(Self(found.collect::<Result<_, _>>()?))
    }
}
