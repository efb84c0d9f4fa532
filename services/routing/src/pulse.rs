//! Whether the log answers its owner.

use std::time::Duration;

use backplane::journal::JournalError;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

/// What an owner's appends tell of the log.
#[derive(Default)]
pub(crate) struct Pulse {
    /// Since when appends are asked for and none of them has got an answer that comes from the log.
    asked: Mutex<Option<Instant>>,
}

impl Pulse {
    /// Notes whether an append gets an answer that comes from the log.
    pub async fn of<T>(
        &self,
        append: impl Future<Output = Result<T, JournalError>>,
    ) -> Result<T, JournalError> {
        self.asked.lock().get_or_insert_with(Instant::now);
        let appended = append.await;
        let is_silent = matches!(
            appended,
            Err(JournalError::Unknown | JournalError::Unavailable { .. })
        );
        if !is_silent {
            *self.asked.lock() = None;
        }
        appended
    }

    /// Waits until something has been asked of the log for so long without an answer.
    pub async fn missed(&self, limit: Duration) {
        while self.silent_for() < limit {
            sleep(limit / 8).await;
        }
    }

    fn silent_for(&self) -> Duration {
        self.asked.lock().map_or(Duration::ZERO, |asked| asked.elapsed())
    }
}
