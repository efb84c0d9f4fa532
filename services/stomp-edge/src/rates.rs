//! How fast one user may send over all its connections to this edge.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use edge::rate::Bucket;
use model::{OrgId, Principal, UserId};
use parking_lot::Mutex;

type Shared = Arc<Mutex<Bucket>>;

/// The buckets of the users that are connected. Empty when there is no limit.
#[derive(Debug, Default)]
pub(crate) struct Rates(Mutex<HashMap<(OrgId, UserId), Shared>>);

impl Rates {
    /// The bucket that all connections of the user share.
    pub fn enter(&self, who: &Principal, rate: u32, now: Duration) -> Option<Shared> {
        if rate == 0 {
            return None;
        }
        let mut buckets = self.0.lock();
        let key = (who.org.clone(), who.user.clone());
        let bucket = buckets
            .entry(key)
            .or_insert_with(|| Arc::new(Mutex::new(Bucket::new(rate, now))));
        Some(bucket.clone())
    }

    /// A connection gives its bucket back; the last one takes it away.
    pub fn leave(&self, who: &Principal, bucket: Option<Shared>) {
        let Some(bucket) = bucket else { return };
        let mut buckets = self.0.lock();
        // This one and the table's.
        if Arc::strong_count(&bucket) == 2 {
            buckets.remove(&(who.org.clone(), who.user.clone()));
        }
    }
}
