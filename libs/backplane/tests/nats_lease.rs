//! The leases in NATS KV keep every promise of the seam.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use backplane::lease::{KvLeases, LeaseError, Leases};
use backplane::nats::{Nats, NatsConfig};
use testkit::nats::NatsNamespace;

thread_local! {
    /// Lives as long as the test.
    static SERVER: RefCell<Option<NatsNamespace>> = const { RefCell::new(None) };
}

const LONG: Duration = Duration::from_secs(60);

async fn connect() -> Nats {
    let server = testkit::nats::server().await;
    let config = NatsConfig {
        servers: vec![server.url.clone()],
        replicas: 1,
        ..NatsConfig::default()
    };
    let nats = Nats::connect(&config, &server.name).await.unwrap();
    SERVER.set(Some(server));
    nats
}

async fn leases() -> Arc<dyn Leases> {
    Arc::new(KvLeases::open(&connect().await).await.unwrap())
}

backplane::lease_suite!(tokio::test, leases);

#[tokio::test]
async fn a_process_that_has_just_started_knows_the_holders() {
    let nats = connect().await;
    let before = KvLeases::open(&nats).await.unwrap();
    let lease = before.acquire("p/1", "a", LONG).await.unwrap();
    before.renew(&lease, LONG).await.unwrap();
    let after = KvLeases::open(&nats).await.unwrap();
    assert_eq!(after.holder("p/1").await.unwrap(), Some(lease.clone()));
    assert!(
        matches!(after.acquire("p/1", "b", LONG).await, Err(LeaseError::Held { holder, .. }) if holder == "a")
    );
    assert_eq!(after.acquire("p/1", "a", LONG).await.unwrap(), lease);
    before.renew(&lease, LONG).await.unwrap();
    after.release(&lease).await.unwrap();
    assert_eq!(before.holder("p/1").await.unwrap(), None);
    assert!(matches!(
        before.renew(&lease, LONG).await,
        Err(LeaseError::Lost(_))
    ));
}

#[tokio::test]
async fn names_may_have_any_characters() {
    let leases = leases().await;
    for name in ["a.b", "a b", "a>*", "edge/Ünicode"] {
        let lease = leases.acquire(name, "h", LONG).await.unwrap();
        assert_eq!(leases.holder(name).await.unwrap(), Some(lease));
    }
}
