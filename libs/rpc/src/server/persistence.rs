use tonic::{Request, async_trait};

use super::{Answer, Served, told};
use crate::method::Method;
use crate::pb;
use crate::pb::persistence_server::Persistence as Calls;
use crate::wire::{Findings, given, read};
use contract::persistence::Persistence;
use model::Position;

#[async_trait]
impl Calls for Served<dyn Persistence> {
    async fn open_session(&self, request: Request<pb::OpenSessionRequest>) -> Answer<pb::OpenedSession> {
        self.answer(Method::OpenSession, request, |service, open| async move {
            service.open_session(read(open)?).await.map(told)
        })
        .await
    }

    async fn save_sessions(
        &self,
        request: Request<pb::SaveSessionsRequest>,
    ) -> Answer<pb::SaveSessionsAnswer> {
        self.answer(Method::SaveSessions, request, |service, save| async move {
            let taken = service.save_sessions(read(save.saves)?).await?;
            Ok(pb::SaveSessionsAnswer { taken })
        })
        .await
    }

    async fn close_session(&self, request: Request<pb::CloseSessionRequest>) -> Answer<pb::Done> {
        self.answer(Method::CloseSession, request, |service, close| async move {
            service.close_session(read(close)?).await?;
            Ok(pb::Done {})
        })
        .await
    }

    async fn backlog(&self, request: Request<pb::BacklogRequest>) -> Answer<pb::BacklogPage> {
        self.answer(Method::Backlog, request, |service, asked| async move {
            service.backlog(read(asked)?).await.map(told)
        })
        .await
    }

    async fn retained(&self, request: Request<pb::RetainedRequest>) -> Answer<pb::RetainedAnswer> {
        self.answer(Method::Retained, request, |service, asked| async move {
            let (org, filter) = (read(asked.org)?, read(asked.filter)?);
            let retained = service.retained(&org, &filter, read(asked.upto)?).await?;
            Ok(pb::RetainedAnswer {
                retained: told(retained),
            })
        })
        .await
    }

    async fn find(&self, request: Request<pb::FindRequest>) -> Answer<pb::FoundAnswer> {
        self.answer(Method::Find, request, |service, asked| async move {
            let (partition, keys) = (read(asked.partition)?, read(asked.keys)?);
            let found = service.find(partition, keys, read(asked.applied)?).await?;
            Ok(told(Findings(found)))
        })
        .await
    }

    async fn uids_since(&self, request: Request<pb::UidsSinceRequest>) -> Answer<pb::UidPage> {
        self.answer(Method::UidsSince, request, |service, asked| async move {
            let (partition, after) = (read(asked.partition)?, read(asked.after)?);
            service.uids_since(partition, after, asked.limit).await.map(told)
        })
        .await
    }

    async fn last_before(&self, request: Request<pb::LastBeforeRequest>) -> Answer<pb::LastBeforeAnswer> {
        self.answer(Method::LastBefore, request, |service, asked| async move {
            let (org, topic) = (read(asked.org)?, read(asked.topic)?);
            let position = service.last_before(&org, &topic, read(asked.before)?).await?;
            Ok(pb::LastBeforeAnswer {
                position: told(position),
            })
        })
        .await
    }

    async fn history(&self, request: Request<pb::HistoryRequest>) -> Answer<pb::HistoryPage> {
        self.answer(Method::History, request, |service, asked| async move {
            service.history(read(asked)?).await.map(told)
        })
        .await
    }

    async fn membership(&self, request: Request<pb::TopicRequest>) -> Answer<pb::MembershipAnswer> {
        self.answer(Method::Membership, request, |service, asked| async move {
            let (org, topic) = (read(asked.org)?, read(asked.topic)?);
            let known_to = Position(asked.known_to);
            service.members(&org, &topic, known_to).await.map(told)
        })
        .await
    }

    async fn desk(&self, request: Request<pb::DeskRequest>) -> Answer<pb::DeskAnswer> {
        self.answer(Method::Desk, request, |service, asked| async move {
            let (org, uid) = (read(asked.org)?, read(asked.uid)?);
            service.desk(&org, &uid).await.map(told)
        })
        .await
    }

    async fn open_thread(&self, request: Request<pb::OpenThreadRequest>) -> Answer<pb::OpenedThread> {
        self.answer(Method::OpenThread, request, |service, open| async move {
            service.open_thread(read(open)?).await.map(told)
        })
        .await
    }

    async fn announced(&self, request: Request<pb::AnnouncedRequest>) -> Answer<pb::Done> {
        self.answer(Method::Announced, request, |_, _| async move { Ok(pb::Done {}) })
            .await
    }

    async fn threads(&self, request: Request<pb::ThreadsRequest>) -> Answer<pb::ThreadPage> {
        self.answer(Method::Threads, request, |service, asked| async move {
            service.threads(read(asked)?).await.map(told)
        })
        .await
    }

    async fn visitor(&self, request: Request<pb::VisitorRequest>) -> Answer<pb::UserCard> {
        self.answer(Method::Visitor, request, |service, asked| async move {
            let card = given("the card of a visitor", asked.card)?;
            service.visitor(&read(asked.org)?, card).await.map(told)
        })
        .await
    }

    async fn explain(&self, request: Request<pb::ExplainRequest>) -> Answer<pb::ExplainAnswer> {
        self.answer(Method::Explain, request, |service, asked| async move {
            let explained = service.explain(read(asked)?).await?;
            Ok(pb::ExplainAnswer {
                explained: told(explained),
            })
        })
        .await
    }

    async fn memberships(&self, request: Request<pb::MembershipsRequest>) -> Answer<pb::MembershipsAnswer> {
        self.answer(Method::Memberships, request, |service, asked| async move {
            let (org, identities) = (read(asked.org)?, read(asked.identities)?);
            let topics = service
                .memberships(&org, identities, read(asked.reached)?)
                .await?;
            Ok(pb::MembershipsAnswer { topics: told(topics) })
        })
        .await
    }

    async fn admit(&self, request: Request<pb::TopicRequest>) -> Answer<pb::Done> {
        self.answer(Method::Admit, request, |service, asked| async move {
            service.admit(&read(asked.org)?, &read(asked.topic)?).await?;
            Ok(pb::Done {})
        })
        .await
    }

    async fn change_thread(&self, request: Request<pb::ChangeThreadRequest>) -> Answer<pb::ThreadCard> {
        self.answer(Method::ChangeThread, request, |service, asked| async move {
            service.change_thread(read(asked)?).await.map(told)
        })
        .await
    }

    async fn standing(&self, request: Request<pb::StandingRequest>) -> Answer<pb::StandingAnswer> {
        self.answer(Method::Standing, request, |service, asked| async move {
            let standing = service.standing(&read(asked.org)?, &read(asked.uid)?).await?;
            Ok(pb::StandingAnswer {
                standing: told(standing),
            })
        })
        .await
    }

    async fn prove(&self, request: Request<pb::ProveRequest>) -> Answer<pb::Done> {
        self.answer(Method::Prove, request, |service, asked| async move {
            service.prove(&read(asked.org)?, read(asked.uids)?).await?;
            Ok(pb::Done {})
        })
        .await
    }
}
