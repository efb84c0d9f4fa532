//! Changes of threads, as the log has them.

use model::thread::{Act, Change, Membership, Offer, ThreadStatus};
use model::{Position, UnixMillis, UserId};

use crate::proto::internal as pb;

impl pb::ThreadChange {
    /// A change that was decided when the log of its partition was known up to `known`.
    pub fn of(change: &Change, known: Position) -> Self {
        Self {
            act: change.act as i32,
            expects: change.expects.0,
            known: known.0,
            status: change.status.as_str().to_owned(),
            agent: change.agent.as_ref().map(ToString::to_string).unwrap_or_default(),
            joined: change.joined.iter().map(of_membership).collect(),
            ended: change.ended.iter().map(of_membership).collect(),
            staying: change.staying.iter().map(ToString::to_string).collect(),
            offer: change.offer.as_ref().map(of_offer),
            settled: change.settled.clone().unwrap_or_default(),
        }
    }

    /// What it says; `None` when a newer writer says something that is not known here.
    pub fn to_change(&self) -> Option<Change> {
        Some(Change {
            act: Act::from_number(self.act)?,
            expects: Position(self.expects),
            status: ThreadStatus::parse(&self.status)?,
            agent: non_empty(&self.agent).map(UserId::new),
            joined: self.joined.iter().map(to_membership).collect(),
            ended: self.ended.iter().map(to_membership).collect(),
            staying: self.staying.iter().map(UserId::new).collect(),
            offer: self.offer.as_ref().map(to_offer),
            settled: non_empty(&self.settled).map(str::to_owned),
        })
    }

    /// The notice of a membership that began or ended, for the user's own topic. `None` when it names none, or is no notice.
    pub fn to_notice(&self) -> Option<Membership> {
        self.joined.first().or(self.ended.first()).map(to_membership)
    }

    /// A notice of this membership.
    pub fn notice(membership: &Membership) -> Self {
        let membership_of = vec![of_membership(membership)];
        let (joined, ended) = match membership.lasts() {
            true => (membership_of, Vec::new()),
            false => (Vec::new(), membership_of),
        };
        Self {
            joined,
            ended,
            ..Self::default()
        }
    }
}

fn non_empty(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn of_membership(m: &Membership) -> pb::Membership {
    pb::Membership {
        member: m.member.to_string(),
        user: m.user.to_string(),
        since: m.since.0,
        until: m.until.0,
    }
}

fn to_membership(m: &pb::Membership) -> Membership {
    Membership {
        member: UserId::new(&m.member),
        user: UserId::new(&m.user),
        since: Position(m.since),
        until: Position(m.until),
    }
}

fn of_offer(offer: &Offer) -> pb::Offer {
    pb::Offer {
        uid: offer.uid.clone(),
        invitation: offer.is_invitation,
        from: offer.from.to_string(),
        to: offer.to.iter().map(ToString::to_string).collect(),
        expires_at: offer.expires_at.0,
    }
}

fn to_offer(offer: &pb::Offer) -> Offer {
    Offer {
        uid: offer.uid.clone(),
        is_invitation: offer.invitation,
        from: UserId::new(&offer.from),
        to: offer.to.iter().map(UserId::new).collect(),
        expires_at: UnixMillis(offer.expires_at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_read_as_it_was_written() {
        let uid = UserId::new;
        let member = Membership::from(uid("a"), uid("u"), Position::END);
        let change = Change {
            act: Act::Accepted,
            expects: Position(7),
            status: ThreadStatus::Chatting,
            agent: Some(uid("a")),
            joined: vec![member.clone()],
            ended: vec![Membership {
                until: Position(9),
                since: Position(3),
                ..member.clone()
            }],
            staying: vec![uid("u")],
            offer: Some(Offer {
                uid: "o".into(),
                is_invitation: true,
                from: uid("b"),
                to: vec![uid("a")],
                expires_at: UnixMillis(5),
            }),
            settled: Some("s".into()),
        };
        let written = pb::ThreadChange::of(&change, Position(8));
        assert_eq!((written.to_change(), written.known), (Some(change), 8));
        assert_eq!(pb::ThreadChange::notice(&member).to_notice(), Some(member));
        assert_eq!(pb::ThreadChange::default().to_change(), None);
    }
}
