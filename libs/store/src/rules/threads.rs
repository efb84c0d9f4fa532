//! Who has part in a thread, what it is when it is first heard of, and with which agent a place is taken.
//!
//! A user *takes part* in a thread under any of its identities: as its visitor (or second member); as its desk, but for
//! that of a workgroup, which its agents have as members, and but for one that others have had, which is *overridden*: there
//! the desk's own agent has what its memberships give. Or as a member, for as long as the membership lasts; what has ended is
//! still listed, and nothing is unread there. Messages count from the position of joining on; in what a user takes part by
//! several ways, the earliest counts. Both stores ask their tables so.

use contract::persistence::MemberTopic;
use model::thread::{Membership, Thread, ThreadStatus};
use model::{Position, UserId};

use crate::{Place, StoreError, ThreadEvent};

/// What a thread is doing that has had no change: one without a life is there for ever.
pub(crate) fn first_status(has_life: bool) -> ThreadStatus {
    match has_life {
        true => ThreadStatus::New,
        false => ThreadStatus::Chatting,
    }
}

/// Reads a stored status.
pub(crate) fn status(name: &str) -> Result<ThreadStatus, StoreError> {
    ThreadStatus::parse(name).ok_or_else(|| StoreError::Damaged {
        table: "threads",
        what: format!("`{name}` is no status of a thread"),
    })
}

/// Whether a change takes a thread from the agent whose own desk it is: from here on that agent sees what its memberships
/// give.
pub(crate) fn overrides(event: &ThreadEvent) -> bool {
    let is_desk = |m: &Membership| m.member.as_str() == event.thread.desk;
    let ended = event.change.iter().flat_map(|change| &change.ended);
    event.thread.kind == "AGENT" && ended.into_iter().any(is_desk)
}

/// With whom a place is taken: of those with room the one who has the fewest, of several the first. `has` in their order.
pub(crate) fn fewest(places: &[Place], has: impl IntoIterator<Item = u64>) -> Option<&Place> {
    let with_room = places.iter().zip(has).filter(|(p, has)| *has < u64::from(p.most));
    with_room.min_by_key(|(_, has)| *has).map(|(place, _)| place)
}

/// Each once: what is asked for by identity would be there twice otherwise.
pub(crate) fn each_once(mut identities: Vec<UserId>) -> Vec<UserId> {
    identities.sort_unstable();
    identities.dedup();
    identities
}

/// Memberships in the order of their places.
pub(crate) fn ascending(mut topic: MemberTopic) -> MemberTopic {
    topic.memberships.sort_by_key(|m| (m.since, m.until));
    topic
}

/// What a thread's row says of its life; its members and offers are in other tables.
pub(crate) struct Life {
    pub status: String,
    pub agent: Option<String>,
    pub version: u64,
    /// The agent whose own desk it is at.
    pub desk_agent: Option<UserId>,
    /// Others had that agent's place.
    pub overridden: bool,
}

impl Life {
    /// The whole. Whoever's desk it is takes part by the topic; under which user is not known here.
    pub fn of(
        self,
        mut members: Vec<Membership>,
        offers: Vec<model::thread::Offer>,
    ) -> Result<Thread, StoreError> {
        let by_topic = self.desk_agent.clone().filter(|_| !self.overridden);
        members.extend(by_topic.map(|desk| Membership::from(desk.clone(), desk, Position::START)));
        Ok(Thread {
            version: Position(self.version),
            status: status(&self.status)?,
            agent: self.agent.map(UserId::from),
            desk_agent: self.desk_agent,
            members,
            offers,
        })
    }
}

/// The agent whose own desk a thread is at.
pub(crate) fn desk_agent(kind: &str, desk: &str) -> Option<UserId> {
    (kind == "AGENT").then(|| UserId::from(desk))
}

/// A membership that ended and had no row: whoever had it took part by the topic.
pub(crate) fn ended_by_topic(ended: &Membership, at: Position) -> Membership {
    Membership {
        until: at,
        ..ended.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_taken_with_who_has_the_fewest_and_has_room() {
        let place = |name: &str, most| Place {
            agent: name.into(),
            most,
        };
        let all = [place("a", 2), place("b", 2), place("c", 9)];
        for (has, chosen) in [
            ([1, 0, 3], Some("b")),
            ([1, 1, 1], Some("a")),
            ([2, 1, 1], Some("b")),
            ([2, 2, 8], Some("c")),
            ([2, 2, 9], None),
            ([7, 3, 10], None),
        ] {
            let found = fewest(&all, has).map(|place| place.agent.as_str());
            assert_eq!(found, chosen, "{has:?}");
        }
        assert_eq!(fewest(&[], []), None);
        assert_eq!(
            fewest(&[place("a", 0)], [0]),
            None,
            "who may have none has no room"
        );
    }
}
