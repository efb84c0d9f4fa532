//! What other services ask: the trait of the contract over the store.

use async_trait::async_trait;
use bytes::Bytes;
use contract::persistence::{
    BacklogLane, BacklogPage, BacklogRequest, ChangeThread, CloseSession, Desk, DeskKind, ExplainRequest,
    Explained, Found, HistoryPage, HistoryRange, HistoryRequest, MemberTopic, MessageKey, OpenSession,
    OpenThread, OpenedSession, OpenedThread, Persistence, Retained, SaveSession, Standing, ThreadCard,
    ThreadPage, ThreadsRequest, UidPage, UserCard,
};
use contract::{ErrorKind, RpcError};
use futures::future::join_all;
use model::thread::Members;
use model::{OrgId, PartitionId, Position, TopicFilter, TopicName, UserId};
use store::{Service, ThreadEvent, ThreadQuery, ThreadRow, UnreadQuery};
use tokio::time::Duration;

use crate::core::Core;
use crate::error::{answer, late};

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

    async fn members(&self, org: &OrgId, topic: &TopicName, known_to: Position) -> Result<Members, RpcError> {
        if known_to > Position::START {
            let partition = self.deps.partitioning.of(org, topic);
            self.consumer.reach(partition, known_to).await.map_err(late)?;
        }
        self.deps.store.members(org, topic).await.map_err(answer)
    }

    async fn memberships(
        &self,
        org: &OrgId,
        identities: Vec<UserId>,
        reached: Vec<(PartitionId, Position)>,
    ) -> Result<Vec<MemberTopic>, RpcError> {
        self.deps
            .store
            .memberships(org, identities, reached)
            .await
            .map_err(answer)
    }

    async fn desk(&self, org: &OrgId, uid: &UserId) -> Result<Desk, RpcError> {
        let desk = self.desk_of(org, uid);
        let none = || RpcError::new(ErrorKind::NotFound, format!("there is no desk `{uid}` in {org}"));
        desk.ok_or_else(none)
    }

    async fn open_thread(&self, open: OpenThread) -> Result<OpenedThread, RpcError> {
        let desk = self.desk(&open.org, &open.desk).await?;
        receives_visitors(&desk)?;
        let visitor = self.visitor(&open.org, open.visitor.clone()).await?;
        self.opened_thread(&open, &desk, visitor).await
    }

    async fn admit(&self, org: &OrgId, topic: &TopicName) -> Result<(), RpcError> {
        self.admitted(org, topic).await
    }

    async fn change_thread(&self, change: ChangeThread) -> Result<ThreadCard, RpcError> {
        self.changed_thread(change).await
    }

    async fn threads(&self, request: ThreadsRequest) -> Result<ThreadPage, RpcError> {
        let size = request.size.min(PAGE_LIMIT) as usize;
        let query = ThreadQuery {
            org: request.org.clone(),
            identities: request.identities.clone(),
            open: request.open,
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

    async fn standing(&self, org: &OrgId, uid: &UserId) -> Result<Standing, RpcError> {
        self.standing_of(org, uid).await
    }

    async fn prove(&self, org: &OrgId, uids: Vec<UserId>) -> Result<(), RpcError> {
        self.deps.store.prove(org, uids).await.map_err(answer)
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

    /// Threads have changed, as the store has it now: caches of memberships drop what they know of them, and whoever keeps threads
    /// looks what is left to do.
    pub(crate) async fn threads_changed(&self, events: &[ThreadEvent]) {
        self.wake.notify_one();
        let changed = events.iter().filter(|event| event.change.is_some());
        join_all(changed.map(|event| self.tell_access(&event.thread.org, &event.thread.topic))).await;
    }

    /// Caches of memberships drop what they know of the thread. They ask again after a while anyway.
    async fn tell_access(&self, org: &OrgId, topic: &TopicName) {
        let payload = Bytes::from([org.as_bytes(), &[0], topic.as_bytes()].concat());
        if let Err(error) = self.deps.bus.publish("access", payload).await {
            tracing::warn!(%error, "a change of members could not be told");
        }
    }

    pub(crate) fn card(&self, org: &OrgId, row: ThreadRow, unread: u64) -> ThreadCard {
        let agent = row.agent.map(|uid| self.agent_card(org, &uid));
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

/// Refuses a desk at which no conversation with a visitor begins.
fn receives_visitors(desk: &Desk) -> Result<(), RpcError> {
    if desk.kind != DeskKind::Ticket {
        return Ok(());
    }
    let why = format!(
        "{} is where tickets are worked on; no visitor is received there",
        desk.card.uid
    );
    Err(RpcError::new(ErrorKind::InvalidPayload, why))
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
