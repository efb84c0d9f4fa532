//! The servers that many test processes share: `tests/with-servers.sh`.

use crate::nats::{self, NatsServer};
use crate::postgres::{self, PostgresServer};
use crate::redis::{self, RedisServer};

/// One of each, killed when dropped.
#[derive(Debug)]
pub struct Servers {
    nats: NatsServer,
    redis: RedisServer,
    postgres: PostgresServer,
}

impl Servers {
    /// Starts them, ready. PostgreSQL does not sync: whoever tests what survives starts one of its own.
    pub async fn start() -> Self {
        let careless = postgres::Options {
            careless: true,
            ..postgres::Options::default()
        };
        let (nats, redis, postgres) = tokio::join!(
            NatsServer::start(nats::Options::default()),
            RedisServer::start(),
            PostgresServer::start_with(careless),
        );
        Self {
            nats,
            redis,
            postgres,
        }
    }

    /// The variables by which tests find them.
    pub fn env(&self) -> [(&'static str, String); 4] {
        [
            (nats::URL, self.nats.url()),
            (nats::MONITOR, self.nats.monitor_url()),
            (redis::URL, self.redis.url()),
            (postgres::URL, self.postgres.url()),
        ]
    }
}
