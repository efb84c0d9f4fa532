//! Where a message is: what an administrator asks when somebody says that it did not arrive. Never shows what it says.

mod verdict;

use std::sync::Arc;

use axum::extract::State;
use contract::persistence::{ExplainRequest, Explained, ExplainedRecipient, StoredSession, Tie};
use model::{MessageUid, ReceiptKind, Role, UserId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::app::App;
use crate::body::QueryOf;
use crate::identity::{Claim, Holder};
use crate::reply::{Answer, Envelope, Problem, Reply};
use verdict::{Case, Finding, Verdict};

/// Which message, and with whom.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExplainQuery {
    /// The uid that its sender gave it.
    #[param(required = true)]
    pub uid: String,
    /// The organisation: the token's own, which is meant when it is left out.
    #[param(required = false)]
    pub org: String,
    /// A user, or an alias of one: only what became of it there.
    #[param(required = false)]
    pub to: String,
}

/// The messages of a uid. Senders choose uids, so there may be several.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Explanation {
    /// The uid.
    uid: String,
    /// The organisation.
    org: String,
    /// The messages, in the order in which they were stored.
    messages: Vec<MessageFate>,
}

/// Where a message is and how far it came.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MessageFate {
    /// Its position: a decimal number.
    position: String,
    /// Its partition.
    partition: u16,
    /// How many further parts a streamed answer has.
    parts: u32,
    /// Its topic.
    topic: String,
    /// The user that sent it.
    sender: String,
    /// `agent`, `visitor` or `admin`; absent for a service.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    sender_role: Option<&'static str>,
    /// The uid it was sent as: the sender's, or an alias.
    author: String,
    /// `TEXT`, `IMAGE`, …
    r#type: String,
    /// When it was accepted: `yyyy-MM-dd HH:mm:ss`.
    accepted_at: String,
    /// The same in milliseconds since 1970.
    timestamp: u64,
    /// Whether it was taken back.
    recalled: bool,
    /// Whether history shows it.
    in_history: bool,
    /// How far it came with its recipients as a whole: `SENT`, `DELIVERED` or `READ`.
    state: &'static str,
    /// How far it came with each, as far as that is kept.
    receipts: Vec<ReceiptItem>,
    /// Who was made a member of the conversation, beyond those that the topic names.
    members: Vec<MemberItem>,
    /// What became of it with whom.
    recipients: Vec<RecipientFate>,
}

/// How far a message came with somebody.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReceiptItem {
    /// The user.
    by: String,
    /// `DELIVERED` or `READ`.
    state: &'static str,
    /// Where the receipt stands in the log; absent when only its effect is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    position: Option<String>,
}

/// A member of a conversation.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MemberItem {
    /// The uid that was made a member.
    uid: String,
    /// It sees what comes after this position.
    since: String,
}

/// What became of a message with a user.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RecipientFate {
    /// The user.
    user: String,
    /// The uids under which the conversation knows it, its own left out.
    aliases: Vec<String>,
    /// `agent`, `visitor` or `admin`; absent when nothing tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    role: Option<&'static str>,
    /// What ties it to the conversation: `topic`, `member`, `reader` (it acknowledged something there), `left`, `none`.
    tie: &'static str,
    /// How many connections it has now; absent while that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    connections: Option<usize>,
    /// What became of the message.
    verdict: Verdict,
    /// The same in a sentence.
    why: String,
    /// Its stored sessions.
    sessions: Vec<SessionFate>,
}

/// What became of a message in a stored session.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionFate {
    /// The client id; of a STOMP client `stomp/` and the topic.
    client: String,
    /// `mqtt` or `stomp`.
    protocol: &'static str,
    /// Grows with each connection.
    epoch: String,
    /// Whether a client is connected.
    connected: bool,
    /// The edge that holds it, or held it last.
    edge: String,
    /// When it began; absent when that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    began_at: Option<String>,
    /// When its last connection ended; absent while it is connected, or when that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    offline_since: Option<String>,
    /// When it will be forgotten; absent while it is connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    expires_at: Option<String>,
    /// What became of the message.
    verdict: Verdict,
    /// The same in a sentence.
    why: String,
}

/// Where the messages of a uid are, how far they came, and why one is not with somebody. For administrators of the
/// organisation. What the messages say is not told.
#[utoipa::path(get, path = "/api/v1/admin/explain", tag = "administration", params(ExplainQuery),
    responses((status = 200, description = "The messages of the uid", body = Envelope<Explanation>)))]
pub(crate) async fn explain(
    State(app): State<Arc<App>>,
    Holder(who): Holder,
    QueryOf(query): QueryOf<ExplainQuery>,
) -> Answer<Explanation> {
    if who.role != Role::Admin {
        let message = format!(
            "{} is not an administrator; ask with a token of role admin",
            who.user
        );
        return Err(Problem::forbidden(message));
    }
    let claim = Claim {
        org: &query.org,
        ..Claim::default()
    };
    claim.agrees_with(&who)?;
    if query.uid.is_empty() {
        return Err(Problem::invalid("uid is missing; say which message is meant"));
    }
    let to = match query.to.as_str() {
        "" => None,
        uid => Some(UserId::checked(uid).map_err(|e| Problem::invalid(format!("to: {e}")))?),
    };
    let request = ExplainRequest {
        org: who.org.clone(),
        uid: MessageUid::new(&query.uid),
        also: to.iter().cloned().collect(),
    };
    let found = app.core.persistence.explain(request.clone()).await?;
    if found.is_empty() {
        return Err(unknown(&request));
    }
    let mut messages = Vec::with_capacity(found.len());
    for message in found {
        messages.push(fate(&app, &request, message, to.as_ref()).await);
    }
    Ok(Reply::new(Explanation {
        uid: query.uid,
        org: who.org.to_string(),
        messages,
    }))
}

fn unknown(request: &ExplainRequest) -> Problem {
    Problem::not_found(format!(
        "no message of uid {:?} is stored in {}. Check the uid and the organisation; whether the sender was told that it is \
         stored (PUBACK, RECEIPT, HTTP 200, its echo): if not, it has to send it again with the same uid; and the type: \
         DELIVERED and READ are kept with the message they mean, TYPING, PREVIEW and PROCESSING are never stored",
        request.uid.as_str(),
        request.org
    ))
}

/// How many connections a recipient has, by whatever it was identified; `None` when nobody can say.
async fn connections(app: &App, request: &ExplainRequest, recipient: &ExplainedRecipient) -> Option<usize> {
    let mut count = 0;
    for address in [&recipient.user, &UserId::unproven(&recipient.user)] {
        count += app
            .core
            .presence
            .connections(&request.org, address)
            .await
            .ok()?
            .len();
    }
    Some(count)
}

async fn fate(app: &App, request: &ExplainRequest, message: Explained, to: Option<&UserId>) -> MessageFate {
    let is_asked = |r: &&ExplainedRecipient| to.is_none_or(|uid| r.user == *uid || r.aliases.contains(uid));
    let mut recipients = Vec::new();
    for recipient in message.recipients.iter().filter(is_asked) {
        let connections = connections(app, request, recipient).await;
        recipients.push(recipient_fate(app, &message, recipient, connections));
    }
    let receipts = message.receipts.iter().map(|r| ReceiptItem {
        by: r.by.to_string(),
        state: r.state.as_str(),
        position: r.position.map(|at| at.to_string()),
    });
    let members = message.members.iter().map(|m| MemberItem {
        uid: m.uid.to_string(),
        since: m.since.to_string(),
    });
    MessageFate {
        position: message.position.to_string(),
        partition: message.partition.0,
        parts: message.parts,
        topic: message.topic.to_string(),
        sender: message.sender.to_string(),
        sender_role: message.sender_role.map(role),
        author: message.author.to_string(),
        accepted_at: app.time(message.accepted_at),
        timestamp: message.accepted_at.0,
        recalled: message.recalled,
        in_history: message.in_history,
        state: message.state.map_or("SENT", ReceiptKind::as_str),
        receipts: receipts.collect(),
        members: members.collect(),
        recipients,
        r#type: message.kind,
    }
}

fn recipient_fate(
    app: &App,
    message: &Explained,
    to: &ExplainedRecipient,
    connections: Option<usize>,
) -> RecipientFate {
    let case = Case {
        message,
        to,
        now: app.core.now(),
        time: &|at| app.time(at),
    };
    let findings: Vec<Finding> = to.sessions.iter().map(|s| case.session(s)).collect();
    let of_user = case.user(&findings, connections);
    let sessions = to.sessions.iter().zip(findings);
    RecipientFate {
        user: to.user.to_string(),
        aliases: to.aliases.iter().map(ToString::to_string).collect(),
        role: to.role.map(role),
        tie: tie(to.tie),
        connections,
        verdict: of_user.verdict,
        why: of_user.why,
        sessions: sessions.map(|(s, f)| session_fate(app, s, f)).collect(),
    }
}

fn session_fate(app: &App, session: &StoredSession, found: Finding) -> SessionFate {
    let is_stomp = verdict::of_stomp(session).is_some();
    SessionFate {
        client: session.client.to_string(),
        protocol: if is_stomp { "stomp" } else { "mqtt" },
        epoch: session.epoch.to_string(),
        connected: session.connected,
        edge: session.edge.to_string(),
        began_at: session.began_at.map(|at| app.time(at)),
        offline_since: session.offline_since.map(|at| app.time(at)),
        expires_at: session.expires_at.map(|at| app.time(at)),
        verdict: found.verdict,
        why: found.why,
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Agent => "agent",
        Role::Visitor => "visitor",
        Role::Admin => "admin",
        Role::Service => "service",
    }
}

fn tie(tie: Tie) -> &'static str {
    match tie {
        Tie::Topic => "topic",
        Tie::Member(_) => "member",
        Tie::Reader => "reader",
        Tie::Left => "left",
        Tie::Stranger => "none",
    }
}
