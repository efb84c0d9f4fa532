//! Applies receipts to the store.

use std::sync::Arc;

use async_trait::async_trait;
use consumer::{Apply, Item, Patience};
use model::{OrgId, Position, ReceiptKind, TopicName, UserId};
use runtime::lifecycle::Stop;
use store::{
    Advance, Flags, NewMark, NewReceipt, ReceiptBatch, Service, Store, StoreError, Stored, TargetKey, Want,
};
use tokio::time::Duration;
use wire::{Entry, Kind};

use crate::metrics::{Metrics, Outcome};

/// How long persistence is waited for between two looks at the stop.
const WAIT: Duration = Duration::from_millis(500);
/// How an entry begins that has a kind: the field comes first in what we write.
const KIND_TAG: u8 = 0x08;

pub(crate) struct Applier {
    pub store: Arc<dyn Store>,
    pub patience: Patience,
    pub metrics: Metrics,
    pub stop: Stop,
}

#[async_trait]
impl Apply for Applier {
    fn wants(&self, entry: &[u8]) -> bool {
        may_be_receipt(entry)
    }

    fn undecodable(&mut self) {
        self.metrics.count(Outcome::Undecodable);
    }

    async fn apply(&mut self, items: Vec<Item>, advances: Vec<Advance>) -> Result<(), StoreError> {
        for step in &advances {
            self.wait_for_messages(step).await?;
        }
        let questions: Vec<TargetKey> = items.iter().filter_map(|item| target(&item.entry)).collect();
        let found = loop {
            let answer = self.store.lookup(Service::Receipts, questions.clone()).await;
            if let Some(answer) = self.patience.again(answer).await {
                break answer?;
            }
        };
        let batch = Arc::new(ReceiptBatch {
            advances,
            ..fold(items, found, &self.metrics)
        });
        loop {
            let answer = self.store.apply_receipts(batch.clone()).await;
            if let Some(answer) = self.patience.again(answer).await {
                return answer;
            }
        }
    }
}

impl Applier {
    /// Persistence comes first: the messages meant must be there.
    async fn wait_for_messages(&self, step: &Advance) -> Result<(), StoreError> {
        let service = Service::Persistence;
        loop {
            let waited = self.store.wait_applied(service, step.partition, step.to, WAIT);
            match self.patience.again(waited.await).await {
                Some(Ok(applied)) if applied >= step.to => return Ok(()),
                Some(Err(error)) => return Err(error),
                _ if self.stop.soft().is_cancelled() => return Err(StoreError::Closed),
                _ => {}
            }
        }
    }
}

fn may_be_receipt(entry: &[u8]) -> bool {
    match entry {
        [KIND_TAG, kind, ..] => i32::from(*kind) == i32::from(Kind::Receipt),
        // Written in another order: only decoding tells.
        _ => true,
    }
}

/// The message that a receipt names.
fn target(entry: &Entry) -> Option<TargetKey> {
    let names = entry.known_kind() == Kind::Receipt && !entry.target.is_empty();
    names.then(|| TargetKey {
        org: OrgId::new(&entry.org),
        topic: TopicName::trusted(&entry.topic),
        uid: entry.target.clone(),
        want: Want::First,
    })
}

/// What a stretch of the log comes to. `found` answers the [`target`]s in order.
fn fold(items: Vec<Item>, found: Vec<Vec<Stored>>, metrics: &Metrics) -> ReceiptBatch {
    let mut batch = ReceiptBatch::default();
    let mut hits = found.into_iter();
    for item in items {
        if item.entry.known_kind() != Kind::Receipt {
            continue;
        }
        let hit = target(&item.entry)
            .and_then(|_| hits.next())
            .and_then(|found| found.into_iter().next());
        if item.entry.target.is_empty() && item.entry.upto != 0 {
            batch.marks.push(mark(item));
            metrics.count(Outcome::Applied);
        } else {
            let outcome = match receipt(item, hit) {
                Ok(receipt) => {
                    batch.receipts.push(receipt);
                    Outcome::Applied
                }
                Err(outcome) => outcome,
            };
            metrics.count(outcome);
        }
    }
    batch
}

/// Everything up to a position has reached the sender of the entry. Nobody has what came after their receipt.
fn mark(item: Item) -> NewMark {
    NewMark {
        org: OrgId::new(&item.entry.org),
        topic: TopicName::trusted(&item.entry.topic),
        by: UserId::new(&item.entry.sender),
        upto: Position(item.entry.upto).min(item.position),
        changed: item.position,
        bytes: item.bytes,
    }
}

fn receipt(item: Item, hit: Option<Stored>) -> Result<NewReceipt, Outcome> {
    let entry = &item.entry;
    let state = ReceiptKind::from_number(i64::from(entry.state)).ok_or(Outcome::Invalid)?;
    // A recall has no recipients who tell what became of it.
    let is_message = |hit: &Stored| hit.entry.known_kind() != Kind::Recall;
    let message = hit.filter(is_message).ok_or(Outcome::Unknown)?;
    let wrote = |uid: &str| !uid.is_empty() && (message.entry.sender == uid || message.entry.author == uid);
    if wrote(&entry.sender) || wrote(&entry.author) {
        return Err(Outcome::Own);
    }
    Ok(NewReceipt {
        org: OrgId::new(&entry.org),
        topic: TopicName::trusted(&entry.topic),
        message: message.position,
        edit: message
            .flags
            .has(Flags::EDITED)
            .then_some(Position(message.entry.upto)),
        state,
        by: UserId::new(&entry.sender),
        changed: item.position,
        bytes: item.bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_receipts_are_decoded() {
        let bytes = |kind: Kind| {
            Entry {
                kind: kind.into(),
                org: "o".into(),
                ..Entry::default()
            }
            .to_bytes()
        };
        assert!(
            may_be_receipt(&bytes(Kind::Receipt))
                && !may_be_receipt(&bytes(Kind::Chat))
                && !may_be_receipt(&bytes(Kind::StreamPart))
        );
        assert!(
            may_be_receipt(&bytes(Kind::Unspecified)),
            "an entry without a kind is decoded to be sure"
        );
    }
}
