//! Changing a thread: read what it is, decide, append; and again when another change was faster.

use std::time::Duration;

use async_trait::async_trait;
use contract::persistence::MessageKey;
use contract::routing::Outcome;
use contract::{ErrorKind, RpcError};
use model::thread::{Change, Refused, Step};
use model::{OrgId, PartitionId, Position, TopicName};
use store::StoredThread;
use wire::Entry;

use super::say::{Said, change_uid, wish_uid};
use crate::core::Core;
use crate::error::{answer, late};

/// How often a change is decided anew, when others are faster.
const TRIES: usize = 16;
/// How long it may take to append one.
const SUBMIT: Duration = Duration::from_secs(5);
/// How soon an owner is looked for again.
const OWNER: Duration = Duration::from_millis(50);

/// A change with what is shown of it.
pub(super) struct Plan {
    pub change: Change,
    pub said: Option<Said>,
}

impl Plan {
    /// One of which clients are shown nothing.
    pub fn silent(change: Change) -> Self {
        Self { change, said: None }
    }
}

/// What becomes of a plan: it, or why there is nothing to change.
pub(super) type Planned = Result<Result<Plan, Refused>, RpcError>;

/// Somebody who wants a thread changed, and decides anew on what it is when another change was faster.
#[async_trait]
pub(super) trait Decide: Send {
    /// What to do with the thread as it is.
    async fn decide(&mut self, core: &Core, thread: &StoredThread) -> Planned;
}

/// A step that depends on nothing but the thread; without `said` clients are shown nothing of it.
pub(super) struct Only {
    pub step: Step,
    pub said: Option<Said>,
}

#[async_trait]
impl Decide for Only {
    async fn decide(&mut self, _: &Core, thread: &StoredThread) -> Planned {
        let change = thread.life.decide(self.step.clone());
        Ok(change.map(|change| Plan {
            change,
            said: self.said.clone(),
        }))
    }
}

/// How a change ended.
pub(super) enum Changed {
    /// It is in the log, and in the store.
    Done,
    /// It was there before: the same wish.
    Before,
    /// The plan found nothing to change.
    Nothing(Refused),
}

impl Core {
    /// A thread, as the log has it up to its end.
    pub(super) async fn latest(
        &self,
        org: &OrgId,
        topic: &TopicName,
    ) -> Result<Option<StoredThread>, RpcError> {
        let partition = self.deps.partitioning.of(org, topic);
        let applied = self.consumer.reach_head(partition).await.map_err(late)?;
        let thread = self.deps.store.thread(org, topic).await.map_err(answer)?;
        Ok(thread.map(|thread| {
            self.with_desk(StoredThread {
                applied: applied.max(thread.applied),
                ..thread
            })
        }))
    }

    /// With the user behind the agent whose own desk it is at: the store knows the desk alone.
    fn with_desk(&self, mut thread: StoredThread) -> StoredThread {
        if let Some(agent) = &thread.life.desk_agent {
            let user = self.agent_card(&thread.org, agent).user;
            let of_desk = thread
                .life
                .members
                .iter_mut()
                .filter(|m| m.member == *agent && m.user == *agent);
            of_desk.for_each(|m| m.user = user.clone());
        }
        thread
    }

    /// Changes a thread as somebody decides on what it is. `wish` names what a client wished, so that it is granted once;
    /// without it a change is named by what it is decided on.
    ///
    /// # Errors
    /// What it decides; that the log or the store are not to be had.
    pub(super) async fn change(
        &self,
        thread: StoredThread,
        wish: Option<&str>,
        by: &mut dyn Decide,
    ) -> Result<Changed, RpcError> {
        let mut thread = self.with_desk(thread);
        if let Some(wish) = wish
            && self.is_granted(&thread, wish).await?
        {
            return Ok(Changed::Before);
        }
        for _ in 0..TRIES {
            let Plan { change, said } = match by.decide(self, &thread).await? {
                Ok(plan) => plan,
                Err(refused) => return Ok(Changed::Nothing(refused)),
            };
            let uid = match wish {
                Some(wish) => wish_uid(&thread, wish),
                None => change_uid(&thread, change.act),
            };
            let entry = self.entry_of(&thread, &change, uid, said.as_ref());
            let partition = entry.partition(self.deps.partitioning);
            match self.submit_one(partition, entry).await? {
                Outcome::Stored { position, duplicate } => {
                    self.consumer.reach(partition, position).await.map_err(late)?;
                    self.wake.notify_one();
                    return Ok(if duplicate { Changed::Before } else { Changed::Done });
                }
                // Another change was faster, or the store had not seen all that the owner has. So says a conflict, of a
                // uid that stands for what was decided on.
                outcome @ (Outcome::Outdated | Outcome::Conflict) => {
                    let (org, topic) = (thread.org.clone(), thread.row.topic.clone());
                    thread = self.latest(&org, &topic).await?.ok_or_else(vanished)?;
                    // The same wish, decided on something else, was granted to a try before or elsewhere.
                    if wish.is_some() && outcome == Outcome::Conflict {
                        return Ok(Changed::Before);
                    }
                }
                outcome => return Err(refusal(&outcome)),
            }
        }
        Err(RpcError::new(
            ErrorKind::Unavailable,
            "the conversation is being changed by others all the time; try again",
        ))
    }

    /// Whether this was wished and granted before.
    async fn is_granted(&self, thread: &StoredThread, wish: &str) -> Result<bool, RpcError> {
        let key = MessageKey {
            org: thread.org.clone(),
            topic: thread.row.topic.clone(),
            uid: wish_uid(thread, wish).into(),
        };
        let found = self
            .found(thread.row.partition, vec![key], Position::START)
            .await?;
        Ok(found.into_iter().flatten().next().is_some())
    }

    /// Submits one entry and waits for what becomes of it.
    pub(super) async fn submit_one(&self, partition: PartitionId, entry: Entry) -> Result<Outcome, RpcError> {
        let outcomes = self.submit_all(partition, vec![entry]).await?;
        Ok(outcomes.into_iter().next().unwrap_or(Outcome::Unknown))
    }

    /// Submits entries of one partition.
    pub(super) async fn submit_all(
        &self,
        partition: PartitionId,
        entries: Vec<Entry>,
    ) -> Result<Vec<Outcome>, RpcError> {
        let opening = tokio::time::Instant::now();
        loop {
            let limit = SUBMIT.saturating_sub(opening.elapsed());
            match self.submit(partition, entries.clone(), limit).await {
                // A partition that is changing hands has no owner for a moment; nothing was submitted.
                Err(error) if error.kind == ErrorKind::Unavailable && opening.elapsed() + OWNER < SUBMIT => {
                    tokio::time::sleep(OWNER).await;
                }
                answer => return answer,
            }
        }
    }
}

fn vanished() -> RpcError {
    RpcError::new(ErrorKind::Internal, "a conversation vanished from the store")
}

fn refusal(outcome: &Outcome) -> RpcError {
    match outcome {
        Outcome::Unavailable(why) => {
            RpcError::new(ErrorKind::Unavailable, format!("nothing was changed: {why}"))
        }
        Outcome::Unknown => RpcError::new(
            ErrorKind::NotCommitted,
            "whether the conversation was changed is not known; it is safe to ask again",
        ),
        other => RpcError::new(ErrorKind::Internal, format!("the change was refused: {other:?}")),
    }
}
