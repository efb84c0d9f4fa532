//! A line for a few entries, for whoever is no edge.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::{EdgeId, PartitionId, Position};
use parking_lot::Mutex;
use tokio::sync::Notify;
use wire::Entry;

use super::{Downstream, Hello, Outcome, Routed, Routing, Submission, Up};
use crate::{ErrorKind, RpcError};

/// What came down a line.
#[derive(Default)]
struct Heard {
    answers: BTreeMap<u64, Outcome>,
    /// The line has ended: no more will come.
    ended: bool,
}

/// Our end of it.
#[derive(Default)]
struct End {
    heard: Mutex<Heard>,
    changed: Notify,
}

impl End {
    fn hear(&self, hear: impl FnOnce(&mut Heard)) {
        hear(&mut self.heard.lock());
        self.changed.notify_one();
    }

    /// Waits until there are so many answers, or no more to come.
    async fn answered(&self, count: usize) {
        loop {
            let changed = self.changed.notified();
            {
                let heard = self.heard.lock();
                if heard.ended || heard.answers.len() >= count {
                    return;
                }
            }
            changed.await;
        }
    }
}

impl Downstream for End {
    fn routed(&self, routed: Routed) -> bool {
        self.hear(|heard| heard.answers.extend(routed.answers));
        true
    }

    fn ended(&self) {
        self.hear(|heard| heard.ended = true);
    }
}

/// Submits entries of one partition and waits for what becomes of each, in order. What is not answered within `limit`, or before
/// the line ends, is [`Outcome::Unknown`]: submit it again, it is stored once if it has a uid. `first` and the numbers after it
/// must not have been used before under this `edge`.
///
/// # Errors
/// When no owner is to be found: then nothing was submitted.
pub async fn submit_once(
    routing: &dyn Routing,
    edge: EdgeId,
    partition: PartitionId,
    first: u64,
    entries: Vec<Entry>,
    limit: Duration,
) -> Result<Vec<Outcome>, RpcError> {
    let hello = Hello {
        edge,
        partition,
        epoch: 0,
        first,
        after: Position::END,
        filters: Vec::new(),
    };
    let end = Arc::<End>::default();
    let opening = tokio::time::timeout(limit, routing.open(hello, end.clone()));
    let line = opening
        .await
        .map_err(|_| RpcError::new(ErrorKind::Unavailable, "no owner answers"))??;
    let count = entries.len();
    for (number, entry) in (first..).zip(entries) {
        line.send(Up::Submit(Submission {
            number,
            entry: Arc::new(entry),
            seen: Position::START,
            again: false,
        }));
    }
    let _in_time = tokio::time::timeout(limit, end.answered(count)).await;
    let mut heard = end.heard.lock();
    let numbers = (first..).take(count);
    Ok(numbers
        .map(|n| heard.answers.remove(&n).unwrap_or(Outcome::Unknown))
        .collect())
}
