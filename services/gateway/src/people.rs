//! Unread counts and presence.

use std::sync::Arc;

use axum::extract::State;
use contract::ErrorKind;
use contract::persistence::Standing;
use edge::presence::Presence;
use model::{Principal, UserId};
use serde::{Deserialize, Serialize};
use tracing::debug;
use utoipa::{IntoParams, ToSchema};

use crate::app::App;
use crate::body::{PathUid, QueryOf, checked};
use crate::identity::{Claim, Holder, Presented};
use crate::reply::{Answer, Envelope, Problem, Reply};

/// Whose unread messages.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(default, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(crate) struct UnreadQuery {
    /// One conversation only.
    #[param(required = false)]
    pub topic: String,
    /// Who asks; needed of a visitor that has no token.
    #[param(required = false)]
    pub uid: String,
    /// Its organisation.
    #[param(required = false)]
    pub org_uid: String,
}

impl UnreadQuery {
    fn claim(&self) -> Claim<'_> {
        Claim {
            org: &self.org_uid,
            uid: &self.uid,
            topic: &self.topic,
        }
    }
}

/// How many messages a visitor has not read.
#[utoipa::path(get, path = "/visitor/api/v1/message/unread/count", tag = "people", params(UnreadQuery),
    responses((status = 200, description = "The number", body = Envelope<u64>)))]
pub(crate) async fn unread_by_visitor(
    State(app): State<Arc<App>>,
    presented: Presented,
    QueryOf(query): QueryOf<UnreadQuery>,
) -> Answer<u64> {
    visitors_unread(&app, presented, &query).await.map(Reply::new)
}

/// The same for a visitor's page that has lost its socket and asks again and again; `message` is `pong`.
#[utoipa::path(get, path = "/visitor/api/v1/ping", tag = "people", params(UnreadQuery),
    responses((status = 200, description = "How many messages the visitor has not read", body = Envelope<u64>)))]
pub(crate) async fn ping(
    State(app): State<Arc<App>>,
    presented: Presented,
    QueryOf(query): QueryOf<UnreadQuery>,
) -> Answer<u64> {
    visitors_unread(&app, presented, &query)
        .await
        .map(|count| Reply::saying("pong", count))
}

/// How many messages the token's user has not read.
#[utoipa::path(get, path = "/api/v1/message/unread/count", tag = "people", params(UnreadQuery),
    responses((status = 200, description = "The number", body = Envelope<u64>)))]
pub(crate) async fn unread_by_holder(
    State(app): State<Arc<App>>,
    Holder(who): Holder,
    QueryOf(query): QueryOf<UnreadQuery>,
) -> Answer<u64> {
    query.claim().agrees_with(&who)?;
    unread(&app, &who, &query.topic).await.map(Reply::new)
}

async fn visitors_unread(app: &App, presented: Presented, query: &UnreadQuery) -> Result<u64, Problem> {
    let who = presented.visitor(app, query.claim()).await?;
    unread(app, &who, &query.topic).await
}

async fn unread(app: &App, who: &Principal, topic: &str) -> Result<u64, Problem> {
    let topic = match topic {
        "" => None,
        topic => Some(app.readable(who, topic).await?),
    };
    let identities = who.identities().cloned().collect();
    Ok(app.receipts.unread(&who.org, identities, topic).await?)
}

/// Whether a user has a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Online {
    /// Whether there is one.
    pub online: bool,
    /// How many there are.
    pub active_count: usize,
    /// Each of them; for agents and admins only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub connections: Option<Vec<ConnectedAt>>,
}

/// A connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ConnectedAt {
    /// The edge that holds it.
    pub edge: String,
    /// `mqtt` or `stomp`.
    pub protocol: String,
}

/// Whether a user of the caller's organisation is connected. The uid may be that of an agent's or workgroup's desk: then
/// it is asked whether somebody is there. Of those who serve customers only connections with a token of staff count.
#[utoipa::path(get, path = "/api/v1/connection/presence/{uid}", tag = "people",
    params(("uid" = String, Path, description = "A user, agent or workgroup", example = "df_ag_uid")),
    responses(
        (status = 200, description = "Its connections", body = Envelope<Online>),
        (status = 503, description = "Who is online is unknown at the moment", body = Envelope<bool>)))]
pub(crate) async fn presence(
    State(app): State<Arc<App>>,
    Holder(who): Holder,
    uid: PathUid,
) -> Answer<Online> {
    let found = found_behind(&app, &who, checked(&uid)?).await?;
    Ok(Reply::new(Online {
        online: !found.is_empty(),
        active_count: found.len(),
        connections: who.is_staff().then_some(found),
    }))
}

/// The connections that a uid stands for. Of a desk, and of those who serve customers, those of staff only; of a visitor
/// those that proved who they are, and as long as its uid is anybody's, those that say so too.
async fn found_behind(app: &App, who: &Principal, uid: UserId) -> Result<Vec<ConnectedAt>, Problem> {
    let staff = |connection: &Presence| connection.staff;
    let mut users: Vec<UserId> = match app.core.persistence.desk(&who.org, &uid).await {
        Ok(desk) => desk.agents.into_iter().map(|agent| agent.user).collect(),
        Err(error) if error.kind == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    if users.is_empty() && who.acts_as(&uid) {
        users.push(who.user.clone());
    }
    let is_own_or_desk = !users.is_empty();
    users.push(uid.clone());
    users.sort();
    users.dedup();
    let mut found = Vec::new();
    for user in &users {
        found.extend(connections(app, who, user).await?);
    }
    if is_own_or_desk && (!who.acts_as(&uid) || who.is_staff()) {
        found.retain(staff);
    } else {
        match app.core.persistence.standing(&who.org, &uid).await {
            Ok(Standing::Directory) => found.retain(staff),
            Ok(Standing::Free) => found.extend(connections(app, who, &UserId::unproven(&uid)).await?),
            // Where it cannot be asked, only what was proven counts.
            Ok(Standing::Proven) | Err(_) => {}
        }
    }
    let at = |p: Presence| ConnectedAt {
        edge: p.edge.to_string(),
        protocol: p.protocol,
    };
    Ok(found.into_iter().map(at).collect())
}

async fn connections(app: &App, who: &Principal, address: &UserId) -> Result<Vec<Presence>, Problem> {
    // Not known is not the same as offline.
    app.core
        .presence
        .connections(&who.org, address)
        .await
        .map_err(|error| {
            debug!(%error, "the address book cannot be asked");
            let message = "presence is unknown at the moment: nobody can say who is online; ask again later";
            Problem::new(ErrorKind::Unavailable, message)
        })
}
