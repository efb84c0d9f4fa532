//! Agents about themselves: who they are in the directory, and whether they take new conversations.

use std::sync::Arc;

use axum::extract::State;
use contract::persistence::{AgentCard, AgentStatus, DirectoryChange};
use model::{OrgId, Principal, Role, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::audit;
use crate::body::{JsonBody, QueryOf, text};
use crate::directory::OrgQuery;
use crate::identity::Holder;
use crate::reply::{Answer, Envelope, Problem, Reply};

/// An agent, as the directory has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentItem {
    /// Its uid, which topics name.
    pub uid: String,
    /// Its organisation.
    pub org_uid: String,
    /// The user behind it.
    pub user_uid: String,
    /// Its name.
    pub nickname: String,
    /// The address of its picture.
    pub avatar: String,
    /// `AVAILABLE`, or `AWAY`: it is given no new conversations.
    pub status: &'static str,
    /// How many open conversations it has at most; absent when nobody has said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub max_threads: Option<u32>,
}

impl AgentItem {
    pub fn of(org: &OrgId, agent: AgentCard) -> Self {
        Self {
            uid: agent.card.uid.to_string(),
            org_uid: org.to_string(),
            user_uid: agent.user.to_string(),
            nickname: agent.card.nickname,
            avatar: agent.card.avatar,
            status: agent.status.name(),
            max_threads: agent.max_threads,
        }
    }
}

/// The caller's agent; of several the first in the order of their uids.
#[utoipa::path(get, path = "/api/v1/agent/query", operation_id = "own_agent",
    tag = "agents", params(OrgQuery),
    responses((status = 200, description = "The agent", body = Envelope<AgentItem>)))]
pub(crate) async fn query(
    State(app): State<Arc<App>>,
    Holder(who): Holder,
    QueryOf(query): QueryOf<OrgQuery>,
) -> Answer<AgentItem> {
    query.agrees_with(&who)?;
    let first = own(&app, &who).await?.into_iter().next();
    let agent = first.ok_or_else(|| no_agent(&who))?;
    Ok(Reply::new(AgentItem::of(&who.org, agent)))
}

/// Whether an agent takes new conversations. Other members of deployed clients are ignored.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
#[schema(example = json!({"status": "AWAY"}))]
pub(crate) struct StatusRequest {
    /// `AVAILABLE` or `AWAY`; `BUSY`, `REST` and `OFFLINE` are taken for `AWAY`.
    #[serde(deserialize_with = "text")]
    #[schema(required = true)]
    status: String,
    /// The agent; all of the caller's when it is left out. Administrators may name any of their organisation.
    #[serde(deserialize_with = "text")]
    uid: String,
}

/// Says whether the caller's agents take new conversations. Conversations that an agent has stay with it.
///
/// The answer is the agent; of several the first in the order of their uids.
#[utoipa::path(post, path = "/api/v1/agent/status", operation_id = "agent_status",
    tag = "agents", request_body = StatusRequest,
    responses((status = 200, description = "The agent as it is now", body = Envelope<AgentItem>)))]
pub(crate) async fn status(
    State(app): State<Arc<App>>,
    Holder(who): Holder,
    JsonBody(asked): JsonBody<StatusRequest>,
) -> Answer<AgentItem> {
    let answer = set(&app, &who, &asked).await;
    let object = format!("{} {}", asked.uid, asked.status);
    audit::record(&who, "agent.status", object.trim_start(), &answer);
    answer
}

/// The same, under the path of deployed clients.
#[utoipa::path(post, path = "/api/v1/agent/update/status", operation_id = "update_agent_status",
    tag = "agents", request_body = StatusRequest,
    responses((status = 200, description = "The agent as it is now", body = Envelope<AgentItem>)))]
pub(crate) async fn update_status(
    app: State<Arc<App>>,
    who: Holder,
    asked: JsonBody<StatusRequest>,
) -> Answer<AgentItem> {
    status(app, who, asked).await
}

async fn set(app: &App, who: &Principal, asked: &StatusRequest) -> Answer<AgentItem> {
    let status = match asked.status.to_ascii_uppercase().as_str() {
        "AVAILABLE" => AgentStatus::Available,
        "AWAY" | "BUSY" | "REST" | "OFFLINE" => AgentStatus::Away,
        _ => {
            let shown: String = asked.status.chars().take(40).collect();
            return Err(Problem::invalid(format!(
                "status is {shown:?}; it is AVAILABLE or AWAY"
            )));
        }
    };
    let mut first = None;
    for uid in meant(app, who, &asked.uid).await? {
        let change = DirectoryChange::SetStatus(uid, status);
        let desk = app.core.persistence.change_directory(&who.org, change).await?;
        first = first.or(desk.and_then(|desk| desk.agents.into_iter().next()));
    }
    // It was removed at the same moment.
    let agent = first.ok_or_else(|| no_agent(who))?;
    Ok(Reply::new(AgentItem::of(&who.org, agent)))
}

/// The agents that a caller means: its own, or as an administrator that of any uid.
async fn meant(app: &App, who: &Principal, uid: &str) -> Result<Vec<UserId>, Problem> {
    let own = own(app, who).await?;
    let own: Vec<UserId> = own.into_iter().map(|agent| agent.card.uid).collect();
    if uid.is_empty() || uid == who.user.as_str() {
        return match own.is_empty() {
            true => Err(no_agent(who)),
            false => Ok(own),
        };
    }
    let uid = UserId::checked(uid).map_err(|e| Problem::invalid(format!("uid: {e}")))?;
    match who.role == Role::Admin || own.contains(&uid) {
        true => Ok(vec![uid]),
        false => Err(Problem::forbidden(format!(
            "{uid} is no agent of {}; leave uid out, or ask with a token of role admin",
            who.user
        ))),
    }
}

async fn own(app: &App, who: &Principal) -> Result<Vec<AgentCard>, Problem> {
    if !who.is_staff() {
        let message = format!("{} is no agent; ask with a token of role agent", who.user);
        return Err(Problem::forbidden(message));
    }
    let identities = who.identities().cloned().collect();
    Ok(app.core.persistence.agents_of(&who.org, identities).await?)
}

fn no_agent(who: &Principal) -> Problem {
    Problem::not_found(format!(
        "the directory of {} has no agent whose user is {}; an administrator enters it",
        who.org, who.user
    ))
}
