//! What a stretch of the log comes to: a function of the entries and of what is stored, the same whatever the batches.
//!
//! Nothing is decided here. The log holds what the owner of the partition accepted, so every entry is applied as it
//! stands: a recall takes back all that it names, an edit changes what it names, a uid that comes twice is stored twice
//! and told to a human.

mod alarm;
mod edit;
mod recall;
mod stream;
mod work;

use consumer::Item;
use model::{OrgId, TopicName};
use store::{Flags, LogBatch, Stored, TargetKey, Want};
use wire::{Entry, Kind};

use crate::metrics::{Metrics, Outcome};
use crate::threads::Threads;
pub use work::Policy;
use work::{Work, countable};

/// What must be looked up before the items can be folded: what they change. A plain message asks for nothing.
pub(crate) fn questions(items: &[Item]) -> Vec<TargetKey> {
    let key = |Item { entry, .. }: &Item| {
        let (uid, want) = target(entry)?;
        Some(TargetKey {
            org: OrgId::new(&entry.org),
            topic: TopicName::trusted(&entry.topic),
            uid: uid.to_owned(),
            want,
        })
    };
    items.iter().filter_map(key).collect()
}

/// The uid of what the entry changes, and which messages of it.
fn target(entry: &Entry) -> Option<(&str, Want)> {
    let (uid, want) = match entry.known_kind() {
        Kind::Recall => (&entry.target, Want::All),
        Kind::Edit => (&entry.target, Want::First),
        Kind::StreamPart => (&entry.uid, Want::Stream),
        _ => return None,
    };
    (!uid.is_empty()).then_some((uid, want))
}

/// Folds the items. `found` answers [`questions`] in order; `threads` remembers which threads were seen.
pub(crate) fn fold(
    items: Vec<Item>,
    found: Vec<Vec<Stored>>,
    policy: Policy,
    threads: &mut Threads,
    metrics: &Metrics,
) -> LogBatch {
    let mut work = Work::new(items.len(), policy, threads);
    let (mut found, mut skipped) = (found.into_iter(), 0);
    for item in items {
        let hits = match target(&item.entry) {
            Some(_) => found.next().unwrap_or_default(),
            None => Vec::new(),
        };
        match item.entry.known_kind() {
            Kind::Chat => {
                let flags = countable(&item.entry, Flags::SHOWN);
                work.message(item, flags);
            }
            Kind::Recall => recall::apply(&mut work, item, hits),
            Kind::Edit => edit::apply(&mut work, item, hits),
            Kind::StreamPart => stream::apply(&mut work, item, hits),
            Kind::Generic => work.generic(item),
            Kind::Membership => work.membership(item),
            // Receipts are applied by their own service.
            Kind::Receipt => {}
            Kind::Transient | Kind::Unspecified => skipped += 1,
        }
    }
    metrics.count(Outcome::Skipped, skipped);
    work.finish(metrics)
}

#[cfg(test)]
mod tests;
