//! The chat envelope as clients build it. The JSON is written by hand here, so that it does not depend on the server's own.

use mqtt_codec::{Publish, QoS};
use prost::Message as _;
use serde_json::{Value, json};
pub use wire::{Message, Thread, User};

/// The organisation that the dev profile seeds.
pub const ORG: &str = "df_org_uid";
/// Its first agent desk.
pub const DESK: &str = "df_ag_uid";
/// Its second agent desk.
pub const DESK2: &str = "df_ag2_uid";
/// Its workgroup, of both agents.
pub const WORKGROUP: &str = "df_wg_uid";

/// The topic of an agent's conversation with a visitor.
pub fn agent_topic(desk: &str, visitor: &str) -> String {
    format!("org/agent/{desk}/{visitor}")
}

/// A fresh uid.
pub fn uid() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// A message as the guides build it.
pub fn message(kind: &str, uid: &str, topic: &str, author: &str, content: &str) -> Message {
    let role = if topic.ends_with(author) {
        "VISITOR"
    } else {
        "AGENT"
    };
    Message {
        uid: uid.to_owned(),
        r#type: kind.to_owned(),
        content: content.to_owned(),
        status: "SENDING".to_owned(),
        created_at: "2026-01-31 12:21:50".to_owned(),
        channel: "web".to_owned(),
        thread: Some(Thread {
            uid: format!("thread-of-{topic}"),
            topic: topic.to_owned(),
            r#type: "AGENT".to_owned(),
            user: Some(User::default()),
            ..Thread::default()
        }),
        user: Some(User {
            uid: author.to_owned(),
            nickname: format!("nickname of {author}"),
            avatar: "https://example.org/a.png".to_owned(),
            r#type: role.to_owned(),
            ..User::default()
        }),
        extra: format!("{{\"orgUid\":\"{ORG}\"}}"),
        ..Message::default()
    }
}

/// A TEXT with a fresh uid.
pub fn text(topic: &str, author: &str, content: &str) -> Message {
    message("TEXT", &uid(), topic, author, content)
}

/// A DELIVERED, READ or RECALL of another message.
pub fn about(kind: &str, topic: &str, author: &str, target: &str) -> Message {
    message(kind, &uid(), topic, author, target)
}

/// Its thread's topic.
pub fn topic(message: &Message) -> &str {
    message.thread.as_ref().map_or("", |thread| &thread.topic)
}

/// Its author.
pub fn author(message: &Message) -> &str {
    message.user.as_ref().map_or("", |user| &user.uid)
}

/// The protobuf of a message, as an agent's page builds it.
pub fn encode(message: &Message) -> Vec<u8> {
    message.encode_to_vec()
}

/// A TEXT with a fresh uid that does not say when it was written, as clients may send it.
pub fn undated(topic: &str, author: &str, content: &str) -> Message {
    Message {
        created_at: String::new(),
        ..text(topic, author, content)
    }
}

/// The JSON of a message, as a visitor's page builds it. Without a date there is no `createdAt`.
pub fn to_json(message: &Message) -> Value {
    let user = |user: &User| json!({ "uid": user.uid, "nickname": user.nickname, "avatar": user.avatar, "type": user.r#type });
    let mut json = json!({
        "uid": message.uid,
        "type": message.r#type,
        "content": message.content,
        "status": message.status,
        "createdAt": message.created_at,
        "channel": message.channel,
        "extra": message.extra,
        "thread": message.thread.as_ref().map(|thread| json!({
            "uid": thread.uid,
            "topic": thread.topic,
            "type": thread.r#type,
            "user": thread.user.as_ref().map(user),
        })),
        "user": message.user.as_ref().map(user),
    });
    if message.created_at.is_empty()
        && let Some(members) = json.as_object_mut()
    {
        members.remove("createdAt");
    }
    json
}

/// The envelope in a PUBLISH, whatever is in it.
///
/// # Panics
/// When it is none.
pub fn decode(publish: &Publish) -> Message {
    Message::decode(publish.payload.clone()).expect("a chat envelope")
}

/// The envelope that an MQTT client got.
///
/// # Panics
/// When it lacks what deployed clients take for granted: `thread`, `thread.user` and `user` set, status SUCCESS or
/// further, `createdAt` as `yyyy-MM-dd HH:mm:ss`, QoS 1 if it is stored, the topic of its thread.
pub fn from_publish(publish: &Publish) -> Message {
    let message = decode(publish);
    let thread = message.thread.as_ref().expect("`thread` is always set");
    assert!(thread.user.is_some(), "`thread.user` is always set: {message:?}");
    assert!(message.user.is_some(), "`user` is always set: {message:?}");
    assert_eq!(thread.topic, publish.topic.as_str(), "the topic is the thread's");
    // What is never stored has no position, and is worth no more than one try.
    if message.position > 0 {
        assert_eq!(publish.qos, QoS::AtLeastOnce, "chat messages go out with QoS 1");
    }
    assert!(
        !message.status.is_empty() && message.status != "SENDING",
        "{message:?}"
    );
    assert_is_time(&message.created_at);
    message
}

/// Checks the form of `createdAt`.
///
/// # Panics
/// When it is not `yyyy-MM-dd HH:mm:ss`.
pub fn assert_is_time(text: &str) {
    let form: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '9' } else { c })
        .collect();
    assert_eq!(form, "9999-99-99 99:99:99", "createdAt is {text}");
}
