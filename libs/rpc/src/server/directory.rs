use tonic::{Request, async_trait};

use super::{Answer, Served, told};
use crate::method::Method;
use crate::pb;
use crate::pb::directory_server::Directory as Calls;
use crate::wire::{Agents, given, read};
use contract::persistence::Persistence;

#[async_trait]
impl Calls for Served<dyn Persistence> {
    async fn identify(&self, request: Request<pb::DeskRequest>) -> Answer<pb::IdentifyAnswer> {
        self.answer(Method::Identify, request, |service, asked| async move {
            let (org, uid) = (read(asked.org)?, read(asked.uid)?);
            let uid = service.identify(&org, &uid).await?;
            Ok(pb::IdentifyAnswer { uid: told(uid) })
        })
        .await
    }

    async fn agents_of(&self, request: Request<pb::AgentsOfRequest>) -> Answer<pb::AgentsAnswer> {
        self.answer(Method::AgentsOf, request, |service, asked| async move {
            let (org, identities) = (read(asked.org)?, read(asked.identities)?);
            let found = service.agents_of(&org, identities).await?;
            Ok(told(Agents(found)))
        })
        .await
    }

    async fn list_agents(&self, request: Request<pb::ListRequest>) -> Answer<pb::AgentsAnswer> {
        self.answer(Method::ListAgents, request, |service, asked| async move {
            let org = read(asked.org)?;
            service.list_agents(&org, asked.page, asked.size).await.map(told)
        })
        .await
    }

    async fn list_desks(&self, request: Request<pb::ListRequest>) -> Answer<pb::DesksAnswer> {
        self.answer(Method::ListDesks, request, |service, asked| async move {
            let org = read(asked.org)?;
            service.list_desks(&org, asked.page, asked.size).await.map(told)
        })
        .await
    }

    async fn change_directory(
        &self,
        request: Request<pb::DirectoryChangeRequest>,
    ) -> Answer<pb::DirectoryChangeAnswer> {
        self.answer(Method::ChangeDirectory, request, |service, asked| async move {
            let change = given("a change of the directory", asked.change)?;
            let desk = service.change_directory(&read(asked.org)?, change).await?;
            Ok(pb::DirectoryChangeAnswer { desk: told(desk) })
        })
        .await
    }
}
