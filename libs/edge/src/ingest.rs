//! From what a client publishes to an entry of the log, with every rule about who may say what.

mod attribution;

use attribution::Spoken;
use bytes::Bytes;
use contract::ErrorKind;
use contract::persistence::ChangeThread;
use jiff::tz::TimeZone;
use model::{
    ChatTopic, MessageKind, Origin, Principal, ThreadKind, TopicName, UnixMillis, format_created_at,
};
use wire::envelope::{self, SERVER_UID, digest, is_prompt};
use wire::{Entry, Kind, Message};

use crate::access::Gate;
use crate::{Refusal, wishes};

/// A chat message that passed every rule.
#[derive(Debug)]
pub struct Chat {
    /// Ready for the log, or for whoever is online if it is transient.
    pub entry: Entry,
    /// The stored envelope, for protocols that answer with it.
    pub message: Message,
    /// What it wishes of a thread: to be granted before it is submitted ([`Gate::grant`]).
    pub wish: Option<ChangeThread>,
}

/// How chat messages are taken in.
pub struct Ingest {
    zone: TimeZone,
    created_at: parking_lot::Mutex<(u64, String)>,
}

impl Ingest {
    /// `zone` is the one that `createdAt` is written in.
    pub fn new(zone: TimeZone) -> Self {
        Self {
            zone,
            created_at: parking_lot::Mutex::default(),
        }
    }

    /// Reads a payload as a chat message: `topic` is the one it was published to; the message's own `thread.topic` wins,
    /// because deployed clients publish elsewhere.
    pub async fn chat(
        &self,
        gate: &Gate,
        who: &Principal,
        topic: &TopicName,
        payload: &Bytes,
        now: UnixMillis,
    ) -> Result<Chat, Refusal> {
        let message = envelope::parse(payload).map_err(|e| Refusal::invalid(explain(&e)))?;
        self.message(gate, who, topic, message, now).await
    }

    /// The same for a message that has been read already.
    pub async fn message(
        &self,
        gate: &Gate,
        who: &Principal,
        topic: &TopicName,
        message: Message,
        now: UnixMillis,
    ) -> Result<Chat, Refusal> {
        let written = own_side(who, meant_topic(topic, &message)?);
        let canonical = ChatTopic::canonical(&written);
        let (Some(parsed), Some(spoken)) = (ChatTopic::parse(&canonical), Spoken::on(who, &written)) else {
            let detail = format!("{written:?} is not the topic of a conversation");
            return Err(Refusal::invalid(detail));
        };
        let access = match gate.chat_access_now(who, &canonical, &parsed) {
            Some(access) => access,
            None => gate.chat_access(who, &canonical).await?,
        };
        if !access.may_publish() {
            return Err(Refusal::forbidden(format!(
                "{} may not write to {written}",
                who.user
            )));
        }
        let author = spoken.author(&message)?;
        check_uid(who, &message)?;
        let mut message = envelope::normalise(message);
        message.r#type = spoken.check_type(&message.r#type)?;
        gate.admit(who, &canonical, &parsed).await?;
        let wish = wishes::of(who, &message, &canonical, now)?;
        spoken.attribute(&mut message, &author);
        let chat = self.entry(who, author, &written, canonical.clone(), message, now);
        Ok(Chat { wish, ..chat })
    }

    /// The entry of a message that says whose it is and where it goes.
    fn entry(
        &self,
        who: &Principal,
        author: String,
        written: &TopicName,
        canonical: TopicName,
        mut message: Message,
        now: UnixMillis,
    ) -> Chat {
        let kind = MessageKind::of(&message.r#type);
        message.created_at = self.created_at(now);
        message.status = "SUCCESS".into();
        let edits = answers_a_prompt(&message);
        let (target, state) = match kind {
            _ if edits => (message.uid.clone(), 0),
            MessageKind::Receipt(r) => (message.content.clone(), r as u32),
            MessageKind::Recall => (message.content.clone(), 0),
            _ => (String::new(), 0),
        };
        let entry = Entry {
            kind: if edits { Kind::Edit } else { entry_kind(kind) }.into(),
            org: who.org.to_string(),
            written_topic: if *written == canonical {
                String::new()
            } else {
                written.to_string()
            },
            sender: who.user.to_string(),
            sender_role: who.role.number(),
            author,
            uid: message.uid.clone(),
            r#type: message.r#type.clone(),
            accepted_at: now.0,
            // What answers a prompt says everything in `extra`.
            digest: match edits {
                true => digest(&message.r#type, &message.extra, &canonical),
                false => digest(&message.r#type, &message.content, &canonical),
            },
            topic: canonical.to_string(),
            payload: envelope::encode(&message),
            target,
            state,
            ..Entry::default()
        };
        Chat {
            entry,
            message,
            wish: None,
        }
    }

    /// The text changes once a second; formatting it for every message would cost more than the rest.
    fn created_at(&self, now: UnixMillis) -> String {
        let second = now.0 / 1000;
        let mut cached = self.created_at.lock();
        if cached.0 != second || cached.1.is_empty() {
            *cached = (second, format_created_at(now, &self.zone));
        }
        cached.1.clone()
    }

    /// What the service tells the others in a thread of one of them: to whoever is online, never stored. `author` is the
    /// uid by which they know it.
    pub fn event(
        &self,
        who: &Principal,
        author: model::UserId,
        topic: &TopicName,
        thread: wire::Thread,
        content: &str,
        now: UnixMillis,
    ) -> Entry {
        let mut message = envelope::normalise(Message {
            uid: uuid::Uuid::now_v7().to_string(),
            r#type: "EVENT".into(),
            content: content.to_owned(),
            channel: "SYSTEM".into(),
            thread: Some(thread),
            ..Message::default()
        });
        if let Some(spoken) = Spoken::on(who, topic) {
            spoken.attribute_user(&mut message, &author);
        }
        let author = author.to_string();
        let mut entry = self.entry(who, author, topic, topic.clone(), message, now).entry;
        entry.kind = Kind::Transient.into();
        entry
    }

    /// A DELIVERED receipt for what a user's acknowledgements cover: everything by others in the topic up to `upto`, the
    /// last of which is `target`.
    pub fn delivered(
        &self,
        who: &Principal,
        topic: &TopicName,
        target: &str,
        upto: model::Position,
        now: UnixMillis,
    ) -> Entry {
        let author = who.user.to_string();
        let mut message = envelope::normalise(Message {
            uid: uuid::Uuid::now_v7().to_string(),
            r#type: "DELIVERED".into(),
            content: target.to_owned(),
            ..Message::default()
        });
        if let Some(spoken) = Spoken::on(who, topic) {
            spoken.attribute(&mut message, &author);
        }
        let mut entry = self.entry(who, author, topic, topic.clone(), message, now).entry;
        entry.upto = upto.0;
        entry
    }
}

/// Where the message belongs.
fn meant_topic(published: &TopicName, message: &Message) -> Result<TopicName, Refusal> {
    match message.thread.as_ref().map(|t| t.topic.as_str()) {
        None | Some("") => Ok(published.clone()),
        Some(topic) => {
            TopicName::new(topic).map_err(|e| Refusal::invalid(format!("thread.topic {topic:?}: {e}")))
        }
    }
}

/// A colleague writes on its own side of their thread, whichever one it names.
fn own_side(who: &Principal, topic: TopicName) -> TopicName {
    let on_the_other = |t: &ChatTopic<'_>| t.kind == ThreadKind::Member && !who.acts_as(t.desk);
    match ChatTopic::parse(&topic).filter(on_the_other) {
        Some(_) => ChatTopic::seen_by(&topic, who.identities()).unwrap_or(topic),
        None => topic,
    }
}

/// No client can occupy the uid of a message of the server's own, before that is sent.
fn check_uid(who: &Principal, message: &Message) -> Result<(), Refusal> {
    let reserved = who.origin != Origin::Service && message.uid.starts_with(SERVER_UID);
    if reserved && !answers_a_prompt(message) {
        return Err(Refusal::invalid(format!(
            "uids that begin with {SERVER_UID:?} are the server's; give the message one of your own"
        )));
    }
    Ok(())
}

/// Deployed pages send the answer to a prompt under the prompt's own uid.
fn answers_a_prompt(message: &Message) -> bool {
    message.r#type.eq_ignore_ascii_case("LEAVE_MSG_SUBMIT")
        && message.uid == message.content
        && is_prompt(&message.uid)
}

fn entry_kind(kind: MessageKind) -> Kind {
    match kind {
        MessageKind::Ordinary => Kind::Chat,
        MessageKind::StreamPart => Kind::StreamPart,
        MessageKind::Receipt(_) => Kind::Receipt,
        MessageKind::Recall => Kind::Recall,
        MessageKind::Transient => Kind::Transient,
    }
}

fn explain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// What a client is told of an outcome that is no success.
pub fn refusal(outcome: &crate::Outcome) -> Option<Refusal> {
    use crate::Outcome as O;
    Some(match outcome {
        O::Stored { .. } => return None,
        O::Conflict => Refusal::new(
            ErrorKind::Conflict,
            "this uid was used for another message; give each message a uid of its own",
        ),
        O::Outdated => Refusal::new(
            ErrorKind::Conflict,
            "the conversation was changed by another meanwhile; look at what it is now",
        ),
        O::Forbidden => Refusal::forbidden(
            "only members of a conversation write in it, and only the author of a message or an agent of its thread recalls it",
        ),
        O::Rejected => Refusal::new(
            ErrorKind::InvalidPayload,
            "the message that it recalls or answers does not exist in this thread, or is too old for that",
        ),
        O::TooLarge => Refusal::new(
            ErrorKind::PayloadTooLarge,
            "the message is larger than the log takes; send a smaller one",
        ),
        O::Unavailable(reason) => Refusal::new(
            ErrorKind::Unavailable,
            format!("the message is not stored: {reason}"),
        ),
        O::Unknown => Refusal::new(
            ErrorKind::NotCommitted,
            "the message was not committed in time; it is safe to send it again with the same uid",
        ),
    })
}
