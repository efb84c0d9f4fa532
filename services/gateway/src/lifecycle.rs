//! The life of a conversation, by call: closing and leaving it.

use std::sync::Arc;

use axum::extract::State;
use contract::persistence::{ChangeThread, ThreadKey, ThreadWish};
use edge::wishes;
use model::{ChatTopic, Principal, TopicName};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::body::{JsonBody, text};
use crate::identity::{Claim, Holder, Presented};
use crate::reply::{Answer, Envelope, Problem, Reply};
use crate::threads::{self, ThreadItem};

/// Which conversation. Other members of deployed clients are ignored.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase")]
#[schema(example = json!({"topic": "org/workgroup/df_wg_uid/1418711693000834"}))]
pub(crate) struct OfThread {
    /// Its topic: `thread.topic`.
    #[serde(deserialize_with = "text")]
    topic: String,
    /// Its uid: `thread.uid`; asked for when there is no topic.
    #[serde(deserialize_with = "text")]
    uid: String,
}

/// Which conversation, and, for visitors without a token, who asks.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase")]
#[schema(example = json!({"topic": "org/workgroup/df_wg_uid/1418711693000834", "uid": "1418711693000834"}))]
pub(crate) struct OfVisitorsThread {
    /// Its topic: `thread.topic`.
    #[serde(deserialize_with = "text")]
    topic: String,
    /// Its uid: `thread.uid`; asked for when there is no topic.
    #[serde(deserialize_with = "text")]
    thread_uid: String,
    /// The visitor that asks, if it has no token.
    #[serde(deserialize_with = "text")]
    uid: String,
    /// Its organisation.
    #[serde(deserialize_with = "text")]
    org_uid: String,
}

/// Ends a conversation.
///
/// By its agent, or an administrator. Both sides get AGENT_CLOSED. It goes on with the visitor's next message. Closing one that is
/// closed does nothing.
#[utoipa::path(post, path = "/api/v1/thread/close", tag = "threads", request_body = OfThread,
    responses((status = 200, description = "The conversation", body = Envelope<ThreadItem>)))]
pub(crate) async fn close(
    State(app): State<Arc<App>>,
    Holder(who): Holder,
    JsonBody(asked): JsonBody<OfThread>,
) -> Answer<ThreadItem> {
    change(&app, &who, key(&asked.topic, &asked.uid)?, ThreadWish::Close).await
}

/// Ends a conversation that is named by its topic. As `/api/v1/thread/close`.
#[utoipa::path(post, path = "/api/v1/thread/close/topic", tag = "threads", request_body = OfThread,
    responses((status = 200, description = "The conversation", body = Envelope<ThreadItem>)))]
pub(crate) async fn close_topic(
    state: State<Arc<App>>,
    holder: Holder,
    asked: JsonBody<OfThread>,
) -> Answer<ThreadItem> {
    close(state, holder, asked).await
}

/// Leaves a conversation.
///
/// The caller sees nothing of it from then on. When nobody of the staff is left, it waits for another agent.
#[utoipa::path(post, path = "/api/v1/thread/leave", tag = "threads", request_body = OfThread,
    responses((status = 200, description = "The conversation", body = Envelope<ThreadItem>)))]
pub(crate) async fn leave(
    State(app): State<Arc<App>>,
    Holder(who): Holder,
    JsonBody(asked): JsonBody<OfThread>,
) -> Answer<ThreadItem> {
    change(&app, &who, key(&asked.topic, &asked.uid)?, ThreadWish::Leave).await
}

/// Ends a conversation as its visitor. Both sides get VISITOR_CLOSED.
#[utoipa::path(post, path = "/visitor/api/v1/thread/close", tag = "visitors", request_body = OfVisitorsThread,
    responses((status = 200, description = "The conversation", body = Envelope<ThreadItem>)))]
pub(crate) async fn close_by_visitor(
    State(app): State<Arc<App>>,
    presented: Presented,
    JsonBody(asked): JsonBody<OfVisitorsThread>,
) -> Answer<ThreadItem> {
    let claim = Claim {
        org: &asked.org_uid,
        uid: &asked.uid,
        topic: &asked.topic,
    };
    let who = presented.visitor(&app, claim).await?;
    change(
        &app,
        &who,
        key(&asked.topic, &asked.thread_uid)?,
        ThreadWish::Close,
    )
    .await
}

fn key(topic: &str, uid: &str) -> Result<ThreadKey, Problem> {
    match (topic, uid) {
        ("", "") => Err(Problem::invalid(
            "topic is missing; it says which conversation, as thread.topic does",
        )),
        ("", uid) => Ok(ThreadKey::Uid(uid.to_owned())),
        (topic, _) => {
            let topic = TopicName::new(topic).map_err(|e| Problem::invalid(format!("topic: {e}")))?;
            Ok(ThreadKey::Topic(ChatTopic::canonical(&topic)))
        }
    }
}

async fn change(app: &App, who: &Principal, thread: ThreadKey, wish: ThreadWish) -> Answer<ThreadItem> {
    let change = ChangeThread {
        org: who.org.clone(),
        thread,
        by: wishes::actor(who),
        wish,
        uid: uuid::Uuid::now_v7().to_string(),
        at: app.core.now(),
    };
    let changed = app.core.persistence.change_thread(change).await?;
    Ok(Reply::new(threads::item(app, who, changed)))
}
