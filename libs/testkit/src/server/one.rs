//! `longwire all` as a child process.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use tempfile::NamedTempFile;

use super::{Endpoints, Setup};
use crate::process::{self, Signal};
use crate::{eventually, ports, spawn};

/// From the start of the process to its ready line.
const START: Duration = Duration::from_secs(30);
const LISTENERS: [&str; 4] = [
    "LONGWIRE_MQTT__TCP_LISTEN",
    "LONGWIRE_MQTT__WS_LISTEN",
    "LONGWIRE_HTTP__LISTEN",
    "LONGWIRE_OPS__LISTEN",
];

/// Free ports, before what a test sets.
pub(super) fn listeners() -> Vec<(String, String)> {
    let free = |name: &str| (name.to_owned(), "127.0.0.1:0".to_owned());
    LISTENERS.into_iter().map(free).collect()
}

/// Everything in one process. Dropping it kills it; when the test is failing, its log is printed.
#[derive(Debug)]
pub(super) struct One {
    setup: Setup,
    child: Child,
    endpoints: Endpoints,
    log: NamedTempFile,
    _claims: Vec<ports::Claim>,
}

impl One {
    pub(super) async fn start(mut setup: Setup, same_ports: bool) -> Self {
        let mut claims = Vec::new();
        if same_ports {
            for name in LISTENERS {
                let claim = ports::claim();
                setup.set_env(name, &claim.at().to_string());
                claims.push(claim);
            }
        }
        let log = tempfile::Builder::new().prefix("longwire-log-").tempfile();
        let log = log.expect("making a log file");
        let (child, endpoints) = launch(&setup, &log).await;
        Self {
            setup,
            child,
            endpoints,
            log,
            _claims: claims,
        }
    }

    pub(super) fn at(&self) -> &Endpoints {
        &self.endpoints
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn setup(&self) -> &Setup {
        &self.setup
    }

    pub(super) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("asking for a child").is_none()
    }

    pub(super) async fn kill(&mut self) {
        assert!(self.is_running(), "the server ended before it was killed");
        process::signal(self.pid(), Signal::KILL);
        self.ended(Duration::from_secs(10)).await;
    }

    pub(super) async fn ended(&mut self, deadline: Duration) -> ExitStatus {
        let child = std::sync::Mutex::new(&mut self.child);
        eventually("the server has ended", deadline, async || {
            let mut child = child.lock().expect("nobody panics with it");
            child.try_wait().expect("asking for a child")
        })
        .await
    }

    pub(super) async fn restart(&mut self) {
        assert!(!self.is_running(), "the server still runs");
        (self.child, self.endpoints) = launch(&self.setup, &self.log).await;
    }

    pub(super) fn log(&self) -> String {
        let mut text = Vec::new();
        let mut file = self.log.reopen().expect("opening the log");
        file.read_to_end(&mut text).expect("reading the log");
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Drop for One {
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
    let mut command = setup.command("all");
    command
        .env("LONGWIRE_READY_JSON", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(append);
    let mut child = spawn::spawn(command).expect("starting the server");
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
