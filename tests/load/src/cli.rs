//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::process::Apart;
use crate::scenario::{connect, fanout, offline, pairs, stomp};

/// Measures an MQTT broker, Longwire or another, and checks that it loses and reorders nothing.
///
/// Ends with 0 when everything came in order, 1 when something was lost or reordered, 2 when a scenario could
/// not be measured.
#[derive(Debug, Parser)]
#[command(name = "longwire-load", version)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every scenario takes.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The broker: mqtt://host:port or ws://host:port/path.
    #[arg(long, global = true, default_value = "mqtt://127.0.0.1:1883")]
    pub(crate) url: String,
    /// The same broker's MQTT over WebSocket, for the suite and for idle connections.
    #[arg(long, global = true)]
    pub(crate) ws: Option<String>,
    /// Longwire's HTTP address, http://host:port, where STOMP is served at /stomp.
    #[arg(long, global = true)]
    pub(crate) http: Option<String>,
    /// The secret that signs tokens (HS256), raw or after `base64:`; chat scenarios need it. In dev it is
    /// `auth.secret` in the data folder.
    #[arg(long, global = true)]
    pub(crate) secret_file: Option<PathBuf>,
    /// A process of the server, for its CPU time and memory; may be given again.
    #[arg(long, global = true)]
    pub(crate) server_pid: Vec<u32>,
    /// A process the server stands on, NAME=PID, whose CPU time is told apart, its children's with it; may be given
    /// again, also with the same name.
    #[arg(long, global = true, value_name = "NAME=PID")]
    pub(crate) apart: Vec<Apart>,
    /// A shell command that prints counters, `name value` a line: by how much they grow is told for 1,000 messages.
    #[arg(long, global = true, value_name = "COMMAND")]
    pub(crate) counters: Option<String>,
    /// What to call the server in the results.
    #[arg(long, global = true, default_value = "server")]
    pub(crate) label: String,
    /// How long each timed scenario sends [default: 10, or 5 of idleness].
    #[arg(long, global = true)]
    pub(crate) seconds: Option<f64>,
    /// Seconds without any arrival after which what is missing counts as lost.
    #[arg(long, global = true, default_value_t = 15.0)]
    pub(crate) patience: f64,
    /// Print JSON lines only.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Chat 1:1, as fast as the windows allow.
    PairsMax(pairs::Options),
    /// Chat 1:1 at a fixed rate, for latency.
    PairsRate {
        #[command(flatten)]
        options: pairs::Options,
        /// Messages a second over all pairs.
        #[arg(long, default_value_t = 2_000)]
        rate: u64,
    },
    /// One publisher, many subscribers.
    Fanout(fanout::Options),
    /// Connections that do nothing: memory and CPU of each.
    Idle(connect::Idle),
    /// Connects a second.
    ConnectStorm(connect::Storm),
    /// Persistent sessions whose connections broke come back, all at once.
    Reconnect(connect::Reconnect),
    /// Many sessions that are away: storing, then draining.
    Offline(offline::Offline),
    /// One session that is away: storing, then draining.
    DrainOne(offline::One),
    /// A visitor on STOMP and an agent on MQTT; needs --http and --secret-file.
    StompMqtt(stomp::Options),
    /// All scenarios the given addresses allow, on a server just started.
    Suite {
        /// A tenth of the time and size: whether it works, not how fast.
        #[arg(long)]
        quick: bool,
    },
    /// One table of the JSON lines of any number of runs: medians, scenarios side by side.
    Report {
        /// Files of JSON lines.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
