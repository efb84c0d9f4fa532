//! What clients publish, once and again.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use edge::Outcome;
use model::Partitioning;
use wire::{Entry, Kind};

use super::{CONVERSATIONS, EDGES, EPOCH_MILLIS, Message, PARTITIONS, RECALL_WINDOW, TOPICS, World};

impl World {
    pub(super) fn publish(&mut self, edge: usize, what: usize) {
        let topic = what % TOPICS.len();
        let number = self.messages.len();
        let sender = match topic {
            t if t >= CONVERSATIONS => "a0".to_owned(),
            t if number.is_multiple_of(2) => format!("a{}", t / 2),
            t => format!("v{}", t % 2),
        };
        let (kind, r#type) = match what / TOPICS.len() % 8 {
            _ if topic >= CONVERSATIONS => (Kind::Generic, "TEXT"),
            0 => (Kind::StreamPart, "STREAM"),
            1 => (Kind::Recall, "RECALL"),
            2 => (Kind::Edit, "LEAVE_MSG_SUBMIT"),
            _ => (Kind::Chat, "TEXT"),
        };
        // Their own messages can be taken back, and anybody's prompt be answered.
        let means = |m: &&Message| {
            m.entry.known_kind() == Kind::Chat
                && m.entry.topic == TOPICS[topic]
                && (kind == Kind::Edit || m.entry.sender == sender)
        };
        let target = self.messages.iter().rev().find(means);
        let target = target.map_or("nothing".into(), |m| m.entry.uid.clone());
        let entry = Entry {
            kind: kind.into(),
            org: "o".into(),
            topic: TOPICS[topic].into(),
            author: sender.clone(),
            // What is opaque has no uid: only its number tells that it is stored. Nor do parts of one answer differ in
            // theirs.
            uid: match kind {
                Kind::Chat | Kind::Recall => format!("m{number}.{topic}"),
                Kind::StreamPart => format!("s{sender}.{topic}"),
                Kind::Edit => target.clone(),
                _ => String::new(),
            },
            target: match kind {
                Kind::Recall | Kind::Edit => target,
                _ => String::new(),
            },
            sender,
            r#type: r#type.into(),
            digest: number as u64,
            qos: 1,
            ..Entry::default()
        };
        self.messages.push(Message {
            entry,
            settled: Arc::default(),
            under_way: Arc::default(),
        });
        self.attempt(number, edge % EDGES);
    }

    pub(super) fn publish_again(&mut self, edge: usize, which: usize) {
        if let Some(which) = which.checked_rem(self.messages.len()) {
            self.attempt(which, edge % EDGES);
        }
    }

    pub(super) fn conflict(&mut self, edge: usize, which: usize) {
        let Some(which) = which.checked_rem(self.messages.len()) else {
            return;
        };
        let mut entry = self.messages[which].entry.clone();
        if !entry.is_unique() {
            return;
        }
        // Another content, or another sender.
        match which % 2 {
            0 => entry.digest = u64::MAX - self.messages.len() as u64,
            _ => entry.sender = "hostile".into(),
        }
        self.messages.push(Message {
            entry,
            settled: Arc::default(),
            under_way: Arc::default(),
        });
        self.attempt(self.messages.len() - 1, edge % EDGES);
    }

    /// Whether what an entry means is stored already, and not too old to be taken back.
    fn may_mean(&self, entry: &Entry) -> bool {
        let partition = entry.partition(Partitioning::new(PARTITIONS));
        self.log
            .with_uid(partition, &entry.topic, &entry.target, |found| {
                let age = |accepted_at: u64| entry.accepted_at.saturating_sub(accepted_at);
                found.is_some_and(|target| {
                    entry.known_kind() == Kind::Edit || age(target.entry.accepted_at) < RECALL_WINDOW
                })
            })
    }

    /// Publishes a message, once more or for the first time.
    pub(super) fn attempt(&mut self, which: usize, edge: usize) {
        self.attempts += 1;
        let mut entry = self.messages[which].entry.clone();
        entry.payload = Bytes::copy_from_slice(&self.attempts.to_be_bytes());
        entry.accepted_at = EPOCH_MILLIS + u64::try_from(self.began.elapsed().as_millis()).unwrap_or(0);
        let has_target = self.may_mean(&entry);
        let (message, edge) = (&self.messages[which], &mut self.edges[edge]);
        let (process, core, ledger) = (edge.process.clone(), edge.core.clone(), self.ledger.clone());
        let (settled, under_way) = (message.settled.clone(), message.under_way.clone());
        let (chance, number) = (self.chance.clone(), self.attempts);
        let task = tokio::spawn(async move {
            process.pass().await;
            let outcome = core.submit_and_wait(entry.clone()).await;
            process.pass().await;
            chance.note(
                "outcome",
                [number, u64::from(matches!(outcome, Outcome::Stored { .. })), 0, 0],
            );
            let is_settled = matches!(
                outcome,
                Outcome::Stored { .. }
                    | Outcome::Conflict
                    | Outcome::Outdated
                    | Outcome::Rejected
                    | Outcome::Forbidden
            );
            if is_settled {
                settled.store(true, Ordering::Relaxed);
            }
            ledger.outcome(entry.partition(core.partitioning), &entry, has_target, outcome);
            drop(under_way);
        });
        edge.running.push(task.abort_handle());
    }
}
