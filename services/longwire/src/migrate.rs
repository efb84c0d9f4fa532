//! `longwire migrate`: brings the schema up, or takes its last step back.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use store::{PostgresStore, SqliteStore};

use crate::all;
use crate::config::Config;

pub(crate) fn run(config: &Config, revert: bool) -> anyhow::Result<ExitCode> {
    let text = match (config.postgres.is_configured(), revert) {
        (true, false) => crate::wait_for(PostgresStore::migrate(&config.postgres))?
            .map(|()| "the database has the schema of this version".to_owned())
            .context("bringing up the database")?,
        (true, true) => crate::wait_for(PostgresStore::revert(&config.postgres))?
            .map(|_| "the last step of the schema is taken back".to_owned())
            .context("taking back the last step of the schema")?,
        (false, false) => {
            let path = all::prepare_data(config)?.join(all::STORE_FILE);
            SqliteStore::migrate(&path)?;
            format!("{} has the schema of this version", path.display())
        }
        (false, true) => bail!("only the schema of PostgreSQL goes back; name it in postgres.url"),
    };
    crate::say(&mut std::io::stdout(), &text);
    Ok(ExitCode::SUCCESS)
}
