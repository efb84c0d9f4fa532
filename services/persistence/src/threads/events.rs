//! What the log says of threads: events for the store.

use ahash::AHashSet;
use consumer::Item;
use model::{ChatTopic, OrgId, Role, ThreadKind, TopicName, UnixMillis, is_countable};
use store::{NewThread, ThreadEvent, uid_hash};
use wire::Message;
use wire::envelope::thread_uid;

/// Threads in which it means nothing to the store when somebody speaks, by a hash of org and topic: they are open, or are about
/// to be. Only what is not here is told, where telling twice does nothing.
#[derive(Debug, Default)]
pub(crate) struct Threads(AHashSet<u64>);

impl Threads {
    const LIMIT: usize = 200_000;

    /// Forgets everything: what was folded was not stored.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// What an entry does to the thread of its topic, if anything.
    pub fn event(&mut self, item: &Item) -> Option<ThreadEvent> {
        let entry = &item.entry;
        let topic = ChatTopic::parse(&entry.topic)?;
        let has_life = topic.kind.is_service();
        let has_thread = has_life || topic.kind == ThreadKind::Member;
        let party = topic.party.filter(|_| has_thread && !topic.internal)?;
        let key = uid_hash(&entry.org, &entry.topic);
        let change = entry.change.as_ref().and_then(wire::ThreadChange::to_change);
        match &change {
            Some(change) if change.status == model::thread::ThreadStatus::Closed => {
                self.0.remove(&key);
            }
            Some(_) => self.remember(key),
            // What the server, or a service, says is no answer and no question.
            None if has_life && !(is_person(entry.sender_role) && is_countable(&entry.r#type)) => {
                return None;
            }
            None if self.0.contains(&key) => return None,
            None => self.remember(key),
        }
        let message: Message = wire::frame::decode(entry.payload.clone()).unwrap_or_default();
        let user = match entry.author == party {
            true => message.user,
            false => message.thread.and_then(|t| t.user),
        };
        let user = user.unwrap_or_default();
        let thread = NewThread {
            org: OrgId::new(&entry.org),
            topic: TopicName::trusted(&entry.topic),
            partition: item.partition,
            uid: thread_uid(&entry.org, &TopicName::trusted(&entry.topic)),
            kind: topic.kind.type_name(),
            desk: topic.desk.to_owned(),
            party: party.to_owned(),
            nickname: user.nickname,
            avatar: user.avatar,
            has_life,
            at: UnixMillis(entry.accepted_at),
        };
        Some(ThreadEvent {
            thread,
            position: item.position,
            change,
        })
    }

    fn remember(&mut self, key: u64) {
        if self.0.len() >= Self::LIMIT {
            self.0.clear();
        }
        self.0.insert(key);
    }
}

/// Whether a role is one of people.
fn is_person(role: u32) -> bool {
    [Role::Agent, Role::Visitor, Role::Admin]
        .iter()
        .any(|person| person.number() == role)
}
