//! What of conversations a connection may see: the last word before anything is handed out, live or read.
//!
//! Filters bring a connection its topics; which places of a thread are its to see is a matter of its memberships, which are
//! stretches of the thread's own log. So what is decided here does not depend on when it is asked.

use ahash::AHashMap;
use model::thread::{Change, Membership};
use model::{ChatTopic, Position, TopicName, UserId};
use smallvec::SmallVec;

type Own = SmallVec<[Membership; 1]>;

/// The memberships of one connection's user. A thread that is not here is seen as its filter brings it.
#[derive(Debug, Default)]
pub(super) struct Entitlement(AHashMap<TopicName, Own>);

impl Entitlement {
    /// Whether what stands at a place of a topic is seen. What has no place is seen by those who are members now.
    pub fn sees(&self, topic: &str, position: Position) -> bool {
        if self.0.is_empty() {
            return true;
        }
        // The side channel of a thread has the thread's members.
        let Some(own) = self.0.get(ChatTopic::thread(topic)) else {
            return true;
        };
        match position {
            Position::START => own.iter().any(Membership::lasts),
            _ => own.iter().any(|m| m.covers(position)),
        }
    }

    /// Nothing of a thread is seen, whatever filter brings it, but what its memberships cover from now on.
    pub fn hide(&mut self, thread: &TopicName) {
        self.0.entry(thread.clone()).or_default();
    }

    /// Learns memberships of a thread. Those that are known are not learned twice.
    pub fn learn(&mut self, thread: &TopicName, memberships: &[Membership]) {
        let visitor = visitor(thread);
        for learned in memberships.iter().filter(|m| Some(m.member.as_str()) != visitor) {
            let own = self.0.entry(thread.clone()).or_default();
            let same = |m: &&mut Membership| m.member == learned.member && m.since == learned.since;
            match own.iter_mut().find(same) {
                // What has ended does not begin again.
                Some(known) => known.until = known.until.min(learned.until),
                None => own.push(learned.clone()),
            }
        }
    }

    /// Takes in a change of a thread: whether memberships of these uids began by it, and what had been hidden of the thread before.
    pub fn apply(
        &mut self,
        thread: &TopicName,
        position: Position,
        change: &Change,
        is_own: impl Fn(&UserId) -> bool,
    ) -> Option<Membership> {
        let visitor = visitor(thread);
        let is_own = |m: &&Membership| Some(m.member.as_str()) != visitor && is_own(&m.member);
        for ended in change.ended.iter().filter(is_own) {
            let own = self.0.entry(thread.clone()).or_default();
            let lasting = |m: &&mut Membership| m.member == ended.member && m.lasts() && m.since < position;
            if let Some(membership) = own.iter_mut().find(lasting) {
                membership.until = position;
            } else if !own.iter().any(|m| m.member == ended.member) {
                // It took part by the topic.
                own.push(Membership {
                    since: Position::START,
                    until: position,
                    ..ended.clone()
                });
            }
        }
        let mut began = None;
        for joined in change.joined.iter().filter(is_own) {
            // One who sees the whole of it by its filter is not made to see less.
            let Some(own) = self.0.get_mut(thread) else {
                continue;
            };
            let joined = joined.placed(position);
            if !own
                .iter()
                .any(|m| m.member == joined.member && m.since == joined.since)
            {
                own.push(joined.clone());
                began = Some(joined);
            }
        }
        began
    }

    /// The memberships of a thread that have ended.
    pub fn ended(&self, thread: &TopicName) -> impl Iterator<Item = &Membership> {
        let own = self.0.get(thread).into_iter().flatten();
        own.filter(|m| !m.lasts())
    }

    /// Whether there may be places of a thread that are not seen.
    pub fn hides_some_of(&self, thread: &str) -> bool {
        self.0.contains_key(thread)
    }

    /// Whether the user has been a member of a thread that is known here, and is no more.
    pub fn has_ended(&self, thread: &str) -> bool {
        self.0
            .get(ChatTopic::thread(thread))
            .is_some_and(|own| !own.iter().any(Membership::lasts))
    }

    /// Where the last membership of a thread ended, if none lasts.
    pub fn ended_at(&self, thread: &TopicName) -> Option<Position> {
        let own = self.0.get(thread)?;
        own.iter().map(|m| m.until).max().filter(|at| *at < Position::END)
    }

    /// A thread of which nothing more comes.
    pub fn forget(&mut self, thread: &TopicName) {
        self.0.remove(thread);
    }
}

/// Who the thread is about. Its own threads a visitor sees whole: its memberships hide nothing, neither from itself nor from one
/// of the staff who has the same uid.
fn visitor(thread: &TopicName) -> Option<&str> {
    ChatTopic::parse(thread)?.visitor()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::thread::{Act, ThreadStatus};

    fn member(name: &str, since: u64) -> Membership {
        Membership::from(name.into(), name.into(), Position(since))
    }

    fn change(joined: &[Membership], ended: &[&str]) -> Change {
        Change {
            act: Act::Accepted,
            expects: Position::START,
            status: ThreadStatus::Chatting,
            agent: None,
            joined: joined.to_vec(),
            ended: ended.iter().map(|name| member(name, 0)).collect(),
            staying: Vec::new(),
            offer: None,
            settled: None,
        }
    }

    #[test]
    fn a_member_sees_its_stretches_of_a_thread_and_everything_of_what_is_not_known() {
        let topic = TopicName::trusted("org/workgroup/w/v");
        let mut entitlement = Entitlement::default();
        assert!(entitlement.sees(&topic, Position(1)));
        entitlement.learn(&topic, &[member("a", 5)]);
        let sees = |e: &Entitlement, at| e.sees(&topic, Position(at));
        assert_eq!(
            [5, 6, 100, 0].map(|at| sees(&entitlement, at)),
            [false, true, true, true]
        );
        let own = |uid: &UserId| uid.as_str() == "a";
        entitlement.apply(&topic, Position(10), &change(&[], &["a"]), own);
        assert_eq!([10, 11, 0].map(|at| sees(&entitlement, at)), [true, false, false]);
        assert!(!entitlement.sees("org/workgroup/w/v_internal", Position(11)));
        assert_eq!(entitlement.ended_at(&topic), Some(Position(10)));
        let again = change(&[member("a", Position::END.0)], &["b"]);
        let began = entitlement.apply(&topic, Position(20), &again, own);
        assert_eq!(began.map(|m| m.since), Some(Position(19)));
        // Read again, in any order, it is the same.
        assert!(entitlement.apply(&topic, Position(20), &again, own).is_none());
        entitlement.apply(&topic, Position(10), &change(&[], &["a"]), own);
        assert_eq!(
            [9, 11, 19, 20, 30].map(|at| sees(&entitlement, at)),
            [true, false, false, true, true]
        );
    }

    #[test]
    fn whose_desk_it_was_before_it_connected_sees_what_it_is_given_again_only() {
        let topic = TopicName::trusted("org/agent/a/v");
        let mut entitlement = Entitlement::default();
        entitlement.hide(&topic);
        entitlement.learn(&topic, &[]);
        assert!(!entitlement.sees(&topic, Position(7)) && !entitlement.sees(&topic, Position::START));
        let own = |uid: &UserId| uid.as_str() == "a";
        let again = change(&[member("a", Position::END.0)], &["b"]);
        assert!(entitlement.apply(&topic, Position(20), &again, own).is_some());
        assert_eq!(
            [19, 20, 21].map(|at| entitlement.sees(&topic, Position(at))),
            [false, true, true]
        );
    }

    #[test]
    fn whose_desk_it_is_sees_the_whole_until_its_place_is_given_away() {
        let topic = TopicName::trusted("org/agent/a/v");
        let mut entitlement = Entitlement::default();
        let own = |uid: &UserId| uid.as_str() == "a";
        let own_or_visitor = |uid: &UserId| ["a", "v"].contains(&uid.as_str());
        entitlement.apply(
            &topic,
            Position(10),
            &change(&[member("v", 9)], &["v"]),
            own_or_visitor,
        );
        entitlement.learn(&topic, &[member("v", 9)]);
        assert!(entitlement.sees(&topic, Position(3)));
        entitlement.apply(&topic, Position(20), &change(&[member("b", 1)], &["a"]), own);
        assert_eq!(
            [3, 20, 21].map(|at| entitlement.sees(&topic, Position(at))),
            [true, true, false]
        );
        assert!(entitlement.has_ended(&topic));
    }
}
