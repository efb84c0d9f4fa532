//! PostgreSQL: any number of processes read and write one database.
//!
//! Nothing is kept in memory that another process could change, but for how far the log is applied, which only grows (see
//! `known.rs`), and the numbers of topics, which never change. Whoever applies a partition holds its row of `progress`
//! for the transaction: whatever belongs to the partition's topics is written under that lock, in the order of the
//! partitions and never twice at once. Each batch is one statement a table, its rows as arrays.

mod apply;
mod backlog;
mod config;
mod conn;
mod directory;
mod history;
mod identities;
mod known;
mod lookup;
mod progress;
mod receipts;
mod retained;
mod schema;
mod sessions;
mod shared;
mod threads;
mod topics;
mod uids;
mod unread;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::task::JoinHandle;

use crate::StoreError;
pub use config::PostgresConfig;
use known::Known;
use shared::Shared;

/// How much longer than the database a statement is waited for.
const GRACE: Duration = Duration::from_secs(1);
/// How often the tables of the months to come are looked after.
const MONTHS: Duration = Duration::from_secs(6 * 3600);

/// The store of a cluster. Clones are the same store.
#[derive(Clone)]
pub struct PostgresStore {
    shared: Arc<Shared>,
    /// Ends with the last clone.
    _tasks: Arc<Tasks>,
}

struct Tasks(Vec<JoinHandle<()>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

impl PostgresStore {
    /// Brings the schema up to this version; does nothing when it is there. Several may do so at once.
    ///
    /// # Errors
    /// When the schema is newer than this version, or the database refuses.
    pub async fn migrate(config: &PostgresConfig) -> Result<(), StoreError> {
        schema::migrate(&options(config)?).await
    }

    /// Takes the schema one version down; gives the version that is there now, 0 = nothing. What only the newer version
    /// has is lost.
    ///
    /// # Errors
    /// When the schema is newer than this version, or the database refuses.
    pub async fn revert(config: &PostgresConfig) -> Result<i64, StoreError> {
        schema::revert(&options(config)?).await
    }

    /// Opens a migrated database. Connections that are lost later are made again by themselves.
    ///
    /// # Errors
    /// When the schema is not ours, or the database cannot be reached.
    pub async fn open(config: &PostgresConfig) -> Result<Self, StoreError> {
        let options = options(config)?;
        schema::check(&options).await?;
        let known = Arc::new(Known::default());
        let connected = known.clone();
        let pool = PgPoolOptions::new()
            .max_connections(config.max_connections)
            .acquire_timeout(config.acquire_timeout.get())
            .idle_timeout(config.idle_timeout.get())
            .max_lifetime(config.max_lifetime.get())
            .after_connect(move |conn, _| {
                let known = connected.clone();
                Box::pin(async move {
                    known.topics.forget();
                    let rows = sqlx::query(progress::ALL).fetch_all(conn).await?;
                    let stored = rows.iter().map(progress::of_all).collect::<Result<_, _>>()?;
                    known.progress.connected(stored);
                    Ok(())
                })
            })
            .connect_lazy_with(options);
        let shared = Arc::new(Shared {
            pool,
            patience: config.statement_timeout.get() + GRACE,
            known,
            hurry: Default::default(),
            statements: AtomicU64::new(0),
        });
        let poll = shared.clone();
        let months = shared.clone();
        let tasks = vec![
            tokio::spawn(async move { poll.poll().await }),
            tokio::spawn(async move { months.keep_months().await }),
        ];
        Ok(Self {
            shared,
            _tasks: Arc::new(Tasks(tasks)),
        })
    }

    /// Statements that this process has sent so far, beginnings and ends of transactions included.
    pub fn statements(&self) -> u64 {
        self.shared.statements.load(Ordering::Relaxed)
    }
}

impl Shared {
    async fn keep_months(&self) {
        let doing = "making the tables of the next months";
        loop {
            tokio::time::sleep(MONTHS).await;
            let made = async {
                let mut conn = self.conn(doing).await?;
                conn.run(doing, sqlx::query("SELECT messages_make_months()"))
                    .await
            };
            if let Err(error) = made.await {
                tracing::warn!(%error, "the tables of the next months were not made; it will be tried again");
            }
        }
    }
}

/// How connections are made. What a session promises must be on disk when it is answered, whatever the server's default.
///
/// Every statement is made for an index, and asks for a few rows of tables that grow for years. So no plan is chosen by how
/// large a table or an array of parameters is at the moment: for a few thousand uids the planner would read the whole index,
/// and keep doing so when that has grown. Nor is anything compiled: a small table that is read whole all the same looks dear
/// enough for that, and compiling would cost more than any statement here. `docs/adr/0014-generic-plans.md` has the measurements.
fn options(config: &PostgresConfig) -> Result<PgConnectOptions, StoreError> {
    let url: PgConnectOptions = config
        .url
        .expose()
        .parse()
        .map_err(StoreError::postgres("reading the address of the database"))?;
    let url = match config.password.is_empty() {
        true => url,
        false => url.password(config.password.expose()),
    };
    let millis = |d: runtime::config::HumanDuration| d.as_millis().to_string();
    Ok(url.application_name("longwire").options([
        ("synchronous_commit", "on".to_owned()),
        ("enable_seqscan", "off".to_owned()),
        ("enable_mergejoin", "off".to_owned()),
        ("plan_cache_mode", "force_generic_plan".to_owned()),
        ("jit", "off".to_owned()),
        ("random_page_cost", "1.1".to_owned()),
        ("statement_timeout", millis(config.statement_timeout)),
        ("lock_timeout", millis(config.lock_timeout)),
        (
            "idle_in_transaction_session_timeout",
            millis(config.statement_timeout),
        ),
        ("tcp_keepalives_idle", "30".to_owned()),
        ("tcp_keepalives_interval", "10".to_owned()),
        ("tcp_keepalives_count", "3".to_owned()),
        ("tcp_user_timeout", "60000".to_owned()),
    ]))
}
