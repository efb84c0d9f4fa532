//! An entry on its way to connections of this edge: decoded once, spelled once per protocol, shared by all.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use model::thread::{Change, Membership};
use model::{
    ChatTopic, PartitionId, Position, Principal, TopicName, UnixMillis, Visibility, is_visible_to_role,
};
use wire::envelope::{self, Stamp};
use wire::{Entry, Kind, Message, ThreadChange};

/// An entry with its place.
#[derive(Debug)]
pub struct Delivery {
    /// Its partition.
    pub partition: PartitionId,
    /// Its position; [`Position::START`] for what is not in the log.
    pub position: Position,
    /// The position before it in its topic, when known.
    pub prev: Option<Position>,
    /// The entry.
    pub entry: Arc<Entry>,
    suffix: OnceLock<Bytes>,
    json: OnceLock<Bytes>,
    reversed: OnceLock<Reversed>,
}

/// A colleague thread as the other colleague sees it.
#[derive(Debug)]
struct Reversed {
    topic: TopicName,
    base: Bytes,
    json: OnceLock<Bytes>,
}

/// What is written to a client: where, and what.
#[derive(Debug, Clone)]
pub struct View<'a> {
    /// The topic as this client knows it.
    pub topic: &'a str,
    /// For MQTT: the bytes of the envelope (or the opaque application message) …
    pub base: &'a Bytes,
    /// … and what follows them; empty for opaque messages.
    pub suffix: &'a [u8],
}

impl Delivery {
    /// An entry at its place.
    pub fn new(
        partition: PartitionId,
        position: Position,
        prev: Option<Position>,
        entry: impl Into<Arc<Entry>>,
    ) -> Self {
        let (suffix, json, reversed) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Self {
            partition,
            position,
            prev,
            entry: entry.into(),
            suffix,
            json,
            reversed,
        }
    }

    /// An entry that was read from `whole` bytes, a frame or a page. It keeps them in memory only if it is a good part of them.
    pub fn out_of(
        whole: usize,
        partition: PartitionId,
        position: Position,
        prev: Option<Position>,
        mut entry: Entry,
    ) -> Self {
        entry.detach(whole);
        Self::new(partition, position, prev, entry)
    }

    /// About how many bytes it keeps in memory; at most [`Entry::PINNED`] times as many in fact.
    pub fn cost(&self) -> usize {
        self.entry.cost()
    }

    /// Whether its payload is the chat envelope.
    pub fn is_chat(&self) -> bool {
        !matches!(
            self.entry.known_kind(),
            Kind::Generic | Kind::Membership | Kind::Unspecified
        )
    }

    /// Whether it concerns clients at all: membership entries are for the edge.
    pub fn is_for_clients(&self) -> bool {
        !matches!(self.entry.known_kind(), Kind::Membership | Kind::Unspecified)
    }

    /// What it changes in the life of its thread.
    pub fn change(&self) -> Option<Change> {
        self.entry.change.as_ref()?.to_change()
    }

    /// The membership of the user on whose own topic it stands, if it is the notice of one.
    pub fn notice(&self) -> Option<Membership> {
        let notice = self.entry.change.as_ref().and_then(ThreadChange::to_notice);
        // Those of older writers say no more than where a membership began.
        notice.or_else(|| {
            let since = Position(self.entry.upto);
            let began = self.entry.known_kind() == Kind::Membership && self.entry.state == 1;
            began.then(|| Membership::from("".into(), "".into(), since))
        })
    }

    /// Whether the role of `who` may be shown it. Asked last, for every entry and every way it comes.
    pub fn is_visible_to(&self, who: &Principal) -> bool {
        is_visible_to_role(who.role, &self.entry.topic, &self.entry.r#type) == Visibility::Shown
    }

    /// Whether its message expiry interval has passed.
    pub fn is_expired(&self, now: UnixMillis) -> bool {
        self.entry.expires_at != 0 && self.entry.expires_at <= now.0
    }

    fn stamp(&self) -> Stamp {
        Stamp {
            position: self.position,
            prev: self.prev,
            timestamp: UnixMillis(self.entry.accepted_at),
        }
    }

    /// What an MQTT client gets.
    pub fn mqtt(&self, who: &Principal) -> View<'_> {
        if !self.is_chat() {
            return View {
                topic: &self.entry.topic,
                base: &self.entry.payload,
                suffix: &[],
            };
        }
        let suffix = self.suffix.get_or_init(|| envelope::stamp_suffix(&self.stamp()));
        match self.other_side_for(who) {
            Some(r) => View {
                topic: r.topic.as_str(),
                base: &r.base,
                suffix,
            },
            None => View {
                topic: self.written_topic(),
                base: &self.entry.payload,
                suffix,
            },
        }
    }

    /// What a STOMP or HTTP client gets: the topic and the JSON (an opaque message as it is).
    pub fn json(&self, who: &Principal) -> (&str, Bytes) {
        if !self.is_chat() {
            return (&self.entry.topic, self.entry.payload.clone());
        }
        let spell = |payload: &Bytes| match envelope::parse(payload) {
            Ok(message) => Bytes::from(envelope::to_json(&message, &self.stamp())),
            Err(_) => Bytes::from_static(b"{}"),
        };
        match self.other_side_for(who) {
            Some(r) => (r.topic.as_str(), r.json.get_or_init(|| spell(&r.base)).clone()),
            None => (
                self.written_topic(),
                self.json.get_or_init(|| spell(&self.entry.payload)).clone(),
            ),
        }
    }

    /// The entry's topic is the canonical one, its payload is as its author wrote it. Whoever sees a colleague thread
    /// from another side gets the topic, the thread uid and the other party's card reversed.
    fn other_side_for(&self, who: &Principal) -> Option<&Reversed> {
        let parties = ChatTopic::parse(&self.entry.topic).filter(|t| t.kind == model::ThreadKind::Member)?;
        if who.acts_as(parties.desk) && parties.party.is_some_and(|p| who.acts_as(p)) {
            return None;
        }
        let seen = ChatTopic::seen_by(&self.entry.topic, who.identities());
        let seen = seen.as_deref().unwrap_or(&self.entry.topic);
        (seen != self.written_topic()).then(|| {
            self.reversed
                .get_or_init(|| self.reverse(TopicName::trusted(seen)))
        })
    }

    fn written_topic(&self) -> &str {
        if self.entry.written_topic.is_empty() {
            &self.entry.topic
        } else {
            &self.entry.written_topic
        }
    }

    fn reverse(&self, topic: TopicName) -> Reversed {
        let base = match envelope::parse(&self.entry.payload) {
            Ok(message) => envelope::encode(&reverse(message, &topic)),
            Err(_) => self.entry.payload.clone(),
        };
        Reversed {
            topic,
            base,
            json: OnceLock::new(),
        }
    }
}

fn reverse(mut message: Message, topic: &TopicName) -> Message {
    let user = message.user.clone();
    if let Some(thread) = &mut message.thread {
        thread.topic = topic.to_string();
        thread.uid = envelope::other_side(&thread.uid);
        thread.user = user;
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{OrgId, Origin, Role, UserId};
    use wire::{Thread, User};

    #[test]
    fn each_colleague_sees_the_thread_from_its_own_side() {
        let payload = envelope::encode(&envelope::normalise(Message {
            uid: "1".into(),
            r#type: "TEXT".into(),
            thread: Some(Thread {
                uid: "xyz".into(),
                topic: "org/member/b/a".into(),
                ..Thread::default()
            }),
            user: Some(User {
                uid: "b".into(),
                ..User::default()
            }),
            ..Message::default()
        }));
        let entry = Entry {
            kind: Kind::Chat.into(),
            topic: "org/member/a/b".into(),
            written_topic: "org/member/b/a".into(),
            author: "b".into(),
            payload,
            ..Entry::default()
        };
        let d = Delivery::new(PartitionId(0), Position(1), None, entry);
        let who = |uid: &str| Principal::new(OrgId::new("o"), UserId::new(uid), Role::Agent, Origin::Token);
        assert_eq!(d.mqtt(&who("b")).topic, "org/member/b/a");
        let a = who("a");
        let seen = d.mqtt(&a);
        let message = envelope::parse(seen.base).unwrap();
        let thread = message.thread.unwrap();
        assert_eq!(
            (seen.topic, thread.topic.as_str(), thread.uid.as_str()),
            ("org/member/a/b", "org/member/a/b", "zyx")
        );
        assert_eq!(thread.user.unwrap().uid, "b");
        assert_eq!(d.json(&a).0, "org/member/a/b");
    }
}
