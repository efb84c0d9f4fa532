//! Who may do what on a topic: the rules of the model for chat topics, the configured ACL for all others, and a cache of
//! thread memberships that a change empties at once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use auth::Acl;
use contract::ErrorKind;
use contract::persistence::{ChangeThread, Persistence};
use model::thread::{Change, Members};
use model::{
    Access, ChatTopic, OrgId, Origin, Position, Principal, Role, ThreadKind, TopicFilter, TopicName,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::Refusal;

/// Who subscribes to this is told when those it shares a thread with come and go. Everybody with a token that proves it may.
pub const PRESENCE_FILTER: &str = "$longwire/presence";
/// First levels under which conversations live. A filter that could reach into them is judged by their rules.
const CHAT_ROOTS: [&str; 8] = [
    "org",
    "user",
    "file",
    "clipboard",
    "system",
    "group",
    "private",
    "robot",
];
/// Memberships kept at a time.
const CACHED: usize = 100_000;
/// A store that says nothing for this long is taken for one that is away, where there is an answer without it: an own desk is
/// one's own, and a thread may begin. What is sent then is judged by the owner of the partition in a time of its own.
const PATIENCE: Duration = Duration::from_millis(500);
/// For so long nobody waits for it again.
const AWAY: Duration = Duration::from_secs(1);

/// The authorisation of an edge.
pub struct Gate {
    acl: Acl,
    persistence: Arc<dyn Persistence>,
    cache: Mutex<Cache>,
    ttl: Duration,
}

#[derive(Default)]
struct Cache {
    members: HashMap<(OrgId, TopicName), (Arc<Members>, Instant), ahash::RandomState>,
    /// Threads that are known to be there: visitors may write in theirs.
    threads: HashSet<(OrgId, TopicName), ahash::RandomState>,
    /// Grows with every change: an answer that was asked for before one is not kept.
    changes: u64,
    /// The store has said nothing; until then it is not waited for where there is an answer without it.
    away_until: Option<Instant>,
}

impl Gate {
    /// Decides by these rules, and asks persistence who belongs to a thread.
    pub fn new(acl: Acl, persistence: Arc<dyn Persistence>, ttl: Duration) -> Self {
        Self {
            acl,
            persistence,
            cache: Mutex::default(),
            ttl,
        }
    }

    /// What a principal may do on a chat topic, without asking anybody: `None` when persistence must be asked.
    pub fn chat_access_now(
        &self,
        who: &Principal,
        topic: &TopicName,
        parsed: &ChatTopic<'_>,
    ) -> Option<Access> {
        let by_topic = Access::by_topic(who, parsed);
        if by_topic.is_decided() {
            return Some(by_topic);
        }
        let members = self.cached(&who.org, &thread_of(topic))?;
        Some(Access::with_members(who, parsed, &members))
    }

    fn cached(&self, org: &OrgId, thread: &TopicName) -> Option<Arc<Members>> {
        let cache = self.cache.lock();
        let (members, at) = cache.members.get(&(org.clone(), thread.clone()))?;
        (at.elapsed() < self.ttl).then(|| members.clone())
    }

    /// What a principal may do on a chat topic.
    pub async fn chat_access(&self, who: &Principal, topic: &TopicName) -> Result<Access, Refusal> {
        let Some(parsed) = ChatTopic::parse(topic) else {
            return Ok(Access::None);
        };
        if let Some(access) = self.chat_access_now(who, topic, &parsed) {
            return Ok(access);
        }
        let by_topic = Access::by_topic(who, &parsed);
        let members = match by_topic {
            // At its own desk an agent goes on while the store is away. The owner of the partition knows who has lost its place of
            // late.
            Access::OwnDesk => self.soon(self.members(&who.org, topic)).await,
            _ => self.members(&who.org, topic).await.map(Some),
        };
        Ok(match members? {
            Some(members) => Access::with_members(who, &parsed, &members),
            None => by_topic,
        })
    }

    /// What the store answers to a question that may do without; `None` when it is away.
    async fn soon<T>(&self, answer: impl Future<Output = Result<T, Refusal>>) -> Result<Option<T>, Refusal> {
        let is_away = |until: &Instant| Instant::now() < *until;
        if self.cache.lock().away_until.as_ref().is_some_and(is_away) {
            return Ok(None);
        }
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Err(error)) if error.kind != ErrorKind::Unavailable => Err(error),
            Ok(Ok(answer)) => Ok(Some(answer)),
            Ok(Err(_)) | Err(_) => {
                self.cache.lock().away_until = Some(Instant::now() + AWAY);
                Ok(None)
            }
        }
    }

    /// Who belongs to the thread of a topic, and who did: the side channel of one has its members.
    pub async fn members(&self, org: &OrgId, topic: &TopicName) -> Result<Arc<Members>, Refusal> {
        let thread = &thread_of(topic);
        match self.cached(org, thread) {
            Some(members) => Ok(members),
            None => self.ask(org, thread, Position::START).await,
        }
    }

    /// The same where a subscription begins: with every change of the thread up to there, so that those that follow complete it.
    /// `None` where membership does not decide, or the store is away that would take an own desk from its agent.
    pub async fn members_at(
        &self,
        who: &Principal,
        topic: &TopicName,
        known_to: Position,
    ) -> Result<Option<Arc<Members>>, Refusal> {
        let by_topic = ChatTopic::parse(topic).map(|parsed| Access::by_topic(who, &parsed));
        let thread = thread_of(topic);
        let asking = self.ask(&who.org, &thread, known_to);
        match by_topic {
            Some(Access::OwnDesk) => self.soon(asking).await,
            Some(by_topic) if !by_topic.is_decided() => asking.await.map(Some),
            _ => Ok(None),
        }
    }

    async fn ask(
        &self,
        org: &OrgId,
        thread: &TopicName,
        known_to: Position,
    ) -> Result<Arc<Members>, Refusal> {
        let changes = self.cache.lock().changes;
        let members = Arc::new(self.persistence.members(org, thread, known_to).await?);
        let mut cache = self.cache.lock();
        if cache.members.len() >= CACHED {
            cache.members.clear();
        }
        if cache.changes == changes {
            let kept = (members.clone(), Instant::now());
            cache.members.insert((org.clone(), thread.clone()), kept);
        }
        Ok(members)
    }

    /// Whether a visitor's message may go to a thread: there is one, or one may begin. While the store is away what is not known is
    /// taken for a thread that goes on.
    pub async fn admit(
        &self,
        who: &Principal,
        topic: &TopicName,
        parsed: &ChatTopic<'_>,
    ) -> Result<(), Refusal> {
        if who.role != Role::Visitor || !parsed.kind.is_service() {
            return Ok(());
        }
        let key = (who.org.clone(), topic.clone());
        if self.cache.lock().threads.contains(&key) {
            return Ok(());
        }
        let asking = async {
            let admitted = self.persistence.admit(&who.org, topic).await;
            admitted.map_err(Refusal::from)
        };
        if self.soon(asking).await?.is_some() {
            let mut cache = self.cache.lock();
            if cache.threads.len() >= CACHED {
                cache.threads.clear();
            }
            cache.threads.insert(key);
        }
        Ok(())
    }

    /// The members of a thread changed, in a way that is not known here.
    pub fn forget(&self, org: &OrgId, topic: &TopicName) {
        let mut cache = self.cache.lock();
        cache.changes += 1;
        cache.members.remove(&(org.clone(), topic.clone()));
    }

    /// A change of a thread was given out to this edge.
    pub fn changed(&self, org: &OrgId, topic: &TopicName, position: Position, change: &Change) {
        let mut cache = self.cache.lock();
        cache.changes += 1;
        if let Some((members, _)) = cache.members.get_mut(&(org.clone(), topic.clone())) {
            Arc::make_mut(members).apply(position, change);
        }
    }

    /// Grants what a message wishes of a thread, if anything. Durable in the log when this returns; asked again with the same
    /// message it is granted once.
    pub async fn grant(&self, wish: Option<ChangeThread>) -> Result<(), Refusal> {
        match wish {
            Some(wish) => self
                .persistence
                .change_thread(wish)
                .await
                .map(|_| ())
                .map_err(Refusal::from),
            None => Ok(()),
        }
    }

    /// Whether a principal may publish to an ordinary topic.
    pub fn may_publish_ordinary(&self, who: &Principal, client: &str, topic: &TopicName) -> bool {
        self.acl.may_publish(who, client, topic)
    }

    /// Whether a subscription is granted. One that could match anything that the principal must not see is refused as a
    /// whole.
    pub async fn may_subscribe(
        &self,
        who: &Principal,
        client: &str,
        filter: &TopicFilter,
    ) -> Result<bool, Refusal> {
        if filter.as_str() == PRESENCE_FILTER {
            return Ok(who.origin == Origin::Token);
        }
        let first = filter.split('/').next().unwrap_or_default();
        if first == "+" || first == "#" {
            // It reaches into every conversation of the org.
            return Ok(false);
        }
        if let Some(topic) = filter.as_topic() {
            return Ok(match ChatTopic::parse(&topic) {
                Some(_) => self
                    .chat_access(who, &ChatTopic::canonical(&topic))
                    .await?
                    .may_receive(),
                None => self.acl.may_subscribe(who, client, filter),
            });
        }
        if !CHAT_ROOTS.contains(&first) {
            return Ok(self.acl.may_subscribe(who, client, filter));
        }
        Ok(owns_all_of(who, filter))
    }
}

/// The thread of a topic: the side channel of one has its members.
pub fn thread_of(topic: &TopicName) -> TopicName {
    match ChatTopic::thread(topic) {
        // Nothing is copied.
        thread if thread.len() == topic.len() => topic.clone(),
        thread => TopicName::trusted(thread),
    }
}

/// Whether every topic that a filter with wildcards can match is the principal's own to receive.
fn owns_all_of(who: &Principal, filter: &TopicFilter) -> bool {
    let levels: Vec<&str> = filter.split('/').collect();
    match levels.as_slice() {
        // Below a user's own topic; a desk or a member's threads, whoever the other party is.
        ["user", uid, ..] => is_own(who, ThreadKind::User, uid),
        ["org", "agent", desk, "+" | "#"] => is_own(who, ThreadKind::Agent, desk),
        ["org", "member", member, "+" | "#"] => is_own(who, ThreadKind::Member, member),
        _ => false,
    }
}

fn is_own(who: &Principal, kind: ThreadKind, desk: &str) -> bool {
    // Judged as if another party stood where the wildcard stands.
    let parsed = ChatTopic {
        kind,
        internal: false,
        desk,
        party: Some("\u{1}"),
    };
    Access::by_topic(who, &parsed).may_receive()
}
