use tonic::{Request, async_trait};

use super::{Answer, Served};
use crate::method::Method;
use crate::pb;
use crate::pb::receipts_server::Receipts as Calls;
use crate::wire::read;
use contract::receipts::Receipts;

#[async_trait]
impl Calls for Served<dyn Receipts> {
    async fn unread(&self, request: Request<pb::UnreadRequest>) -> Answer<pb::Count> {
        self.answer(Method::Unread, request, |service, asked| async move {
            let (org, identities, topic) = (read(asked.org)?, read(asked.identities)?, read(asked.topic)?);
            let count = service.unread(&org, identities, topic).await?;
            Ok(pb::Count { count })
        })
        .await
    }

    async fn recount(&self, request: Request<pb::UnreadRequest>) -> Answer<pb::Count> {
        self.answer(Method::Recount, request, |service, asked| async move {
            let (org, identities, topic) = (read(asked.org)?, read(asked.identities)?, read(asked.topic)?);
            let count = service.recount(&org, identities, topic).await?;
            Ok(pb::Count { count })
        })
        .await
    }
}
