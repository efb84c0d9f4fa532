//! The description of the calls, made from the code that answers them.

use std::sync::{Arc, LazyLock};

use axum::response::{Html, IntoResponse};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi, ToSchema};

use crate::app::App;
use crate::{agents, directory, explain, history, lifecycle, login, people, send, threads, visitor};

/// A user as a message shows it.
#[derive(ToSchema)]
#[allow(dead_code, reason = "described here, written by wire::envelope")]
pub(crate) struct UserJson {
    /// Its uid.
    uid: Option<String>,
    /// Its name.
    nickname: Option<String>,
    /// The address of its picture.
    avatar: Option<String>,
    /// `VISITOR`, `AGENT`, …
    r#type: Option<String>,
    /// JSON text.
    extra: Option<String>,
}

/// A conversation as a message shows it.
#[derive(ToSchema)]
#[allow(dead_code, reason = "described here, written by wire::envelope")]
pub(crate) struct ThreadJson {
    /// Its uid.
    uid: Option<String>,
    /// Where its messages go.
    #[schema(example = "org/agent/df_ag_uid/1418711693000834")]
    topic: Option<String>,
    /// `AGENT`, `WORKGROUP`, …
    r#type: Option<String>,
    /// `CHATTING`, `CLOSED`, …
    status: Option<String>,
    /// The other party's card: the visitor of a service thread.
    user: Option<UserJson>,
    /// Opaque.
    channel: Option<String>,
    /// JSON text.
    extra: Option<String>,
}

/// A chat message. Members that are empty are left out.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "uid": "b1f2", "type": "TEXT", "content": "hello", "status": "SENDING", "createdAt": "2026-01-31 12:21:50",
    "channel": "WEB", "extra": "{\"orgUid\":\"df_org_uid\"}",
    "thread": {"uid": "t1", "topic": "org/agent/df_ag_uid/1418711693000834", "type": "AGENT"},
    "user": {"uid": "1418711693000834", "nickname": "Ann", "type": "VISITOR"}
}))]
#[allow(dead_code, reason = "described here, written by wire::envelope")]
pub(crate) struct MessageJson {
    /// The client's own id of it, by which a resend is recognised.
    uid: String,
    /// `TEXT`, `IMAGE`, `READ`, `RECALL`, …: the calls that send have the table of who may send which.
    r#type: String,
    /// Text, JSON text, or the uid of the message meant.
    content: String,
    /// `SUCCESS`, `DELIVERED`, `READ`, `RECALL`; `SENDING` from a client.
    status: Option<String>,
    /// `yyyy-MM-dd HH:mm:ss`, by the server.
    created_at: Option<String>,
    /// Where it was written. `SYSTEM` is the server's and services'.
    channel: Option<String>,
    /// Its conversation.
    thread: Option<ThreadJson>,
    /// Its author.
    user: Option<UserJson>,
    /// JSON text.
    extra: Option<String>,
    /// Milliseconds since 1970 when the server accepted it.
    timestamp: Option<u64>,
    /// Where it stands in the log: a decimal number.
    position: Option<String>,
    /// The position of the one before it in its conversation, where it is known.
    prev: Option<String>,
}

/// A message to send.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(example = json!({"json": "{\"uid\":\"b1f2\",\"type\":\"TEXT\",\"content\":\"hello\",\"thread\":{\"topic\":\"org/agent/df_ag_uid/1418711693000834\"}}", "client": "WEB"}))]
#[allow(
    dead_code,
    clippy::large_enum_variant,
    reason = "described here, read by send::read"
)]
pub(crate) enum SendRequest {
    /// As deployed clients send it.
    Wrapped {
        /// The message as JSON text.
        json: String,
        /// Ignored.
        client: Option<String>,
    },
    /// The message itself.
    Message(MessageJson),
}

/// What is answered when something is wrong.
#[derive(ToSchema)]
#[schema(example = json!({"message": "no token; send it as Authorization: Bearer TOKEN", "code": 401, "data": false}))]
#[allow(dead_code, reason = "described here, built as Envelope<bool>")]
pub(crate) struct Problem {
    /// What was wrong and what to change.
    message: String,
    /// The HTTP status.
    code: u16,
    /// Always `false`.
    data: bool,
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Longwire", description = "Customer-service conversations over HTTP. The same messages come and go over MQTT and STOMP."),
    paths(
        login::login, login::again, visitor::init, visitor::thread, send::by_visitor, send::by_holder,
        history::page_by_visitor, history::page_by_holder, history::stretch_by_visitor, history::stretch_by_holder,
        people::unread_by_visitor, people::ping, people::unread_by_holder, people::presence, threads::query,
        lifecycle::close,
        lifecycle::close_topic,
        lifecycle::leave,
        lifecycle::close_by_visitor,
        explain::explain, agents::query, agents::status, agents::update_status, directory::agents::list, directory::agents::show,
        directory::agents::put, directory::agents::remove, directory::desks::list, directory::desks::show, directory::desks::put,
        directory::desks::remove,
    ),
    components(schemas(Problem)),
    modifiers(&Everywhere),
)]
struct Description;

/// What every call has: errors in the envelope, and the token.
struct Everywhere;

impl Modify for Everywhere {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let components = api.components.get_or_insert_default();
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .build();
        components.add_security_scheme("token", SecurityScheme::Http(bearer));
        for (path, item) in &mut api.paths.paths {
            let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.delete];
            for operation in operations.into_iter().flatten() {
                complete(path, operation);
            }
            if let (Some(operation), true) = (&mut item.post, SENDING.contains(&path.as_str())) {
                let about = operation.description.get_or_insert_default();
                *about = format!("{about}\n\n{TYPES}\n\n{}", model::types_as_markdown());
            }
        }
    }
}

/// The calls that send a message.
const SENDING: [&str; 2] = ["/visitor/api/v1/message/send", "/api/v1/message/rest/send"];
const TYPES: &str = "Who may send which `type`, in any case; 403 when the caller may not. Names that are not listed are \
    custom ones, which everybody may send. `user.type`, `thread.*` and the channel SYSTEM are the server's, whatever is sent.";

fn complete(path: &str, operation: &mut Operation) {
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .build();
    let description = "What was wrong: the real status, and the same in `code`; the header `longwire-code` names it for machines";
    let problem = ResponseBuilder::new()
        .description(description)
        .content("application/json", content)
        .build();
    operation
        .responses
        .responses
        .insert("default".to_owned(), RefOr::T(problem));
    let token = SecurityRequirement::new("token", Vec::<String>::new());
    if path.starts_with("/api/") {
        operation.security = Some(vec![token]);
    } else if path.starts_with("/visitor/") {
        // Where visitors need no token, none will do as well.
        operation.security = Some(vec![token, SecurityRequirement::default()]);
    }
}

/// The description.
pub(crate) fn description() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

static JSON: LazyLock<Bytes> =
    LazyLock::new(|| Bytes::from(serde_json::to_vec(&description()).expect("strings and numbers serialise")));

/// `GET /openapi.json`.
pub(crate) async fn document() -> impl IntoResponse {
    (
        [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-cache")],
        JSON.clone(),
    )
}

/// `GET /`: what there is and how to begin, without anything from elsewhere.
pub(crate) async fn index(axum::extract::State(app): axum::extract::State<Arc<App>>) -> impl IntoResponse {
    let headers = [
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'",
        ),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, Html(page(app.config.has_dev_login())))
}

fn page(dev_login: bool) -> String {
    let login = if dev_login {
        "<p>An agent's token: <code>POST /auth/v1/login</code> with <code>{\"username\": \"agent1\", \"password\": \"agent1\"}</code>.</p>"
    } else {
        ""
    };
    let mut rows = String::new();
    for (path, item) in &description().paths.paths {
        for (method, operation) in [
            ("GET", &item.get),
            ("POST", &item.post),
            ("PUT", &item.put),
            ("DELETE", &item.delete),
        ] {
            if let Some(operation) = operation {
                let summary = operation.summary.as_deref().unwrap_or_default();
                rows += &format!("<tr><td>{method}<td><code>{path}</code><td>{summary}\n");
            }
        }
    }
    include_str!("index.html")
        .replace("{{login}}", login)
        .replace("{{rows}}", &rows)
}
