use async_trait::async_trait;
use model::thread::Members;
use model::{OrgId, PartitionId, Position, TopicFilter, TopicName, UserId};
use prost::Message as _;

use super::answer;
use super::pool::Pool;
use crate::method::{Method, Repeat};
use crate::pb;
use crate::wire::{Findings, Wire as _};
use contract::persistence::{
    BacklogLane, BacklogPage, BacklogRequest, ChangeThread, CloseSession, Desk, ExplainRequest, Explained,
    Found, HistoryPage, HistoryRequest, MemberTopic, MessageKey, OpenSession, OpenThread, OpenedSession,
    OpenedThread, Persistence, Retained, SaveSession, Standing, ThreadCard, ThreadPage, ThreadsRequest,
    UidPage, UserCard,
};
use contract::{ErrorKind, RpcError};

/// The persistence service in other processes.
pub(super) struct Remote(pub(super) Pool);

#[async_trait]
impl Persistence for Remote {
    async fn open_session(&self, open: OpenSession) -> Result<OpenedSession, RpcError> {
        answer(self.0.call(Method::OpenSession, open.to_wire()).await?)
    }

    async fn save_sessions(&self, saves: Vec<SaveSession>) -> Result<Vec<bool>, RpcError> {
        let mut taken = Vec::with_capacity(saves.len());
        for saves in in_parts(saves, self.0.max_message()) {
            let asked = saves.len();
            let request = pb::SaveSessionsRequest { saves };
            let part: pb::SaveSessionsAnswer = self.0.call(Method::SaveSessions, request).await?;
            counted(asked, part.taken.len())?;
            taken.extend(part.taken);
        }
        Ok(taken)
    }

    async fn close_session(&self, close: CloseSession) -> Result<(), RpcError> {
        let pb::Done {} = self.0.call(Method::CloseSession, close.to_wire()).await?;
        Ok(())
    }

    async fn backlog(&self, request: BacklogRequest) -> Result<BacklogPage, RpcError> {
        answer(self.0.call(Method::Backlog, request.to_wire()).await?)
    }

    async fn retained(
        &self,
        org: &OrgId,
        filter: &TopicFilter,
        upto: Vec<BacklogLane>,
    ) -> Result<Vec<Retained>, RpcError> {
        let request = pb::RetainedRequest {
            org: org.to_string(),
            filter: filter.to_string(),
            upto: upto.to_wire(),
        };
        let found: pb::RetainedAnswer = self.0.call(Method::Retained, request).await?;
        answer(found.retained)
    }

    async fn find(
        &self,
        partition: PartitionId,
        keys: Vec<MessageKey>,
        applied: Position,
    ) -> Result<Vec<Option<Found>>, RpcError> {
        let asked = keys.len();
        let request = pb::FindRequest {
            partition: partition.to_wire(),
            keys: keys.to_wire(),
            applied: applied.to_wire(),
        };
        let Findings(found) = answer(self.0.call(Method::Find, request).await?)?;
        counted(asked, found.len())?;
        Ok(found)
    }

    async fn uids_since(
        &self,
        partition: PartitionId,
        after: Position,
        limit: u32,
    ) -> Result<UidPage, RpcError> {
        let request = pb::UidsSinceRequest {
            partition: partition.to_wire(),
            after: after.to_wire(),
            limit,
        };
        answer(self.0.call(Method::UidsSince, request).await?)
    }

    async fn last_before(
        &self,
        org: &OrgId,
        topic: &TopicName,
        before: Position,
    ) -> Result<Option<Position>, RpcError> {
        let request = pb::LastBeforeRequest {
            org: org.to_string(),
            topic: topic.to_string(),
            before: before.to_wire(),
        };
        let last: pb::LastBeforeAnswer = self.0.call(Method::LastBefore, request).await?;
        answer(last.position)
    }

    async fn history(&self, request: HistoryRequest) -> Result<HistoryPage, RpcError> {
        answer(self.0.call(Method::History, request.to_wire()).await?)
    }

    async fn members(&self, org: &OrgId, topic: &TopicName, known_to: Position) -> Result<Members, RpcError> {
        let request = pb::TopicRequest {
            org: org.to_string(),
            topic: topic.to_string(),
            known_to: known_to.0,
        };
        answer(self.0.call(Method::Membership, request).await?)
    }

    async fn desk(&self, org: &OrgId, uid: &UserId) -> Result<Desk, RpcError> {
        let request = pb::DeskRequest {
            org: org.to_string(),
            uid: uid.to_string(),
        };
        answer(self.0.call(Method::Desk, request).await?)
    }

    async fn open_thread(&self, open: OpenThread) -> Result<OpenedThread, RpcError> {
        let repeat = repeat_for(&open.visitor);
        answer(self.0.call_as(Method::OpenThread, repeat, open.to_wire()).await?)
    }

    async fn memberships(
        &self,
        org: &OrgId,
        identities: Vec<UserId>,
        reached: Vec<(PartitionId, Position)>,
    ) -> Result<Vec<MemberTopic>, RpcError> {
        let request = pb::MembershipsRequest {
            org: org.to_string(),
            identities: identities.to_wire(),
            reached: reached.to_wire(),
        };
        let told: pb::MembershipsAnswer = self.0.call(Method::Memberships, request).await?;
        answer(told.topics)
    }

    async fn admit(&self, org: &OrgId, topic: &TopicName) -> Result<(), RpcError> {
        let request = pb::TopicRequest {
            org: org.to_string(),
            topic: topic.to_string(),
            known_to: 0,
        };
        let pb::Done {} = self.0.call(Method::Admit, request).await?;
        Ok(())
    }

    async fn change_thread(&self, change: ChangeThread) -> Result<ThreadCard, RpcError> {
        answer(self.0.call(Method::ChangeThread, change.to_wire()).await?)
    }

    async fn threads(&self, request: ThreadsRequest) -> Result<ThreadPage, RpcError> {
        answer(self.0.call(Method::Threads, request.to_wire()).await?)
    }

    async fn visitor(&self, org: &OrgId, card: UserCard) -> Result<UserCard, RpcError> {
        let repeat = repeat_for(&card);
        let request = pb::VisitorRequest {
            org: org.to_string(),
            card: Some(card.to_wire()),
        };
        answer(self.0.call_as(Method::Visitor, repeat, request).await?)
    }

    async fn explain(&self, request: ExplainRequest) -> Result<Vec<Explained>, RpcError> {
        let told: pb::ExplainAnswer = self.0.call(Method::Explain, request.to_wire()).await?;
        answer(told.explained)
    }

    async fn standing(&self, org: &OrgId, uid: &UserId) -> Result<Standing, RpcError> {
        let request = pb::StandingRequest {
            org: org.to_string(),
            uid: uid.to_string(),
        };
        let told: pb::StandingAnswer = self.0.call(Method::Standing, request).await?;
        answer(told.standing)
    }

    async fn prove(&self, org: &OrgId, uids: Vec<UserId>) -> Result<(), RpcError> {
        let request = pb::ProveRequest {
            org: org.to_string(),
            uids: uids.to_wire(),
        };
        let pb::Done {} = self.0.call(Method::Prove, request).await?;
        Ok(())
    }
}

/// A visitor with a uid is entered once, however often; one without gets a new uid each time.
fn repeat_for(visitor: &UserCard) -> Repeat {
    if visitor.uid.is_empty() {
        Repeat::IfNotDone
    } else {
        Repeat::Always
    }
}

/// As many answers as questions: they are matched by their order.
fn counted(asked: usize, answered: usize) -> Result<(), RpcError> {
    if asked == answered {
        return Ok(());
    }
    let detail = format!("persistence gave {answered} answers to {asked} questions");
    Err(RpcError::new(ErrorKind::Internal, detail))
}

/// All sessions of an edge at once may be more than a message holds. Progress is stored session by session anyway.
fn in_parts(saves: Vec<SaveSession>, max_message: usize) -> Vec<Vec<pb::SaveSession>> {
    let (mut parts, mut part, mut size) = (Vec::new(), Vec::new(), 0);
    for save in saves.to_wire() {
        // With its tag and its length.
        let len = save.encoded_len() + 10;
        if size + len > max_message && !part.is_empty() {
            parts.push(std::mem::take(&mut part));
            size = 0;
        }
        size += len;
        part.push(save);
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}
