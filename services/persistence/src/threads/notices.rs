//! Telling users of their memberships: each is owed a notice on its own topic, which is in the log before it counts as told.

use std::collections::BTreeMap;

use contract::routing::Outcome;
use futures::future::join_all;
use model::PartitionId;
use store::Notice;
use wire::Entry;

use super::say;
use crate::Error;
use crate::core::Core;

/// At most this many at once.
const LIMIT: usize = 1000;

impl Core {
    /// Tells what is owed. What the log does not take now is told at the next look.
    pub(super) async fn tell(&self) -> Result<(), Error> {
        loop {
            let owed = self.deps.store.owed_notices(LIMIT).await?;
            if owed.is_empty() {
                return Ok(());
            }
            let is_all = owed.len() < LIMIT;
            let told = self.submit_notices(owed).await;
            let none = told.is_empty();
            self.deps.store.told(told).await?;
            if is_all || none {
                return Ok(());
            }
        }
    }

    async fn submit_notices(&self, owed: Vec<Notice>) -> Vec<Notice> {
        let mut by_partition: BTreeMap<PartitionId, (Vec<Notice>, Vec<Entry>)> = BTreeMap::new();
        for notice in owed {
            let entry = say::notice(&notice, self.now());
            let (notices, entries) = by_partition
                .entry(entry.partition(self.deps.partitioning))
                .or_default();
            notices.push(notice);
            entries.push(entry);
        }
        let submitted = by_partition
            .into_iter()
            .map(
                async |(partition, (notices, entries))| match self.submit_all(partition, entries).await {
                    Ok(outcomes) => notices.into_iter().zip(outcomes).filter_map(is_told).collect(),
                    Err(error) => {
                        tracing::debug!(%partition, %error, "members are not told now; they are told later");
                        Vec::new()
                    }
                },
            );
        join_all(submitted).await.into_iter().flatten().collect()
    }
}

/// The notice, when it needs no more attention: it is stored, or refused for good.
fn is_told((notice, outcome): (Notice, Outcome)) -> Option<Notice> {
    match outcome {
        Outcome::Stored { .. } => Some(notice),
        Outcome::Unavailable(_) | Outcome::Unknown => None,
        refused => {
            tracing::warn!(topic = %notice.topic, ?refused, "the notice of a membership is refused; it is dropped");
            Some(notice)
        }
    }
}
