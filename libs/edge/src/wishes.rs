//! What a chat message wishes of a thread: deployed clients change threads by messages to one another.
//!
//! The message goes on its own way, to whoever it is for. What it wishes is granted first, in the log of the thread that it names,
//! so that nobody is told of what did not happen.

use contract::persistence::{Actor, ChangeThread, ThreadKey, ThreadWish};
use model::{ChatTopic, Principal, ThreadKind, TopicName, UnixMillis, UserId};
use serde_json::Value;
use wire::Message;

use crate::Refusal;

/// The wish of a message, if it has one. `topic`: where the message goes.
///
/// # Errors
/// When it names a thread or a receiver in a way that cannot be read.
pub(crate) fn of(
    who: &Principal,
    message: &Message,
    topic: &TopicName,
    now: UnixMillis,
) -> Result<Option<ChangeThread>, Refusal> {
    let r#type = message.r#type.to_ascii_uppercase();
    if !who.is_staff() || !(r#type.starts_with("TRANSFER") || r#type.starts_with("INVITE")) {
        return Ok(None);
    }
    // Text for people, as some clients put there, wishes nothing.
    let Ok(content @ Value::Object(_)) = serde_json::from_str::<Value>(&message.content) else {
        return Ok(None);
    };
    let Some(thread) = thread(&content, topic)? else {
        return Ok(None);
    };
    let uid = || text(&content["uid"]).or_else(|| text(&content["messageUid"]));
    let wish = match r#type.as_str() {
        "TRANSFER" | "INVITE" => {
            let to: Vec<UserId> = uid_of(&content["receiver"]).into_iter().collect();
            let colleague = other_side(who, topic).filter(|_| to.is_empty());
            (colleague.is_some() || !to.is_empty()).then_some(ThreadWish::Offer {
                invitation: r#type == "INVITE",
                colleague,
                to,
            })
        }
        "TRANSFER_ACCEPT" | "INVITE_ACCEPT" => uid().map(ThreadWish::Accept),
        "TRANSFER_REJECT" | "TRANSFER_CANCEL" | "TRANSFER_TIMEOUT" | "INVITE_REJECT" | "INVITE_CANCEL"
        | "INVITE_TIMEOUT" => uid().map(ThreadWish::Decline),
        "INVITE_EXIT" => Some(ThreadWish::Leave),
        "INVITE_REMOVE" => uid_of(&content["receiver"]).map(ThreadWish::Remove),
        _ => None,
    };
    // One that says neither to whom nor of which offer is words.
    Ok(wish.map(|wish| ChangeThread {
        org: who.org.clone(),
        thread,
        by: actor(who),
        wish,
        uid: message.uid.clone(),
        at: now,
    }))
}

/// Who wishes something.
pub fn actor(who: &Principal) -> Actor {
    Actor {
        user: who.user.clone(),
        role: who.role,
        identities: who.identities().cloned().collect(),
    }
}

/// The thread that a message is about: the one it names, or the one it is in. `None` when it is about none that has a life.
fn thread(content: &Value, topic: &TopicName) -> Result<Option<ThreadKey>, Refusal> {
    let has_life =
        |topic: &TopicName| ChatTopic::parse(topic).is_some_and(|t| t.kind.is_service() && !t.internal);
    let named = object(&content["thread"]);
    if let Some(named) = text(&named["topic"]) {
        let named = TopicName::new(&named)
            .map_err(|e| Refusal::invalid(format!("content.thread.topic {named:?}: {e}")))?;
        return Ok(has_life(&named).then_some(ThreadKey::Topic(named)));
    }
    if has_life(topic) {
        return Ok(Some(ThreadKey::Topic(topic.clone())));
    }
    Ok(text(&named["uid"]).map(ThreadKey::Uid))
}

/// The other one of a colleague thread.
fn other_side(who: &Principal, topic: &TopicName) -> Option<UserId> {
    let parsed = ChatTopic::parse(topic).filter(|t| t.kind == ThreadKind::Member)?;
    let mut sides = [Some(parsed.desk), parsed.party].into_iter().flatten();
    sides.find(|side| !who.acts_as(side)).map(UserId::new)
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|s| !s.is_empty()).map(str::to_owned)
}

/// An object, which some clients send as its text.
fn object(value: &Value) -> Value {
    match value {
        Value::String(text) => serde_json::from_str(text).unwrap_or_default(),
        other => other.clone(),
    }
}

/// The uid of a card, or the uid itself.
fn uid_of(value: &Value) -> Option<UserId> {
    match value {
        Value::String(s) if !s.trim_start().starts_with('{') => text(value).map(UserId::from),
        _ => text(&object(value)["uid"]).map(UserId::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{OrgId, Origin, Role};

    fn wish(r#type: &str, content: &str, topic: &str) -> Result<Option<ChangeThread>, Refusal> {
        let mut who = Principal::new(OrgId::new("o"), UserId::new("u"), Role::Agent, Origin::Token);
        who.aliases = vec![UserId::new("a"), UserId::new("m1")];
        let message = Message {
            uid: "message".into(),
            r#type: r#type.into(),
            content: content.into(),
            ..Message::default()
        };
        of(&who, &message, &TopicName::trusted(topic), UnixMillis(5))
    }

    #[test]
    fn deployed_clients_name_the_thread_inside_a_message_to_a_colleague() {
        let thread = r#""thread":{"uid":"t","topic":"org/workgroup/w/v"}"#;
        let as_text = r#""thread":"{\"topic\":\"org/workgroup/w/v\"}""#;
        for thread in [thread, as_text] {
            let asked = wish(
                "TRANSFER",
                &format!("{{\"note\":\"n\",{thread}}}"),
                "org/member/m1/m2",
            );
            let asked = asked.unwrap().unwrap();
            assert_eq!(
                asked.thread,
                ThreadKey::Topic(TopicName::trusted("org/workgroup/w/v"))
            );
            let offer = ThreadWish::Offer {
                invitation: false,
                to: Vec::new(),
                colleague: Some("m2".into()),
            };
            assert_eq!((asked.wish, asked.uid.as_str()), (offer, "message"));
        }
        let accepted = wish(
            "TRANSFER_ACCEPT",
            &format!("{{\"uid\":\"offer\",{thread}}}"),
            "org/member/m1/m2",
        );
        assert_eq!(
            accepted.unwrap().unwrap().wish,
            ThreadWish::Accept("offer".into())
        );
        let named = wish("INVITE", r#"{"receiver":{"uid":"b"}}"#, "org/agent/a/v")
            .unwrap()
            .unwrap();
        let offer = ThreadWish::Offer {
            invitation: true,
            to: vec!["b".into()],
            colleague: None,
        };
        assert_eq!(
            (named.wish, named.thread),
            (offer, ThreadKey::Topic(TopicName::trusted("org/agent/a/v")))
        );
    }

    #[test]
    fn what_is_about_no_thread_that_has_a_life_wishes_nothing() {
        for (r#type, content, topic) in [
            (
                "TEXT",
                r#"{"thread":{"topic":"org/agent/a/v"}}"#,
                "org/member/m1/m2",
            ),
            ("TRANSFER", "take it, please", "org/agent/a/v"),
            ("INVITE", "{}", "org/group/g"),
            ("TRANSFER", r#"{"of":"TRANSFER"}"#, "org/agent/a/v"),
            ("TRANSFER_ACCEPT", "{}", "org/agent/a/v"),
            ("INVITE_REMOVE", "{}", "org/agent/a/v"),
            ("INVITE_AUDIO", "{}", "org/agent/a/v"),
            ("INVITE_VISITOR", "{}", "org/agent/a/v"),
        ] {
            assert_eq!(wish(r#type, content, topic).unwrap(), None, "{type} {content}");
        }
    }
}
