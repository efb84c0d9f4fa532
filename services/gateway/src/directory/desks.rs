//! The desks of the directory that are no agent's, for administrators.

use std::sync::Arc;

use axum::extract::State;
use contract::persistence::{DESKS_PAGE, Desk, DeskEntry, DeskKind, DirectoryChange};
use model::{OrgId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{OrgQuery, administered, card, found, named};
use crate::app::App;
use crate::body::{Body, PathUid, QueryOf, checked, json};
use crate::identity::Holder;
use crate::page::{Page, PageQuery};
use crate::reply::{Answer, Envelope, Problem, Reply};

/// What is known of a desk.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"kind": "workgroup", "nickname": "Support", "agents": ["df_ag_uid", "df_ag2_uid"]}))]
pub(crate) struct DeskRequest {
    /// `workgroup`, `robot`, `unified`, `kb`, `kbdoc` or `ticket`. An agent is a desk by itself.
    kind: String,
    /// Its name, 256 bytes at most.
    #[serde(default)]
    nickname: String,
    /// The address of its picture, 2048 bytes at most.
    #[serde(default)]
    avatar: String,
    /// The uids of its agents, who must be there; `robot` and `kbdoc` have none. 1000 at most.
    #[serde(default)]
    agents: Vec<String>,
}

/// A desk that is no agent's.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeskItem {
    /// Its uid, which topics name.
    uid: String,
    /// Its organisation.
    org_uid: String,
    /// `workgroup`, `robot`, `unified`, `kb`, `kbdoc` or `ticket`.
    kind: &'static str,
    /// Its name.
    nickname: String,
    /// The address of its picture.
    avatar: String,
    /// The uids of its agents.
    agents: Vec<String>,
}

/// The desks of the organisation that are no agent's, in the order of their uids; 100 a page at most. For
/// administrators.
#[utoipa::path(get, path = "/api/v1/admin/directory/desks", operation_id = "list_desks",
    tag = "administration", params(PageQuery, OrgQuery),
    responses((status = 200, description = "A page of desks", body = Envelope<Page<DeskItem>>)))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Holder(who): Holder,
    QueryOf(page): QueryOf<PageQuery>,
    QueryOf(of): QueryOf<OrgQuery>,
) -> Answer<Page<DeskItem>> {
    let list = async {
        let (number, size) = page.bounded(app.config.max_page.min(DESKS_PAGE))?;
        let found = app.core.persistence.list_desks(&who.org, number, size).await?;
        let items = found.entries.into_iter().map(|d| entry_item(&who.org, d));
        Ok(Reply::new(Page::new(items.collect(), number, size, found.total)))
    };
    administered(&who, &of, "directory.desks", "", list).await
}

/// A desk that is no agent's. For administrators.
#[utoipa::path(get, path = "/api/v1/admin/directory/desks/{uid}", operation_id = "desk",
    tag = "administration", params(OrgQuery,
    ("uid" = String, Path, description = "The desk", example = "df_wg_uid")),
    responses((status = 200, description = "The desk", body = Envelope<DeskItem>)))]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Holder(who): Holder,
    uid: PathUid,
    QueryOf(of): QueryOf<OrgQuery>,
) -> Answer<DeskItem> {
    let show = async {
        let uid = checked(&uid)?;
        let desk = app.core.persistence.desk(&who.org, &uid).await;
        desk_item(&who.org, &uid, found(desk)?)
    };
    administered(&who, &of, "directory.desk", named(&uid), show).await
}

/// Enters a desk, or replaces it whole; its agents must be there. For administrators.
#[utoipa::path(put, path = "/api/v1/admin/directory/desks/{uid}", operation_id = "put_desk",
    tag = "administration", request_body = DeskRequest,
    params(OrgQuery, ("uid" = String, Path, description = "The desk", example = "df_wg_uid")),
    responses((status = 200, description = "The desk as it is now", body = Envelope<DeskItem>)))]
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    Holder(who): Holder,
    uid: PathUid,
    QueryOf(of): QueryOf<OrgQuery>,
    body: Result<Body, Problem>,
) -> Answer<DeskItem> {
    let put = async {
        let uid = checked(&uid)?;
        let Body(body) = body?;
        let asked: DeskRequest = json(&body)?;
        let change = DirectoryChange::PutDesk(DeskEntry {
            card: card(&uid, asked.nickname, asked.avatar),
            kind: kind(&asked.kind)?,
            agents: asked.agents.into_iter().map(UserId::from).collect(),
        });
        let desk = app.core.persistence.change_directory(&who.org, change).await?;
        desk_item(&who.org, &uid, desk)
    };
    administered(&who, &of, "directory.put-desk", named(&uid), put).await
}

/// Takes a desk out. For administrators. Conversations with it stay as they are, and no new ones begin.
#[utoipa::path(delete, path = "/api/v1/admin/directory/desks/{uid}", operation_id = "remove_desk",
    tag = "administration", params(OrgQuery,
    ("uid" = String, Path, description = "The desk", example = "df_wg_uid")),
    responses((status = 200, description = "It is not there any more", body = Envelope<bool>)))]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    Holder(who): Holder,
    uid: PathUid,
    QueryOf(of): QueryOf<OrgQuery>,
) -> Answer<bool> {
    let remove = async {
        let change = DirectoryChange::RemoveDesk(checked(&uid)?);
        app.core.persistence.change_directory(&who.org, change).await?;
        Ok(Reply::new(true))
    };
    administered(&who, &of, "directory.remove-desk", named(&uid), remove).await
}

fn kind(word: &str) -> Result<DeskKind, Problem> {
    DeskKind::from_name(word).ok_or_else(|| {
        let shown: String = word.chars().take(40).collect();
        Problem::invalid(format!(
            "kind is {shown:?}; desks are workgroup, robot, unified, kb, kbdoc and ticket"
        ))
    })
}

fn desk_item(org: &OrgId, uid: &UserId, desk: Option<Desk>) -> Answer<DeskItem> {
    let desk = desk.filter(|desk| desk.kind != DeskKind::Agent);
    let desk = desk.ok_or_else(|| {
        Problem::not_found(format!(
            "there is no desk {uid:?} in {org}; agents are at /api/v1/admin/directory/agents"
        ))
    })?;
    let entry = DeskEntry {
        card: desk.card,
        kind: desk.kind,
        agents: desk.agents.into_iter().map(|agent| agent.card.uid).collect(),
    };
    Ok(Reply::new(entry_item(org, entry)))
}

fn entry_item(org: &OrgId, desk: DeskEntry) -> DeskItem {
    DeskItem {
        uid: desk.card.uid.to_string(),
        org_uid: org.to_string(),
        kind: desk.kind.name(),
        nickname: desk.card.nickname,
        avatar: desk.card.avatar,
        agents: desk.agents.iter().map(ToString::to_string).collect(),
    }
}
