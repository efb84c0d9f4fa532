//! Who comes and goes, told to those that share a thread with them and asked to be told.
//!
//! The message is a transient one of type EVENT on the thread's topic, whose content is `ONLINE` or `OFFLINE` and whose
//! user is who came or went. Deployed clients do not pass over types that they do not know (agents' put them in the list
//! of messages, visitors' pages ring and acknowledge them), so only connections get it that ask: with a subscription to
//! [`PRESENCE_FILTER`](crate::access::PRESENCE_FILTER) (MQTT) or the header `longwire-presence:true` of SUBSCRIBE (STOMP).

use std::sync::Arc;
use std::time::Duration;

use backplane::presence::{Departed, PresenceBook};
use contract::RpcError;
use contract::persistence::{Persistence, ThreadCard, ThreadsRequest};
use model::{Access, ChatTopic, Origin, Principal, Role, UnixMillis, UserId};
use runtime::clock::Clock;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tracing::debug;
use wire::{Entry, Kind, Thread, User};

use crate::attach::Attachments;
use crate::ingest::Ingest;
use crate::rate::Bucket;

/// The type of the message.
const TYPE: &str = "EVENT";
/// The most recently active threads of a user in which it is told.
const THREADS: u32 = 100;
/// Users a second that an edge tells of. When more come at once, an edge was lost or everything was started anew: nobody
/// needs to be told of each, and the store has other things to do.
const RATE: u32 = 50;
/// How long the threads of a user may take to be found.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether an entry is the news that a user came or went.
pub(crate) fn is_news(entry: &Entry) -> bool {
    entry.known_kind() == Kind::Transient && entry.r#type == TYPE
}

/// What has to be known of a user to tell its threads that it has gone, by whichever edge notices.
#[derive(Serialize, Deserialize)]
struct Card {
    role: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    aliases: Vec<UserId>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    nickname: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    avatar: String,
}

/// The card of a user; empty for one that takes no part in conversations.
pub(super) fn card(who: &Principal) -> String {
    if who.origin == Origin::AnonymousMqtt {
        return String::new();
    }
    let card = Card {
        role: who.role.number(),
        aliases: who.aliases.clone(),
        nickname: who.nickname.clone(),
        avatar: who.avatar.clone(),
    };
    serde_json::to_string(&card).unwrap_or_default()
}

/// Who has gone.
pub(super) fn principal(departed: Departed) -> Option<Principal> {
    let card: Card = serde_json::from_str(&departed.card).ok()?;
    let role = Role::from_number(card.role);
    let (user, proven) = UserId::of_address(&departed.user);
    let origin = match proven {
        true => Origin::Token,
        false => Origin::AnonymousVisitor,
    };
    Some(Principal {
        aliases: card.aliases,
        nickname: card.nickname,
        avatar: card.avatar,
        ..Principal::new(departed.org, user, role, origin)
    })
}

/// What telling takes.
#[derive(Clone)]
pub(crate) struct With {
    pub persistence: Arc<dyn Persistence>,
    pub book: Arc<dyn PresenceBook>,
    pub ingest: Arc<Ingest>,
    pub attachments: Arc<Attachments>,
    pub clock: Clock,
}

/// Tells, without ever being waited for.
pub(super) struct Teller {
    with: With,
    bucket: Bucket,
}

impl Teller {
    pub fn new(with: With) -> Self {
        let bucket = Bucket::new(RATE, with.clock.monotonic());
        Self { with, bucket }
    }

    /// The user has come, or gone.
    pub fn tell(&mut self, who: Arc<Principal>, online: bool) {
        if self.bucket.take(self.with.clock.monotonic()).is_err() {
            debug!(user = %who.user, online, "too many come and go for each to be told");
            return;
        }
        let with = self.with.clone();
        tokio::spawn(async move {
            match timeout(PATIENCE, with.tell(&who, online)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(user = %who.user, %error, "nobody is told who came or went"),
                Err(_) => debug!(user = %who.user, "nobody is told who came or went: it takes too long"),
            }
        });
    }
}

impl With {
    async fn tell(&self, who: &Principal, online: bool) -> Result<(), RpcError> {
        let request = ThreadsRequest {
            org: who.org.clone(),
            identities: who.identities().cloned().collect(),
            // Who logs in pays for what goes on, not for what there once was.
            open: true,
            unreplied: false,
            page: 0,
            size: THREADS,
        };
        let threads = self.persistence.threads(request).await?.threads;
        if !online && self.is_back(who).await {
            return Ok(());
        }
        for thread in threads.into_iter().filter(|thread| is_told(who, thread)) {
            let author = author(who, &thread);
            let content = if online { "ONLINE" } else { "OFFLINE" };
            let topic = thread.topic.clone();
            let now = UnixMillis(self.clock.unix_millis());
            let entry = self
                .ingest
                .event(who, author, &topic, envelope_thread(thread), content, now);
            self.attachments.line_of(&entry).transient(Arc::new(entry));
        }
        Ok(())
    }

    /// It may have come again since it was found to be gone, and somebody have told so.
    async fn is_back(&self, who: &Principal) -> bool {
        let connections = self.book.connections(&who.org, &who.address()).await;
        connections.is_ok_and(|c| !c.is_empty())
    }
}

/// Whether a thread is told of a user: it goes on, and the user takes part in it. Who merely says who it is takes part in its
/// own threads only.
fn is_told(who: &Principal, thread: &ThreadCard) -> bool {
    let own = || ChatTopic::parse(&thread.topic).is_some_and(|t| Access::by_topic(who, &t).may_publish());
    thread.status != "CLOSED" && (who.is_proven() || own())
}

/// The uid by which the others in the thread know the user.
fn author(who: &Principal, thread: &ThreadCard) -> UserId {
    let parties = ChatTopic::parse(&thread.topic).map(|t| (t.desk, t.party.unwrap_or_default()));
    let agent = thread.agent.as_ref().map(|agent| agent.card.uid.as_str());
    let known = |uid: &&UserId| {
        let of_topic = parties.is_some_and(|(desk, party)| [desk, party].contains(&uid.as_str()));
        of_topic || agent == Some(uid.as_str())
    };
    who.identities().find(known).unwrap_or(&who.user).clone()
}

fn envelope_thread(thread: ThreadCard) -> Thread {
    Thread {
        uid: thread.uid,
        topic: thread.topic.to_string(),
        r#type: thread.kind,
        state: thread.status,
        user: Some(User {
            uid: thread.visitor.uid.to_string(),
            nickname: thread.visitor.nickname,
            avatar: thread.visitor.avatar,
            ..User::default()
        }),
        ..Thread::default()
    }
}
