//! Token buckets. Time is passed in.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use model::{OrgId, Principal, UserId};
use parking_lot::Mutex;

/// Lets through `rate` messages a second, and a second's worth at once after a pause.
#[derive(Debug)]
pub struct Bucket {
    rate: f64,
    tokens: f64,
    at: Duration,
}

impl Bucket {
    /// A full bucket; a rate of 0 lets everything through.
    pub fn new(rate: u32, now: Duration) -> Self {
        Self {
            rate: f64::from(rate),
            tokens: f64::from(rate),
            at: now,
        }
    }

    /// Takes one message; or says how long to wait.
    pub fn take(&mut self, now: Duration) -> Result<(), Duration> {
        if self.rate == 0.0 {
            return Ok(());
        }
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.rate).min(self.rate);
        self.at = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.tokens) / self.rate))
    }
}

/// A bucket that several connections share.
pub type Shared = Arc<Mutex<Bucket>>;

/// The buckets of the users that are connected to an edge, with how many connections each has. Empty when there is no limit.
#[derive(Debug, Default)]
pub struct UserRates(Mutex<HashMap<(OrgId, UserId), (Shared, usize)>>);

impl UserRates {
    /// The bucket that all connections of the user share; none for a rate of 0.
    pub fn enter(&self, who: &Principal, rate: u32, now: Duration) -> Option<Shared> {
        if rate == 0 {
            return None;
        }
        let key = (who.org.clone(), who.user.clone());
        let mut buckets = self.0.lock();
        let (bucket, connections) = buckets
            .entry(key)
            .or_insert_with(|| (Arc::new(Mutex::new(Bucket::new(rate, now))), 0));
        *connections += 1;
        Some(bucket.clone())
    }

    /// A connection gives its bucket back, once; the last one takes it away.
    pub fn leave(&self, who: &Principal, bucket: Option<Shared>) {
        let Some(bucket) = bucket else { return };
        let key = (who.org.clone(), who.user.clone());
        let mut buckets = self.0.lock();
        // Counted here and not by the references, which others may still be giving up.
        if let Some((kept, connections)) = buckets.get_mut(&key)
            && Arc::ptr_eq(kept, &bucket)
        {
            *connections -= 1;
            if *connections == 0 {
                buckets.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Origin, Role};

    #[test]
    fn the_connections_of_a_user_share_a_bucket_and_leave_none_behind() {
        let who = Principal::new(OrgId::new("o"), UserId::new("u"), Role::Agent, Origin::Token);
        let users = UserRates::default();
        let enter = || users.enter(&who, 1, Duration::ZERO);
        let (one, two) = (enter(), enter());
        assert!(one.as_ref().unwrap().lock().take(Duration::ZERO).is_ok());
        assert!(two.as_ref().unwrap().lock().take(Duration::ZERO).is_err());
        users.leave(&who, one);
        assert_eq!(users.0.lock().len(), 1);
        users.leave(&who, two);
        assert!(users.0.lock().is_empty() && users.enter(&who, 0, Duration::ZERO).is_none());
    }

    #[test]
    fn two_that_leave_at_once_leave_no_bucket_behind() {
        let who = Principal::new(OrgId::new("o"), UserId::new("u"), Role::Agent, Origin::Token);
        let users = UserRates::default();
        let enter = || users.enter(&who, 1, Duration::ZERO);
        let (one, two) = (enter(), enter());
        // As when the first to leave has not yet dropped its reference while the second leaves.
        let being_dropped = one.clone();
        users.leave(&who, one);
        users.leave(&who, two);
        assert!(users.0.lock().is_empty());
        drop(being_dropped);
    }

    #[test]
    fn a_second_of_messages_passes_at_once_and_the_rest_at_the_rate() {
        let mut bucket = Bucket::new(2, Duration::ZERO);
        assert!(bucket.take(Duration::ZERO).is_ok() && bucket.take(Duration::ZERO).is_ok());
        assert_eq!(bucket.take(Duration::ZERO), Err(Duration::from_millis(500)));
        assert!(bucket.take(Duration::from_millis(500)).is_ok());
        assert!(Bucket::new(0, Duration::ZERO).take(Duration::ZERO).is_ok());
    }
}
