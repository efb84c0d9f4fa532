//! Wills whose time has come: each is put into the log once.

use std::collections::BTreeMap;

use backplane::lease::Fence;
use contract::RpcError;
use contract::routing::Outcome;
use futures::future::join_all;
use model::{PartitionId, UnixMillis};
use runtime::lifecycle::Stop;
use store::DueWill;
use tokio::time::{Duration, MissedTickBehavior, interval};
use wire::{Entry, Kind, envelope};

use crate::Error;
use crate::core::{Core, TICK};

/// At most this many at once.
const LIMIT: usize = 1000;
/// How long it may take to submit them.
const SUBMIT: Duration = Duration::from_secs(10);

/// The wills of one partition, by their ids.
type Of = (Vec<u64>, Vec<Entry>);

/// Publishes wills until told to stop, as long as it is this replica's turn.
pub(crate) async fn keep(core: &Core, turn: &Fence, stop: &Stop) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let publish = async {
        loop {
            ticks.tick().await;
            if turn.holds() {
                core.report("publishing wills", core.publish_wills().await);
            }
        }
    };
    tokio::select! {
        biased;
        // What is cut off is still in the store, and is submitted again under the same uid.
        () = stop.soft().cancelled() => {}
        () = publish => {}
    }
}

/// The entry of a will, to be stored once however often it is submitted. `Err`: it cannot be read.
///
/// Its uid is its own, whatever its message says: a client names its will once and connects again and again, and under one uid only
/// the first of these would be a message.
fn entry_of(will: DueWill, now: UnixMillis) -> Result<(u64, Entry), u64> {
    let mut entry = wire::frame::decode_entry(will.entry).map_err(|_| will.id)?;
    let made = [will.id.to_string(), entry.accepted_at.to_string()];
    entry.uid = envelope::server_uid("will", &[&made[0], &made[1]]);
    if !matches!(entry.known_kind(), Kind::Generic) {
        let mut message = envelope::parse(&entry.payload).map_err(|_| will.id)?;
        message.uid.clone_from(&entry.uid);
        entry.payload = envelope::encode(&message);
    }
    // Its message expiry counts from its publication.
    if entry.expires_at != 0 {
        let life = entry.expires_at.saturating_sub(entry.accepted_at);
        entry.expires_at = now.0.saturating_add(life);
    }
    entry.accepted_at = now.0;
    Ok((will.id, entry))
}

/// The id of a will that needs no more attention: it is stored, or refused for good.
fn is_over(id: u64, outcome: &Outcome) -> Option<u64> {
    match outcome {
        Outcome::Stored { .. } => Some(id),
        Outcome::Unavailable(why) => {
            tracing::debug!(will = id, why, "a will is not taken now; it is submitted again");
            None
        }
        Outcome::Unknown => None,
        refused => {
            tracing::warn!(will = id, ?refused, "a will is refused; it is dropped");
            Some(id)
        }
    }
}

impl Core {
    /// Puts wills whose time has come into the log; they are forgotten only when they are durable there. What the log
    /// does not take now waits for the next look.
    pub async fn publish_wills(&self) -> Result<(), Error> {
        loop {
            let now = self.now();
            let due = self.deps.store.due_wills(now, LIMIT).await?;
            if due.is_empty() {
                return Ok(());
            }
            let (done, result) = self.submit_wills(due, now).await;
            let is_all = done.len() == LIMIT;
            self.metrics.wills.inc_by(done.len() as u64);
            self.deps.store.forget_wills(done).await?;
            result?;
            if !is_all {
                return Ok(());
            }
        }
    }

    /// Which of the wills are in the log, or never will be; and why others are not.
    async fn submit_wills(&self, due: Vec<DueWill>, now: UnixMillis) -> (Vec<u64>, Result<(), Error>) {
        let mut done = Vec::with_capacity(due.len());
        let mut by_partition: BTreeMap<PartitionId, Of> = BTreeMap::new();
        for will in due {
            match entry_of(will, now) {
                Ok((id, entry)) => {
                    let partition = entry.partition(self.deps.partitioning);
                    let (ids, entries) = by_partition.entry(partition).or_default();
                    ids.push(id);
                    entries.push(entry);
                }
                Err(id) => {
                    tracing::error!(will = id, "a will cannot be read; it is dropped");
                    done.push(id);
                }
            }
        }
        // All at once: one partition without an owner is waited for, and the others with it only once.
        let submitted = by_partition.into_iter().map(|(p, of)| self.submit_to(p, of));
        let mut result = Ok(());
        for submitted in join_all(submitted).await {
            match submitted {
                Ok(of) => done.extend(of),
                Err(error) => result = Err(error.into()),
            }
        }
        (done, result)
    }

    /// Those that need no more attention.
    async fn submit_to(
        &self,
        partition: PartitionId,
        (ids, entries): Of,
    ) -> Result<impl Iterator<Item = u64> + use<>, RpcError> {
        let outcomes = self.submit(partition, entries, SUBMIT).await?;
        let over = |(id, outcome): (u64, Outcome)| is_over(id, &outcome);
        Ok(ids.into_iter().zip(outcomes).filter_map(over))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Message;

    #[test]
    fn each_will_is_a_message_of_its_own_whatever_uid_its_client_gave_it() {
        let message = Message {
            uid: "always the same".into(),
            r#type: "TEXT".into(),
            content: "gone".into(),
            ..Message::default()
        };
        let entry = Entry {
            kind: Kind::Chat.into(),
            uid: message.uid.clone(),
            payload: envelope::encode(&message),
            accepted_at: 5,
            ..Entry::default()
        };
        let made = |id| {
            let entry = entry.to_bytes();
            let (_, made) = entry_of(DueWill { id, entry }, UnixMillis(9)).unwrap();
            let shown = envelope::parse(&made.payload).unwrap();
            assert_eq!((&shown.uid, &*shown.content), (&made.uid, "gone"));
            made.uid
        };
        assert_eq!(made(1), made(1), "submitted again it is the same");
        assert_ne!(made(1), made(2));
        assert_ne!(made(1), entry.uid);
    }
}
