//! A connection for one call: statements with a deadline, and nothing half done goes back to the pool.

use std::sync::atomic::Ordering;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::{Connection, Executor, Postgres};
use tokio::time::timeout;

use super::shared::Shared;
use crate::StoreError;

pub(super) type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// A connection of the pool. One that was left in the middle of something (an error of the connection, a caller that gave
/// up, a transaction that was not ended) is closed, not given back.
pub(super) struct Conn<'a> {
    shared: &'a Shared,
    conn: Option<PoolConnection<Postgres>>,
    busy: bool,
    /// Whether a transaction is open.
    within: bool,
}

impl Shared {
    pub async fn conn(&self, doing: &'static str) -> Result<Conn<'_>, StoreError> {
        let conn = self.pool.acquire().await.map_err(StoreError::postgres(doing))?;
        Ok(Conn {
            shared: self,
            conn: Some(conn),
            busy: false,
            within: false,
        })
    }

    /// A connection with a transaction.
    pub async fn begin(&self, doing: &'static str) -> Result<Conn<'_>, StoreError> {
        let mut conn = self.conn(doing).await?;
        conn.within = true;
        conn.simple(doing, "BEGIN").await?;
        Ok(conn)
    }
}

impl Conn<'_> {
    /// Every row of a statement.
    pub async fn rows(
        &mut self,
        doing: &'static str,
        statement: Statement<'_>,
    ) -> Result<Vec<PgRow>, StoreError> {
        let limit = self.start();
        let conn = self.raw()?;
        let answer = timeout(limit, statement.fetch_all(conn)).await;
        self.done(doing, answer)
    }

    /// The first row of a statement, if there is one.
    pub async fn row(
        &mut self,
        doing: &'static str,
        statement: Statement<'_>,
    ) -> Result<Option<PgRow>, StoreError> {
        // All of them are read: the statement is committed only after its last row.
        Ok(self.rows(doing, statement).await?.into_iter().next())
    }

    /// How many rows a statement changed.
    pub async fn run(&mut self, doing: &'static str, statement: Statement<'_>) -> Result<u64, StoreError> {
        let limit = self.start();
        let conn = self.raw()?;
        let answer = timeout(limit, statement.execute(conn)).await;
        self.done(doing, answer).map(|done| done.rows_affected())
    }

    /// Ends the transaction well.
    pub async fn commit(mut self, doing: &'static str) -> Result<(), StoreError> {
        self.simple(doing, "COMMIT").await?;
        self.within = false;
        Ok(())
    }

    /// Ends the transaction as if it had not begun. An error is none: the connection is closed then.
    pub async fn roll_back(mut self) {
        self.within = self.simple("rolling back", "ROLLBACK").await.is_err();
    }

    async fn simple(&mut self, doing: &'static str, text: &'static str) -> Result<(), StoreError> {
        let limit = self.start();
        let conn = self.raw()?;
        let answer = timeout(limit, conn.execute(sqlx::raw_sql(text))).await;
        self.done(doing, answer).map(|_| ())
    }

    fn raw(&mut self) -> Result<&mut PgConnection, StoreError> {
        self.conn.as_deref_mut().ok_or(StoreError::Closed)
    }

    fn start(&mut self) -> Duration {
        self.busy = true;
        self.shared.statements.fetch_add(1, Ordering::Relaxed);
        self.shared.patience
    }

    fn done<T>(
        &mut self,
        doing: &'static str,
        answer: Result<Result<T, sqlx::Error>, tokio::time::error::Elapsed>,
    ) -> Result<T, StoreError> {
        let answer = answer.unwrap_or_else(|_| {
            Err(sqlx::Error::Io(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                "the database does not answer",
            )))
        });
        match answer {
            Ok(value) => {
                self.busy = false;
                Ok(value)
            }
            Err(error) => {
                // The server refused the statement and is ready for the next; a server that stops or may not write is
                // better left for another.
                self.busy = !matches!(&error, sqlx::Error::Database(e)
                    if !e.code().is_some_and(|c| c.starts_with("57P") || c == "25006"));
                Err(StoreError::postgres(doing)(error))
            }
        }
    }
}

impl Drop for Conn<'_> {
    fn drop(&mut self) {
        if (self.busy || self.within)
            && let Some(conn) = self.conn.take()
        {
            // Out of the pool and closed at once: the server ends what it was doing.
            drop(conn.detach());
        }
    }
}

/// Connects by itself, for migrations.
pub(super) async fn alone(options: &sqlx::postgres::PgConnectOptions) -> Result<PgConnection, StoreError> {
    PgConnection::connect_with(options)
        .await
        .map_err(StoreError::postgres("connecting to the database"))
}
