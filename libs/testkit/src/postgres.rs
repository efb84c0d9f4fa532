//! Real PostgreSQL servers, and databases in one that tests share.

use std::net::SocketAddr;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::daemon::{Daemon, Recipe};
use crate::shared::{Shared, fresh_name};
use crate::spawn::{self, Owner};
use crate::{DataDir, eventually, find, ports, run};

/// The URL of a running server to use instead of starting one, with a database in which others may be made.
pub(crate) const URL: &str = "LONGWIRE_TEST_POSTGRES";
/// The folder of its programs.
const PROGRAMS: &str = "LONGWIRE_POSTGRES_BIN";

const START: Duration = Duration::from_secs(60);
/// Who owns everything in it. Whoever reaches the loopback port is trusted.
const USER: &str = "longwire";

/// How a server is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where its data is; without one, a new folder.
    pub data: Option<Arc<DataDir>>,
    /// Without syncing anything: fast, for tests that are not about what survives.
    pub careless: bool,
    /// Further settings, `name=value`.
    pub settings: Vec<String>,
}

/// A PostgreSQL server, killed when dropped.
#[derive(Debug)]
pub struct PostgresServer {
    daemon: Daemon,
    port: ports::Claim,
    data: Arc<DataDir>,
}

impl Deref for PostgresServer {
    type Target = Daemon;
    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl PostgresServer {
    /// A server by itself that syncs what it commits, ready.
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    /// A server by itself, ready. Run by root, it is another user's: PostgreSQL refuses to be root's.
    pub async fn start_with(options: Options) -> Self {
        let (data, port, owner) = (
            options.data.unwrap_or_default(),
            ports::claim(),
            Owner::unprivileged(),
        );
        let folder = init(&data, owner).await;
        let number = port.port.to_string();
        let mut recipe = Recipe::new("postgres", program("postgres"))
            .args(["-D".into(), folder.into_os_string()])
            .args(["-h", "127.0.0.1", "-p", &number])
            .args(["-c", "unix_socket_directories=", "-c", "max_connections=400"]);
        if options.careless {
            recipe = recipe.args(["-c", "fsync=off", "-c", "full_page_writes=off"]);
            recipe = recipe.args(["-c", "synchronous_commit=off"]);
        }
        for setting in options.settings {
            recipe = recipe.args(["-c".to_owned(), setting]);
        }
        recipe.owner = owner;
        let server = Self {
            daemon: Daemon::new(recipe),
            port,
            data,
        };
        server.restart().await;
        server
    }

    /// Where clients connect: a database for everybody, in which others are made.
    pub fn url(&self) -> String {
        url(self.port.at(), "postgres")
    }

    /// Where clients connect, as an address.
    pub fn address(&self) -> SocketAddr {
        self.port.at()
    }

    /// Its folder.
    pub fn data(&self) -> &DataDir {
        &self.data
    }

    /// A new, empty database: its URL.
    pub async fn database(&self) -> String {
        let name = fresh_name();
        sql(&self.url(), &format!("CREATE DATABASE {name}")).await;
        url(self.port.at(), &name)
    }

    /// A standby that has everything this one says is committed with a sync, from when this returns; ready.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn standby(&self) -> Self {
        let (data, owner) = (Arc::new(DataDir::new()), Owner::unprivileged());
        if let Some(owner) = owner {
            owner.take(data.path());
        }
        let (host, port) = ("127.0.0.1", self.port.port.to_string());
        let mut copy = spawn::tied(program("pg_basebackup"), owner);
        copy.arg("-D").arg(data.path().join("postgres"));
        copy.args([
            "-R",
            "-c",
            "fast",
            "--no-sync",
            "-U",
            USER,
            "-h",
            host,
            "-p",
            &port,
        ]);
        succeed(copy.current_dir("/")).await;
        let standby = Self::start_with(Options {
            data: Some(data),
            ..Options::default()
        })
        .await;
        sql(&self.url(), "ALTER SYSTEM SET synchronous_standby_names = '*'").await;
        sql(&self.url(), "SELECT pg_reload_conf()").await;
        eventually("the standby has everything", START, async || {
            let states = sql(&self.url(), "SELECT sync_state FROM pg_stat_replication").await;
            (states == "sync").then_some(())
        })
        .await;
        standby
    }

    /// Makes a standby the server that is written to.
    pub async fn promote(&self) {
        assert_eq!(sql(&self.url(), "SELECT pg_promote()").await, "t");
    }

    /// Starts it again, at the same port and with the same data. It recovers what it had committed.
    pub async fn restart(&self) {
        self.daemon.launch();
        let (host, port) = ("127.0.0.1", self.port.port.to_string());
        self.daemon
            .ready(START, async || {
                let mut asking = Command::new(program("pg_isready"));
                asking.args(["-q", "-h", host, "-p", &port]);
                run(asking).await.status.success()
            })
            .await;
    }
}

/// Makes the folder of a server, when it has not been made before.
async fn init(data: &DataDir, owner: Option<Owner>) -> PathBuf {
    let folder = data.path().join("postgres");
    if folder.is_dir() {
        return folder;
    }
    if let Some(owner) = owner {
        owner.take(data.path());
    }
    let mut command = spawn::tied(program("initdb"), owner);
    command.arg("-D").arg(&folder).args(["-U", USER, "--auth=trust"]);
    command.args(["--no-sync", "--encoding=UTF8", "--locale=C"]);
    // Not in a folder that the other user may not enter.
    succeed(command.current_dir("/")).await;
    folder
}

async fn succeed(command: &mut Command) {
    let command = std::mem::replace(command, Command::new("true"));
    let what = command.get_program().to_owned();
    let output = run(command).await;
    assert!(
        output.status.success(),
        "{}: {}",
        what.display(),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn url(at: SocketAddr, database: &str) -> String {
    format!("postgres://{USER}@{at}/{database}")
}

/// Runs SQL in a database: what it returns, one row a line, columns parted by `|`.
///
/// # Panics
/// When it fails.
pub async fn sql(url: &str, statement: &str) -> String {
    let mut command = Command::new(program("psql"));
    command.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", statement]);
    let output = run(command).await;
    assert!(
        output.status.success(),
        "{statement}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// A database that no other test uses, gone when dropped.
#[derive(Debug)]
pub struct Database {
    /// Where clients connect.
    pub url: String,
    /// The server's own database.
    outer: String,
    name: String,
    _server: Option<Arc<PostgresServer>>,
}

impl Drop for Database {
    fn drop(&mut self) {
        // A server of this process goes whole.
        if self._server.is_none() {
            let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
            let mut command = Command::new(program("psql"));
            command.args(["-Xq", "-d", &self.outer, "-c", &statement]);
            let done = command.output();
            if !done.is_ok_and(|output| output.status.success()) {
                eprintln!("could not drop the database {}", self.name);
            }
        }
    }
}

/// A fresh database in the server of `LONGWIRE_TEST_POSTGRES`, or in one of this process. It is empty and does not sync.
pub async fn database() -> Database {
    database_from("template1").await
}

/// A fresh database that begins as a copy of another, to which nobody is connected.
pub async fn database_from(template: &str) -> Database {
    static OWN: Shared<PostgresServer> = Shared::new();
    let (outer, server) = match std::env::var(URL) {
        Ok(url) => (url, None),
        Err(_) => {
            let options = Options {
                careless: true,
                ..Options::default()
            };
            let server = OWN.get(async || PostgresServer::start_with(options).await).await;
            (server.url(), Some(server))
        }
    };
    let name = fresh_name();
    sql(&outer, &format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
    let (server_url, _) = outer.rsplit_once('/').expect("the URL names a database");
    Database {
        url: format!("{server_url}/{name}"),
        outer,
        name,
        _server: server,
    }
}

/// A program of PostgreSQL: in the folder `LONGWIRE_POSTGRES_BIN`, in Debian's newest, or on the path.
/// Settings of a server that counts what each statement costs, in `pg_stat_statements`, where that is installed.
pub fn counting_statements() -> Vec<String> {
    let library = program("postgres").with_file_name("../lib/pg_stat_statements.so");
    let loaded = "shared_preload_libraries=pg_stat_statements".to_owned();
    library.exists().then_some(loaded).into_iter().collect()
}

fn program(name: &str) -> PathBuf {
    let named = std::env::var_os(PROGRAMS).map(|folder| PathBuf::from(folder).join(name));
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut versions: Vec<_> = versions.filter_map(|entry| Some(entry.ok()?.path())).collect();
    versions.sort_by_key(|path| {
        path.file_name()
            .and_then(|name| name.to_str()?.parse::<u32>().ok())
    });
    let debian = versions.into_iter().rev().map(|path| path.join("bin").join(name));
    find::program(PROGRAMS, name, named.into_iter().chain(debian))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_standby_has_what_was_committed_and_takes_over() {
        let server = PostgresServer::start().await;
        let url = server.database().await;
        let standby = server.standby().await;
        sql(&url, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)").await;
        server.kill().await;
        standby.promote().await;
        let there = url.replace(&server.address().to_string(), &standby.address().to_string());
        assert_eq!(sql(&there, "INSERT INTO kept VALUES (8) RETURNING n").await, "8");
        assert_eq!(sql(&there, "SELECT n FROM kept ORDER BY n").await, "7\n8");
    }

    #[tokio::test]
    async fn what_was_committed_survives_a_kill() {
        let server = PostgresServer::start().await;
        let url = server.database().await;
        sql(&url, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)").await;
        server.kill().await;
        server.restart().await;
        assert_eq!(sql(&url, "SELECT n FROM kept").await, "7");
        assert_eq!(sql(&url, "SHOW fsync").await, "on");
    }

    #[tokio::test]
    async fn a_database_can_begin_as_a_copy() {
        let one = database().await;
        sql(&one.url, "CREATE TABLE t (n int)").await;
        let copy = database_from(&one.name).await;
        assert_eq!(sql(&copy.url, "SELECT count(*) FROM t").await, "0");
        assert_ne!(one.url, copy.url);
    }
}
