//! The agents of the directory, for administrators.

use std::sync::Arc;

use axum::extract::State;
use contract::persistence::{AgentCard, Desk, DeskKind, DirectoryChange};
use model::{OrgId, UserId};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{OrgQuery, administered, card, found, named};
use crate::agents::AgentItem;
use crate::app::App;
use crate::body::{Body, PathUid, QueryOf, checked, json};
use crate::identity::Holder;
use crate::page::{Page, PageQuery};
use crate::reply::{Answer, Envelope, Problem, Reply};

/// What is known of an agent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"userUid": "agent1", "nickname": "Ann", "avatar": "", "maxThreads": 10}))]
pub(crate) struct AgentRequest {
    /// The user behind it: who logs in.
    user_uid: String,
    /// Its name, 256 bytes at most.
    #[serde(default)]
    nickname: String,
    /// The address of its picture, 2048 bytes at most.
    #[serde(default)]
    avatar: String,
    /// How many open conversations it has at most.
    #[serde(default)]
    #[schema(minimum = 1)]
    max_threads: Option<u32>,
}

/// The agents of the organisation, in the order of their uids. For administrators.
#[utoipa::path(get, path = "/api/v1/admin/directory/agents", operation_id = "list_agents",
    tag = "administration", params(PageQuery, OrgQuery),
    responses((status = 200, description = "A page of agents", body = Envelope<Page<AgentItem>>)))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Holder(who): Holder,
    QueryOf(page): QueryOf<PageQuery>,
    QueryOf(of): QueryOf<OrgQuery>,
) -> Answer<Page<AgentItem>> {
    let list = async {
        let (number, size) = page.bounded(app.config.max_page)?;
        let found = app.core.persistence.list_agents(&who.org, number, size).await?;
        let items = found.entries.into_iter().map(|a| AgentItem::of(&who.org, a));
        Ok(Reply::new(Page::new(items.collect(), number, size, found.total)))
    };
    administered(&who, &of, "directory.agents", "", list).await
}

/// An agent. For administrators.
#[utoipa::path(get, path = "/api/v1/admin/directory/agents/{uid}", operation_id = "agent",
    tag = "administration", params(OrgQuery,
    ("uid" = String, Path, description = "The agent", example = "df_ag_uid")),
    responses((status = 200, description = "The agent", body = Envelope<AgentItem>)))]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Holder(who): Holder,
    uid: PathUid,
    QueryOf(of): QueryOf<OrgQuery>,
) -> Answer<AgentItem> {
    let show = async {
        let uid = checked(&uid)?;
        let desk = app.core.persistence.desk(&who.org, &uid).await;
        agent_item(&who.org, &uid, found(desk)?)
    };
    administered(&who, &of, "directory.agent", named(&uid), show).await
}

/// Enters an agent, or replaces what is known of it. For administrators.
///
/// Its status is not changed: that is said with `/api/v1/agent/status`.
#[utoipa::path(put, path = "/api/v1/admin/directory/agents/{uid}", operation_id = "put_agent",
    tag = "administration", request_body = AgentRequest,
    params(OrgQuery, ("uid" = String, Path, description = "The agent", example = "df_ag_uid")),
    responses((status = 200, description = "The agent as it is now", body = Envelope<AgentItem>)))]
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    Holder(who): Holder,
    uid: PathUid,
    QueryOf(of): QueryOf<OrgQuery>,
    body: Result<Body, Problem>,
) -> Answer<AgentItem> {
    let put = async {
        let uid = checked(&uid)?;
        let Body(body) = body?;
        let asked: AgentRequest = json(&body)?;
        let change = DirectoryChange::PutAgent(AgentCard {
            card: card(&uid, asked.nickname, asked.avatar),
            user: UserId::from(asked.user_uid),
            max_threads: asked.max_threads,
            ..AgentCard::default()
        });
        let desk = app.core.persistence.change_directory(&who.org, change).await?;
        agent_item(&who.org, &uid, desk)
    };
    administered(&who, &of, "directory.put-agent", named(&uid), put).await
}

/// Takes an agent out; 409 while a desk names it. For administrators. Conversations that it has stay as they are.
#[utoipa::path(delete, path = "/api/v1/admin/directory/agents/{uid}", operation_id = "remove_agent",
    tag = "administration", params(OrgQuery,
    ("uid" = String, Path, description = "The agent", example = "df_ag_uid")),
    responses((status = 200, description = "It is not there any more", body = Envelope<bool>)))]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    Holder(who): Holder,
    uid: PathUid,
    QueryOf(of): QueryOf<OrgQuery>,
) -> Answer<bool> {
    let remove = async {
        let change = DirectoryChange::RemoveAgent(checked(&uid)?);
        app.core.persistence.change_directory(&who.org, change).await?;
        Ok(Reply::new(true))
    };
    administered(&who, &of, "directory.remove-agent", named(&uid), remove).await
}

fn agent_item(org: &OrgId, uid: &UserId, desk: Option<Desk>) -> Answer<AgentItem> {
    let own = desk.filter(|desk| desk.kind == DeskKind::Agent);
    let agent = own.and_then(|desk| desk.agents.into_iter().next());
    let agent = agent.ok_or_else(|| Problem::not_found(format!("there is no agent {uid:?} in {org}")))?;
    Ok(Reply::new(AgentItem::of(org, agent)))
}
