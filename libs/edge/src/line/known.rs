use model::Position;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// A position that may not be known yet. Those who wait for it are woken in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Known {
    at: Mutex<Option<Position>>,
    set: Notify,
}

impl Known {
    #[cfg(test)]
    pub fn get(&self) -> Option<Position> {
        *self.at.lock()
    }

    /// Whether it is.
    pub fn is_known(&self) -> bool {
        self.at.lock().is_some()
    }

    /// Makes it known; one that is known stays as it is.
    pub fn set_if_unset(&self, position: Position) {
        let mut at = self.at.lock();
        if at.is_none() {
            *at = Some(position);
            drop(at);
            self.set.notify_waiters();
        }
    }

    /// It is not known any more.
    pub fn unset(&self) {
        *self.at.lock() = None;
    }

    /// Waits until it is known.
    pub async fn wait(&self) -> Position {
        loop {
            let mut set = std::pin::pin!(self.set.notified());
            // From here on it is noticed.
            set.as_mut().enable();
            if let Some(position) = *self.at.lock() {
                return position;
            }
            set.await;
        }
    }
}
