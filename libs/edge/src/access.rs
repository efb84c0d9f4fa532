//! Who may do what on a topic: the rules of the model for chat topics, the configured ACL for all others, and a cache of
//! thread memberships that a change empties at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use auth::Acl;
use contract::persistence::Persistence;
use model::{Access, ChatTopic, Membership, OrgId, Origin, Principal, ThreadKind, TopicFilter, TopicName};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::Refusal;

/// Who subscribes to this is told when those it shares a thread with come and go. Everybody with a token may.
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

/// The authorisation of an edge.
pub struct Gate {
    acl: Acl,
    persistence: Arc<dyn Persistence>,
    cache: Mutex<Cache>,
    ttl: Duration,
}

#[derive(Default)]
struct Cache {
    members: HashMap<(OrgId, TopicName), (Membership, Instant), ahash::RandomState>,
    /// Grows with every change: an answer that was asked for before one is not kept.
    changes: u64,
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
        match Access::by_topic(who, parsed) {
            Access::AskMembership => {
                let cache = self.cache.lock();
                let (membership, at) = cache.members.get(&(who.org.clone(), topic.clone()))?;
                (at.elapsed() < self.ttl).then(|| Access::with_membership(who, parsed, membership))
            }
            decided => Some(decided),
        }
    }

    /// What a principal may do on a chat topic.
    pub async fn chat_access(&self, who: &Principal, topic: &TopicName) -> Result<Access, Refusal> {
        let Some(parsed) = ChatTopic::parse(topic) else {
            return Ok(Access::None);
        };
        if let Some(access) = self.chat_access_now(who, topic, &parsed) {
            return Ok(access);
        }
        // The side channel of a thread has the members of the thread.
        let thread = topic
            .strip_suffix("_internal")
            .map_or_else(|| topic.clone(), TopicName::trusted);
        let changes = self.cache.lock().changes;
        let membership = self.persistence.membership(&who.org, &thread).await?;
        let access = Access::with_membership(who, &parsed, &membership);
        let mut cache = self.cache.lock();
        if cache.members.len() >= CACHED {
            cache.members.clear();
        }
        if cache.changes == changes {
            cache
                .members
                .insert((who.org.clone(), topic.clone()), (membership, Instant::now()));
        }
        Ok(access)
    }

    /// The membership of a thread changed.
    pub fn forget(&self, org: &OrgId, topic: &TopicName) {
        let mut cache = self.cache.lock();
        cache.changes += 1;
        cache.members.remove(&(org.clone(), topic.clone()));
        cache
            .members
            .remove(&(org.clone(), TopicName::trusted(format!("{topic}_internal"))));
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
