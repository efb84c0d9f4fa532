//! Sending without a socket.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use bytes::Bytes;
use contract::ErrorKind;
use contract::persistence::{HistoryRange, HistoryRequest};
use edge::Outcome;
use edge::ingest::{self, Chat};
use model::{ChatTopic, Position, Principal, TopicName, UnixMillis};
use serde::Deserialize;
use serde_json::Value;
use wire::envelope::{self, Stamp};
use wire::{Kind, Message};

use crate::app::App;
use crate::body::{Body, json, too_large};
use crate::history;
use crate::identity::{Claim, Holder, Presented};
use crate::openapi::SendRequest;
use crate::reply::{Answer, Envelope, Problem, Reply};

/// Sends a message as a visitor.
///
/// 200 means that it is stored; `data` is the stored message as JSON text, with its `position`. A message that was sent
/// before (the same `uid` and content) is answered with the stored one. After 503 or 504, send it again with the same `uid`.
#[utoipa::path(post, path = "/visitor/api/v1/message/send", tag = "messages", request_body = SendRequest,
    responses((status = 200, description = "The stored message as JSON text", body = Envelope<String>)))]
pub(crate) async fn by_visitor(
    State(app): State<Arc<App>>,
    presented: Presented,
    Body(body): Body,
) -> Answer<String> {
    let message = read(&body, app.config.max_message.as_usize())?;
    let org = org_of(&message);
    let claim = Claim {
        org: &org,
        uid: message.user.as_ref().map_or("", |u| &u.uid),
        topic: message.thread.as_ref().map_or("", |t| &t.topic),
    };
    let who = match &presented.who {
        // Whose message it may be is decided below, with aliases in mind.
        Some(_) => presented.visitor(&app, Claim::default()).await?,
        None => presented.visitor(&app, claim).await?,
    };
    send(&app, &who, message).await
}

/// Sends a message as the token's user.
///
/// As `/visitor/api/v1/message/send`. With a token of role `service` it may be sent into any conversation of the
/// organisation, as a robot or as the system: `user.type` and a `user.uid` that is no person's.
#[utoipa::path(post, path = "/api/v1/message/rest/send", tag = "messages", request_body = SendRequest,
    responses((status = 200, description = "The stored message as JSON text", body = Envelope<String>)))]
pub(crate) async fn by_holder(
    State(app): State<Arc<App>>,
    Holder(who): Holder,
    Body(body): Body,
) -> Answer<String> {
    let message = read(&body, app.config.max_message.as_usize())?;
    send(&app, &who, message).await
}

async fn send(app: &App, who: &Principal, message: Message) -> Answer<String> {
    let topic = message.thread.as_ref().map_or("", |t| &t.topic);
    let topic = TopicName::new(topic)
        .map_err(|e| Problem::invalid(format!("thread.topic: {e}; it says where the message belongs")))?;
    let now = app.core.now();
    let chat = app
        .core
        .ingest
        .message(&app.core.gate, who, &topic, message, now)
        .await?;
    app.core.gate.grant(chat.wish.clone()).await?;
    store(app, who, chat).await.map(Reply::new)
}

/// Deployed clients send the message as JSON text within JSON.
#[derive(Deserialize)]
struct Wrapped {
    json: Option<Value>,
}

/// The message of a body, in any of its forms.
fn read(body: &Bytes, max: usize) -> Result<Message, Problem> {
    let looks_like_json = body.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{');
    let wrapped = match looks_like_json.then(|| json::<Wrapped>(body)) {
        Some(Err(problem)) if !envelope::may_be_protobuf(body) => return Err(problem),
        Some(Ok(wrapped)) => wrapped.json,
        _ => None,
    };
    let text = match wrapped {
        None | Some(Value::Null) => body.clone(),
        Some(Value::String(text)) => Bytes::from(text),
        Some(object) => Bytes::from(object.to_string()),
    };
    if text.len() > max {
        return Err(too_large(max));
    }
    envelope::parse(&text).map_err(|error| {
        Problem::invalid(match error.source() {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        })
    })
}

/// The organisation that deployed clients name in a message's `extra`.
fn org_of(message: &Message) -> String {
    let extra: Value = serde_json::from_str(&message.extra).unwrap_or_default();
    extra["orgUid"].as_str().unwrap_or_default().to_owned()
}

/// Takes a message the way of those that come over a socket. Gives the stored one as its sender sees it.
pub(crate) async fn store(app: &App, who: &Principal, chat: Chat) -> Result<String, Problem> {
    if chat.entry.known_kind() == Kind::Transient {
        app.core.send_transient(chat.entry.clone());
        return Ok(spell(&chat, Position::START));
    }
    if app.core.attachments.line_of(&chat.entry).is_full() {
        return Err(Problem::new(
            ErrorKind::Unavailable,
            "too much waits to be stored; send the message again",
        ));
    }
    let outcome = app.core.submit_and_wait(chat.entry.clone()).await;
    if let Some(refusal) = ingest::refusal(&outcome) {
        return Err(refusal.into());
    }
    let Outcome::Stored { position, duplicate } = outcome else {
        return Err(Problem::new(
            ErrorKind::Internal,
            "an outcome has neither a place nor a reason",
        ));
    };
    let first = if duplicate {
        first_one(app, who, &chat, position).await
    } else {
        None
    };
    Ok(first.unwrap_or_else(|| spell(&chat, position)))
}

fn spell(chat: &Chat, position: Position) -> String {
    let timestamp = UnixMillis(chat.entry.accepted_at);
    envelope::to_json(
        &chat.message,
        &Stamp {
            position,
            prev: None,
            timestamp,
        },
    )
}

/// How long the message of which one is a resend is looked for.
const FIRST_ONE: Duration = Duration::from_millis(500);

/// The message of which this one is a resend. Receipts are not in history, and history may be away: then the resend
/// itself is shown, at the first one's position, for stored it is.
async fn first_one(app: &App, who: &Principal, chat: &Chat, position: Position) -> Option<String> {
    let topic = ChatTopic::canonical(&TopicName::trusted(&chat.entry.topic));
    let range = HistoryRange::After {
        position: position.before(),
        limit: 1,
    };
    let request = HistoryRequest {
        org: who.org.clone(),
        topic,
        range,
    };
    // It is stored: a store that does not answer does not keep its sender waiting.
    let asked = app.core.persistence.history(request);
    let page = tokio::time::timeout(FIRST_ONE, asked).await.ok()?.ok()?;
    let entry = page.entries.into_iter().find(|e| e.position == position)?;
    history::shown(app, who, entry).map(|message| message.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"uid":"1","type":"TEXT","content":"a \"b\""}"#;

    #[test]
    fn a_message_comes_as_itself_or_as_text_or_object_within_json() {
        let wrapped = serde_json::json!({ "json": TEXT, "client": "WEB" }).to_string();
        let object = format!(r#" {{"json":{TEXT}}}"#);
        let protobuf = envelope::encode(&read(&Bytes::from(TEXT), 1000).unwrap());
        for body in [
            Bytes::from(TEXT),
            Bytes::from(wrapped),
            Bytes::from(object),
            protobuf,
        ] {
            let message = read(&body, 1000).unwrap();
            assert_eq!((message.uid.as_str(), message.content.as_str()), ("1", "a \"b\""));
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (body, named) in [
            ("", "empty"),
            ("{\"json\": ", "line 1 column"),
            ("{\"json\": \"{\\\"uid\\\" 1}\"}", "column"),
            ("{\"json\": \"\"}", "empty"),
            ("{}", "uid"),
            ("{\"uid\":\"1\"}", "type"),
            ("[]", "envelope"),
            ("hello", "envelope"),
        ] {
            let problem = read(&Bytes::from(body.to_owned()), 1000).unwrap_err();
            assert!(
                problem.status == 400 && problem.message.contains(named),
                "{body}: {}",
                problem.message
            );
        }
        assert_eq!(read(&Bytes::from(TEXT), 10).unwrap_err().status, 413);
    }
}
