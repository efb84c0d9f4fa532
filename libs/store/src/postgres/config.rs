use runtime::config::{HumanDuration, Secret};
use serde::{Deserialize, Serialize};

/// How PostgreSQL is reached and used. The same for every role that has a store.
///
/// Behind pgbouncer: session pooling, or transaction pooling with `max_prepared_statements` (1.21 or newer) and `options`
/// let through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PostgresConfig {
    /// `postgres://user@host:5432/database`, with `?sslmode=verify-full&sslrootcert=/path` for TLS. May hold the password.
    pub url: Secret,
    /// The password, when it is not in the URL.
    pub password: Secret,
    /// Connections of one process at most.
    pub max_connections: u32,
    /// How long a call waits for a free connection, connecting included.
    pub acquire_timeout: HumanDuration,
    /// How long one statement may take. The connection of one that does not answer a second after that is given up.
    pub statement_timeout: HumanDuration,
    /// How long a statement waits for a lock.
    pub lock_timeout: HumanDuration,
    /// After how long an idle connection is closed.
    pub idle_timeout: HumanDuration,
    /// After how long any connection is replaced, so that load spreads again after a failover.
    pub max_lifetime: HumanDuration,
}

impl Default for PostgresConfig {
    fn default() -> Self {
        Self {
            url: Secret::default(),
            password: Secret::default(),
            max_connections: 20,
            acquire_timeout: HumanDuration::from_secs(5),
            statement_timeout: HumanDuration::from_secs(15),
            lock_timeout: HumanDuration::from_secs(5),
            idle_timeout: HumanDuration::from_secs(600),
            max_lifetime: HumanDuration::from_secs(1800),
        }
    }
}

impl PostgresConfig {
    /// Whether a database is named.
    pub fn is_configured(&self) -> bool {
        !self.url.is_empty()
    }

    /// Refuses values that cannot work.
    ///
    /// # Errors
    /// The key, relative to this section, and what is wrong with its value.
    pub fn validate(&self) -> Result<(), (String, String)> {
        let refuse = |key: &str, what: &str| Err((key.to_owned(), what.to_owned()));
        if !self.is_configured() {
            return refuse(
                "url",
                "must name the database: postgres://user@host:5432/database",
            );
        }
        if self
            .url
            .expose()
            .parse::<sqlx::postgres::PgConnectOptions>()
            .is_err()
        {
            return refuse("url", "must be like postgres://user@host:5432/database");
        }
        // One applies, one answers, and a wait for the log must not stand behind both.
        if self.max_connections < 3 {
            return refuse("max_connections", "must be at least 3");
        }
        for (key, value) in [
            ("acquire_timeout", self.acquire_timeout),
            ("statement_timeout", self.statement_timeout),
            ("lock_timeout", self.lock_timeout),
        ] {
            if value.is_zero() {
                return refuse(key, "must be longer than 0");
            }
        }
        Ok(())
    }
}
