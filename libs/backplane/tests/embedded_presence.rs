//! The address book of one process keeps every promise of the seam.

use std::sync::Arc;

use backplane::presence::{EmbeddedPresence, PresenceBook};

async fn book() -> Arc<dyn PresenceBook> {
    Arc::new(EmbeddedPresence::new())
}

backplane::presence_suite!(tokio::test(start_paused = true), book);
