//! A line for a few entries, for whoever is no edge.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::{EdgeId, OrgId, PartitionId, Position, TopicFilter};
use parking_lot::Mutex;
use tokio::sync::Notify;
use wire::Entry;

use super::{Downstream, Hello, Outcome, Routed, Routing, Submission, Up, Upstream};
use crate::{ErrorKind, RpcError};

/// What came down a line.
#[derive(Default)]
struct Heard {
    answers: BTreeMap<u64, Outcome>,
    /// What was attached has been answered, and so has everything sent before it been taken.
    attached: bool,
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

    /// Waits until this has been heard, or no more comes.
    async fn until(&self, enough: impl Fn(&Heard) -> bool) {
        loop {
            let changed = self.changed.notified();
            {
                let heard = self.heard.lock();
                if heard.ended || enough(&heard) {
                    return;
                }
            }
            changed.await;
        }
    }
}

impl Downstream for End {
    fn routed(&self, routed: Routed) -> bool {
        self.hear(|heard| {
            heard.answers.extend(routed.answers);
            heard.attached |= !routed.attached.is_empty();
        });
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
    let (line, end) = open(routing, edge, partition, first, limit).await?;
    let count = entries.len();
    for (number, entry) in (first..).zip(entries) {
        line.send(Up::Submit(Submission {
            number,
            entry: Arc::new(entry),
            seen: Position::START,
            again: false,
        }));
    }
    let _in_time = tokio::time::timeout(limit, end.until(|heard| heard.answers.len() >= count)).await;
    let mut heard = end.heard.lock();
    let numbers = (first..).take(count);
    Ok(numbers
        .map(|n| heard.answers.remove(&n).unwrap_or(Outcome::Unknown))
        .collect())
}

/// Gives entries of one partition to whoever is online now, and waits until the owner has them. `first` as for [`submit_once`].
///
/// # Errors
/// When no owner is to be found, or it has not taken them within `limit`: then nobody may have them.
pub async fn tell_once(
    routing: &dyn Routing,
    edge: EdgeId,
    partition: PartitionId,
    first: u64,
    entries: Vec<Entry>,
    limit: Duration,
) -> Result<(), RpcError> {
    let (line, end) = open(routing, edge, partition, first, limit).await?;
    let Some(org) = entries.first().map(|entry| OrgId::new(&entry.org)) else {
        return Ok(());
    };
    for entry in entries {
        line.send(Up::Transient(Arc::new(entry)));
    }
    // Nobody answers to those; what comes after them is answered after them. Nothing matches this.
    line.send(Up::Attach {
        number: first,
        org,
        filter: TopicFilter::trusted("$longwire/told"),
    });
    let taken = tokio::time::timeout(limit, end.until(|heard| heard.attached)).await;
    match taken.is_ok() && end.heard.lock().attached {
        true => Ok(()),
        false => Err(unanswered()),
    }
}

async fn open(
    routing: &dyn Routing,
    edge: EdgeId,
    partition: PartitionId,
    first: u64,
    limit: Duration,
) -> Result<(Box<dyn Upstream>, Arc<End>), RpcError> {
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
    let line = opening.await.map_err(|_| unanswered())??;
    Ok((line, end))
}

fn unanswered() -> RpcError {
    RpcError::new(ErrorKind::Unavailable, "no owner answers")
}
