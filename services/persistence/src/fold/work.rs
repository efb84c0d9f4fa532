//! A batch as far as it is folded.

use ahash::AHashMap;
use consumer::Item;
use model::{ChatTopic, OrgId, PartitionId, TopicName, UnixMillis, is_countable};
use store::{
    Flags, LogBatch, MessageId, NewMessage, NewRetained, Rewrite, Stored, StreamTarget, StreamText, uid_hash,
    uid_of,
};
use wire::{Entry, Kind};

use super::alarm::Repeated;
use crate::metrics::{Metrics, Outcome};
use crate::threads::Threads;

/// What is configured of applying.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Whether opaque publishes are in history.
    pub generic_history: bool,
}

/// With what says that the message counts as unread, if it does.
pub(super) fn countable(entry: &Entry, flags: Flags) -> Flags {
    match is_countable(&entry.r#type) {
        true => flags.with(Flags::COUNTABLE),
        false => flags,
    }
}

/// A streamed answer as far as this batch has brought it.
pub(super) struct Stream {
    pub target: StreamTarget,
    pub whole: Entry,
    pub changed: bool,
    pub recalled: bool,
}

/// A uid of a topic: partition, hash of (org, uid), topic.
type StreamKey = (PartitionId, u64, String);

pub(super) struct Work<'a> {
    policy: Policy,
    threads: &'a mut Threads,
    pub batch: LogBatch,
    /// What this batch appends under each uid, by partition and hash of (org, uid).
    by_uid: AHashMap<(PartitionId, u64), Vec<usize>>,
    /// Stored messages as this batch leaves them.
    rewrites: AHashMap<MessageId, (Entry, Flags)>,
    streams: AHashMap<StreamKey, Stream>,
    retained: AHashMap<(String, String), NewRetained>,
    pub repeated: Repeated,
}

/// Whether it is a message of its own, and not more of one.
pub(super) fn is_message(entry: &Entry, flags: Flags) -> bool {
    match entry.known_kind() {
        Kind::Chat | Kind::Recall => true,
        Kind::StreamPart => !flags.has(Flags::PART),
        _ => false,
    }
}

impl<'a> Work<'a> {
    pub fn new(items: usize, policy: Policy, threads: &'a mut Threads) -> Self {
        let messages = Vec::with_capacity(items);
        Self {
            policy,
            threads,
            batch: LogBatch {
                messages,
                ..LogBatch::default()
            },
            by_uid: AHashMap::with_capacity(items),
            rewrites: AHashMap::new(),
            streams: AHashMap::new(),
            retained: AHashMap::new(),
            repeated: Repeated::default(),
        }
    }

    /// Appends a message, and what it does to its thread.
    pub fn message(&mut self, item: Item, flags: Flags) {
        self.batch.threads.extend(self.threads.event(&item));
        self.push(item, flags);
    }

    /// Appends a change of a thread that says nothing, or the notice of a membership.
    pub fn membership(&mut self, item: Item) {
        if item.entry.change.as_ref().is_some_and(|change| change.act != 0) {
            self.batch.threads.extend(self.threads.event(&item));
        }
        self.push(item, Flags::default());
    }

    /// Appends an entry.
    pub fn push(&mut self, item: Item, flags: Flags) {
        let Item {
            partition,
            position,
            bytes,
            entry,
        } = item;
        let uid = uid_of(&entry);
        let has_uid =
            is_message(&entry, flags) || matches!(entry.known_kind(), Kind::StreamPart | Kind::Edit);
        if has_uid && !uid.is_empty() {
            let key = (partition, uid_hash(&entry.org, uid));
            let here = self.by_uid.entry(key).or_default();
            // What is at hand anyway: no message pays for a look into the store.
            if !here.is_empty() && is_message(&entry, flags) {
                let same = |m: &&NewMessage| is_message(&m.entry, m.flags) && is_same(&m.entry, &entry);
                let first = here.iter().map(|i| &self.batch.messages[*i]).find(same);
                if let Some(first) = first {
                    self.repeated.note(&entry, first.position, position);
                }
            }
            here.push(self.batch.messages.len());
        }
        self.batch.messages.push(NewMessage {
            partition,
            position,
            flags,
            entry,
            bytes,
        });
    }

    /// What this batch appends under a uid of a topic, in order.
    pub fn here(&self, partition: PartitionId, org: &str, topic: &str, uid: &str) -> Vec<usize> {
        let key = (partition, uid_hash(org, uid));
        let is_meant = |i: &usize| {
            let entry = &self.batch.messages[*i].entry;
            uid_of(entry) == uid && entry.topic == topic && entry.org == org
        };
        let here = self.by_uid.get(&key).into_iter().flatten().copied();
        here.filter(is_meant).collect()
    }

    /// A stored message as this batch has left it so far.
    pub fn current(&self, stored: &Stored) -> (Entry, Flags) {
        let changed = self.rewrites.get(&stored.id).cloned();
        changed.unwrap_or_else(|| (stored.entry.clone(), stored.flags))
    }

    /// Changes a stored message.
    pub fn rewrite(&mut self, id: MessageId, entry: Entry, flags: Flags) {
        self.rewrites.insert(id, (entry, flags));
    }

    /// The streamed answer of a uid in the topic of an entry, if this batch knows it.
    pub fn stream(&mut self, partition: PartitionId, entry: &Entry, uid: &str) -> Option<&mut Stream> {
        self.streams
            .get_mut(&(partition, uid_hash(&entry.org, uid), entry.topic.clone()))
    }

    /// Makes known the streamed answer that an item belongs to.
    pub fn begin_stream(&mut self, item: &Item, stream: Stream) {
        let entry = &item.entry;
        let key = (
            item.partition,
            uid_hash(&entry.org, &entry.uid),
            entry.topic.clone(),
        );
        self.streams.insert(key, stream);
    }

    /// Appends an opaque publish, and makes it the last word of its topic if it is to be retained.
    pub fn generic(&mut self, item: Item) {
        let entry = &item.entry;
        if entry.retain && ChatTopic::parse(&entry.topic).is_none() {
            let bytes = (!entry.payload.is_empty()).then(|| item.bytes.clone());
            let retained = NewRetained {
                org: OrgId::new(&entry.org),
                topic: TopicName::trusted(&entry.topic),
                partition: item.partition,
                position: item.position,
                expires_at: UnixMillis(entry.expires_at),
                bytes,
            };
            self.retained
                .insert((entry.org.clone(), entry.topic.clone()), retained);
        }
        if entry.qos == 0 {
            return;
        }
        let flags = match self.policy.generic_history {
            true => Flags::GENERIC.with(Flags::SHOWN),
            false => Flags::GENERIC,
        };
        self.push(item, flags);
    }

    pub fn finish(self, metrics: &Metrics) -> LogBatch {
        let mut batch = self.batch;
        let texts = self.streams.into_values().filter(|s| s.changed || s.recalled);
        batch.streams.extend(texts.map(|stream| StreamText {
            target: stream.target,
            bytes: (!stream.recalled).then(|| stream.whole.to_bytes()),
        }));
        let rewrite = |(id, (entry, flags)): (MessageId, (Entry, Flags))| Rewrite {
            id,
            bytes: entry.to_bytes(),
            flags,
        };
        batch.rewrites.extend(self.rewrites.into_iter().map(rewrite));
        batch.retained.extend(self.retained.into_values());
        metrics.count(Outcome::Stored, batch.messages.len());
        self.repeated.tell(metrics);
        batch
    }
}

fn is_same(a: &Entry, b: &Entry) -> bool {
    a.uid == b.uid && a.topic == b.topic && a.org == b.org
}
