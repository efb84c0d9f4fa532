//! The leases of a cluster: a bucket in NATS KV, where every step is a compare-and-set.
//!
//! ```text
//!  acquire   put, if the revision is the one seen        free ─► held, epoch = the message's own sequence
//!  renew     put the same, if the revision is ours        the epoch travels in the value
//!  release   put nothing, if the revision is ours         gone after a second
//!  run out   the server removes the message after its TTL
//! ```
//!
//! Sequences of a stream only grow, also when a lease is released or runs out, so epochs do. The stream begins at the wall clock's
//! milliseconds, so that they grow also when the bucket is deleted and made anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_TTL};
use async_trait::async_trait;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{Lease, LeaseError, Leases};
use crate::nats::api::{ApiError, PubAck};
use crate::nats::{Nats, NatsError, PATIENCE, backoff};

/// [`Leases`] in a NATS KV bucket, `{name}_leases`.
///
/// A lease ends by the clock of the server that leads the bucket, to the second above; its holder's own view of it ends earlier: `ttl`
/// after the moment before the request was sent. [`Leases::renew`] tries until then by itself, so a holder that cannot reach the
/// servers hears [`LeaseError::Lost`] when its lease ends, not later. The shortest lease is a second.
#[derive(Clone)]
pub struct KvLeases(Arc<Inner>);

struct Inner {
    nats: Nats,
    /// What this process holds, by name.
    held: Mutex<HashMap<String, Held>>,
}

/// A lease of this process.
#[derive(Clone)]
struct Held {
    lease: Lease,
    /// The revision that it stands in.
    revision: u64,
    /// Until when we may believe that we hold it.
    until: Instant,
}

/// What is stored of a lease.
#[derive(Serialize, Deserialize)]
struct Value {
    holder: String,
    /// Absent in the message that begins an epoch: its own sequence is it.
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
}

/// A lease as it is stored.
struct Found {
    /// 0 when there is nothing.
    revision: u64,
    lease: Option<Lease>,
}

/// How long a lease that was given back is remembered as such.
const TOMBSTONE: Duration = Duration::from_secs(1);
/// How often a step is tried again when somebody else's came between.
const ATTEMPTS: usize = 10;

impl KvLeases {
    /// Finds the bucket, or creates it.
    ///
    /// # Errors
    /// When NATS refuses, or what is there under this name is not ours.
    pub async fn open(nats: &Nats) -> Result<Self, NatsError> {
        let bucket = bucket(nats);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let config = json!({
            "name": stream(nats),
            "subjects": [format!("$KV.{bucket}.>")],
            "retention": "limits",
            "storage": "file",
            "discard": "new",
            "num_replicas": nats.config().replicas,
            "max_msgs_per_subject": 1,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_age": 0,
            "allow_msg_ttl": true,
            "allow_rollup_hdrs": true,
            "allow_direct": false,
            "deny_delete": true,
            "first_seq": u64::try_from(now.as_millis()).unwrap_or(1).max(1),
        });
        let keys = ["subjects", "max_msgs_per_subject", "allow_msg_ttl"];
        nats.own_stream(&format!("the bucket {bucket}"), &config, &keys)
            .await?;
        let nats = nats.clone();
        let held = Mutex::default();
        Ok(Self(Arc::new(Inner { nats, held })))
    }

    fn subject(&self, name: &str) -> String {
        format!("$KV.{}.{}", bucket(&self.0.nats), key(name))
    }

    /// What the leader has of a lease.
    async fn find(&self, name: &str) -> Result<Found, ApiError> {
        let which = json!({ "last_by_subj": self.subject(name) });
        let Some(stored) = self.0.nats.stored(&stream(&self.0.nats), &which).await? else {
            return Ok(Found {
                revision: 0,
                lease: None,
            });
        };
        let value: Option<Value> = serde_json::from_slice(&stored.bytes).ok();
        Ok(Found {
            revision: stored.seq,
            lease: value.map(|value| Lease {
                name: name.to_owned(),
                holder: value.holder,
                epoch: value.epoch.unwrap_or(stored.seq),
            }),
        })
    }

    /// Writes if the last revision is `revision`; gives the new one.
    async fn put(
        &self,
        name: &str,
        value: Option<&Value>,
        revision: u64,
        ttl: Duration,
    ) -> Result<u64, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, revision.to_string().as_str());
        // Whole seconds, and never less than the holder believes.
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        headers.insert(NATS_MESSAGE_TTL, format!("{}s", seconds.max(1)).as_str());
        let payload = value.map_or(Ok(Vec::new()), serde_json::to_vec);
        let payload = payload.map_err(|error| ApiError::Unknown(error.to_string()))?;
        let subject = self.subject(name);
        let ack: PubAck = self
            .0
            .nats
            .store(subject, headers, payload.into(), PATIENCE)
            .await?;
        Ok(ack.seq)
    }

    fn hold(&self, lease: &Lease, revision: u64, until: Instant) {
        let held = Held {
            lease: lease.clone(),
            revision,
            until,
        };
        self.0.held.lock().insert(lease.name.clone(), held);
    }

    /// What this process knows of holding a lease.
    fn own(&self, lease: &Lease) -> Option<Held> {
        let held = self.0.held.lock();
        held.get(&lease.name).filter(|held| held.lease == *lease).cloned()
    }

    fn forget(&self, lease: &Lease) {
        let mut held = self.0.held.lock();
        if held.get(&lease.name).is_some_and(|held| held.lease == *lease) {
            held.remove(&lease.name);
        }
    }

    /// One try to take it. `None`: somebody came between.
    async fn take(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>, LeaseError> {
        let found = self.find(name).await.map_err(unavailable)?;
        let now = Instant::now();
        // Ours, and believed in: it goes on. Ours by what is stored, but run out by our clock: it begins anew.
        let current = found
            .lease
            .filter(|lease| lease.holder != holder || self.believes(lease));
        if let Some(lease) = current.as_ref().filter(|lease| lease.holder != holder) {
            return Err(LeaseError::Held {
                name: name.to_owned(),
                holder: lease.holder.clone(),
            });
        }
        let value = Value {
            holder: holder.to_owned(),
            epoch: current.as_ref().map(|lease| lease.epoch),
        };
        match self.put(name, Some(&value), found.revision, ttl).await {
            Ok(revision) => {
                let lease = Lease {
                    name: name.to_owned(),
                    holder: holder.to_owned(),
                    epoch: value.epoch.unwrap_or(revision),
                };
                self.hold(&lease, revision, now + ttl);
                Ok(Some(lease))
            }
            Err(error) if error.is_conflict() => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Whether nothing that this process knows says that a lease has run out.
    fn believes(&self, lease: &Lease) -> bool {
        self.own(lease).is_none_or(|held| held.until > Instant::now())
    }

    /// Replaces what is stored of a lease, if it still stands there; gives the new revision.
    async fn replace(
        &self,
        lease: &Lease,
        value: Option<&Value>,
        ttl: Duration,
    ) -> Result<Option<u64>, ApiError> {
        // What we know is tried at once. A conflict is no proof that it is lost, as an acknowledgement may have been: then we look.
        if let Some(Held { revision, .. }) = self.own(lease) {
            match self.put(&lease.name, value, revision, ttl).await {
                Err(error) if error.is_conflict() => {}
                done => return done.map(Some),
            }
        }
        for attempt in 0..ATTEMPTS {
            // While it stands there, what came between is ours too: a renewal that nobody waited for, still on its way to the disk.
            sleep(backoff(attempt, Duration::from_millis(50))).await;
            let found = self.find(&lease.name).await?;
            if found.lease.as_ref() != Some(lease) {
                return Ok(None);
            }
            match self.put(&lease.name, value, found.revision, ttl).await {
                Err(error) if error.is_conflict() => {}
                done => return done.map(Some),
            }
        }
        Err(ApiError::Unknown(format!("{} changes all the time", lease.name)))
    }

    /// One try to keep it; whether it is kept.
    async fn keep(&self, lease: &Lease, ttl: Duration) -> Result<bool, ApiError> {
        let value = Value {
            holder: lease.holder.clone(),
            epoch: Some(lease.epoch),
        };
        let sent = Instant::now();
        let revision = self.replace(lease, Some(&value), ttl).await?;
        if let Some(revision) = revision {
            self.hold(lease, revision, sent + ttl);
        }
        Ok(revision.is_some())
    }
}

#[async_trait]
impl Leases for KvLeases {
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Lease, LeaseError> {
        for attempt in 0..ATTEMPTS {
            sleep(backoff(attempt, Duration::from_millis(200))).await;
            if let Some(lease) = self.take(name, holder, ttl).await? {
                return Ok(lease);
            }
        }
        Err(LeaseError::Unavailable(format!("too many want {name} at once")))
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), LeaseError> {
        let lost = || LeaseError::Lost(lease.name.clone());
        // A lease that another process of this holder took is only known to the servers: nothing tells when it ends, so we do not wait.
        let until = self.own(lease).map(|held| held.until);
        for attempt in 1.. {
            if until.is_some_and(|until| until <= Instant::now()) {
                return Err(lost());
            }
            let end = until.unwrap_or_else(|| Instant::now() + PATIENCE);
            let error = match tokio::time::timeout_at(end, self.keep(lease, ttl)).await {
                Ok(Ok(kept)) => return if kept { Ok(()) } else { Err(lost()) },
                Ok(Err(error)) => error,
                Err(_) => ApiError::Unknown("the servers do not answer".to_owned()),
            };
            if until.is_none() {
                return Err(unavailable(error));
            }
            tracing::debug!(name = lease.name, %error, "renewing a lease again");
            sleep(backoff(attempt, Duration::from_millis(300))).await;
        }
        unreachable!("the loop has no end")
    }

    async fn release(&self, lease: &Lease) -> Result<(), LeaseError> {
        let released = self.replace(lease, None, TOMBSTONE).await;
        released.map_err(unavailable)?;
        self.forget(lease);
        Ok(())
    }

    async fn holder(&self, name: &str) -> Result<Option<Lease>, LeaseError> {
        let found = self.find(name).await.map_err(unavailable)?;
        Ok(found.lease.filter(|lease| self.believes(lease)))
    }
}

fn unavailable(error: ApiError) -> LeaseError {
    LeaseError::Unavailable(error.to_string())
}

fn bucket(nats: &Nats) -> String {
    format!("{}_leases", nats.name())
}

fn stream(nats: &Nats) -> String {
    format!("KV_{}", bucket(nats))
}

/// A name as a key: what a key must not have is written as `=` and two hexadecimal digits.
fn key(name: &str) -> String {
    let mut key = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'/' => key.push(char::from(byte)),
            _ => key += &format!("={byte:02X}"),
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_is_a_key_and_no_two_are_the_same() {
        assert_eq!(key("routing/3"), "routing/3");
        assert_eq!(key("a.b *>=é"), "a=2Eb=20=2A=3E=3D=C3=A9");
        assert_ne!(key("a=2E"), key("a."));
    }
}
