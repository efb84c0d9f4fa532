//! The schema: its versions, up and down.

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Row};

use super::conn::alone;
use crate::StoreError;
use crate::rules::schema::Versions;

/// Up and down of each version, the first makes the version after the former ones.
const MIGRATIONS: &[(&str, &str)] = &[
    (
        include_str!("../../../../migrations/postgres/0002_store.up.sql"),
        include_str!("../../../../migrations/postgres/0002_store.down.sql"),
    ),
    (
        include_str!("../../../../migrations/postgres/0003_proven.up.sql"),
        include_str!("../../../../migrations/postgres/0003_proven.down.sql"),
    ),
    (
        include_str!("../../../../migrations/postgres/0004_threads.up.sql"),
        include_str!("../../../../migrations/postgres/0004_threads.down.sql"),
    ),
    (
        include_str!("../../../../migrations/postgres/0005_directory.up.sql"),
        include_str!("../../../../migrations/postgres/0005_directory.down.sql"),
    ),
    (
        include_str!("../../../../migrations/postgres/0006_open_threads.up.sql"),
        include_str!("../../../../migrations/postgres/0006_open_threads.down.sql"),
    ),
];
const VERSIONS: Versions = Versions {
    former: 1,
    scripts: MIGRATIONS.len(),
};
/// One migrates at a time: the key of the lock, "longwire" in bytes.
const LOCK: i64 = 0x6c6f_6e67_7769_7265;
const DOING: &str = "migrating the schema";

/// Brings the schema up to this version; does nothing when it is there. Several may do so at once.
pub(super) async fn migrate(options: &PgConnectOptions) -> Result<(), StoreError> {
    let mut conn = locked(options).await?;
    let found = version(&mut conn).await?;
    VERSIONS.migratable(found)?;
    for (script, number) in VERSIONS.missing(found) {
        step(&mut conn, MIGRATIONS[script].0, number).await?;
    }
    make_months(&mut conn).await?;
    conn.close().await.map_err(StoreError::postgres(DOING))
}

/// Takes the schema one version down; gives the version that is there now. What only the newer version has is lost.
pub(super) async fn revert(options: &PgConnectOptions) -> Result<i64, StoreError> {
    let mut conn = locked(options).await?;
    let found = version(&mut conn).await?;
    VERSIONS.migratable(found)?;
    let first = VERSIONS.former + 1;
    let down = usize::try_from(found - first)
        .ok()
        .and_then(|i| MIGRATIONS.get(i));
    // Before the first of ours there is nothing.
    let left = if found > first { found - 1 } else { 0 };
    if let Some((_, down)) = down {
        step(&mut conn, down, left).await?;
    }
    conn.close().await.map_err(StoreError::postgres(DOING))?;
    Ok(left)
}

async fn locked(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    let doing = StoreError::postgres(DOING);
    let mut conn = alone(options).await?;
    sqlx::query("SELECT set_config('lock_timeout', '0', false), set_config('statement_timeout', '0', false)")
        .execute(&mut conn)
        .await
        .map_err(&doing)?;
    // Released with the connection.
    sqlx::query("SELECT pg_advisory_lock($1)")
        .bind(LOCK)
        .execute(&mut conn)
        .await
        .map_err(&doing)?;
    Ok(conn)
}

async fn step(conn: &mut PgConnection, script: &'static str, number: i64) -> Result<(), StoreError> {
    let doing = StoreError::postgres(DOING);
    let mut tx = conn.begin().await.map_err(&doing)?;
    let versions =
        "CREATE TABLE IF NOT EXISTS schema_version (one boolean PRIMARY KEY DEFAULT true CHECK (one),
                                                               version bigint NOT NULL)";
    sqlx::query(versions).execute(&mut *tx).await.map_err(&doing)?;
    sqlx::raw_sql(script).execute(&mut *tx).await.map_err(&doing)?;
    let store = "INSERT INTO schema_version (version) VALUES ($1) ON CONFLICT (one) DO UPDATE SET version = excluded.version";
    sqlx::query(store)
        .bind(number)
        .execute(&mut *tx)
        .await
        .map_err(&doing)?;
    tx.commit().await.map_err(&doing)
}

/// 0 where nothing was ever migrated.
async fn version(conn: &mut PgConnection) -> Result<i64, StoreError> {
    let doing = StoreError::postgres("reading the schema version");
    let there = sqlx::query("SELECT to_regclass('schema_version') IS NOT NULL")
        .fetch_one(&mut *conn)
        .await
        .and_then(|row| row.try_get::<bool, _>(0))
        .map_err(&doing)?;
    if !there {
        return Ok(0);
    }
    let row = sqlx::query("SELECT version FROM schema_version")
        .fetch_optional(conn)
        .await;
    row.and_then(|row| row.map_or(Ok(0), |row| row.try_get(0)))
        .map_err(&doing)
}

/// Refuses a schema that is not ours, and makes the tables of the months to come.
pub(super) async fn check(options: &PgConnectOptions) -> Result<(), StoreError> {
    let mut conn = alone(options).await?;
    VERSIONS.usable(version(&mut conn).await?)?;
    make_months(&mut conn).await?;
    conn.close()
        .await
        .map_err(StoreError::postgres("checking the schema"))
}

async fn make_months(conn: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query("SELECT messages_make_months()")
        .execute(conn)
        .await
        .map(|_| ())
        .map_err(StoreError::postgres("making the tables of the next months"))
}
