//! A uid that the log has twice.

use model::Position;
use store::uid_hash;
use wire::Entry;

use crate::metrics::{Metrics, Outcome};

/// The uids of a batch that came twice, as far as applying comes across them: an owner accepted what it should have
/// recognised. Both are applied, as receivers were shown both; a human must look.
#[derive(Debug, Default)]
pub(super) struct Repeated {
    count: usize,
    example: Option<Example>,
}

#[derive(Debug)]
struct Example {
    org: String,
    topic: String,
    uid: u64,
    first: Position,
    again: Position,
}

impl Repeated {
    /// The message of an entry is there twice.
    pub fn note(&mut self, entry: &Entry, first: Position, again: Position) {
        self.count += 1;
        self.example.get_or_insert_with(|| Example {
            org: entry.org.clone(),
            topic: entry.topic.clone(),
            uid: uid_hash(&entry.org, &entry.uid),
            first,
            again,
        });
    }

    /// Counts them, and logs one: they may be many.
    pub fn tell(self, metrics: &Metrics) {
        metrics.count(Outcome::Repeated, self.count);
        if let Some(example) = self.example {
            let Example {
                org,
                topic,
                uid,
                first,
                again,
            } = example;
            let (uid, count) = (format!("{uid:016x}"), self.count);
            tracing::error!(%org, %topic, uid, %first, %again, count, "the log has a message twice; both are in history");
        }
    }
}
