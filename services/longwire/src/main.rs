//! `longwire`: `longwire all` runs every service in one process; the other commands are the operator's.

mod all;
mod cli;
mod config;
mod listeners;
mod token;

use std::process::ExitCode;

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
    let config = config::load(cli)?;
    match &cli.command {
        Command::All => all::run(config),
        Command::Token(asked) => {
            let token = token::sign(&config, asked)?;
            say(&mut std::io::stdout(), &token);
            Ok(ExitCode::SUCCESS)
        }
        Command::Migrate => {
            let path = all::prepare_data(&config)?.join(all::STORE_FILE);
            store::SqliteStore::migrate(&path)?;
            say(
                &mut std::io::stdout(),
                &format!("{} has the schema of this version", path.display()),
            );
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
    }
}

/// Writes a line. A reader that went away (`longwire … | head`) is no failure of ours.
fn say(to: &mut dyn std::io::Write, line: &str) {
    let _gone = writeln!(to, "{line}").and_then(|()| to.flush());
}
