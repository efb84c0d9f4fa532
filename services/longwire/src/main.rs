//! `longwire`: `longwire all` runs every service in one process, the roles run one each; the other commands are the
//! operator's.

mod all;
mod cli;
mod config;
mod explain;
mod listeners;
mod migrate;
mod role;
mod start;
mod token;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use cli::{Cli, Command, ConfigAction};
use runtime::config::{ConfigError, EXIT_BAD_CONFIG};

/// Connections come and go and differ in size: an allocator that gives memory back between them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(code) => code,
        Err(error) => {
            let code = error.downcast_ref::<ConfigError>().map_or(1, |_| EXIT_BAD_CONFIG);
            say(&mut std::io::stderr(), &format!("longwire: {error:#}"));
            ExitCode::from(code)
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    // It looks at an installation from outside: no setting of ours concerns it.
    if let Command::Verify(args) = &cli.command {
        return Ok(ExitCode::from(verify::cli::run(args)));
    }
    let config = config::load(cli)?;
    if let Some(role) = cli.command.role() {
        return role::run(role, config);
    }
    match &cli.command {
        Command::Token(asked) => {
            let token = token::sign(&config, asked)?;
            say(&mut std::io::stdout(), &token);
            Ok(ExitCode::SUCCESS)
        }
        Command::Migrate { revert } => migrate::run(&config, *revert),
        Command::Explain(asked) => {
            say(&mut std::io::stdout(), &explain::run(&config, asked)?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Config {
            action: ConfigAction::Check,
        } => {
            say(&mut std::io::stdout(), "the configuration is valid");
            Ok(ExitCode::SUCCESS)
        }
        Command::Config {
            action: ConfigAction::Show,
        } => {
            say(&mut std::io::stdout(), runtime::config::show(&config)?.trim_end());
            Ok(ExitCode::SUCCESS)
        }
        _ => all::run(config),
    }
}

/// Runs a service to its end on a runtime of its own; its exit code.
fn block_on(service: impl Future<Output = anyhow::Result<u8>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let code = runtime.block_on(service)?;
    // Blocking reads that are under way do not hold the process up.
    runtime.shutdown_background();
    Ok(ExitCode::from(code))
}

/// Waits for something short on a runtime of its own.
fn wait_for<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    Ok(runtime.block_on(work))
}

/// Writes a line. A reader that went away (`longwire … | head`) is no failure of ours.
fn say(to: &mut dyn std::io::Write, line: &str) {
    let _gone = writeln!(to, "{line}").and_then(|()| to.flush());
}
