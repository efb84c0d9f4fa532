use async_trait::async_trait;
use model::{OrgId, UserId};

use super::answer;
use super::persistence::Remote;
use crate::method::Method;
use crate::pb;
use crate::wire::{Agents, Wire as _};
use contract::RpcError;
use contract::persistence::{AgentCard, Desk, DeskEntry, Directory, DirectoryChange, DirectoryUid, Listed};

#[async_trait]
impl Directory for Remote {
    async fn identify(&self, org: &OrgId, uid: &UserId) -> Result<Option<DirectoryUid>, RpcError> {
        let request = pb::DeskRequest {
            org: org.to_string(),
            uid: uid.to_string(),
        };
        let found: pb::IdentifyAnswer = self.0.call(Method::Identify, request).await?;
        answer(found.uid)
    }

    async fn agents_of(&self, org: &OrgId, identities: Vec<UserId>) -> Result<Vec<AgentCard>, RpcError> {
        let request = pb::AgentsOfRequest {
            org: org.to_string(),
            identities: identities.to_wire(),
        };
        let Agents(found) = answer(self.0.call(Method::AgentsOf, request).await?)?;
        Ok(found)
    }

    async fn list_agents(&self, org: &OrgId, page: u32, size: u32) -> Result<Listed<AgentCard>, RpcError> {
        answer(self.0.call(Method::ListAgents, list(org, page, size)).await?)
    }

    async fn list_desks(&self, org: &OrgId, page: u32, size: u32) -> Result<Listed<DeskEntry>, RpcError> {
        answer(self.0.call(Method::ListDesks, list(org, page, size)).await?)
    }

    async fn change_directory(&self, org: &OrgId, change: DirectoryChange) -> Result<Option<Desk>, RpcError> {
        let request = pb::DirectoryChangeRequest {
            org: org.to_string(),
            change: Some(change.to_wire()),
        };
        let changed: pb::DirectoryChangeAnswer = self.0.call(Method::ChangeDirectory, request).await?;
        answer(changed.desk)
    }
}

fn list(org: &OrgId, page: u32, size: u32) -> pb::ListRequest {
    let org = org.to_string();
    pb::ListRequest { org, page, size }
}
