//! Where a message is and how far it came: what an operator asks when somebody says that it did not arrive.

mod ties;

use contract::RpcError;
use contract::persistence::{
    BacklogLane, ExplainRequest, Explained, ExplainedMember, ExplainedReceipt, ExplainedRecipient,
    HistoryRange, StoredSession,
};
use model::thread::Membership;
use model::{ChatTopic, OrgId, Position, Role, TopicName, UnixMillis, UserId};
use store::{Flags, ReceiptRow, SessionRow, Stored};
use tokio::time::{Duration, timeout};

use crate::core::Core;
use crate::error::answer;
use ties::{Ties, Voice};

/// How long the log is waited for.
const LOG_WAIT: Duration = Duration::from_millis(1500);
/// How many of a topic's last messages are looked through for who speaks there, and as whom.
const VOICES: u32 = 200;

impl Core {
    /// See [`contract::persistence::Persistence::explain`].
    pub(crate) async fn explained(&self, request: &ExplainRequest) -> Result<Vec<Explained>, RpcError> {
        // One who asks why something hangs is not to hang with it.
        let _late = timeout(LOG_WAIT, self.reach_ends()).await;
        let found = self.deps.store.find_uid(&request.org, &request.uid);
        let mut explained = Vec::new();
        for (message, parts) in whole(found.await.map_err(answer)?) {
            explained.push(self.explain_message(request, message, parts).await?);
        }
        Ok(explained)
    }

    /// Waits until messages and receipts that are durable now are applied.
    async fn reach_ends(&self) -> Result<(), RpcError> {
        let mut lanes = Vec::new();
        for partition in self.deps.partitioning.all() {
            if let Ok(head) = self.deps.journal.head(partition).await {
                let (after, upto) = (Position::START, Position::end_of(head));
                lanes.push(BacklogLane {
                    partition,
                    after,
                    upto,
                });
            }
        }
        self.reach_lanes(&lanes).await
    }

    async fn explain_message(
        &self,
        request: &ExplainRequest,
        message: Stored,
        parts: u32,
    ) -> Result<Explained, RpcError> {
        let (org, entry, flags) = (&request.org, &message.entry, message.flags);
        let (topic, position) = (TopicName::trusted(&entry.topic), message.position);
        let receipts = self.deps.store.receipts_of(org, &topic, position);
        let receipts = receipts.await.map_err(answer)?;
        let members = self.members_of(org, &topic).await?;
        let mut voices = self.voices(org, &topic).await?;
        voices.extend(Voice::of(entry));
        let directory = self.directory.get();
        let mut ties = Ties::new(&directory, org, &topic, voices);
        ties.named_by_topic();
        members.iter().for_each(|m| ties.member(m));
        ties.who_spoke();
        // Whoever acknowledged anything of the thread, this message or another.
        let readers = self.deps.store.receipts_of(org, &topic, Position::START);
        let readers = readers.await.map_err(answer)?;
        receipts.iter().chain(&readers).for_each(|r| ties.reader(&r.by));
        request.also.iter().for_each(|uid| ties.asked_about(uid));
        let mut recipients = ties.recipients();
        let addresses = |r: &ExplainedRecipient| [r.user.clone(), UserId::unproven(&r.user)];
        let users: Vec<UserId> = recipients.iter().flat_map(addresses).collect();
        let sessions = self.deps.store.sessions_of(org, users);
        for row in sessions.await.map_err(answer)? {
            let (user, _) = UserId::of_address(&row.key.user);
            if let Some(recipient) = recipients.iter_mut().find(|r| r.user == user) {
                recipient.sessions.push(stored_session(row));
            }
        }
        Ok(Explained {
            partition: self.deps.partitioning.of(org, &topic),
            position,
            parts,
            sender: UserId::new(&entry.sender),
            sender_role: (entry.sender_role != 0).then(|| Role::from_number(entry.sender_role)),
            author: UserId::new(&entry.author),
            kind: entry.r#type.clone(),
            accepted_at: UnixMillis(entry.accepted_at),
            recalled: flags.has(Flags::RECALLED),
            in_history: flags.has(Flags::SHOWN),
            state: receipts.iter().map(|r| r.state).max(),
            receipts: receipts.into_iter().map(receipt).collect(),
            members,
            recipients,
            topic,
        })
    }

    /// Who was made a member of a thread; the side channel has the members of its thread.
    async fn members_of(&self, org: &OrgId, topic: &TopicName) -> Result<Vec<ExplainedMember>, RpcError> {
        let thread = TopicName::trusted(ChatTopic::thread(topic));
        let visitor = ChatTopic::parse(&thread)
            .and_then(|t| t.visitor())
            .unwrap_or_default()
            .to_owned();
        let members = self.deps.store.members(org, &thread).await.map_err(answer)?;
        let lasting = members
            .all
            .into_iter()
            .filter(|m| m.lasts() && m.member.as_str() != visitor);
        let member = |m: Membership| ExplainedMember {
            uid: m.member,
            since: m.since,
        };
        Ok(lasting.map(member).collect())
    }

    async fn voices(&self, org: &OrgId, topic: &TopicName) -> Result<Vec<Voice>, RpcError> {
        let range = HistoryRange::Before {
            position: Position::END,
            limit: VOICES,
        };
        let page = self.deps.store.history(org, topic, range).await.map_err(answer)?;
        let entries = page
            .entries
            .into_iter()
            .filter_map(|e| wire::frame::decode_entry(e.entry).ok());
        Ok(entries.filter_map(|entry| Voice::of(&entry)).collect())
    }
}

/// The messages that are more than a further part of a streamed answer, each with how many of those it has.
fn whole(found: Vec<Stored>) -> Vec<(Stored, u32)> {
    let mut whole: Vec<(Stored, u32)> = Vec::new();
    for row in found.into_iter().filter(|row| row.entry.is_history()) {
        let first = whole
            .iter_mut()
            .find(|(first, _)| row.flags.has(Flags::PART) && first.entry.topic == row.entry.topic);
        match first {
            Some((_, parts)) => *parts += 1,
            None => whole.push((row, 0)),
        }
    }
    whole
}

fn receipt(row: ReceiptRow) -> ExplainedReceipt {
    ExplainedReceipt {
        by: row.by,
        state: row.state,
        position: row.changed,
    }
}

fn stored_session(row: SessionRow) -> StoredSession {
    StoredSession {
        client: row.key.client,
        epoch: row.epoch,
        edge: row.edge,
        connected: row.connected,
        began_at: row.began_at,
        offline_since: row
            .expires_at
            .map(|at| UnixMillis(at.0.saturating_sub(u64::from(row.expiry) * 1000))),
        expires_at: row.expires_at,
        state: row.state,
    }
}
