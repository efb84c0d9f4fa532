//! Token buckets. Time is passed in.

use std::time::Duration;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_messages_passes_at_once_and_the_rest_at_the_rate() {
        let mut bucket = Bucket::new(2, Duration::ZERO);
        assert!(bucket.take(Duration::ZERO).is_ok() && bucket.take(Duration::ZERO).is_ok());
        assert_eq!(bucket.take(Duration::ZERO), Err(Duration::from_millis(500)));
        assert!(bucket.take(Duration::from_millis(500)).is_ok());
        assert!(Bucket::new(0, Duration::ZERO).take(Duration::ZERO).is_ok());
    }
}
