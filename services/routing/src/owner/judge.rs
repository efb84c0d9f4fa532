//! Which entries are routed. Persistence decides the same from the same log; the two differ only in that routing forgets.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use model::{
    FrameSeq, MessageKind, MessageUid, OrgId, Position, ReceiptKind, Role, TopicName, UnixMillis, UserId,
    recall_allowed,
};
use rpc::persistence::Found;
use tracing::{debug, info};
use wire::envelope::uid_key;
use wire::{Entry, Frame, Kind, Verdict};

use super::Owner;
use crate::memory::{Record, Seen, topic_key};

/// How long to wait for the store before routing goes on without it.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);
/// How long routing goes on without a store that has not answered, before it asks again.
const LOOKUP_PAUSE: Duration = Duration::from_secs(10);

/// What becomes of an entry.
pub(super) enum Judgement {
    /// It is part of the conversation. `fan_out`: and news to those who listen.
    Accept { fan_out: bool },
    /// It is not.
    Refuse { verdict: Verdict, first: Position },
}

/// What the store said of messages that the memory was unsure about, by (org, sender, uid) or, for targets of recalls
/// and receipts, by (org, topic, uid).
pub(super) type Known = HashMap<u128, Found>;

const ACCEPT: Judgement = Judgement::Accept { fan_out: true };

pub(super) fn reason(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accepted => "accepted",
        Verdict::Duplicate => "duplicate",
        Verdict::Conflict => "conflict",
        Verdict::Forbidden => "forbidden",
        Verdict::Rejected => "rejected",
    }
}

impl Owner {
    /// Decides about one entry and remembers it if it is accepted.
    pub(super) fn judge(&mut self, entry: &Entry, position: Position, known: &Known) -> Judgement {
        if !entry.is_deduplicated() {
            return ACCEPT;
        }
        if let Some(refused) = self.seen_before(entry, position, known) {
            return refused;
        }
        let judgement = match entry.known_kind() {
            Kind::Recall => self.judge_recall(entry, known),
            Kind::Receipt => self.judge_receipt(entry, known),
            _ => ACCEPT,
        };
        // A refused recall stays out of the memory: the client may have had the wrong uid and send it again corrected.
        if matches!(judgement, Judgement::Accept { .. }) {
            self.memory.remember(entry, position);
        }
        judgement
    }

    fn seen_before(&self, entry: &Entry, position: Position, known: &Known) -> Option<Judgement> {
        let refuse = |verdict, first| Some(Judgement::Refuse { verdict, first });
        match self.memory.seen(entry) {
            Seen::New => None,
            Seen::Same(first) => refuse(Verdict::Duplicate, first),
            Seen::Other(first) => refuse(Verdict::Conflict, first),
            Seen::Unsure => {
                let found = known.get(&uid_key(&entry.org, &entry.sender, &entry.uid))?;
                match found.position >= position {
                    // The store is ahead of us and knows this very entry.
                    true => None,
                    false if found.digest == entry.digest => refuse(Verdict::Duplicate, found.position),
                    false => refuse(Verdict::Conflict, found.position),
                }
            }
        }
    }

    fn judge_recall(&mut self, entry: &Entry, known: &Known) -> Judgement {
        let refuse = |verdict| Judgement::Refuse {
            verdict,
            first: Position::START,
        };
        let Some((author, sent)) = self
            .target(entry, known)
            .map(|r| (r.sender.clone(), r.accepted_at))
        else {
            return refuse(Verdict::Rejected);
        };
        let role = Role::from_number(entry.sender_role);
        let (now, window) = (UnixMillis(entry.accepted_at), self.deps.recall_window);
        match recall_allowed(&entry.sender, role, &author, sent, now, window) {
            Ok(()) => ACCEPT,
            Err(model::RecallRefusal::NotAuthor) => refuse(Verdict::Forbidden),
            Err(_) => refuse(Verdict::Rejected),
        }
    }

    /// A receipt of one's own message, or one that says no more than an earlier one, is no news.
    fn judge_receipt(&mut self, entry: &Entry, known: &Known) -> Judgement {
        let Some(kind) = ReceiptKind::from_number(i64::from(entry.state)) else {
            return Judgement::Accept { fan_out: false };
        };
        if let Some(record) = self.memory.target(&entry.org, &entry.topic, &entry.target) {
            let own = record.sender.as_str() == entry.sender || record.author.as_str() == entry.author;
            let fan_out = !own && record.state < Some(kind);
            if fan_out {
                record.state = Some(kind);
            }
            return Judgement::Accept { fan_out };
        }
        let own = |f: &Found| f.sender.as_str() == entry.sender || f.author.as_str() == entry.author;
        let fan_out = !known.get(&target_key(entry)).is_some_and(own);
        Judgement::Accept { fan_out }
    }

    fn target(&mut self, entry: &Entry, known: &Known) -> Option<Record> {
        if let Some(record) = self.memory.target(&entry.org, &entry.topic, &entry.target) {
            return Some(record.clone());
        }
        known.get(&target_key(entry)).map(|found| Record {
            position: found.position,
            sender: found.sender.clone(),
            author: found.author.clone(),
            topic: topic_key(&entry.org, &entry.topic),
            digest: found.digest,
            accepted_at: found.accepted_at,
            state: None,
        })
    }

    /// Asks the store about everything in these frames that the memory cannot be sure of: late resends, and targets that
    /// it has forgotten. When the store does not answer in time, routing goes on: live delivery does not wait for the
    /// store, and what is doubled then is kept out of history.
    pub(super) async fn look_up_old(&mut self, frames: &[(FrameSeq, Frame)]) -> Known {
        if !self.memory.may_have_forgotten() || self.store_away_until > self.deps.clock.monotonic() {
            return Known::default();
        }
        let mut sent: BTreeMap<OrgId, Vec<(UserId, MessageUid)>> = BTreeMap::new();
        let mut targets: BTreeMap<(OrgId, TopicName), Vec<MessageUid>> = BTreeMap::new();
        for (seq, frame) in frames {
            for (_, _, entry) in frame.positioned(*seq) {
                let Ok(entry) = entry else { continue };
                if entry.is_deduplicated() && self.memory.seen(&entry) == Seen::Unsure {
                    let key = (UserId::new(&entry.sender), MessageUid::new(&entry.uid));
                    sent.entry(OrgId::new(&entry.org)).or_default().push(key);
                }
                let means = matches!(
                    MessageKind::of(&entry.r#type),
                    MessageKind::Recall | MessageKind::Receipt(_)
                );
                if means
                    && self
                        .memory
                        .target(&entry.org, &entry.topic, &entry.target)
                        .is_none()
                {
                    let topic = (OrgId::new(&entry.org), TopicName::trusted(&entry.topic));
                    targets
                        .entry(topic)
                        .or_default()
                        .push(MessageUid::new(&entry.target));
                }
            }
        }
        let asked =
            sent.values().map(Vec::len).sum::<usize>() + targets.values().map(Vec::len).sum::<usize>();
        if asked == 0 {
            return Known::default();
        }
        self.deps.metrics.lookups.inc_by(asked as u64);
        match tokio::time::timeout(LOOKUP_TIMEOUT, self.ask_store(sent, targets)).await {
            Ok(Ok(known)) => known,
            Ok(Err(error)) => {
                debug!(partition = %self.partition, %error, "routing without the store");
                Known::default()
            }
            Err(_) => {
                info!(partition = %self.partition, "the store does not answer; routing without it for a while");
                self.store_away_until = self.deps.clock.monotonic() + LOOKUP_PAUSE;
                Known::default()
            }
        }
    }

    async fn ask_store(
        &self,
        sent: BTreeMap<OrgId, Vec<(UserId, MessageUid)>>,
        targets: BTreeMap<(OrgId, TopicName), Vec<MessageUid>>,
    ) -> Result<Known, rpc::RpcError> {
        let mut known = Known::default();
        for (org, keys) in sent {
            let found = self.deps.persistence.find_sent(&org, keys.clone()).await?;
            let pairs = keys.into_iter().zip(found);
            let here = |f: &Found| self.deps.partitioning.of(&org, &f.topic) == self.partition;
            // A uid is one message within a partition: which of two partitions came first, no log can say.
            known.extend(
                pairs.filter_map(|((user, uid), f)| Some((uid_key(&org, &user, &uid), f.filter(here)?))),
            );
        }
        for ((org, topic), uids) in targets {
            let found = self
                .deps
                .persistence
                .find_in_topic(&org, &topic, uids.clone(), Position::START)
                .await?;
            let pairs = uids.into_iter().zip(found);
            known.extend(pairs.filter_map(|(uid, f)| Some((topic_uid_key(&org, &topic, &uid), f?))));
        }
        Ok(known)
    }
}

fn target_key(entry: &Entry) -> u128 {
    topic_uid_key(&entry.org, &entry.topic, &entry.target)
}

/// Cannot be mistaken for a (org, sender, uid) key: no sender holds a `/`, every chat topic does.
fn topic_uid_key(org: &str, topic: &str, uid: &str) -> u128 {
    uid_key(org, topic, uid)
}
