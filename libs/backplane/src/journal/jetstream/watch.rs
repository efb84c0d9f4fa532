//! Keeps an eye on the streams: whether they have leaders, are still ours, and how far they have come.

use std::sync::{Arc, Weak};
use std::time::Duration;

use model::PartitionId;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::Shared;

/// How often the streams are looked at when all is well.
const CALM: Duration = Duration::from_secs(10);
/// And when something was wrong.
const WORRIED: Duration = Duration::from_secs(1);

/// What is wrong, if anything.
#[derive(Default)]
pub(super) struct Trouble {
    reason: Mutex<Option<String>>,
    /// Something has just gone wrong.
    wake: Notify,
}

impl Trouble {
    /// Something has just failed; whether it still does is found out within a second.
    pub(super) fn set(&self, reason: &str) {
        let mut current = self.reason.lock();
        if current.is_none() {
            *current = Some(reason.to_owned());
            self.wake.notify_one();
        }
    }

    /// What a look at the streams has found, which is more than a failure tells.
    fn found(&self, reason: Option<String>) {
        *self.reason.lock() = reason;
    }

    pub(super) fn get(&self) -> Option<String> {
        self.reason.lock().clone()
    }
}

/// Looks until the journal is gone.
pub(super) async fn watch(shared: Weak<Shared>) {
    loop {
        let Some(journal) = shared.upgrade() else { return };
        let problem = look(&journal).await;
        let pause = if problem.is_some() { WORRIED } else { CALM };
        journal.trouble.found(problem);
        let trouble: Arc<Trouble> = journal.trouble.clone();
        drop(journal);
        if timeout(pause, trouble.wake.notified()).await.is_ok() {
            tokio::time::sleep(WORRIED).await;
        }
    }
}

async fn look(journal: &Shared) -> Option<String> {
    let streams = match journal.nats.streams(&journal.names.subjects()).await {
        Ok(streams) => streams,
        Err(error) => return Some(format!("the streams of the log cannot be listed: {error}")),
    };
    for partition in (0..journal.names.partitions).map(PartitionId) {
        let name = journal.names.stream(partition);
        let Some(info) = streams.iter().find(|info| info.name() == name) else {
            return Some(format!("stream {name} has no leader"));
        };
        if !journal.names.owns(info) {
            return Some(format!(
                "stream {name} was created anew: this process must start again"
            ));
        }
        if info
            .cluster
            .as_ref()
            .is_some_and(|cluster| cluster.leader.is_empty())
        {
            return Some(format!("stream {name} has no leader"));
        }
        journal.seen(partition, info.state.last_seq);
    }
    None
}
