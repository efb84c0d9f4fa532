//! Changes of threads as entries of the log, and what they say to clients.

use model::thread::{Act, Change, ThreadStatus};
use model::{Position, UnixMillis, format_created_at};
use store::StoredThread;
use wire::envelope::{self, server_uid};
use wire::{Entry, Kind, Message, Thread, ThreadChange, User};

use crate::core::Core;

/// The sender of what the service itself says.
pub(super) const SERVICE: &str = "longwire";

/// What clients are shown of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    /// The chat type.
    pub r#type: &'static str,
    /// The text.
    pub content: String,
}

impl Said {
    pub fn new(r#type: &'static str, content: impl Into<String>) -> Self {
        Self {
            r#type,
            content: content.into(),
        }
    }
}

/// The uid of a change that a client wished.
pub(super) fn wish_uid(thread: &StoredThread, wish: &str) -> String {
    server_uid("wish", &[&thread.row.uid, wish])
}

/// The uid of a change that nobody wished: by what it is decided on, so that two that decide the same at once say it once.
pub(super) fn change_uid(thread: &StoredThread, act: Act) -> String {
    let act = (act as i32).to_string();
    server_uid(
        "change",
        &[&thread.row.uid, &act, &thread.life.version.0.to_string()],
    )
}

impl Core {
    /// The entry of a change.
    pub(super) fn entry_of(
        &self,
        thread: &StoredThread,
        change: &Change,
        uid: String,
        said: Option<&Said>,
    ) -> Entry {
        let now = self.now();
        let (kind, payload) = match said {
            Some(said) => (
                Kind::Chat,
                envelope::encode(&self.message(thread, change.status, &uid, said, now)),
            ),
            None => (Kind::Membership, bytes::Bytes::new()),
        };
        Entry {
            kind: kind.into(),
            org: thread.org.to_string(),
            topic: thread.row.topic.to_string(),
            sender: SERVICE.to_owned(),
            author: SERVICE.to_owned(),
            r#type: said.map(|said| said.r#type.to_owned()).unwrap_or_default(),
            // Told again, it is stored once: whatever it says the second time.
            digest: envelope::digest("", &uid, &thread.row.topic),
            uid,
            accepted_at: now.0,
            payload,
            change: Some(ThreadChange::of(change, thread.applied)),
            ..Entry::default()
        }
    }

    /// What clients are shown of a thread that has this status.
    pub(super) fn message(
        &self,
        thread: &StoredThread,
        status: ThreadStatus,
        uid: &str,
        said: &Said,
        now: UnixMillis,
    ) -> Message {
        let row = &thread.row;
        let visitor = User {
            uid: row.visitor.uid.to_string(),
            nickname: row.visitor.nickname.clone(),
            avatar: row.visitor.avatar.clone(),
            r#type: "VISITOR".to_owned(),
            ..User::default()
        };
        Message {
            uid: uid.to_owned(),
            r#type: said.r#type.to_owned(),
            content: said.content.clone(),
            // Nobody has to read it.
            status: "READ".to_owned(),
            created_at: format_created_at(now, &self.deps.rules.zone),
            channel: "SYSTEM".to_owned(),
            user: Some(User {
                uid: SERVICE.to_owned(),
                r#type: "SYSTEM".to_owned(),
                ..User::default()
            }),
            thread: Some(Thread {
                uid: row.uid.clone(),
                topic: row.topic.to_string(),
                r#type: row.kind.clone(),
                state: status.as_str().to_owned(),
                user: Some(visitor),
                ..Thread::default()
            }),
            extra: serde_json::json!({ "orgUid": thread.org }).to_string(),
            ..Message::default()
        }
    }
}

/// The notice of a membership, on its user's own topic.
pub(super) fn notice(notice: &store::Notice, now: UnixMillis) -> Entry {
    let (m, thread) = (&notice.membership, &notice.thread);
    let joined = m.lasts();
    let ends = [m.since.0.to_string(), m.until.0.to_string()];
    Entry {
        kind: Kind::Membership.into(),
        org: notice.org.to_string(),
        topic: format!("user/{}", m.user),
        sender: SERVICE.to_owned(),
        author: SERVICE.to_owned(),
        uid: server_uid("membership", &[thread, &m.member, &ends[0], &ends[1]]),
        accepted_at: now.0,
        target: notice.topic.to_string(),
        state: if joined { 1 } else { 2 },
        // For those who know no more of a membership than where it began.
        upto: if joined { m.since.0 } else { Position::START.0 },
        change: Some(ThreadChange::notice(m)),
        ..Entry::default()
    }
}
