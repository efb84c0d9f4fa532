//! What a desk is told when a visitor comes, and what the visitor is told. All of it goes through the log, so that whoever
//! is away gets it later.

use contract::persistence::{Desk, OpenedThread, ThreadCard, UserCard};
use edge::audience;
use edge::ingest::{self, Chat};
use futures::future::join_all;
use model::{OrgId, Origin, Principal, Role, UserId};
use serde_json::Value;
use wire::envelope::{self, server_uid};
use wire::{Entry, Kind, Message, Thread, User};

use crate::app::App;
use crate::reply::{Problem, value};
use crate::send;

/// The sender of what the service itself says.
const SERVICE: &str = "longwire";
/// `state` of a MEMBERSHIP entry of one who joined.
const JOINED: u32 = 1;

/// Tells those who became members, and then persistence that they were told. If that fails half-way, the next request
/// tells them again: an entry that says what is known does no harm.
pub(crate) async fn announce(app: &App, org: &OrgId, opened: &OpenedThread) -> Result<(), Problem> {
    if opened.joined.is_empty() {
        return Ok(());
    }
    let entries: Vec<Entry> = opened
        .joined
        .iter()
        .map(|user| membership(app, org, user, &opened.thread))
        .collect();
    for outcome in join_all(entries.into_iter().map(|entry| app.core.submit_and_wait(entry))).await {
        if let Some(refusal) = ingest::refusal(&outcome) {
            return Err(refusal.into());
        }
    }
    app.core
        .persistence
        .announced(org, &opened.thread.topic, opened.joined.clone())
        .await?;
    Ok(())
}

fn membership(app: &App, org: &OrgId, user: &UserId, thread: &ThreadCard) -> Entry {
    Entry {
        kind: Kind::Membership.into(),
        org: org.to_string(),
        topic: audience::of_user(user).to_string(),
        sender: SERVICE.to_owned(),
        author: SERVICE.to_owned(),
        // Told again, it is stored once.
        uid: server_uid("membership", &[&thread.uid, user]),
        accepted_at: app.core.now().0,
        target: thread.topic.to_string(),
        state: JOINED,
        ..Entry::default()
    }
}

/// Greets the visitor in its thread, which is also how a deployed agent client learns of the thread. Gives the greeting.
///
/// A new thread is greeted once, however often it is asked for; one that is come back to once a minute, so that a page
/// that is loaded again and again does not fill it.
pub(crate) async fn greet(
    app: &App,
    who: &Principal,
    desk: &Desk,
    opened: OpenedThread,
) -> Result<Value, Problem> {
    let thread = opened.thread;
    let is_new = opened.created || thread.last.is_none();
    let now = app.core.now();
    let (kind, uid, text) = if is_new {
        (
            "WELCOME",
            server_uid("welcome", &[&thread.uid]),
            &app.config.welcome,
        )
    } else {
        (
            "CONTINUE",
            server_uid("continue", &[&thread.uid, &(now.0 / 60_000).to_string()]),
            &app.config.welcome_back,
        )
    };
    let topic = thread.topic.clone();
    let host = host(desk, &thread);
    let message = Message {
        uid,
        r#type: kind.to_owned(),
        content: text.clone(),
        channel: "SYSTEM".to_owned(),
        user: Some(user(&host.0, host.1)),
        thread: Some(thread_of(thread)),
        extra: serde_json::json!({ "orgUid": who.org }).to_string(),
        ..Message::default()
    };
    let speaker = Principal::new(who.org.clone(), host.0.uid.clone(), Role::Agent, Origin::Service);
    let chat = app
        .core
        .ingest
        .message(&app.core.gate, &speaker, &topic, message, now)
        .await?;
    let stored = send::store(app, who, born_read(chat)).await?;
    Ok(value(stored.as_bytes()))
}

/// Whoever answers: the agent that has the thread, or the desk itself.
fn host(desk: &Desk, thread: &ThreadCard) -> (UserCard, &'static str) {
    match &thread.agent {
        Some(agent) => (agent.card.clone(), "AGENT"),
        None => (desk.card.clone(), "SYSTEM"),
    }
}

fn thread_of(thread: ThreadCard) -> Thread {
    Thread {
        uid: thread.uid,
        topic: thread.topic.to_string(),
        r#type: thread.kind,
        state: thread.status,
        user: Some(user(&thread.visitor, "VISITOR")),
        ..Thread::default()
    }
}

fn user(card: &UserCard, r#type: &str) -> User {
    User {
        uid: card.uid.to_string(),
        nickname: card.nickname.clone(),
        avatar: card.avatar.clone(),
        r#type: r#type.to_owned(),
        ..User::default()
    }
}

/// Deployed clients expect greetings that nobody has to read. And they are no answer of an agent's: a visitor who was
/// waiting still waits, which goes by the sender's role.
fn born_read(mut chat: Chat) -> Chat {
    chat.message.status = "READ".to_owned();
    chat.entry.payload = envelope::encode(&chat.message);
    chat.entry.sender_role = 0;
    chat
}
