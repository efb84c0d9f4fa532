//! PostgreSQL keeps every promise of the seam.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use async_trait::async_trait;
use runtime::config::Secret;
use store::suite::Fixture;
use store::{PostgresConfig, PostgresStore, Store};
use testkit::postgres::{Database, database};

struct Fresh(Database);

fn config(url: &str) -> PostgresConfig {
    PostgresConfig {
        url: Secret::new(url),
        max_connections: 4,
        ..PostgresConfig::default()
    }
}

#[async_trait]
impl Fixture for Fresh {
    async fn open(&self) -> Arc<dyn Store> {
        let config = config(&self.0.url);
        PostgresStore::migrate(&config).await.unwrap();
        Arc::new(PostgresStore::open(&config).await.unwrap())
    }
}

async fn fresh() -> Fresh {
    Fresh(database().await)
}

store::store_suite!(fresh);
