//! The built binary as a child process.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tempfile::NamedTempFile;

use crate::process::{self, Signal};
use crate::{DataDir, binary, eventually, ports, within};

/// From the start of the process to its ready line.
const START: Duration = Duration::from_secs(30);
const LISTENERS: [&str; 4] = [
    "LONGWIRE_MQTT__TCP_LISTEN",
    "LONGWIRE_MQTT__WS_LISTEN",
    "LONGWIRE_HTTP__LISTEN",
    "LONGWIRE_OPS__LISTEN",
];

/// Where a running server listens: its ready line.
#[derive(Debug, Clone, Deserialize)]
pub struct Endpoints {
    /// MQTT over TCP.
    pub mqtt: SocketAddr,
    /// MQTT over WebSocket.
    pub ws: SocketAddr,
    /// HTTP and STOMP.
    pub http: SocketAddr,
    /// Operations.
    pub ops: SocketAddr,
    /// The process.
    pub pid: u32,
}

/// How to start a server; see [`Longwire::builder`].
#[derive(Debug)]
pub struct Builder {
    data: Option<Arc<DataDir>>,
    config: Option<String>,
    env: Vec<(String, String)>,
    args: Vec<String>,
    same_ports: bool,
}

impl Builder {
    /// The data folder; without one, the server gets a new one.
    #[must_use]
    pub fn data(mut self, data: Arc<DataDir>) -> Self {
        self.data = Some(data);
        self
    }

    /// The configuration file, as TOML.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        self.config = Some(toml.to_owned());
        self
    }

    /// An environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A further argument of `longwire all`.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// Ports that nobody else takes while the server is down, for [`Longwire::restart`].
    #[must_use]
    pub fn at_fixed_ports(mut self) -> Self {
        self.same_ports = true;
        self
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it ends, or is not ready in time; its log is shown.
    pub async fn start(self) -> Longwire {
        let data = self.data.clone().unwrap_or_default();
        let mut command = Setup::new(&self, data);
        if self.same_ports {
            command.claim_ports();
        }
        Longwire::spawn(command).await
    }

    /// Starts it, expecting that it ends by itself.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn start_and_fail(self) -> Output {
        let data = self.data.clone().unwrap_or_default();
        let setup = Setup::new(&self, data);
        run(setup.command("all")).await
    }
}

/// A command of the binary, without any setting of this machine.
pub fn cli() -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LONGWIRE_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end and collects what it prints.
///
/// # Panics
/// When it cannot be started or does not end within the deadline (it is killed then).
pub async fn run(command: Command) -> Output {
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true).stdin(Stdio::null());
    let what = format!("{command:?} to end");
    within(&what, START, command.output())
        .await
        .expect("starting a command")
}

/// Everything a start needs; a restart needs the same again.
#[derive(Debug)]
struct Setup {
    data: Arc<DataDir>,
    config: Option<NamedTempFile>,
    env: Vec<(String, String)>,
    args: Vec<String>,
    claims: Vec<ports::Claim>,
}

impl Setup {
    fn new(builder: &Builder, data: Arc<DataDir>) -> Self {
        let config = builder.config.as_ref().map(|toml| {
            let file = tempfile::Builder::new().suffix(".toml").tempfile();
            let file = file.expect("making a configuration file");
            std::fs::write(file.path(), toml).expect("writing a configuration file");
            file
        });
        let mut env: Vec<_> = LISTENERS
            .iter()
            .map(|name| ((*name).to_owned(), "127.0.0.1:0".to_owned()))
            .collect();
        env.extend(builder.env.iter().cloned());
        Self {
            data,
            config,
            env,
            args: builder.args.clone(),
            claims: Vec::new(),
        }
    }

    fn claim_ports(&mut self) {
        for name in LISTENERS {
            let claim = ports::claim();
            self.env
                .push((name.to_owned(), format!("127.0.0.1:{}", claim.port)));
            self.claims.push(claim);
        }
    }

    /// A command of the binary with this server's data, file and environment, and no other setting of this machine.
    fn command(&self, subcommand: &str) -> Command {
        let mut command = cli();
        command.arg(subcommand).arg("--data").arg(self.data.path());
        if let Some(file) = &self.config {
            command.arg("--config").arg(file.path());
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if subcommand == "all" {
            command.args(&self.args);
        }
        command
    }
}

/// A running server. Dropping it kills it; when the test is failing, its log is printed.
#[derive(Debug)]
pub struct Longwire {
    setup: Setup,
    child: Child,
    endpoints: Endpoints,
    log: NamedTempFile,
}

impl Longwire {
    /// A server on free ports of 127.0.0.1 in the dev profile, with a data folder of its own.
    pub fn builder() -> Builder {
        Builder {
            data: None,
            config: None,
            env: Vec::new(),
            args: Vec::new(),
            same_ports: false,
        }
    }

    /// Starts one with nothing changed.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    async fn spawn(setup: Setup) -> Self {
        let log = tempfile::Builder::new().prefix("longwire-log-").tempfile();
        let log = log.expect("making a log file");
        let (child, endpoints) = launch(&setup, &log).await;
        Self {
            setup,
            child,
            endpoints,
            log,
        }
    }

    /// Where it listens.
    pub fn at(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its data folder.
    pub fn data(&self) -> &DataDir {
        &self.setup.data
    }

    /// Its resident memory in bytes, mapped files not counted.
    pub fn rss(&self) -> u64 {
        process::rss(self.pid())
    }

    /// Another command of the same binary with the same data and configuration.
    pub fn command(&self, subcommand: &str) -> Command {
        self.setup.command(subcommand)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        process::signal(self.pid(), signal);
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// When the operating system does not tell.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("asking for a child").is_none()
    }

    /// Kills it as a power cut would, as far as one process goes, and waits until it is gone.
    ///
    /// # Panics
    /// When it was gone already.
    pub async fn kill(&mut self) {
        assert!(self.is_running(), "the server ended before it was killed");
        self.signal(Signal::KILL);
        self.ended(Duration::from_secs(10)).await;
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When it does not within `deadline`.
    pub async fn ended(&mut self, deadline: Duration) -> ExitStatus {
        let child = std::sync::Mutex::new(&mut self.child);
        eventually("the server has ended", deadline, async || {
            let mut child = child.lock().expect("nobody panics with it");
            child.try_wait().expect("asking for a child")
        })
        .await
    }

    /// Starts it again on the same data, with the same configuration, and at the same ports if it was
    /// [started at fixed ones](Builder::at_fixed_ports).
    ///
    /// # Panics
    /// When it still runs, or is not ready in time.
    pub async fn restart(&mut self) {
        assert!(!self.is_running(), "the server still runs");
        (self.child, self.endpoints) = launch(&self.setup, &self.log).await;
    }

    /// Everything it has logged, of all its lives.
    ///
    /// # Panics
    /// When the log cannot be read.
    pub fn log(&self) -> String {
        let mut text = Vec::new();
        let mut file = self.log.reopen().expect("opening the log");
        file.read_to_end(&mut text).expect("reading the log");
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Fails when the server has panicked or is gone.
    ///
    /// # Panics
    /// Then.
    pub fn assert_unhurt(&mut self) {
        assert!(self.is_running(), "the server has ended");
        let log = self.log();
        assert!(!log.contains("panicked"), "the server has panicked");
    }

    /// A token that its own command line signs.
    pub async fn token(&self, spec: &TokenSpec<'_>) -> String {
        let output = run(spec.command(self.command("token"))).await;
        assert!(
            output.status.success(),
            "signing a token: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for Longwire {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the server ---\n{}--- end of the log ---", self.log());
        }
    }
}

async fn launch(setup: &Setup, log: &NamedTempFile) -> (Child, Endpoints) {
    let append = std::fs::OpenOptions::new()
        .append(true)
        .open(log.path())
        .expect("opening the log");
    let mut child = setup
        .command("all")
        .env("LONGWIRE_READY_JSON", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(append)
        .spawn()
        .expect("starting the server");
    let stdout = child.stdout.take().expect("it is piped");
    match ready(stdout).await {
        Ok(endpoints) => (child, endpoints),
        Err(reason) => {
            let _gone = child.kill();
            let status = child.wait().expect("it was started");
            let log = std::fs::read_to_string(log.path()).unwrap_or_default();
            panic!("the server did not become ready: {reason}, {status}\n{log}");
        }
    }
}

/// The first line of standard output that is JSON. The rest is read and dropped, so that the server never waits for it.
async fn ready(stdout: impl Read + Send + 'static) -> Result<Endpoints, String> {
    let (send, receive) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut send = Some(send);
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Some(waiting) = send.take_if(|_| line.starts_with('{')) {
                let read =
                    serde_json::from_str(&line).map_err(|error| format!("bad ready line {line}: {error}"));
                // Nobody waits any more when the deadline has passed.
                let _late = waiting.send(read);
            }
        }
    });
    match tokio::time::timeout(START, receive).await {
        Ok(Ok(endpoints)) => endpoints,
        Ok(Err(_)) => Err("it closed its output without a ready line".to_owned()),
        Err(_) => Err(format!("no ready line within {START:?}")),
    }
}

/// What `longwire token` is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokenSpec<'a> {
    /// `--uid`
    pub uid: &'a str,
    /// `--org`
    pub org: Option<&'a str>,
    /// `--role`
    pub role: Option<&'a str>,
    /// `--alias`, each
    pub aliases: &'a [&'a str],
    /// `--nickname`
    pub nickname: Option<&'a str>,
    /// `--ttl`
    pub ttl: Option<&'a str>,
}

impl<'a> TokenSpec<'a> {
    /// An agent who answers for a desk.
    pub fn agent(uid: &'a str, aliases: &'a [&'a str]) -> Self {
        Self {
            uid,
            role: Some("agent"),
            aliases,
            ..Self::default()
        }
    }

    /// A visitor.
    pub fn visitor(uid: &'a str) -> Self {
        Self {
            uid,
            role: Some("visitor"),
            ..Self::default()
        }
    }

    /// In another organisation.
    #[must_use]
    pub fn org(self, org: &'a str) -> Self {
        Self {
            org: Some(org),
            ..self
        }
    }

    /// With another life time.
    #[must_use]
    pub fn ttl(self, ttl: &'a str) -> Self {
        Self {
            ttl: Some(ttl),
            ..self
        }
    }

    fn command(&self, mut command: Command) -> Command {
        command.args(["--uid", self.uid]);
        for (name, value) in [
            ("--org", self.org),
            ("--role", self.role),
            ("--nickname", self.nickname),
            ("--ttl", self.ttl),
        ] {
            if let Some(value) = value {
                command.args([name, value]);
            }
        }
        for alias in self.aliases {
            command.args(["--alias", alias]);
        }
        command
    }
}
