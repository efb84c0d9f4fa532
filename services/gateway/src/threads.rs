//! The conversations of a user.

use std::sync::Arc;

use axum::extract::State;
use contract::persistence::{AgentCard, ThreadCard, ThreadsRequest, UserCard};
use edge::delivery::Delivery;
use model::{ChatTopic, Position, Principal};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use wire::envelope::other_side;

use crate::app::App;
use crate::body::QueryOf;
use crate::identity::Holder;
use crate::openapi::MessageJson;
use crate::page::{Page, PageQuery};
use crate::reply::{Answer, Envelope, Reply, value};

/// Which conversations.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct ThreadsQuery {
    /// Only those that are open, and that the caller has not left. This costs by them, however many there once were.
    pub open: Option<bool>,
    /// Only those whose visitor waits for an answer.
    pub unreplied: Option<bool>,
}

/// What others see of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Card {
    /// Its uid.
    pub uid: String,
    /// Its name.
    pub nickname: String,
    /// The address of its picture.
    pub avatar: String,
    /// `VISITOR`, `AGENT`, …
    pub r#type: &'static str,
}

impl Card {
    pub fn of(card: UserCard, r#type: &'static str) -> Self {
        let uid = card.uid.to_string();
        Self {
            uid,
            nickname: card.nickname,
            avatar: card.avatar,
            r#type,
        }
    }
}

/// A conversation as deployed clients list it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ThreadItem {
    /// Its uid.
    pub uid: String,
    /// Its topic.
    pub topic: String,
    /// `AGENT`, `WORKGROUP`, …
    pub r#type: String,
    /// `CHATTING`, `CLOSED`, …
    pub status: String,
    /// The visitor.
    pub user: Card,
    /// The agent it was given to: a card as JSON text, which is how deployed clients read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub agent: Option<String>,
    /// The content of the last message.
    pub content: String,
    /// The last message.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = MessageJson, required = false)]
    pub last_message: Option<Value>,
    /// Messages by others that the caller has not read.
    pub unread_count: u64,
    /// Since when the visitor waits for an answer: `yyyy-MM-dd HH:mm:ss`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub unreplied_since: Option<String>,
    /// When it was last active: `yyyy-MM-dd HH:mm:ss`.
    pub updated_at: String,
}

/// The caller's conversations, the most recently active first.
#[utoipa::path(get, path = "/api/v1/thread/query", tag = "threads", params(PageQuery, ThreadsQuery),
    responses((status = 200, description = "A page of conversations", body = Envelope<Page<ThreadItem>>)))]
pub(crate) async fn query(
    State(app): State<Arc<App>>,
    Holder(who): Holder,
    QueryOf(page): QueryOf<PageQuery>,
    QueryOf(query): QueryOf<ThreadsQuery>,
) -> Answer<Page<ThreadItem>> {
    let (number, size) = page.bounded(app.config.max_page)?;
    let request = ThreadsRequest {
        org: who.org.clone(),
        identities: who.identities().cloned().collect(),
        open: query.open.unwrap_or(false),
        unreplied: query.unreplied.unwrap_or(false),
        page: number,
        size,
    };
    let found = app.core.persistence.threads(request).await?;
    let content = found
        .threads
        .into_iter()
        .map(|thread| item(&app, &who, thread))
        .collect();
    Ok(Reply::new(Page::new(content, number, size, found.total)))
}

pub(crate) fn item(app: &App, who: &Principal, thread: ThreadCard) -> ThreadItem {
    let seen = ChatTopic::seen_by(&thread.topic, who.identities());
    let last = thread
        .last
        .and_then(|(position, entry)| last_message(app, who, position, entry));
    let text = |message: &Value| message["content"].as_str().unwrap_or_default().to_owned();
    let uid = match seen {
        Some(_) => other_side(&thread.uid),
        None => thread.uid,
    };
    ThreadItem {
        uid,
        topic: seen.unwrap_or(thread.topic).to_string(),
        r#type: thread.kind,
        status: thread.status,
        user: Card::of(thread.visitor, "VISITOR"),
        agent: thread.agent.map(agent_text),
        content: last.as_ref().map(text).unwrap_or_default(),
        last_message: last,
        unread_count: thread.unread,
        unreplied_since: thread.unreplied_since.map(|at| app.time(at)),
        updated_at: app.time(thread.updated_at),
    }
}

fn agent_text(agent: AgentCard) -> String {
    json!(Card::of(agent.card, "AGENT")).to_string()
}

fn last_message(app: &App, who: &Principal, position: Position, entry: bytes::Bytes) -> Option<Value> {
    let entry = wire::frame::decode_entry(entry).ok()?;
    let partition = entry.partition(app.core.partitioning);
    let delivery = Delivery::new(partition, position, None, entry);
    let is_shown = delivery.is_chat() && delivery.is_visible_to(who);
    is_shown.then(|| value(&delivery.json(who).1))
}
