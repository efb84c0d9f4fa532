//! Clients written in other languages, as child processes.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

use crate::{Longwire, target_dir, within, workspace};

/// Where the programs are.
fn clients() -> PathBuf {
    workspace().join("tests/e2e/clients")
}

/// A Node program below `tests/e2e/clients`, given where the server listens.
///
/// # Panics
/// When its packages are not installed.
pub fn node(server: &Longwire, script: &str) -> Command {
    let folder = clients();
    assert!(
        folder.join("node_modules").is_dir(),
        "the Node packages are not installed; run tests/install.sh (or use `make test`)"
    );
    let mut command = Command::new("node");
    command.arg(folder.join(script));
    with_addresses(server, command)
}

/// A Python program below `tests/e2e/clients`, given where the server listens. `PYTHON` names another interpreter.
///
/// # Panics
/// When its packages are not installed.
pub fn python(server: &Longwire, script: &str) -> Command {
    let interpreter = std::env::var_os("PYTHON").map_or_else(python_venv, PathBuf::from);
    assert!(
        interpreter.exists(),
        "there is no {}; run tests/install.sh (or use `make test`)",
        interpreter.display()
    );
    let mut command = Command::new(interpreter);
    command.arg(clients().join(script));
    with_addresses(server, command)
}

/// Beside the profiles in the target folder, so that nothing is installed into the system.
fn python_venv() -> PathBuf {
    let profile = target_dir();
    let target = profile.parent().unwrap_or(Path::new("/"));
    target.join("e2e-python/bin/python")
}

fn with_addresses(server: &Longwire, mut command: Command) -> Command {
    let at = server.at();
    command
        .env("LW_MQTT", at.mqtt.to_string())
        .env("LW_WS", at.ws.to_string())
        .env("LW_HTTP", at.http.to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs a program to its end and expects it to succeed: what it printed.
///
/// # Panics
/// When it fails or does not end in time; what it printed is shown.
pub async fn succeed(mut command: Command, deadline: Duration) -> String {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let what = format!("{:?} to end", command.as_std());
    let output = within(&what, deadline, command.output()).await;
    let Output {
        status,
        stdout,
        stderr,
    } = output.expect("starting a program");
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{what}: {status}\n{stdout}{stderr}");
    stdout.into_owned()
}
