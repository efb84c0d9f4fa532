//! What clients publish, once and again.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use edge::Outcome;
use wire::{Entry, Kind};

use super::{CONVERSATIONS, EDGES, EPOCH_MILLIS, Message, TOPICS, World};

impl World {
    pub(super) fn publish(&mut self, edge: usize, what: usize) {
        let topic = what % TOPICS.len();
        let number = self.messages.len();
        let sender = match topic {
            t if t >= CONVERSATIONS => "a0".to_owned(),
            t if number.is_multiple_of(2) => format!("a{}", t / 2),
            t => format!("v{}", t % 2),
        };
        let kind = if topic < CONVERSATIONS {
            Kind::Chat
        } else {
            Kind::Generic
        };
        let entry = Entry {
            kind: kind.into(),
            org: "o".into(),
            topic: TOPICS[topic].into(),
            author: sender.clone(),
            sender,
            // What is opaque has no uid: only its number tells that it is stored.
            uid: match kind {
                Kind::Chat => format!("m{number}.{topic}"),
                _ => String::new(),
            },
            r#type: "TEXT".into(),
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

    /// Publishes a message, once more or for the first time.
    pub(super) fn attempt(&mut self, which: usize, edge: usize) {
        self.attempts += 1;
        let (message, edge) = (&self.messages[which], &mut self.edges[edge]);
        let mut entry = message.entry.clone();
        entry.payload = Bytes::copy_from_slice(&self.attempts.to_be_bytes());
        entry.accepted_at = EPOCH_MILLIS + u64::try_from(self.began.elapsed().as_millis()).unwrap_or(0);
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
            if matches!(outcome, Outcome::Stored { .. } | Outcome::Conflict) {
                settled.store(true, Ordering::Relaxed);
            }
            ledger.outcome(entry.partition(core.partitioning), &entry, outcome);
            drop(under_way);
        });
        edge.running.push(task.abort_handle());
    }
}
