//! Opening threads: by a call, or because somebody has spoken in one that is not open.

use std::time::Duration;

use async_trait::async_trait;
use contract::persistence::{Desk, OpenThread, OpenedThread, UserCard};
use contract::{ErrorKind, RpcError};
use model::thread::{Refused, Step, Thread};
use model::{OrgId, Position, Principal, ThreadKind, TopicName, UserId};
use store::{StoredThread, ThreadRow};
use wire::envelope::thread_uid;

use super::change::{Changed, Decide, Plan, Planned};
use super::desk::named_in;
use crate::core::Core;
use crate::error::answer;

/// How often, and how long after one another, a desk is looked for that is not known.
const LOOKS: usize = 4;
const LOOK: Duration = Duration::from_millis(100);

impl Core {
    /// See [`contract::persistence::Persistence::open_thread`].
    pub(crate) async fn opened_thread(
        &self,
        open: &OpenThread,
        desk: &Desk,
        visitor: UserCard,
    ) -> Result<OpenedThread, RpcError> {
        let topic = topic_of(desk, open, &visitor);
        let known = self.latest(&open.org, &topic).await?;
        if known.as_ref().is_none_or(|thread| !thread.life.is_open()) {
            self.take_quota(&open.org, &visitor.uid)?;
        }
        let thread = match known {
            Some(thread) => thread,
            None => self.unknown(&open.org, topic, visitor).await?,
        };
        let (org, topic) = (thread.org.clone(), thread.row.topic.clone());
        let changed = self.open(thread, Some(desk)).await?;
        let stored = self.latest(&org, &topic).await?.ok_or_else(|| {
            RpcError::new(
                ErrorKind::Internal,
                "a conversation that was opened is not in the store",
            )
        })?;
        let queue = self
            .deps
            .store
            .place_in_queue(&org, &topic)
            .await
            .map_err(answer)?;
        Ok(OpenedThread {
            version: stored.life.version,
            created: matches!(changed, Changed::Done),
            thread: self.card(&org, stored.row, 0),
            queue,
        })
    }

    /// Opens a thread unless it is open.
    pub(super) async fn open(&self, thread: StoredThread, desk: Option<&Desk>) -> Result<Changed, RpcError> {
        let (org, topic) = (thread.org.clone(), thread.row.topic.clone());
        let changed = self.change(thread, None, &mut Opening { desk }).await;
        if !matches!(changed, Ok(Changed::Done)) {
            self.release(&org, &topic).await;
        }
        changed
    }

    /// One that the log has nothing of.
    async fn unknown(
        &self,
        org: &OrgId,
        topic: TopicName,
        visitor: UserCard,
    ) -> Result<StoredThread, RpcError> {
        let partition = self.deps.partitioning.of(org, &topic);
        let applied = self
            .consumer
            .reach_head(partition)
            .await
            .map_err(crate::error::late)?;
        let parsed = model::ChatTopic::parse(&topic);
        let row = ThreadRow {
            partition,
            uid: thread_uid(org, &topic),
            kind: parsed
                .map_or(ThreadKind::Default, |t| t.kind)
                .type_name()
                .to_owned(),
            status: "NEW".to_owned(),
            desk: parsed.map(|t| t.desk.into()).unwrap_or_default(),
            visitor,
            agent: None,
            last: None,
            updated_at: self.now(),
            waiting_since: None,
            topic,
        };
        Ok(StoredThread {
            org: org.clone(),
            row,
            life: Thread::default(),
            pending: Position::START,
            applied,
        })
    }

    /// See [`contract::persistence::Persistence::admit`].
    pub(crate) async fn admitted(&self, org: &OrgId, topic: &TopicName) -> Result<(), RpcError> {
        let Some((desk, visitor)) = named_in(topic) else {
            return Ok(());
        };
        if self
            .deps
            .store
            .thread(org, topic)
            .await
            .map_err(answer)?
            .is_some()
        {
            return Ok(());
        }
        for look in 0..LOOKS {
            if self.is_desk(org, &desk).await? {
                return self.take_quota(org, &visitor);
            }
            // Its agent may be connecting for the first time.
            if look + 1 < LOOKS {
                tokio::time::sleep(LOOK).await;
            }
        }
        Err(RpcError::new(
            ErrorKind::NotFound,
            format!("there is no desk {desk:?} in {org}; a conversation begins at a desk that exists"),
        ))
    }

    /// Whether there is such a desk: the directory has it, or one of the staff has used its uid with a token.
    pub(super) async fn is_desk(&self, org: &OrgId, uid: &UserId) -> Result<bool, RpcError> {
        if self.desk_of(org, uid).is_some() {
            return Ok(true);
        }
        let mark = Principal::staff_mark(uid);
        self.deps.store.is_proven(org, &mark).await.map_err(answer)
    }

    fn take_quota(&self, org: &OrgId, visitor: &UserId) -> Result<(), RpcError> {
        let rules = &self.deps.rules;
        let limits = (rules.new_threads_per_visitor, rules.new_threads_per_org);
        self.quotas.take(org, visitor, limits, self.now())
    }
}

/// Opens a thread of a desk.
struct Opening<'a> {
    desk: Option<&'a Desk>,
}

#[async_trait]
impl Decide for Opening<'_> {
    async fn decide(&mut self, core: &Core, thread: &StoredThread) -> Planned {
        if thread.life.is_open() {
            return Ok(Err(Refused::Nothing));
        }
        let choice = core.choose(&thread.org, &thread.row.topic, self.desk).await?;
        // Whoever is given it sees it from what was said first, inclusive.
        let since = match thread.pending {
            Position::START => Position::END,
            first => first.before(),
        };
        let step = Step::Open {
            visitor: thread.row.visitor.uid.clone(),
            status: choice.status,
            agent: choice.agent,
            since,
        };
        Ok(thread.life.decide(step).map(Plan::silent))
    }
}

fn topic_of(desk: &Desk, open: &OpenThread, visitor: &UserCard) -> TopicName {
    let level = desk.kind.name();
    TopicName::trusted(format!("org/{level}/{}/{}", open.desk, visitor.uid))
}
