//! Threads as the log shows them.

use ahash::AHashSet;
use consumer::Item;
use model::{ChatTopic, OrgId, ThreadKind, TopicName, UnixMillis};
use store::{NewThread, uid_hash};
use wire::Message;

/// Threads that were seen in the log, by a hash of org and topic: only what is not here is entered into the store, where
/// entering twice does nothing.
#[derive(Debug, Default)]
pub(crate) struct SeenThreads(AHashSet<u64>);

impl SeenThreads {
    const LIMIT: usize = 200_000;

    /// Whether the thread was not seen yet.
    fn is_new(&mut self, org: &str, topic: &str) -> bool {
        if self.0.len() >= Self::LIMIT {
            self.0.clear();
        }
        self.0.insert(uid_hash(org, topic))
    }

    /// Forgets everything: what was folded was not stored.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The thread that the message begins, if it may be the first one seen of it.
    pub fn first_seen(&mut self, item: &Item) -> Option<NewThread> {
        let entry = &item.entry;
        let topic = ChatTopic::parse(&entry.topic)?;
        let has_thread = topic.kind.is_service() || topic.kind == ThreadKind::Member;
        let party = topic.party.filter(|_| has_thread && !topic.internal)?;
        if !self.is_new(&entry.org, &entry.topic) {
            return None;
        }
        let message: Message = wire::frame::decode(entry.payload.clone()).unwrap_or_default();
        let user = if entry.author == party {
            message.user
        } else {
            message.thread.and_then(|t| t.user)
        };
        let user = user.unwrap_or_default();
        Some(NewThread {
            org: OrgId::new(&entry.org),
            topic: TopicName::trusted(&entry.topic),
            partition: item.partition,
            uid: thread_uid(&entry.org, &entry.topic),
            kind: topic.kind.type_name(),
            desk: topic.desk.to_owned(),
            party: party.to_owned(),
            nickname: user.nickname,
            avatar: user.avatar,
            agent: (topic.kind == ThreadKind::Agent).then(|| topic.desk.to_owned()),
            at: UnixMillis(entry.accepted_at),
        })
    }
}

/// The uid of the thread of a topic: the same whoever makes it.
pub(crate) fn thread_uid(org: &str, topic: &str) -> String {
    format!("{:032x}", wire::envelope::uid_key(org, "thread", topic))
}
