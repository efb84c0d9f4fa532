//! The load generator: MQTT and STOMP clients of its own, in closed and open loop, on one thread.
//!
//! It shares no code with the server. Every scenario checks that nothing is lost or reordered, counts what came
//! twice, and reads the server's CPU time and memory from /proc. See docs/performance.md for the method.

mod cli;
mod endpoint;
mod envelope;
mod error;
mod link;
mod mqtt;
mod packet;
mod process;
mod report;
mod run;
mod scenario;
mod stamp;
mod stomp;
mod suite;
mod template;
mod token;
mod track;
mod ws;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use tokio::task::LocalSet;

use cli::{Cli, Command, Common};
use error::{Error, Result};
use link::Target;
use report::Outcome;
use scenario::{Bench, connect, fanout, offline, pairs, stomp as stomp_mqtt};
use suite::Targets;
use token::Signer;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcomes = runtime
        .map_err(Error::io("starting the runtime"))
        .and_then(|runtime| LocalSet::new().block_on(&runtime, dispatch(&cli)));
    match outcomes.and_then(|outcomes| show(&cli, &outcomes).map(|()| outcomes)) {
        Ok(outcomes) if outcomes.iter().any(|outcome| outcome.error.is_some()) => ExitCode::from(2),
        Ok(outcomes) if outcomes.iter().all(Outcome::sound) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            tell(&chain(&error));
            ExitCode::from(2)
        }
    }
}

async fn dispatch(cli: &Cli) -> Result<Vec<Outcome>> {
    let common = &cli.common;
    let mut bench = bench(common)?;
    let mqtt = Target::resolve(&common.url).await?;
    let ws = resolve(common.ws.as_deref()).await?;
    let stomp = resolve(common.http.as_deref().map(suite::stomp_url).as_deref()).await?;
    let outcome = match &cli.command {
        Command::PairsMax(options) => {
            options.validate()?;
            pairs::measure(&bench, &mqtt, options, None).await?
        }
        Command::PairsRate { options, rate } => {
            options.validate()?;
            pairs::measure(&bench, &mqtt, options, Some(*rate)).await?
        }
        Command::Fanout(options) => fanout::measure(&bench, &mqtt, options).await?,
        Command::ConnectStorm(options) => connect::storm(&bench, &mqtt, options).await?,
        Command::Reconnect(options) => connect::reconnect(&bench, &mqtt, options).await?,
        Command::Offline(options) => offline::many(&bench, &mqtt, options).await?,
        Command::DrainOne(options) => offline::one(&bench, &mqtt, options).await?,
        Command::StompMqtt(options) => {
            let stomp = stomp.ok_or(Error::Missing {
                scenario: "stomp-mqtt",
                option: "--http",
            })?;
            stomp_mqtt::measure(&bench, &mqtt, &stomp, options).await?
        }
        Command::Idle(options) => {
            let targets: Vec<_> = std::iter::once(mqtt).chain(ws).collect();
            return connect::idle(&bench, &targets, options).await;
        }
        Command::Suite { quick } => {
            let targets = Targets { mqtt, ws, stomp };
            return Ok(suite::run(&mut bench, &targets, *quick, seconds(common)?, tell).await);
        }
        Command::Report { files } => return read(files),
    };
    Ok(vec![outcome])
}

async fn resolve(url: Option<&str>) -> Result<Option<Target>> {
    match url {
        Some(url) => Target::resolve(url).await.map(Some),
        None => Ok(None),
    }
}

fn bench(common: &Common) -> Result<Bench> {
    let signer = common.secret_file.as_deref().map(Signer::read);
    Ok(Bench {
        run_id: format!("{:x}", token::epoch().as_millis()),
        label: common.label.clone(),
        processes: process::Processes {
            server: common.server_pid.clone(),
            apart: common.apart.clone(),
            counters: common.counters.clone(),
        },
        signer: signer.transpose()?,
        seconds: seconds(common)?.unwrap_or(Duration::from_secs(10)),
        patience: duration(common.patience)?,
    })
}

fn seconds(common: &Common) -> Result<Option<Duration>> {
    common.seconds.map(duration).transpose()
}

fn duration(seconds: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| Error::Usage(format!("{seconds} is no number of seconds")))
}

/// The outcomes in files of JSON lines.
fn read(files: &[std::path::PathBuf]) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).map_err(Error::io(format!("reading {}", file.display())))?;
        for line in text.lines().filter(|line| line.starts_with('{')) {
            outcomes.push(serde_json::from_str(line)?);
        }
    }
    Ok(outcomes)
}

/// Prints the table, then a JSON line for each outcome; of a report the table alone.
fn show(cli: &Cli, outcomes: &[Outcome]) -> Result<()> {
    let mut text = String::new();
    if !cli.common.json {
        text.push_str(&report::table(outcomes));
    }
    if !matches!(cli.command, Command::Report { .. }) {
        for outcome in outcomes {
            text.push_str(&serde_json::to_string(outcome)?);
            text.push('\n');
        }
    }
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(Error::io("printing the results"))
}

/// Tells the person who waits; standard output is for results.
fn tell(text: &str) {
    // Nobody may be listening, which is no reason to stop measuring.
    let _ = writeln!(std::io::stderr(), "longwire-load: {text}");
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
