//! The chat envelope as deployed clients write and read it.

use serde::Deserialize;
use serde_json::{Value, json};

/// What a client writes.
#[derive(Debug, Clone)]
pub(crate) struct Draft<'a> {
    pub(crate) uid: String,
    /// `TEXT`, `READ`, `TRANSFER`, …
    pub(crate) kind: &'static str,
    pub(crate) content: String,
    /// When it was written, Unix ms: the same each time it is sent. Nothing if it does not say.
    pub(crate) written: Option<u64>,
    pub(crate) thread: &'a Thread,
    /// The uid that the author acts under.
    pub(crate) author: &'a str,
    pub(crate) by_agent: bool,
    pub(crate) org: &'a str,
}

/// A conversation as messages name it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Thread {
    pub(crate) uid: String,
    pub(crate) topic: String,
    /// `AGENT` or `WORKGROUP`.
    pub(crate) kind: String,
    pub(crate) visitor: String,
}

impl Draft<'_> {
    fn role(&self) -> &'static str {
        if self.by_agent { "AGENT" } else { "VISITOR" }
    }

    fn created_at(&self) -> String {
        self.written.map(|at| at.to_string()).unwrap_or_default()
    }

    fn extra(&self) -> String {
        json!({ "orgUid": self.org }).to_string()
    }

    /// As agents send it.
    pub(crate) fn protobuf(&self) -> bytes::Bytes {
        let user = |uid: &str, role: &str| wire::User {
            uid: uid.to_owned(),
            nickname: uid.to_owned(),
            r#type: role.to_owned(),
            ..wire::User::default()
        };
        wire::frame::encode(&wire::Message {
            uid: self.uid.clone(),
            r#type: self.kind.to_owned(),
            content: self.content.clone(),
            status: "SENDING".to_owned(),
            created_at: self.created_at(),
            channel: "WEB".to_owned(),
            thread: Some(wire::Thread {
                uid: self.thread.uid.clone(),
                topic: self.thread.topic.clone(),
                r#type: self.thread.kind.clone(),
                user: Some(user(&self.thread.visitor, "VISITOR")),
                ..wire::Thread::default()
            }),
            user: Some(user(self.author, self.role())),
            extra: self.extra(),
            ..wire::Message::default()
        })
    }

    /// As pages send it.
    pub(crate) fn json(&self) -> Value {
        let mut json = json!({
            "uid": self.uid, "type": self.kind, "content": self.content, "status": "SENDING",
            "channel": "WEB", "extra": self.extra(),
            "thread": {
                "uid": self.thread.uid, "topic": self.thread.topic, "type": self.thread.kind,
                "user": { "uid": self.thread.visitor, "nickname": self.thread.visitor, "avatar": "", "type": "VISITOR" },
            },
            "user": { "uid": self.author, "nickname": self.author, "avatar": "", "type": self.role() },
        });
        if self.written.is_some() {
            json["createdAt"] = self.created_at().into();
        }
        json
    }
}

/// The text of a message: says whose it is, so that a changed one is noticed.
pub(crate) fn text(uid: &str, size: usize) -> String {
    let mut text = format!("{uid} ");
    while text.len() < size {
        text.push(char::from(b'a' + (text.len() % 26) as u8));
    }
    text
}

/// What a client hears.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) uid: String,
    pub(crate) kind: String,
    pub(crate) content: String,
    pub(crate) status: String,
    pub(crate) topic: String,
    pub(crate) author: String,
    /// 0: none.
    pub(crate) position: u64,
    /// 0: the server did not say.
    pub(crate) prev: u64,
}

impl Heard {
    pub(crate) fn protobuf(payload: bytes::Bytes) -> Option<Self> {
        let message = wire::frame::decode::<wire::Message>(payload).ok()?;
        Some(Self {
            uid: message.uid,
            kind: message.r#type,
            content: message.content,
            status: message.status,
            topic: message.thread.map(|thread| thread.topic).unwrap_or_default(),
            author: message.user.map(|user| user.uid).unwrap_or_default(),
            position: message.position,
            prev: message.prev.unwrap_or_default(),
        })
    }

    pub(crate) fn json(body: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Json>(body).ok().map(Self::from)
    }

    pub(crate) fn value(value: &Value) -> Option<Self> {
        Json::deserialize(value).ok().map(Self::from)
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Json {
    uid: String,
    r#type: String,
    content: String,
    status: String,
    thread: JsonThread,
    user: JsonUser,
    position: String,
    prev: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct JsonThread {
    topic: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct JsonUser {
    uid: String,
}

impl From<Json> for Heard {
    fn from(json: Json) -> Self {
        Self {
            uid: json.uid,
            kind: json.r#type,
            content: json.content,
            status: json.status,
            topic: json.thread.topic,
            author: json.user.uid,
            position: json.position.parse().unwrap_or_default(),
            prev: json.prev.parse().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_message_say_the_same() {
        let thread = Thread {
            uid: "t".into(),
            topic: "org/agent/a/v".into(),
            kind: "AGENT".into(),
            visitor: "v".into(),
        };
        let draft = Draft {
            uid: "u".into(),
            kind: "TEXT",
            content: text("u", 20),
            written: Some(5),
            thread: &thread,
            author: "a",
            by_agent: true,
            org: "o",
        };
        let heard = Heard::protobuf(draft.protobuf()).unwrap();
        assert_eq!(
            Some(&heard),
            Heard::json(draft.json().to_string().as_bytes()).as_ref()
        );
        assert_eq!(
            (heard.topic.as_str(), heard.author.as_str(), heard.content.len()),
            ("org/agent/a/v", "a", 20)
        );
        assert_eq!(draft.json()["createdAt"], "5");
        let undated = Draft {
            written: None,
            ..draft
        };
        assert_eq!(undated.json().get("createdAt"), None);
        let sent: wire::Message = wire::frame::decode(undated.protobuf()).unwrap();
        assert_eq!(sent.created_at, "");
    }

    #[test]
    fn a_message_without_everything_is_heard_all_the_same() {
        let heard = Heard::json(br#"{"uid":"u","position":"18446744073709551615"}"#).unwrap();
        assert_eq!((heard.position, heard.prev), (u64::MAX, 0));
        assert_eq!(Heard::json(b"hello"), None);
    }
}
