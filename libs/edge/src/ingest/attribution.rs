//! Who speaks, and where: what others are told of a sender and of the conversation is the server's word, not the payload's.
//!
//! Nothing is looked up. The sender is the token's, its `user.type` follows from its role and the uid that it speaks under;
//! `thread.*` follows from the topic. What a payload may add is for display: names and pictures.

use model::{ChatTopic, MessageType, Principal, Sender, ThreadKind, TopicName, UserId};
use wire::envelope::thread_uid;
use wire::{Message, Thread, User};

use crate::Refusal;

/// What `thread.state` may say when a client says it. What comes of a closed or handed-over conversation is not for a
/// message to tell; clients take a state that is missing as no news.
const STATES: [&str; 6] = ["NEW", "ROBOTING", "OFFLINE", "QUEUING", "CHATTING", "STARTED"];
/// Types of users that are no people: as these a service speaks under uids that are not its own.
const NO_PEOPLE: [&str; 7] = [
    "ROBOT",
    "SYSTEM",
    "ASSISTANT",
    "CHANNEL",
    "MONITOR",
    "WORKGROUP",
    "WORKFLOW",
];
/// What deployed clients call a page on the web: stands where a client claims to be the system.
const WEB: &str = "WEB";

/// Whose message it is and where it goes.
#[derive(Clone, Copy)]
pub(super) struct Spoken<'a> {
    /// The holder of the connection.
    pub who: &'a Principal,
    /// What it is as a sender.
    pub sender: Sender,
    /// The topic from the sender's side.
    pub written: &'a TopicName,
    /// The same, taken apart.
    pub topic: ChatTopic<'a>,
}

impl<'a> Spoken<'a> {
    /// What `who` says on `written`, if that is the topic of a conversation.
    pub fn on(who: &'a Principal, written: &'a TopicName) -> Option<Self> {
        let topic = ChatTopic::parse(written)?;
        let sender = Sender::of(who);
        Some(Self {
            who,
            sender,
            written,
            topic,
        })
    }

    /// Whether the sender may send messages of this type. Gives the type in its one spelling.
    ///
    /// # Errors
    /// `forbidden` when the table gives the type to others.
    pub fn check_type(&self, message_type: &str) -> Result<String, Refusal> {
        let name = MessageType::listed(message_type).map_or(message_type, |listed| listed.name);
        let rule = MessageType::rule(name);
        if rule.lets(self.sender) {
            return Ok(name.to_owned());
        }
        Err(Refusal::forbidden(format!(
            "{} may not send messages of type {name}, which come from {}; say it with TEXT, or send it with a token of such a role",
            self.sender.plural(),
            rule.senders(),
        )))
    }

    /// Whom the message is from: what the payload says, if the sender may speak under that uid.
    ///
    /// # Errors
    /// `forbidden` when it may not.
    pub fn author(&self, message: &Message) -> Result<String, Refusal> {
        let who = self.who;
        let user = match &message.user {
            Some(user) if !user.uid.is_empty() => user,
            _ => return Ok(who.user.to_string()),
        };
        if who.acts_as(&user.uid) {
            return Ok(user.uid.clone());
        }
        if self.sender != Sender::Service {
            return Err(Refusal::forbidden(format!(
                "the message says it is from {:?}, but the token is {}'s; send as the token's user or one of its aliases",
                user.uid, who.user
            )));
        }
        let kind = service_type(&user.r#type, &message.r#type);
        let is_id = UserId::checked(&user.uid).is_ok();
        if is_id && NO_PEOPLE.contains(&kind.as_str()) && !self.names_person(&user.uid) {
            return Ok(user.uid.clone());
        }
        Err(Refusal::forbidden(format!(
            "{} may not speak as {:?}: under uids that are not its own a service speaks as a robot or the system; set user.type to \
             ROBOT or SYSTEM and give it a uid that no party of the conversation has, or give the token that uid as an alias",
            who.user, user.uid
        )))
    }

    /// Whether the topic names a person of this uid.
    fn names_person(&self, uid: &str) -> bool {
        use ThreadKind::{Agent, Member, Own, Queue, User};
        let desk = matches!(self.topic.kind, Agent | Member | Own | Queue | User);
        (desk && self.topic.desk == uid) || self.topic.party == Some(uid)
    }

    /// Sets what others are told of the sender and the conversation. The message is in its normal form.
    pub fn attribute(&self, message: &mut Message, author: &str) {
        self.attribute_user(message, author);
        let given = message.thread.take().unwrap_or_default();
        let user = message.user.get_or_insert_default();
        message.thread = Some(self.thread(given, user));
        if !self.sender.speaks_for_the_system() && is_system(&message.channel) {
            message.channel = WEB.to_owned();
        }
    }

    /// The same for the sender alone.
    pub fn attribute_user(&self, message: &mut Message, author: &str) {
        let user = message.user.get_or_insert_default();
        author.clone_into(&mut user.uid);
        if self.who.acts_as(author) {
            fill(&mut user.nickname, &self.who.nickname);
            fill(&mut user.avatar, &self.who.avatar);
        }
        user.r#type = self.user_type(author, &user.r#type, &message.r#type);
    }

    /// `user.type`. Deployed clients call staff AGENT in service conversations; elsewhere USER under the user's own uid and
    /// MEMBER under another.
    fn user_type(&self, author: &str, given: &str, message_type: &str) -> String {
        let staff = || {
            let serves = self.topic.kind.is_service() || self.topic.kind == ThreadKind::Queue;
            match () {
                () if serves && self.topic.party != Some(author) => "AGENT",
                () if author == self.who.user.as_str() => "USER",
                () => "MEMBER",
            }
        };
        match self.sender {
            Sender::Server if !given.is_empty() => given.to_owned(),
            Sender::Service | Sender::Server => service_type(given, message_type),
            Sender::Visitor => "VISITOR".to_owned(),
            Sender::Staff => staff().to_owned(),
        }
    }

    fn thread(&self, given: Thread, user: &User) -> Thread {
        let from_visitor = self.sender == Sender::Visitor;
        let known = self.sender == Sender::Server && !given.uid.is_empty();
        Thread {
            uid: match known {
                true => given.uid,
                false => thread_uid(&self.who.org, self.written),
            },
            topic: self.written.to_string(),
            r#type: self.topic.kind.type_name().to_owned(),
            state: self.state(given.state),
            user: Some(self.other_party(given.user.unwrap_or_default(), user)),
            channel: self.thread_channel(given.channel),
            // JSON that pages of agents read: settings of the conversation, none of which is a visitor's to make.
            extra: if from_visitor { String::new() } else { given.extra },
        }
    }

    fn state(&self, given: String) -> String {
        match self.sender.speaks_for_the_system() || STATES.contains(&given.as_str()) {
            true => given,
            false => String::new(),
        }
    }

    /// In older clients this field is JSON that they read: from a visitor a plain word only.
    fn thread_channel(&self, given: String) -> String {
        let is_word = given.len() <= 32 && given.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let passes = match self.sender {
            Sender::Visitor => is_word && !is_system(&given),
            Sender::Staff => !is_system(&given),
            Sender::Service | Sender::Server => true,
        };
        if passes { given } else { String::new() }
    }

    /// `thread.user`: the card of the party that is not the desk; of a colleague thread the one that the sender's side names.
    /// Its uid is the topic's. Name and picture are the sender's own where it is that party, else what its payload shows.
    fn other_party(&self, given: User, user: &User) -> User {
        use ThreadKind::{Default, Group, Member, Queue};
        let topic = &self.topic;
        let (uid, kind) = match topic.kind {
            kind if kind.is_service() => (topic.visitor(), "VISITOR"),
            Member => (topic.party, "MEMBER"),
            Group | Queue | Default | ThreadKind::User => (Some(topic.desk), ""),
            _ => (None, ""),
        };
        let from_visitor = self.sender == Sender::Visitor;
        let own = |uid: &str| User {
            uid: uid.to_owned(),
            ..user.clone()
        };
        match uid {
            Some(uid) if user.uid == uid => own(uid),
            Some(uid) if from_visitor && topic.visitor() == Some(uid) => own(uid),
            Some(uid) => card(uid, kind, given, !from_visitor),
            None if from_visitor => own(&user.uid),
            None => given,
        }
    }
}

/// The card of a uid, with what a payload shows of it if it is about that uid and comes from one who knows.
fn card(uid: &str, kind: &str, given: User, shown: bool) -> User {
    let about = given.uid.is_empty() || given.uid == uid;
    let given = if shown && about { given } else { User::default() };
    User {
        uid: uid.to_owned(),
        r#type: if kind.is_empty() {
            given.r#type
        } else {
            kind.to_owned()
        },
        ..User {
            uid: String::new(),
            r#type: String::new(),
            ..given
        }
    }
}

/// As whom a service speaks: as it says; else a robot in a robot's messages, and the system in all others.
fn service_type(given: &str, message_type: &str) -> String {
    let of_robot = || message_type.to_ascii_uppercase().starts_with("ROBOT");
    match given {
        "" if of_robot() => "ROBOT".to_owned(),
        "" => "SYSTEM".to_owned(),
        given => given.to_ascii_uppercase(),
    }
}

/// Whether a channel is the server's own: SYSTEM, and SYSTEM_AUTO and SYSTEM_BOT of older clients.
fn is_system(channel: &str) -> bool {
    let channel = channel.trim().to_ascii_uppercase();
    channel == "SYSTEM" || channel.starts_with("SYSTEM_")
}

fn fill(field: &mut String, with: &str) {
    if field.is_empty() {
        field.push_str(with);
    }
}

#[cfg(test)]
mod tests;
