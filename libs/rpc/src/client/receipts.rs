use async_trait::async_trait;
use model::{OrgId, TopicName, UserId};

use super::pool::Pool;
use crate::method::Method;
use crate::pb;
use crate::wire::Wire as _;
use contract::RpcError;
use contract::receipts::Receipts;

/// The receipts service in other processes.
pub(super) struct Remote(pub(super) Pool);

#[async_trait]
impl Receipts for Remote {
    async fn unread(
        &self,
        org: &OrgId,
        identities: Vec<UserId>,
        topic: Option<TopicName>,
    ) -> Result<u64, RpcError> {
        self.count(Method::Unread, org, identities, topic).await
    }

    async fn recount(
        &self,
        org: &OrgId,
        identities: Vec<UserId>,
        topic: Option<TopicName>,
    ) -> Result<u64, RpcError> {
        self.count(Method::Recount, org, identities, topic).await
    }
}

impl Remote {
    async fn count(
        &self,
        method: Method,
        org: &OrgId,
        identities: Vec<UserId>,
        topic: Option<TopicName>,
    ) -> Result<u64, RpcError> {
        let request = pb::UnreadRequest {
            org: org.to_string(),
            identities: identities.to_wire(),
            topic: topic.to_wire(),
        };
        let pb::Count { count } = self.0.call(method, request).await?;
        Ok(count)
    }
}
