//! The end of a connection that we end.

use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

/// How long the last word to a client waits for what is kept of it to be stored. A client that is told first may come back before
/// that, and goes on from what was stored last.
const END_STORED: Duration = Duration::from_millis(500);

/// Stores what is kept of a client, then says the last word to it. Whoever is sent away is told in time, though the store may not
/// answer: then both go on side by side, and this returns when both are done.
pub async fn store_and_say(stored: impl Future<Output = ()>, said: impl Future<Output = ()>) {
    let mut stored = pin!(stored);
    match timeout(END_STORED, &mut stored).await {
        Ok(()) => said.await,
        Err(_) => drop(tokio::join!(said, stored)),
    }
}
