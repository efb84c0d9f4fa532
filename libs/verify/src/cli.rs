//! `longwire verify`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use runtime::config::HumanDuration;

use crate::cast::dev_tokens;
use crate::{Changes, Error, Plan, Run, Target, Token, Verdict};

/// The exit code when a run could not be.
pub const COULD_NOT_RUN: u8 = 2;

/// Writes conversations to a live installation, over MQTT, STOMP and HTTP, while you break what you like; then proves that
/// nothing acknowledged was lost, doubled or put out of order. Exit code: 0 it holds, 1 it does not, 2 not proven.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The base of STOMP (`/stomp`), REST and MQTT over WebSocket (`/websocket`); may be repeated.
    #[arg(long, required = true, value_name = "URL")]
    pub url: Vec<String>,
    /// MQTT over TCP; `mqtts://host` over TLS; may be repeated.
    #[arg(long, value_name = "HOST:PORT")]
    pub mqtt: Vec<String>,
    /// MQTT over WebSocket, where it is not `/websocket` at one of the other addresses; may be repeated.
    #[arg(long, value_name = "URL")]
    pub ws: Vec<String>,
    /// A PEM file of the certificate authorities to trust instead of the public ones.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Tokens, one in each line: of agents, and of visitors unless the server makes those.
    #[arg(long, value_name = "FILE", required_unless_present = "dev")]
    pub tokens: Option<PathBuf>,
    /// Takes the agents of the dev profile.
    #[arg(long, conflicts_with = "tokens")]
    pub dev: bool,
    /// How many conversations.
    #[arg(long, default_value_t = 8, value_name = "N")]
    pub conversations: usize,
    /// Messages a second, all together.
    #[arg(long, default_value_t = 50.0, value_name = "N")]
    pub rate: f64,
    /// How long to write.
    #[arg(long, default_value = "30s", value_name = "TIME")]
    pub duration: HumanDuration,
    /// How long everything may take afterwards to be where it belongs.
    #[arg(long, default_value = "60s", value_name = "TIME")]
    pub settle: HumanDuration,
    /// MQTT sessions of each agent.
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub clients: usize,
    /// STOMP pages of each visitor that has one.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub pages: usize,
    /// How many conversations, besides the others, are handed over from one agent to another and back.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub transfers: usize,
    /// How often each of those is handed over, and how often some conversation is closed; 0s closes none.
    #[arg(long, default_value = "0s", value_name = "TIME")]
    pub change_every: HumanDuration,
    /// Repeats the decisions of another run.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Writes the verdict with its evidence to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Prints no progress.
    #[arg(long, short)]
    pub quiet: bool,
}

/// [`Args`] as a command of its own, for tests.
#[derive(Debug, Parser)]
#[command(name = "verify")]
struct Alone {
    #[command(flatten)]
    args: Args,
}

impl Args {
    /// Reads arguments without the name of the program.
    ///
    /// # Errors
    /// What is wrong with them, or the help that was asked for.
    pub fn parse_from<S: Into<std::ffi::OsString> + Clone>(
        args: impl IntoIterator<Item = S>,
    ) -> Result<Self, clap::Error> {
        let named = std::iter::once("verify".into()).chain(args.into_iter().map(Into::into));
        Alone::try_parse_from(named).map(|alone| alone.args)
    }

    fn plan(&self) -> Plan {
        Plan {
            conversations: self.conversations.max(1),
            rate: self.rate.clamp(0.1, 100_000.0),
            agent_clients: self.clients.max(1),
            visitor_pages: self.pages.max(1),
            settle: self.settle.get(),
            changes: Changes {
                handed_over: self.transfers,
                hand_over_every: self.change_every.get().max(Duration::from_millis(100)),
                close_every: self.change_every.get(),
            },
            seed: self.seed.unwrap_or_else(rand::random),
            // So that whoever is mostly away comes back while there is still something written.
            long_absence: (self.duration.get() / 3).clamp(Duration::from_secs(1), Duration::from_secs(60)),
            ..Plan::default()
        }
    }
}

/// Runs, prints the verdict to standard output and progress to standard error: the exit code.
pub fn run(args: &Args) -> u8 {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(verify(args)).map_err(|error| told(&error)),
        Err(error) => Err(error.to_string()),
    };
    match outcome {
        Ok(verdict) => {
            say(&mut std::io::stdout(), &verdict.to_string());
            verdict.exit_code()
        }
        Err(why) => {
            say(&mut std::io::stderr(), &format!("longwire: {why}"));
            COULD_NOT_RUN
        }
    }
}

async fn verify(args: &Args) -> Result<Verdict, Error> {
    let target = Target::new(&args.url, &args.mqtt, &args.ws, args.ca.as_deref())?;
    let tokens = match &args.tokens {
        Some(file) => Token::read(file)?,
        None => dev_tokens(&target).await?,
    };
    let run = Run::start(target, tokens, args.plan()).await?;
    let end = tokio::time::Instant::now() + args.duration.get();
    tell(args, &format!("writing for {}", args.duration));
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    while tokio::time::Instant::now() < end {
        tick.tick().await;
        let p = run.progress();
        let line = format!(
            "{} sent, {} acknowledged, {} delivered, {} of {} connected, {} reconnects, {} closed, {} handed over",
            p.sent,
            p.acknowledged,
            p.delivered,
            p.connected,
            p.clients,
            p.reconnects,
            p.closings,
            p.transfers
        );
        tell(args, &line);
    }
    tell(args, "settling");
    let verdict = run.stop().await;
    if let Some(file) = &args.json {
        std::fs::write(file, verdict.json()).map_err(|source| Error::File {
            file: file.clone(),
            source,
        })?;
    }
    Ok(verdict)
}

/// An error with its causes.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn tell(args: &Args, line: &str) {
    if !args.quiet {
        say(&mut std::io::stderr(), line);
    }
}

/// A reader that went away is no failure of ours.
fn say(to: &mut dyn std::io::Write, line: &str) {
    let _gone = writeln!(to, "{line}").and_then(|()| to.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_or_the_dev_login_are_needed() {
        assert!(Args::parse_from(["--url", "http://h:9003"]).is_err());
        assert!(Args::parse_from(["--dev"]).is_err());
        assert!(Args::parse_from(["--url", "http://h:9003", "--dev", "--tokens", "f"]).is_err());
        let args = Args::parse_from([
            "--url",
            "http://h:9003",
            "--dev",
            "--mqtt",
            "h:1883",
            "--duration",
            "5s",
        ])
        .unwrap();
        assert_eq!(args.duration.get(), Duration::from_secs(5));
        assert_eq!(args.plan().long_absence, Duration::from_secs(5) / 3);
    }
}
