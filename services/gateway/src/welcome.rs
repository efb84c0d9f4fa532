//! What a desk is told when a visitor comes, and what the visitor is told. All of it goes through the log, so that whoever
//! is away gets it later.

use contract::persistence::{Desk, OpenedThread, ThreadCard, UserCard};
use edge::ingest::Chat;
use model::{Origin, Principal, Role, UnixMillis};
use serde_json::Value;
use wire::envelope::{self, PROMPT, server_uid};
use wire::{Message, Thread, User};

use crate::app::App;
use crate::reply::{Problem, value};
use crate::send;

/// Greets the visitor in its thread, which is also how a deployed agent client learns of the thread. Gives the greeting.
///
/// A thread is greeted once for each time that it is opened, however often it is asked for; one that is come back to once a minute, so
/// that a page that is loaded again and again does not fill it.
pub(crate) async fn greet(
    app: &App,
    who: &Principal,
    desk: &Desk,
    opened: OpenedThread,
) -> Result<Value, Problem> {
    let now = app.core.now();
    let Greeting { kind, uid, text } = greeting(app, &opened, now);
    let thread = opened.thread;
    let topic = thread.topic.clone();
    let host = host(desk, &thread);
    let message = Message {
        uid,
        r#type: kind.to_owned(),
        content: text,
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

struct Greeting {
    kind: &'static str,
    uid: String,
    text: String,
}

/// What the visitor is told: that it is welcome, that it waits, or that nobody is there and it may leave a message.
fn greeting(app: &App, opened: &OpenedThread, now: UnixMillis) -> Greeting {
    let thread = &opened.thread;
    let is_new = opened.created || thread.last.is_none();
    let time = match is_new {
        true => opened.version.to_string(),
        false => format!("{}m", now.0 / 60_000),
    };
    let config = &app.config;
    let uid = |what: &str| server_uid(what, &[&thread.uid, &time]);
    let (kind, uid, text) = match thread.status.as_str() {
        "OFFLINE" => ("LEAVE_MSG", uid(PROMPT), config.offline.clone()),
        "QUEUING" => ("QUEUE", uid("queue"), {
            let before = opened.queue.unwrap_or_default();
            envelope::place_in_queue(&config.queue, before, before + 1, now)
        }),
        _ if is_new => ("WELCOME", uid("welcome"), config.welcome.clone()),
        _ => ("CONTINUE", uid("continue"), config.welcome_back.clone()),
    };
    Greeting { kind, uid, text }
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
