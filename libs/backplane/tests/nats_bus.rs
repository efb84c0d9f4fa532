//! The bus over core NATS keeps every promise of the seam.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::cell::RefCell;
use std::sync::Arc;

use backplane::bus::{Bus, NatsBus};
use backplane::nats::{Nats, NatsConfig};
use testkit::nats::NatsNamespace;

thread_local! {
    /// Lives as long as the test.
    static SERVER: RefCell<Option<NatsNamespace>> = const { RefCell::new(None) };
}

async fn bus() -> Arc<dyn Bus> {
    let server = testkit::nats::server().await;
    let config = NatsConfig {
        servers: vec![server.url.clone()],
        ..NatsConfig::default()
    };
    let nats = Nats::connect(&config, &server.name).await.unwrap();
    SERVER.set(Some(server));
    Arc::new(NatsBus::new(&nats))
}

backplane::bus_suite!(tokio::test, bus);
