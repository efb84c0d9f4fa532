//! How fast anybody may ask.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use edge::rate::Bucket;
use parking_lot::Mutex;

/// Buckets kept before those that have filled up again are dropped.
const KEPT: usize = 50_000;

/// One bucket for each who asks.
#[derive(Debug)]
pub(crate) struct Rates<K> {
    rate: u32,
    buckets: Mutex<HashMap<K, (Bucket, Duration), ahash::RandomState>>,
}

impl<K: Hash + Eq> Rates<K> {
    /// `rate` requests a second each; 0 = any number.
    pub fn new(rate: u32) -> Self {
        Self {
            rate,
            buckets: Mutex::default(),
        }
    }

    /// Lets a request through, or says how long to wait. `now` is monotonic.
    pub fn take(&self, key: impl FnOnce() -> K, now: Duration) -> Result<(), Duration> {
        if self.rate == 0 {
            return Ok(());
        }
        let mut buckets = self.buckets.lock();
        if buckets.len() >= KEPT {
            // A bucket is full after a second without requests: as good as a new one.
            buckets.retain(|_, (_, at)| now.saturating_sub(*at) < Duration::from_secs(1));
        }
        let (bucket, at) = buckets
            .entry(key())
            .or_insert_with(|| (Bucket::new(self.rate, now), now));
        *at = now;
        bucket.take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_bucket_of_its_own() {
        let rates = Rates::new(1);
        let at = |key, ms| rates.take(|| key, Duration::from_millis(ms));
        assert!(at("a", 0).is_ok() && at("b", 0).is_ok());
        assert_eq!(at("a", 0), Err(Duration::from_secs(1)));
        assert!(at("a", 1000).is_ok());
    }

    #[test]
    fn idle_buckets_are_dropped_when_there_are_many() {
        let rates = Rates::new(1);
        (0..KEPT).for_each(|i| assert!(rates.take(|| i, Duration::ZERO).is_ok()));
        assert!(rates.take(|| KEPT, Duration::from_secs(2)).is_ok());
        assert_eq!(rates.buckets.lock().len(), 1);
    }
}
