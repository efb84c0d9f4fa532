//! What the store is asked about uids, and what it has said: for as long as a submission waits for it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use contract::persistence::{Found, MessageKey};
use model::Position;
use tokio_util::task::AbortOnDropHandle;

use crate::inbox::Answered;
use crate::lookup::key_of;

/// So many messages are asked about at once.
const AT_ONCE: usize = 1000;

/// Kept by who waits for an answer. What nobody waits for is not asked, and forgotten.
pub(crate) type Ticket = Arc<()>;

struct Asked {
    ticket: Ticket,
    /// Where the log ended when it was asked, and what was found; `None` = not yet.
    said: Option<(Position, Option<Found>)>,
}

/// The questions of one partition. There is one call at a time; what comes meanwhile is asked by the next.
#[derive(Default)]
pub(super) struct Lookups {
    asked: HashMap<u128, Asked>,
    next: VecDeque<MessageKey>,
    /// The call under way, and where the log ended when it began.
    call: Option<(Position, AbortOnDropHandle<()>)>,
}

impl Lookups {
    /// What the store has said of a message: whether it was accepted, and what it is. `forgotten`: messages up to there
    /// are not remembered any more. `None` when it has said nothing that counts.
    pub fn answer(&self, key: u128, forgotten: Position) -> Option<Option<&Found>> {
        let (at, found) = self.asked.get(&key)?.said.as_ref()?;
        // One that was accepted since the store was asked is remembered, or forgotten since.
        (forgotten <= *at).then_some(found.as_ref())
    }

    /// Has messages asked about whose answer is not known, or counts no more. Nothing is asked unless the tickets are
    /// kept.
    pub fn want(&mut self, questions: Vec<MessageKey>) -> Vec<Ticket> {
        let want = |question: MessageKey| {
            let mut is_new = false;
            let asked = self.asked.entry(key_of(&question)).or_insert_with(|| {
                is_new = true;
                Asked {
                    ticket: Ticket::default(),
                    said: None,
                }
            });
            if asked.said.take().is_some() || is_new {
                self.next.push_back(question);
            }
            asked.ticket.clone()
        };
        questions.into_iter().map(want).collect()
    }

    /// What is to be asked now: nothing while a call is under way.
    pub fn next(&mut self) -> Vec<MessageKey> {
        if self.call.is_some() || self.next.is_empty() {
            return Vec::new();
        }
        self.forget_unwanted();
        let asked = &self.asked;
        self.next.retain(|question| asked.contains_key(&key_of(question)));
        self.next.drain(..self.next.len().min(AT_ONCE)).collect()
    }

    /// A call was begun when the log ended there.
    pub fn began(&mut self, at: Position, call: AbortOnDropHandle<()>) {
        self.call = Some((at, call));
    }

    /// The call has ended. What it did not answer is asked again if somebody wants it still.
    pub fn said(&mut self, answered: Answered) {
        let Some((at, _)) = self.call.take() else {
            return;
        };
        for (key, found) in answered.found {
            if let Some(asked) = self.asked.get_mut(&key) {
                asked.said = Some((at, found));
            }
        }
        for key in answered.asked {
            let is_open = |asked: &Asked| asked.said.is_none();
            if self.asked.get(&key).is_some_and(is_open) {
                self.asked.remove(&key);
            }
        }
        self.forget_unwanted();
    }

    fn forget_unwanted(&mut self) {
        self.asked.retain(|_, asked| Arc::strong_count(&asked.ticket) > 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(uid: &str) -> MessageKey {
        MessageKey {
            org: "o".into(),
            topic: model::TopicName::trusted("t"),
            uid: uid.into(),
        }
    }

    fn at(position: u64) -> Position {
        Position(position)
    }

    async fn call(lookups: &mut Lookups, position: u64) -> Vec<String> {
        let questions = lookups.next();
        if !questions.is_empty() {
            lookups.began(at(position), AbortOnDropHandle::new(tokio::spawn(async {})));
        }
        questions.iter().map(|q| q.uid.to_string()).collect()
    }

    fn answer(lookups: &mut Lookups, asked: &[&str], found: usize) {
        let asked: Vec<u128> = asked.iter().map(|uid| key_of(&message(uid))).collect();
        let found = asked.iter().take(found).map(|key| (*key, None)).collect();
        lookups.said(Answered { asked, found });
    }

    #[tokio::test]
    async fn there_is_one_call_at_a_time_about_what_somebody_waits_for() {
        let mut lookups = Lookups::default();
        let first = lookups.want(vec![message("a"), message("b")]);
        drop(lookups.want(vec![message("nobody waits for it")]));
        assert_eq!(call(&mut lookups, 5).await, ["a", "b"]);
        let _second = lookups.want(vec![message("a"), message("c")]);
        assert_eq!(call(&mut lookups, 6).await, [""; 0], "one at a time");
        answer(&mut lookups, &["a", "b"], 2);
        let key = key_of(&message("a"));
        assert!(lookups.answer(key, at(5)).is_some());
        assert!(
            lookups.answer(key, at(6)).is_none(),
            "it may have been accepted and forgotten since"
        );
        assert_eq!(call(&mut lookups, 7).await, ["c"]);
        drop(first);
        answer(&mut lookups, &["c"], 1);
        assert_eq!(lookups.asked.len(), 2, "nobody waits for b any more");
    }

    #[tokio::test]
    async fn what_was_not_answered_is_asked_again_and_so_is_what_counts_no_more() {
        let mut lookups = Lookups::default();
        let _one = lookups.want(vec![message("a"), message("b")]);
        assert_eq!(call(&mut lookups, 5).await, ["a", "b"]);
        answer(&mut lookups, &["a", "b"], 1);
        let _two = lookups.want(vec![message("b")]);
        let _three = lookups.want(vec![message("a")]);
        assert_eq!(call(&mut lookups, 9).await, ["b", "a"]);
        answer(&mut lookups, &["b", "a"], 2);
        let known = |uid| lookups.answer(key_of(&message(uid)), at(9)).is_some();
        assert!(known("a") && known("b"));
    }

    #[tokio::test]
    async fn no_more_is_asked_at_once_than_one_call_takes() {
        let mut lookups = Lookups::default();
        let all = (0..AT_ONCE + 5).map(|n| message(&n.to_string())).collect();
        let _tickets = lookups.want(all);
        assert_eq!(call(&mut lookups, 5).await.len(), AT_ONCE);
        answer(&mut lookups, &[], 0);
        assert_eq!(call(&mut lookups, 5).await.len(), 5);
    }
}
