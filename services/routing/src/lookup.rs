//! Asking the store about messages that were perhaps accepted before, beyond what is remembered exactly.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::{MessageUid, OrgId, Position, TopicName};
use rpc::persistence::{Found, Persistence};
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
    questions: Vec<Question>,
    applied: Position,
    limit: Duration,
    inbox: Arc<Inbox>,
) {
    let asked: Vec<u128> = questions.iter().map(Question::key).collect();
    let mut by_topic: BTreeMap<(OrgId, TopicName), Vec<MessageUid>> = BTreeMap::new();
    for question in questions {
        by_topic
            .entry((question.org, question.topic))
            .or_default()
            .push(question.uid);
    }
    let mut answered = Answered {
        asked,
        found: Vec::new(),
    };
    let asking = async {
        for ((org, topic), uids) in by_topic {
            loop {
                match persistence
                    .find_in_topic(&org, &topic, uids.clone(), applied)
                    .await
                {
                    Ok(found) => {
                        let keys = uids.iter().map(|uid| uid_key(&org, &topic, uid));
                        answered.found.extend(keys.zip(found));
                        break;
                    }
                    Err(error) => {
                        debug!(%error, "the store does not say whether a message was accepted before");
                        sleep(PAUSE).await;
                    }
                }
            }
        }
    };
    // What it has said by then counts.
    let _in_time = timeout(limit, asking).await;
    inbox.push(Item::Answered(answered));
}
