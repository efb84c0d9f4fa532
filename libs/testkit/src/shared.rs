//! One server for all that ask in this process, as long as anyone holds it.

use std::sync::{Arc, Weak};

use tokio::sync::Mutex;

/// A server that is started when it is first asked for and ends when nobody holds it any more. A static would never be
/// dropped, and its folder would stay.
#[derive(Debug)]
pub(crate) struct Shared<T>(Mutex<Weak<T>>);

impl<T> Shared<T> {
    pub(crate) const fn new() -> Self {
        Self(Mutex::const_new(Weak::new()))
    }

    pub(crate) async fn get(&self, start: impl AsyncFnOnce() -> T) -> Arc<T> {
        let mut held = self.0.lock().await;
        if let Some(running) = held.upgrade() {
            return running;
        }
        let started = Arc::new(start().await);
        *held = Arc::downgrade(&started);
        started
    }
}

/// A name that nobody else uses: letters and digits, for streams, keys and databases alike.
pub(crate) fn fresh_name() -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("t{}", &random[..16])
}
