//! The servers under the roles: NATS, PostgreSQL, Redis.
#![allow(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a failing step fails the test, and what a test saw belongs on its output"
)]

mod nats;
mod postgres;
mod redis;

use std::time::Duration;

use faults::Trial;

/// I10: from the return of a server to having caught up.
const CAUGHT_UP: Duration = Duration::from_secs(15);

/// Asserts that for `time` nothing is acknowledged.
async fn nothing_is_acknowledged_for(trial: &Trial, time: Duration) {
    let before = trial.progress().acknowledged;
    trial.go_on_for(time).await;
    assert_eq!(
        trial.progress().acknowledged,
        before,
        "acknowledged without a quorum"
    );
}
