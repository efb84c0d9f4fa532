//! Asking the store about messages that were perhaps accepted before, beyond what is remembered exactly.

use std::sync::Arc;
use std::time::Duration;

use contract::persistence::{MessageKey, Persistence};
use model::{PartitionId, Position};
use tokio::time::{sleep, timeout};
use tracing::debug;
use wire::envelope::uid_key;

use crate::inbox::{Answered, Inbox, Item};

/// How long to wait before the store is asked again.
const PAUSE: Duration = Duration::from_millis(200);

/// The key of a message as the owner knows it.
pub(crate) fn key_of(message: &MessageKey) -> u128 {
    uid_key(&message.org, &message.topic, &message.uid)
}

/// Asks, once, and puts what is said into the inbox. `applied`: everything up to there is beyond what is remembered, so
/// an answer counts when the store has applied so much. Without one within `limit` whatever still waits is asked about
/// again, together with what has come since.
pub(crate) async fn ask(
    persistence: Arc<dyn Persistence>,
    partition: PartitionId,
    questions: Vec<MessageKey>,
    applied: Position,
    limit: Duration,
    inbox: Arc<Inbox>,
) {
    let asked: Vec<u128> = questions.iter().map(key_of).collect();
    let found = match timeout(limit, persistence.find(partition, questions, applied)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            debug!(%partition, %error, "the store does not say whether messages were accepted before");
            sleep(PAUSE).await;
            Vec::new()
        }
        Err(_) => Vec::new(),
    };
    let found = asked.iter().copied().zip(found).collect();
    inbox.push(Item::Answered(Answered { asked, found }));
}
