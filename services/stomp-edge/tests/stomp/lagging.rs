//! Persistence that can lag, and that can be blind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use contract::RpcError;
use contract::persistence::*;
use model::thread::Members;
use model::{OrgId, PartitionId, Position, TopicFilter, TopicName, UserId};
use parking_lot::Mutex;

type Answer<T> = Result<T, RpcError>;

/// The real one, but for what it says of memberships while it lags.
pub struct Lagging {
    pub real: Arc<dyn Persistence>,
    /// What it says of the members of any thread, unless more is asked for.
    pub old: Mutex<Option<Members>>,
    /// Every uid is anybody's.
    pub blind: AtomicBool,
}

#[async_trait]
impl Directory for Lagging {
    async fn identify(&self, org: &OrgId, uid: &UserId) -> Answer<Option<DirectoryUid>> {
        self.real.identify(org, uid).await
    }
    async fn agents_of(&self, org: &OrgId, identities: Vec<UserId>) -> Answer<Vec<AgentCard>> {
        self.real.agents_of(org, identities).await
    }
    async fn list_agents(&self, org: &OrgId, page: u32, size: u32) -> Answer<Listed<AgentCard>> {
        self.real.list_agents(org, page, size).await
    }
    async fn list_desks(&self, org: &OrgId, page: u32, size: u32) -> Answer<Listed<DeskEntry>> {
        self.real.list_desks(org, page, size).await
    }
    async fn change_directory(&self, org: &OrgId, change: DirectoryChange) -> Answer<Option<Desk>> {
        self.real.change_directory(org, change).await
    }
}

#[async_trait]
impl Persistence for Lagging {
    async fn members(&self, org: &OrgId, topic: &TopicName, known_to: Position) -> Answer<Members> {
        let old = self.old.lock().clone().filter(|_| known_to == Position::START);
        if let Some(old) = old {
            return Ok(old);
        }
        self.real.members(org, topic, known_to).await
    }
    async fn memberships(
        &self,
        org: &OrgId,
        identities: Vec<UserId>,
        reached: Vec<(PartitionId, Position)>,
    ) -> Answer<Vec<MemberTopic>> {
        self.real.memberships(org, identities, reached).await
    }
    async fn admit(&self, org: &OrgId, topic: &TopicName) -> Answer<()> {
        self.real.admit(org, topic).await
    }
    async fn change_thread(&self, change: ChangeThread) -> Answer<ThreadCard> {
        self.real.change_thread(change).await
    }
    async fn open_session(&self, open: OpenSession) -> Answer<OpenedSession> {
        self.real.open_session(open).await
    }
    async fn save_sessions(&self, saves: Vec<SaveSession>) -> Answer<Vec<bool>> {
        self.real.save_sessions(saves).await
    }
    async fn close_session(&self, close: CloseSession) -> Answer<()> {
        self.real.close_session(close).await
    }
    async fn backlog(&self, request: BacklogRequest) -> Answer<BacklogPage> {
        self.real.backlog(request).await
    }
    async fn retained(
        &self,
        org: &OrgId,
        filter: &TopicFilter,
        upto: Vec<BacklogLane>,
    ) -> Answer<Vec<Retained>> {
        self.real.retained(org, filter, upto).await
    }
    async fn find(
        &self,
        partition: PartitionId,
        keys: Vec<MessageKey>,
        applied: Position,
    ) -> Answer<Vec<Option<Found>>> {
        self.real.find(partition, keys, applied).await
    }
    async fn uids_since(&self, partition: PartitionId, after: Position, limit: u32) -> Answer<UidPage> {
        self.real.uids_since(partition, after, limit).await
    }
    async fn last_before(
        &self,
        org: &OrgId,
        topic: &TopicName,
        before: Position,
    ) -> Answer<Option<Position>> {
        self.real.last_before(org, topic, before).await
    }
    async fn history(&self, request: HistoryRequest) -> Answer<HistoryPage> {
        self.real.history(request).await
    }
    async fn desk(&self, org: &OrgId, uid: &UserId) -> Answer<Desk> {
        self.real.desk(org, uid).await
    }
    async fn open_thread(&self, open: OpenThread) -> Answer<OpenedThread> {
        self.real.open_thread(open).await
    }
    async fn threads(&self, request: ThreadsRequest) -> Answer<ThreadPage> {
        self.real.threads(request).await
    }
    async fn visitor(&self, org: &OrgId, card: UserCard) -> Answer<UserCard> {
        self.real.visitor(org, card).await
    }
    async fn explain(&self, request: ExplainRequest) -> Answer<Vec<Explained>> {
        self.real.explain(request).await
    }
    async fn standing(&self, org: &OrgId, uid: &UserId) -> Answer<Standing> {
        match self.blind.load(Ordering::Relaxed) {
            true => Ok(Standing::Free),
            false => self.real.standing(org, uid).await,
        }
    }
    async fn prove(&self, org: &OrgId, uids: Vec<UserId>) -> Answer<()> {
        self.real.prove(org, uids).await
    }
}
