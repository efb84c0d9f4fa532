//! What the roles of a cluster stand on.

use std::fs::File;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use super::list;
use crate::nats::{self, NatsCluster, NatsNamespace};
use crate::postgres::{self, Database, PostgresServer};
use crate::redis::{self, RedisNamespace, RedisServer};
use crate::server::Setup;
use crate::{DataDir, binary, cli, run, target_dir};

/// Where they are.
#[derive(Debug)]
pub(super) struct Addresses {
    pub(super) nats: Vec<String>,
    pub(super) monitor: Vec<String>,
    pub(super) redis: String,
    pub(super) postgres: String,
    /// `cluster.name`
    pub(super) name: String,
}

/// What the roles stand on.
#[derive(Debug)]
pub(super) struct Servers {
    at: Addresses,
    own: Option<Own>,
    /// The database was made with its schema.
    migrated: bool,
    _shared: Option<(NatsNamespace, RedisNamespace, Database)>,
}

/// Servers of this cluster alone.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) nats: NatsCluster,
    pub(super) redis: RedisServer,
    pub(super) postgres: PostgresServer,
}

impl Servers {
    /// Each server of NATS with a file system of `room` MiB where that is said.
    pub(super) async fn own(nats: usize, apart: bool, room: Option<u32>) -> Self {
        let options = (0..nats).map(|_| nats::Options {
            data: room.and_then(DataDir::small).map(Arc::new),
            ..nats::Options::default()
        });
        let options: Vec<_> = options.collect();
        let nats = async {
            match apart {
                true => NatsCluster::start_apart(options).await,
                false => NatsCluster::start_with(options).await,
            }
        };
        let postgres = PostgresServer::start_with(postgres::Options {
            settings: postgres::counting_statements(),
            ..postgres::Options::default()
        });
        let (nats, redis, postgres) = tokio::join!(nats, RedisServer::start(), postgres);
        let at = Addresses {
            nats: nats.urls(),
            monitor: nats.monitor_urls(),
            redis: redis.url(),
            postgres: postgres.database().await,
            name: "longwire".to_owned(),
        };
        Self {
            at,
            own: Some(Own {
                nats,
                redis,
                postgres,
            }),
            migrated: false,
            _shared: None,
        }
    }

    pub(super) async fn shared() -> Self {
        let (nats, redis, database) = tokio::join!(nats::server(), redis::server(), migrated());
        let at = Addresses {
            nats: vec![nats.url.clone()],
            monitor: vec![nats.monitor_url.clone()],
            redis: redis.url.clone(),
            postgres: database.url.clone(),
            name: nats.name.clone(),
        };
        Self {
            at,
            own: None,
            migrated: true,
            _shared: Some((nats, redis, database)),
        }
    }

    pub(super) fn at(&self) -> &Addresses {
        &self.at
    }

    pub(super) fn own_ones(&self) -> &Own {
        self.own
            .as_ref()
            .expect("a cluster without `shared_servers` has its own")
    }

    /// What every role is told.
    pub(super) fn settings(&self, partitions: u16) -> Vec<(String, String)> {
        let at = &self.at;
        let replicas = if at.nats.len() < 3 { 1 } else { 3 };
        let settings = [
            ("CLUSTER__NAME", at.name.clone()),
            ("NATS__SERVERS", list(at.nats.clone())),
            ("NATS__MONITOR", list(at.monitor.clone())),
            ("NATS__REPLICAS", replicas.to_string()),
            ("JOURNAL__PARTITIONS", partitions.to_string()),
            ("REDIS__URL", at.redis.clone()),
            ("POSTGRES__URL", at.postgres.clone()),
        ];
        let named = settings.map(|(name, value)| (format!("LONGWIRE_{name}"), value));
        named.into()
    }

    /// Brings the schema up.
    pub(super) async fn migrate(&self, setup: &Setup) {
        if !self.migrated {
            succeed(setup.command("migrate")).await;
        }
    }
}

async fn succeed(command: std::process::Command) {
    let what = format!("{command:?}");
    let output = run(command).await;
    assert!(
        output.status.success(),
        "{what}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A database with the schema of the binary: a copy of one that all tests of this binary have in common, because
/// copying is quicker than migrating.
async fn migrated() -> Database {
    let outer = match std::env::var(postgres::URL) {
        Ok(outer) => outer,
        // A server of this process has no other user.
        Err(_) => {
            let database = postgres::database().await;
            migrate(&database.url).await;
            return database;
        }
    };
    let template = format!("template_{:016x}", version());
    make(&outer, &template).await;
    postgres::database_from(&template).await
}

/// Makes the template unless it is there. One process does, and the others wait for it.
async fn make(outer: &str, template: &str) {
    let lock = File::create(target_dir().join("testkit-template.lock")).expect("making a lock file");
    let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock));
    let _held = lock.await.expect("it does not panic").expect("locking a file");
    let found = format!("SELECT count(*) FROM pg_database WHERE datname = '{template}'");
    if postgres::sql(outer, &found).await != "0" {
        return;
    }
    let draft = format!("draft_{template}");
    postgres::sql(outer, &format!("CREATE DATABASE {draft}")).await;
    let (server, _) = outer.rsplit_once('/').expect("the URL names a database");
    migrate(&format!("{server}/{draft}")).await;
    postgres::sql(outer, &format!("ALTER DATABASE {draft} RENAME TO {template}")).await;
}

async fn migrate(url: &str) {
    let mut command = cli();
    command.arg("migrate").env("LONGWIRE_POSTGRES__URL", url);
    succeed(command).await;
}

/// Another binary may have another schema.
fn version() -> u64 {
    let meta = std::fs::metadata(binary()).expect("the binary is there");
    let mut hasher = std::hash::DefaultHasher::new();
    (meta.len(), meta.modified().ok()).hash(&mut hasher);
    hasher.finish()
}
