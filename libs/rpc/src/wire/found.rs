use super::{Malformed, Wire, read};
use crate::pb;
use contract::persistence::{Found, FoundKind, MessageKey, SeenUid, UidPage};

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
            kind: self.kind.to_wire(),
            r#type: self.r#type,
            recalled: self.recalled,
            state: self.state.to_wire(),
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
            kind: read(m.kind)?,
            r#type: m.r#type,
            recalled: m.recalled,
            state: read(m.state)?,
        })
    }
}

impl Wire for FoundKind {
    type Message = i32;

    fn to_wire(self) -> i32 {
        let kind = match self {
            FoundKind::Chat => pb::FoundKind::Chat,
            FoundKind::Stream => pb::FoundKind::Stream,
            FoundKind::Recall => pb::FoundKind::Recall,
        };
        kind.into()
    }

    fn from_wire(m: i32) -> Result<Self, Malformed> {
        let known = pb::FoundKind::try_from(m);
        Ok(
            match known.map_err(|error| Malformed::new("the kind of a message", error))? {
                pb::FoundKind::Chat => FoundKind::Chat,
                pb::FoundKind::Stream => FoundKind::Stream,
                pb::FoundKind::Recall => FoundKind::Recall,
            },
        )
    }
}

impl Wire for MessageKey {
    type Message = pb::MessageKey;

    fn to_wire(self) -> pb::MessageKey {
        pb::MessageKey {
            org: self.org.to_wire(),
            topic: self.topic.to_wire(),
            uid: self.uid.to_wire(),
        }
    }

    fn from_wire(m: pb::MessageKey) -> Result<Self, Malformed> {
        Ok(Self {
            org: read(m.org)?,
            topic: read(m.topic)?,
            uid: read(m.uid)?,
        })
    }
}

impl Wire for SeenUid {
    type Message = pb::SeenUid;

    fn to_wire(self) -> pb::SeenUid {
        pb::SeenUid {
            position: self.position.to_wire(),
            key_high: (self.key >> 64) as u64,
            key_low: self.key as u64,
            accepted_at: self.accepted_at.to_wire(),
        }
    }

    fn from_wire(m: pb::SeenUid) -> Result<Self, Malformed> {
        Ok(Self {
            position: read(m.position)?,
            key: u128::from(m.key_high) << 64 | u128::from(m.key_low),
            accepted_at: read(m.accepted_at)?,
        })
    }
}

impl Wire for UidPage {
    type Message = pb::UidPage;

    fn to_wire(self) -> pb::UidPage {
        pb::UidPage {
            uids: self.uids.to_wire(),
            next: self.next.to_wire(),
            more: self.more,
        }
    }

    fn from_wire(m: pb::UidPage) -> Result<Self, Malformed> {
        Ok(Self {
            uids: read(m.uids)?,
            next: read(m.next)?,
            more: m.more,
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
