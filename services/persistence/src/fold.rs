//! What a stretch of the log comes to: a function of the entries and of what is stored, the same whatever the batches.
//! Routing decides the same for fan-out.

use ahash::AHashMap;
use consumer::Item;
use model::{ChatTopic, OrgId, PartitionId, Role, TopicName, UnixMillis, is_countable};
use store::{
    Flags, LogBatch, Lookup, MessageId, NewMessage, NewRetained, Rewrite, SentKey, Stored, StreamTarget,
    StreamText, TargetKey, Want, uid_hash,
};
use wire::{Entry, Kind};

use crate::metrics::{Metrics, Outcome};
use crate::stream;
use crate::threads::SeenThreads;

/// What is configured of the decisions.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Milliseconds within which a message may be taken back; 0 = at any time.
    pub recall_window: u64,
    /// Whether opaque publishes are in history.
    pub generic_history: bool,
}

/// What must be looked up before the items can be folded.
pub(crate) fn questions(items: &[Item]) -> (Vec<SentKey>, Vec<TargetKey>) {
    let (mut sent, mut targets) = (Vec::with_capacity(items.len()), Vec::new());
    for Item { partition, entry, .. } in items {
        if is_unique(entry) {
            let org = OrgId::new(&entry.org);
            let (sender, uid) = (entry.sender.clone(), entry.uid.clone());
            sent.push(SentKey {
                org,
                sender,
                uid,
                partition: Some(*partition),
            });
        }
        if let Some((uid, want)) = target(entry) {
            let (org, topic) = (OrgId::new(&entry.org), TopicName::trusted(&entry.topic));
            targets.push(TargetKey {
                org,
                topic,
                uid: uid.to_owned(),
                want,
            });
        }
    }
    (sent, targets)
}

/// Whether (sender, uid) is stored once only.
fn is_unique(entry: &Entry) -> bool {
    !entry.uid.is_empty() && matches!(entry.known_kind(), Kind::Chat | Kind::Recall)
}

/// The uid whose messages decide about the entry, and which of them.
fn target(entry: &Entry) -> Option<(&str, Want)> {
    match entry.known_kind() {
        Kind::Recall => Some((&entry.target, Want::All)),
        Kind::StreamPart if !entry.uid.is_empty() => Some((&entry.uid, Want::StreamBy(entry.sender.clone()))),
        _ => None,
    }
}

/// Folds the items. `found` answers [`questions`] in order; `threads` remembers which threads were seen.
pub(crate) fn fold(
    items: Vec<Item>,
    found: Lookup,
    policy: Policy,
    threads: &mut SeenThreads,
    metrics: &Metrics,
) -> LogBatch {
    let mut fold = Fold {
        policy,
        threads,
        metrics,
        batch: LogBatch {
            messages: Vec::with_capacity(items.len()),
            ..LogBatch::default()
        },
        sent: AHashMap::with_capacity(items.len()),
        by_uid: AHashMap::new(),
        rewrites: AHashMap::new(),
        streams: AHashMap::new(),
        retained: AHashMap::new(),
    };
    let (mut sent, mut targets) = (found.sent.into_iter(), found.targets.into_iter());
    for item in items {
        let stored = if is_unique(&item.entry) {
            sent.next().flatten()
        } else {
            None
        };
        let hits = if target(&item.entry).is_some() {
            targets.next().unwrap_or_default()
        } else {
            Vec::new()
        };
        fold.item(item, stored, hits);
    }
    fold.finish()
}

/// A streamed answer as far as this batch has brought it.
struct Stream {
    target: StreamTarget,
    whole: Entry,
    changed: bool,
    recalled: bool,
}

struct Fold<'a> {
    policy: Policy,
    threads: &'a mut SeenThreads,
    metrics: &'a Metrics,
    batch: LogBatch,
    /// The digest under which each (partition, org, sender, uid) is in this batch.
    sent: AHashMap<(PartitionId, u128), u64>,
    /// The messages of this batch that can be taken back, by (partition, org, uid); made when the first recall comes.
    by_uid: AHashMap<(PartitionId, u64), Vec<usize>>,
    rewrites: AHashMap<MessageId, Rewrite>,
    /// By partition, hash of the uid, and topic and sender with a zero byte between them.
    streams: AHashMap<(PartitionId, u64, String), Stream>,
    retained: AHashMap<(String, String), NewRetained>,
}

impl Fold<'_> {
    fn item(&mut self, item: Item, stored: Option<Stored>, hits: Vec<Stored>) {
        match item.entry.known_kind() {
            Kind::Chat if !self.is_repeated(&item, stored.as_ref()) => {
                let countable = is_countable(&item.entry.r#type);
                self.message(
                    item,
                    if countable {
                        Flags::SHOWN.with(Flags::COUNTABLE)
                    } else {
                        Flags::SHOWN
                    },
                );
            }
            Kind::Recall if !self.is_repeated(&item, stored.as_ref()) => self.recall(item, &hits),
            Kind::Chat | Kind::Recall => {}
            Kind::StreamPart => self.part(item, hits),
            Kind::Generic => self.generic(item),
            Kind::Membership => self.push(item, Flags::default()),
            // Receipts are applied by their own service.
            Kind::Receipt => {}
            Kind::Transient | Kind::Unspecified => self.metrics.count(Outcome::Skipped, 1),
        }
    }

    /// Whether the same uid was sent before by the same sender; the first one stands, whatever the second says.
    fn is_repeated(&mut self, item: &Item, stored: Option<&Stored>) -> bool {
        let entry = &item.entry;
        if entry.uid.is_empty() {
            return false;
        }
        let key = (
            item.partition,
            wire::envelope::uid_key(&entry.org, &entry.sender, &entry.uid),
        );
        let first = stored
            .map(|s| s.entry.digest)
            .or_else(|| self.sent.get(&key).copied());
        match first {
            Some(digest) if digest == entry.digest => self.metrics.count(Outcome::Duplicate, 1),
            Some(_) => self.metrics.count(Outcome::Conflict, 1),
            // A recall that is refused is not stored: it may come again and is decided again.
            None if entry.known_kind() == Kind::Chat => {
                self.sent.insert(key, entry.digest);
            }
            None => {}
        }
        first.is_some()
    }

    fn message(&mut self, item: Item, flags: Flags) {
        if let Some(thread) = self.threads.first_seen(&item) {
            self.batch.threads.push(thread);
        }
        self.push(item, flags);
    }

    fn push(&mut self, item: Item, flags: Flags) {
        let Item {
            partition,
            position,
            bytes,
            entry,
        } = item;
        if !entry.uid.is_empty() {
            let key = (partition, uid_hash(&entry.org, &entry.uid));
            self.by_uid
                .entry(key)
                .or_default()
                .push(self.batch.messages.len());
        }
        self.batch.messages.push(NewMessage {
            partition,
            position,
            flags,
            entry,
            bytes,
        });
    }

    /// Takes back what the recall means, if its sender may; what is refused is not stored.
    fn recall(&mut self, item: Item, stored: &[Stored]) {
        let here = self.targets_here(&item, &item.entry.target);
        let first = stored
            .first()
            .map(|s| &s.entry)
            .or_else(|| here.first().map(|i| &self.batch.messages[*i].entry));
        let allowed = first.is_some_and(|target| {
            let (by, at) = (&item.entry, UnixMillis(item.entry.accepted_at));
            let (role, sent) = (Role::from_number(by.sender_role), UnixMillis(target.accepted_at));
            model::recall_allowed(
                &by.sender,
                role,
                &target.sender,
                sent,
                at,
                self.policy.recall_window,
            )
            .is_ok()
        });
        if !allowed {
            self.metrics.count(Outcome::RecallRefused, 1);
            return;
        }
        for hit in stored {
            let (id, flags) = (hit.id, hit.flags.with(Flags::RECALLED));
            let bytes = stream::scrub(&hit.entry).to_bytes();
            self.rewrites.insert(id, Rewrite { id, bytes, flags });
            if hit.stream.is_some() {
                self.batch.streams.push(StreamText {
                    target: StreamTarget::Stored(id),
                    bytes: None,
                });
            }
        }
        for index in here {
            let message = &mut self.batch.messages[index];
            message.flags = message.flags.with(Flags::RECALLED);
            message.entry = stream::scrub(&message.entry);
            message.bytes = message.entry.to_bytes();
        }
        let (partition, hash) = (item.partition, uid_hash(&item.entry.org, &item.entry.target));
        let of_topic = [&*item.entry.topic, "\0"].concat();
        let streams = self
            .streams
            .iter_mut()
            .filter(|(key, _)| (key.0, key.1) == (partition, hash) && key.2.starts_with(&of_topic));
        streams.for_each(|(_, stream)| stream.recalled = true);
        let entry = &item.entry;
        let key = (
            item.partition,
            wire::envelope::uid_key(&entry.org, &entry.sender, &entry.uid),
        );
        self.sent.insert(key, entry.digest);
        self.push(item, Flags::SHOWN);
    }

    /// The messages of this batch, in order, that a uid means in the item's topic.
    fn targets_here(&self, item: &Item, uid: &str) -> Vec<usize> {
        let key = (item.partition, uid_hash(&item.entry.org, uid));
        let is_target = |i: &usize| {
            let entry = &self.batch.messages[*i].entry;
            matches!(entry.known_kind(), Kind::Chat | Kind::StreamPart)
                && entry.uid == uid
                && entry.topic == item.entry.topic
                && entry.org == item.entry.org
        };
        self.by_uid
            .get(&key)
            .into_iter()
            .flatten()
            .copied()
            .filter(is_target)
            .collect()
    }

    /// The first part of a stream is the message that history shows; later ones are for delivery, and add to it.
    fn part(&mut self, item: Item, hits: Vec<Stored>) {
        let (entry, hash) = (&item.entry, uid_hash(&item.entry.org, &item.entry.uid));
        let key = (
            item.partition,
            hash,
            [&*entry.topic, "\0", &*entry.sender].concat(),
        );
        if !self.streams.contains_key(&key)
            && let Some(first) = hits.into_iter().next()
        {
            let whole = match first.stream {
                Some(bytes) => wire::frame::decode_entry(bytes).unwrap_or(first.entry),
                None => first.entry,
            };
            // It may have been taken back before or within this batch.
            let recalled = first.flags.has(Flags::RECALLED) || self.rewrites.contains_key(&first.id);
            let target = StreamTarget::Stored(first.id);
            self.streams.insert(
                key.clone(),
                Stream {
                    target,
                    whole,
                    changed: false,
                    recalled,
                },
            );
        }
        match self.streams.get_mut(&key) {
            None => {
                let target = StreamTarget::New(self.batch.messages.len());
                let stream = Stream {
                    target,
                    whole: entry.clone(),
                    changed: false,
                    recalled: false,
                };
                self.streams.insert(key, stream);
                self.message(item, Flags::SHOWN);
            }
            Some(stream) if stream.recalled => {
                // What belongs to a recalled answer is not shown to anyone.
                let entry = stream::scrub(&item.entry);
                let scrubbed = Item {
                    bytes: entry.to_bytes(),
                    entry,
                    ..item
                };
                self.push(scrubbed, Flags::PART.with(Flags::RECALLED));
            }
            Some(stream) => {
                stream::append(&mut stream.whole, entry);
                stream.changed = true;
                self.push(item, Flags::PART);
            }
        }
    }

    fn generic(&mut self, item: Item) {
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
        let shown = self.policy.generic_history;
        self.push(
            item,
            if shown {
                Flags::GENERIC.with(Flags::SHOWN)
            } else {
                Flags::GENERIC
            },
        );
    }

    fn finish(self) -> LogBatch {
        let mut batch = self.batch;
        let texts = self.streams.into_values().filter(|s| s.changed || s.recalled);
        batch.streams.extend(texts.map(|stream| StreamText {
            target: stream.target,
            bytes: (!stream.recalled).then(|| stream.whole.to_bytes()),
        }));
        batch.rewrites.extend(self.rewrites.into_values());
        batch.retained.extend(self.retained.into_values());
        self.metrics.count(Outcome::Stored, batch.messages.len());
        batch
    }
}

#[cfg(test)]
mod tests;
