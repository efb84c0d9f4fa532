//! Runs a command with a nats-server, a redis-server and a PostgreSQL around it that all its tests share, and ends with
//! its code: `tests/with-servers.sh`.
#![allow(clippy::print_stderr, reason = "it is a command")]

use std::io;
use std::process::{ExitCode, ExitStatus};

use testkit::process::{self, Signal};
use testkit::servers::Servers;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let Some(program) = words.next() else {
        eprintln!("usage: with-servers COMMAND [ARGUMENT]…");
        return ExitCode::from(64);
    };
    let servers = Servers::start().await;
    let mut command = Command::new(program);
    command.args(words).envs(servers.env());
    match run(command).await {
        // A command that was ended by a signal has no code.
        Ok(status) => status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .map_or(ExitCode::FAILURE, ExitCode::from),
        Err(error) => {
            eprintln!("with-servers: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs it to its end. The signals that ask us to end are the command's, so that the servers are there until it has ended.
async fn run(mut command: Command) -> io::Result<ExitStatus> {
    let mut terminate = signal(SignalKind::terminate())?;
    // The terminal sends this one to the command as well.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut child = command.spawn()?;
    loop {
        tokio::select! {
            status = child.wait() => return status,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {
                if let Some(pid) = child.id() {
                    // It may have ended just now.
                    let _gone = process::try_signal(pid, Signal::TERM);
                }
            }
        }
    }
}
