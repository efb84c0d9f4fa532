//! Waiting for a condition, never for time.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

/// How long a step may take that a healthy server does in milliseconds. Generous: the machine may have two busy cores.
pub const DEADLINE: Duration = Duration::from_secs(20);

const PAUSE: Duration = Duration::from_millis(20);

/// Asks `check` again and again until it gives something.
///
/// # Panics
/// When `deadline` passes first; the message says `what` was waited for.
pub async fn eventually<T>(what: &str, deadline: Duration, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(Instant::now() < end, "waited {deadline:?} in vain until {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Gives a future a deadline.
///
/// # Panics
/// When `deadline` passes first; the message says `what` was waited for.
pub async fn within<T>(what: &str, deadline: Duration, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(deadline, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {deadline:?} in vain for {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_is_asked_until_it_holds() {
        let mut asked = 0;
        let found = eventually("it was asked three times", DEADLINE, async || {
            asked += 1;
            (asked == 3).then_some("found")
        })
        .await;
        assert_eq!((found, asked), ("found", 3));
    }

    #[tokio::test]
    #[should_panic(expected = "in vain until pigs fly")]
    async fn a_deadline_says_what_was_waited_for() {
        eventually("pigs fly", Duration::from_millis(50), async || None::<()>).await;
    }
}
