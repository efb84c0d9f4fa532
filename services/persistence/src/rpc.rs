//! What other services ask: the trait of the contract over the store.

use async_trait::async_trait;
use bytes::Bytes;
use contract::persistence::{
    AgentCard, BacklogLane, BacklogPage, BacklogRequest, CloseSession, Desk, ExplainRequest, Explained,
    Found, HistoryPage, HistoryRange, HistoryRequest, MessageKey, OpenSession, OpenThread, OpenedSession,
    OpenedThread, Persistence, Retained, SaveSession, ThreadCard, ThreadPage, ThreadsRequest, UidPage,
    UserCard,
};
use contract::{ErrorKind, RpcError};
use model::{Membership, OrgId, PartitionId, Position, ThreadKind, TopicFilter, TopicName, UserId};
use store::{Assign, NewThread, Service, ThreadQuery, ThreadRow, UnreadQuery};
use tokio::time::Duration;

use crate::core::Core;
use crate::error::{answer, late};
use crate::threads::thread_uid;

/// How long a backlog waits for receipts, which may lag.
const RECEIPTS_WAIT: Duration = Duration::from_millis(200);
/// The most that a page of history has.
const PAGE_LIMIT: u32 = 1000;

#[async_trait]
impl Persistence for Core {
    async fn open_session(&self, mut open: OpenSession) -> Result<OpenedSession, RpcError> {
        open.expiry = self.config.cap_expiry(open.expiry);
        self.deps
            .store
            .open_session(open, self.now())
            .await
            .map_err(answer)
    }

    async fn save_sessions(&self, saves: Vec<SaveSession>) -> Result<Vec<bool>, RpcError> {
        self.deps.store.save_sessions(saves).await.map_err(answer)
    }

    async fn close_session(&self, mut close: CloseSession) -> Result<(), RpcError> {
        close.expiry = self.config.cap_expiry(close.expiry);
        self.deps.store.close_session(close).await.map_err(answer)
    }

    async fn backlog(&self, mut request: BacklogRequest) -> Result<BacklogPage, RpcError> {
        self.reach_lanes(&request.lanes).await?;
        loop {
            let page = self
                .deps
                .store
                .backlog(request.clone(), self.now())
                .await
                .map_err(answer)?;
            let done = request
                .lanes
                .iter()
                .all(|lane| page.covered.contains(&(lane.partition, lane.upto)));
            if done || !page.entries.is_empty() {
                return Ok(page);
            }
            // Everything up to here is left out: go on until there is an entry or the end.
            let mut moved = false;
            for (lane, (_, covered)) in request.lanes.iter_mut().zip(&page.covered) {
                moved |= *covered > lane.after;
                lane.after = *covered;
            }
            if !moved {
                return Ok(page);
            }
        }
    }

    async fn retained(
        &self,
        org: &OrgId,
        filter: &TopicFilter,
        upto: Vec<BacklogLane>,
    ) -> Result<Vec<Retained>, RpcError> {
        for lane in &upto {
            self.consumer
                .reach(lane.partition, lane.upto)
                .await
                .map_err(late)?;
        }
        self.deps
            .store
            .retained(org, filter, self.now())
            .await
            .map_err(answer)
    }

    async fn find(
        &self,
        partition: PartitionId,
        keys: Vec<MessageKey>,
        applied: Position,
    ) -> Result<Vec<Option<Found>>, RpcError> {
        self.found(partition, keys, applied).await
    }

    async fn uids_since(
        &self,
        partition: PartitionId,
        after: Position,
        limit: u32,
    ) -> Result<UidPage, RpcError> {
        self.uid_page(partition, after, limit).await
    }

    async fn last_before(
        &self,
        org: &OrgId,
        topic: &TopicName,
        before: Position,
    ) -> Result<Option<Position>, RpcError> {
        self.deps
            .store
            .last_before(org, topic, before)
            .await
            .map_err(answer)
    }

    async fn history(&self, request: HistoryRequest) -> Result<HistoryPage, RpcError> {
        let partition = self.deps.partitioning.of(&request.org, &request.topic);
        let applied = self.consumer.reach_head(partition).await.map_err(late)?;
        let range = bounded(request.range);
        let mut page = self
            .deps
            .store
            .history(&request.org, &request.topic, range)
            .await
            .map_err(answer)?;
        page.head = head_of(&page, range, applied);
        Ok(page)
    }

    async fn membership(&self, org: &OrgId, topic: &TopicName) -> Result<Membership, RpcError> {
        self.deps.store.membership(org, topic).await.map_err(answer)
    }

    async fn desk(&self, org: &OrgId, uid: &UserId) -> Result<Desk, RpcError> {
        let desk = self.config.directory.desk(org, uid);
        desk.ok_or_else(|| {
            RpcError::new(
                ErrorKind::NotFound,
                format!("there is no agent or workgroup `{uid}` in {org}"),
            )
        })
    }

    async fn open_thread(&self, open: OpenThread) -> Result<OpenedThread, RpcError> {
        let desk = self.desk(&open.org, &open.desk).await?;
        let visitor = self.visitor(&open.org, open.visitor.clone()).await?;
        let (thread, assign) = self.new_thread(&open, &desk, visitor);
        let topic = thread.topic.clone();
        let opened = self
            .deps
            .store
            .open_thread(thread, assign)
            .await
            .map_err(answer)?;
        if opened.changed {
            self.tell_access(&open.org, &topic).await;
        }
        let thread = self.card(&open.org, opened.thread, 0);
        Ok(OpenedThread {
            thread,
            created: opened.created,
            joined: opened.joined,
        })
    }

    async fn announced(&self, org: &OrgId, topic: &TopicName, users: Vec<UserId>) -> Result<(), RpcError> {
        self.deps.store.announced(org, topic, users).await.map_err(answer)
    }

    async fn threads(&self, request: ThreadsRequest) -> Result<ThreadPage, RpcError> {
        let size = request.size.min(PAGE_LIMIT) as usize;
        let query = ThreadQuery {
            org: request.org.clone(),
            identities: request.identities.clone(),
            unreplied: request.unreplied,
            offset: (request.page as usize).saturating_mul(size),
            limit: size,
        };
        let (rows, total) = self.deps.store.threads(query).await.map_err(answer)?;
        let topics = rows.iter().map(|row| row.topic.clone()).collect();
        let query = UnreadQuery {
            org: request.org.clone(),
            identities: request.identities,
            anew: false,
        };
        let unread = self.deps.store.unread_in(query, topics).await.map_err(answer)?;
        let card = |(row, unread)| self.card(&request.org, row, unread);
        let threads = rows.into_iter().zip(unread).map(card).collect();
        Ok(ThreadPage { threads, total })
    }

    async fn visitor(&self, org: &OrgId, mut card: UserCard) -> Result<UserCard, RpcError> {
        if card.uid.is_empty() {
            card.uid = UserId::from(uuid::Uuid::now_v7().simple().to_string());
        }
        if let Err(error) = UserId::checked(&card.uid) {
            return Err(RpcError::new(
                ErrorKind::InvalidPayload,
                format!("the visitor's uid is not valid: {error}"),
            ));
        }
        self.deps.store.visitor(org, card).await.map_err(answer)
    }

    async fn explain(&self, request: ExplainRequest) -> Result<Vec<Explained>, RpcError> {
        self.explained(&request).await
    }
}

impl Core {
    pub(crate) async fn reach_lanes(&self, lanes: &[BacklogLane]) -> Result<(), RpcError> {
        for lane in lanes {
            self.consumer
                .reach(lane.partition, lane.upto)
                .await
                .map_err(late)?;
        }
        let deadline = tokio::time::Instant::now() + RECEIPTS_WAIT;
        for lane in lanes {
            let applied = |limit| {
                self.deps
                    .store
                    .wait_applied(Service::Receipts, lane.partition, lane.upto, limit)
            };
            if applied(Duration::ZERO).await.map_err(answer)? >= lane.upto {
                continue;
            }
            let holder = self
                .deps
                .leases
                .holder(&format!("receipts/{}", lane.partition))
                .await;
            if matches!(holder, Ok(Some(_))) {
                self.deps.store.hurry(Service::Receipts);
                // When they are late they come as they are; what they change after this is live.
                let left = deadline.saturating_duration_since(tokio::time::Instant::now());
                applied(left).await.map_err(answer)?;
            }
        }
        Ok(())
    }

    fn new_thread(&self, open: &OpenThread, desk: &Desk, visitor: UserCard) -> (NewThread, Vec<Assign>) {
        use contract::persistence::DeskKind;
        let (kind, level) = match desk.kind {
            DeskKind::Agent => (ThreadKind::Agent, "agent"),
            DeskKind::Workgroup => (ThreadKind::Workgroup, "workgroup"),
        };
        let topic = TopicName::trusted(format!("org/{level}/{}/{}", open.desk, visitor.uid));
        let assign = |agent: &AgentCard| Assign {
            agent: agent.card.uid.clone(),
            user: agent.user.clone(),
            online: open.online.contains(&agent.user) || open.online.contains(&agent.card.uid),
        };
        let is_agent = desk.kind == DeskKind::Agent;
        let thread = NewThread {
            org: open.org.clone(),
            partition: self.deps.partitioning.of(&open.org, &topic),
            uid: thread_uid(&open.org, &topic),
            kind: kind.type_name(),
            desk: open.desk.to_string(),
            party: visitor.uid.to_string(),
            nickname: visitor.nickname,
            avatar: visitor.avatar,
            agent: is_agent.then(|| open.desk.to_string()),
            at: open.at,
            topic,
        };
        // The topic of an agent's thread names its agent; a workgroup's thread is given to one.
        let assign = if is_agent {
            Vec::new()
        } else {
            desk.agents.iter().map(assign).collect()
        };
        (thread, assign)
    }

    /// Caches of memberships drop what they know of the thread. They ask again after a while anyway.
    async fn tell_access(&self, org: &OrgId, topic: &TopicName) {
        let payload = Bytes::from([org.as_bytes(), &[0], topic.as_bytes()].concat());
        if let Err(error) = self.deps.bus.publish("access", payload).await {
            tracing::warn!(%error, "a change of members could not be told");
        }
    }

    fn card(&self, org: &OrgId, row: ThreadRow, unread: u64) -> ThreadCard {
        let unknown = |uid: UserId| AgentCard {
            card: UserCard {
                uid: uid.clone(),
                ..UserCard::default()
            },
            user: uid,
        };
        let agent = row.agent.map(|uid| {
            self.config
                .directory
                .agent(org, &uid)
                .unwrap_or_else(|| unknown(uid))
        });
        ThreadCard {
            uid: row.uid,
            topic: row.topic,
            kind: row.kind,
            status: row.status,
            visitor: row.visitor,
            agent,
            last: row.last,
            updated_at: row.updated_at,
            unread,
            unreplied_since: row.waiting_since,
        }
    }
}

fn bounded(range: HistoryRange) -> HistoryRange {
    match range {
        HistoryRange::After { position, limit } => HistoryRange::After {
            position,
            limit: limit.min(PAGE_LIMIT),
        },
        HistoryRange::Before { position, limit } => HistoryRange::Before {
            position,
            limit: limit.min(PAGE_LIMIT),
        },
        HistoryRange::Page { number, size } => HistoryRange::Page {
            number,
            size: size.min(PAGE_LIMIT),
        },
    }
}

/// Up to where everything of the topic is in the page or older than it.
fn head_of(page: &HistoryPage, range: HistoryRange, applied: Position) -> Position {
    let last = page.entries.last().map(|e| e.position);
    match range {
        HistoryRange::After { .. } if page.more => last.unwrap_or(applied),
        HistoryRange::Before { position, .. } if position <= applied => position.before(),
        HistoryRange::Page { number, .. } if number > 0 => last.unwrap_or_default(),
        _ => last.unwrap_or_default().max(applied),
    }
}
