//! Asking the store about messages that were perhaps accepted before, beyond what is remembered exactly.

use std::sync::Arc;
use std::time::Duration;

use model::{MessageUid, OrgId, PartitionId, Position, TopicName};
use rpc::persistence::{Found, MessageKey, Persistence};
use tokio::time::{sleep, timeout};
use tracing::debug;
use wire::envelope::uid_key;

use crate::inbox::{Inbox, Item};

/// How long to wait before the store is asked again.
const PAUSE: Duration = Duration::from_millis(200);

/// A message by (org, topic, uid).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Question {
    pub org: OrgId,
    pub topic: TopicName,
    pub uid: MessageUid,
}

impl Question {
    pub fn key(&self) -> u128 {
        uid_key(&self.org, &self.topic, &self.uid)
    }
}

impl From<Question> for MessageKey {
    fn from(Question { org, topic, uid }: Question) -> Self {
        Self { org, topic, uid }
    }
}

/// What the store said, by the key of the question; of those it did not answer there is nothing here.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    pub asked: Vec<u128>,
    pub found: Vec<(u128, Option<Found>)>,
}

/// Asks, once, and puts what is said into the inbox. `applied`: everything up to there is beyond what is remembered, so an
/// answer counts when the store has applied so much.
pub(crate) async fn ask(
    persistence: Arc<dyn Persistence>,
    partition: PartitionId,
    questions: Vec<Question>,
    applied: Position,
    limit: Duration,
    inbox: Arc<Inbox>,
) {
    let asked: Vec<u128> = questions.iter().map(Question::key).collect();
    let keys: Vec<_> = questions.into_iter().map(MessageKey::from).collect();
    let asking = async {
        loop {
            match persistence.find(partition, keys.clone(), applied).await {
                Ok(found) => break found,
                Err(error) => {
                    debug!(%error, "the store does not say whether messages were accepted before");
                    sleep(PAUSE).await;
                }
            }
        }
    };
    let found = timeout(limit, asking).await.unwrap_or_default();
    let found = asked.iter().copied().zip(found).collect();
    inbox.push(Item::Answered(Answered { asked, found }));
}
