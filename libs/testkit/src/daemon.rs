//! A server of others as a child process: started, killed, stopped, started again at the same place.

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::process::{self, Signal};
use crate::spawn::{self, Owner};
use crate::{DEADLINE, eventually};

/// How much of a log is shown when a test fails.
const SHOWN: usize = 200;

/// Everything a start needs; a restart needs the same again.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) owner: Option<Owner>,
    /// No variable of this process that begins so is handed on.
    pub(crate) hide: Option<&'static str>,
}

impl Recipe {
    pub(crate) fn new(name: &str, program: impl Into<PathBuf>) -> Self {
        Self {
            name: name.to_owned(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            owner: None,
            hide: None,
        }
    }

    pub(crate) fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    fn command(&self) -> std::process::Command {
        let mut command = spawn::tied(&self.program, self.owner);
        command.args(&self.args);
        if let Some(prefix) = self.hide {
            for (name, _) in std::env::vars_os() {
                if name.to_string_lossy().starts_with(prefix) {
                    command.env_remove(name);
                }
            }
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null());
        command
    }
}

/// A child process and its log. It dies with this process; dropping it kills it, and prints the end of its log when the
/// test is failing.
#[derive(Debug)]
pub struct Daemon {
    recipe: Mutex<Recipe>,
    child: Mutex<Option<Child>>,
    log: NamedTempFile,
}

impl Daemon {
    /// Made, not started.
    pub(crate) fn new(recipe: Recipe) -> Self {
        let log = tempfile::Builder::new().prefix("longwire-log-").tempfile();
        Self {
            recipe: Mutex::new(recipe),
            child: Mutex::new(None),
            log: log.expect("making a log file"),
        }
    }

    /// Starts it, again too, without waiting until it is ready.
    ///
    /// # Panics
    /// When it cannot be started, or still runs.
    pub fn launch(&self) {
        let append = std::fs::OpenOptions::new()
            .append(true)
            .open(self.log.path())
            .expect("opening the log");
        let recipe = lock(&self.recipe).clone();
        assert!(
            !self.is_running(),
            "{} was started while it still runs",
            recipe.name
        );
        let mut command = recipe.command();
        command.stderr(append.try_clone().expect("one more handle of the log"));
        command.stdout(append);
        let child = spawn::spawn(command)
            .unwrap_or_else(|error| panic!("starting {} with `setpriv` (util-linux): {error}", recipe.name));
        *lock(&self.child) = Some(child);
    }

    /// What it is called in messages.
    pub fn name(&self) -> String {
        lock(&self.recipe).name.clone()
    }

    /// Changes what its next start is given.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Recipe)) {
        change(&mut lock(&self.recipe));
    }

    /// Its process id.
    ///
    /// # Panics
    /// When it has never been started.
    pub fn pid(&self) -> u32 {
        lock(&self.child).as_ref().expect("it was started").id()
    }

    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        matches!(self.status(), Some(Ok(None)))
    }

    fn status(&self) -> Option<io::Result<Option<ExitStatus>>> {
        lock(&self.child).as_mut().map(Child::try_wait)
    }

    /// Sends a signal to it and to every process it has started, to itself first.
    pub fn signal(&self, signal: Signal) {
        if !self.is_running() {
            return;
        }
        let pid = self.pid();
        let family = process::descendants(pid);
        process::signal(pid, signal);
        for pid in family {
            // It may be gone by now.
            let _gone = process::try_signal(pid, signal);
        }
    }

    /// Kills it as a power cut would, as far as processes go, and waits until it is gone.
    pub async fn kill(&self) {
        self.signal(Signal::KILL);
        self.ended(DEADLINE).await;
    }

    /// Stops it where it stands: its sockets stay open, nothing answers.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn cont(&self) {
        self.signal(Signal::CONT);
    }

    /// Asks it to end, as an orchestrator does, and waits until it has.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn terminate(&self) -> ExitStatus {
        if self.is_running() {
            process::signal(self.pid(), Signal::TERM);
        }
        self.ended(2 * DEADLINE).await
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn ended(&self, deadline: Duration) -> ExitStatus {
        let what = format!("{} has ended", self.name());
        eventually(&what, deadline, async || {
            self.status()
                .expect("it was started")
                .expect("asking for a child")
        })
        .await
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

    /// Waits until `ready` says so.
    ///
    /// # Panics
    /// When the process ends first or time runs out; its log is shown.
    pub(crate) async fn ready(&self, deadline: Duration, mut ready: impl AsyncFnMut() -> bool) {
        let end = tokio::time::Instant::now() + deadline;
        while !ready().await {
            let name = self.name();
            assert!(
                self.is_running(),
                "{name} ended while it started:\n{}",
                self.log()
            );
            assert!(
                tokio::time::Instant::now() < end,
                "{name} was not ready within {deadline:?}:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn show(&self) {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let from = lines.len().saturating_sub(SHOWN);
        let name = self.name();
        eprintln!("--- log of {name}, {from} lines left out ---");
        for line in &lines[from..] {
            eprintln!("{line}");
        }
        eprintln!("--- end of the log of {name} ---");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let Some(mut child) = lock(&self.child).take() else {
            return;
        };
        // Fails only when it has ended already.
        let _gone = child.wait();
        if std::thread::panicking() {
            self.show();
        }
    }
}

/// A failing test says more than a poisoned lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
