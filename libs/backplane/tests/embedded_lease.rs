//! The leases of one process keep every promise of the seam.

use std::sync::Arc;
use std::time::Duration;

use backplane::lease::{EmbeddedLeases, Leases};

async fn leases() -> Arc<dyn Leases> {
    Arc::new(EmbeddedLeases::new())
}

backplane::lease_suite!(tokio::test(start_paused = true), leases);

#[tokio::test]
async fn a_restart_does_not_repeat_epochs() {
    let ttl = Duration::from_secs(1);
    let before = EmbeddedLeases::new().acquire("p", "a", ttl).await.unwrap();
    let start = std::time::Instant::now();
    // A restart takes longer than a millisecond; this loop stands in for it.
    while start.elapsed() < Duration::from_millis(5) {
        tokio::task::yield_now().await;
    }
    let after = EmbeddedLeases::new().acquire("p", "b", ttl).await.unwrap();
    assert!(after.epoch > before.epoch);
}
