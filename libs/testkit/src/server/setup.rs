//! What a start needs, and commands of the binary.

use std::ffi::OsString;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::{DataDir, binary, within};

/// How long a command may take.
const RUN: Duration = Duration::from_secs(30);

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
    within(&what, RUN, command.output())
        .await
        .expect("starting a command")
}

/// A test that fails because a client was refused is to say why.
const LOG: &str = "info,mqtt_edge::connect=debug,stomp_edge::connect=debug";

/// Everything a start needs; a restart needs the same again.
#[derive(Debug)]
pub(crate) struct Setup {
    data: Arc<DataDir>,
    config: Option<NamedTempFile>,
    env: Vec<(String, String)>,
}

impl Setup {
    pub(crate) fn new(config: Option<&str>, env: Vec<(String, String)>, data: Arc<DataDir>) -> Self {
        let config = config.map(|toml| {
            let file = tempfile::Builder::new().suffix(".toml").tempfile();
            let file = file.expect("making a configuration file");
            std::fs::write(file.path(), toml).expect("writing a configuration file");
            file
        });
        Self { data, config, env }
    }

    pub(crate) fn data(&self) -> &DataDir {
        &self.data
    }

    pub(crate) fn env(&self) -> &[(String, String)] {
        &self.env
    }

    pub(crate) fn set_env(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// A subcommand with the data folder and the file.
    pub(crate) fn arguments(&self, subcommand: &str) -> Vec<OsString> {
        let mut words = vec![subcommand.into(), "--data".into(), self.data.path().into()];
        if let Some(file) = &self.config {
            words.extend(["--config".into(), file.path().into()]);
        }
        words
    }

    /// A command of the binary with these settings, and no other of this machine.
    pub(crate) fn command(&self, subcommand: &str) -> Command {
        let mut command = cli();
        command.args(self.arguments(subcommand));
        command.env("LONGWIRE_LOG__FILTER", LOG);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}
