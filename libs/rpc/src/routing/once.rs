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
    answers: Mutex<(BTreeMap<u64, Outcome>, bool)>,
    changed: Notify,
}

impl Heard {
    fn hear(&self, answers: Vec<(u64, Outcome)>, over: bool) {
        let mut heard = self.answers.lock();
        heard.0.extend(answers);
        heard.1 |= over;
        drop(heard);
        self.changed.notify_one();
    }
}

impl Downstream for Heard {
    fn routed(&self, routed: Routed) -> bool {
        self.hear(routed.answers, false);
        true
    }

    fn ended(&self) {
        self.hear(Vec::new(), true);
    }
}

/// Submits entries of one partition and waits for what becomes of each, in order. What is not answered within `limit`, or before
/// the line ends, is [`Outcome::Unknown`]: submit it again, it is stored once if it has a uid. `first` and the numbers after it
/// must not have been used before under this `edge`.
///
/// # Errors
/// When no owner is to be found: then nothing was submitted.
pub async fn submit(
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
        first,
        after: Position::END,
        filters: Vec::new(),
    };
    let heard = Arc::<Heard>::default();
    let opening = tokio::time::timeout(limit, routing.open(hello, heard.clone()));
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
    let answered = async {
        loop {
            let changed = heard.changed.notified();
            let is_done = {
                let heard = heard.answers.lock();
                heard.1 || heard.0.len() >= count
            };
            if is_done {
                return;
            }
            changed.await;
        }
    };
    let _in_time = tokio::time::timeout(limit, answered).await;
    let mut answers = heard.answers.lock();
    let numbers = (first..).take(count);
    Ok(numbers
        .map(|n| answers.0.remove(&n).unwrap_or(Outcome::Unknown))
        .collect())
}
