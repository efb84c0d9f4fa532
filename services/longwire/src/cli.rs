use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// A real-time messaging backbone for customer service.
#[derive(Debug, Parser)]
#[command(name = "longwire", version, about, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub command: Command,

    /// The data folder.
    #[arg(long, global = true, value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// The configuration file (TOML).
    #[arg(long, global = true, value_name = "FILE", env = "LONGWIRE_CONFIG")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs every service in this process, on embedded backends.
    All,
    #[command(flatten)]
    Role(Role),
    /// Prints a signed access token.
    Token(TokenArgs),
    /// Says where a message is, with whom, and why not with others; asks a running installation.
    Explain(crate::explain::ExplainArgs),
    /// Checks the configuration, or shows what it comes to.
    Config {
        #[command(subcommand)]
        action: ConfigAction,
    },
    /// Proves on a live installation that nothing is lost, doubled or reordered: writes conversations over all three
    /// protocols and compares what everybody saw.
    Verify(verify::cli::Args),
    /// Brings the database schema up to this version: that of `[postgres]` when it is configured, else that of the data
    /// folder.
    Migrate {
        /// Takes back the last step instead (PostgreSQL only): for going back to the version before.
        #[arg(long)]
        revert: bool,
    },
}

/// One role of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub(crate) enum Role {
    /// Serves MQTT, as one role of a cluster.
    MqttEdge,
    /// Serves STOMP, as one role of a cluster.
    StompEdge,
    /// Answers HTTP calls, as one role of a cluster.
    Gateway,
    /// Judges what edges submit, appends it to the log and gives it out, as one role of a cluster.
    Routing,
    /// Keeps history, sessions and threads, as one role of a cluster.
    Persistence,
    /// Keeps how far messages have come, as one role of a cluster.
    Receipts,
}

impl Role {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Role::MqttEdge => "mqtt-edge",
            Role::StompEdge => "stomp-edge",
            Role::Gateway => "gateway",
            Role::Routing => "routing",
            Role::Persistence => "persistence",
            Role::Receipts => "receipts",
        }
    }

    /// Whether clients connect to it, so that it must know their tokens.
    pub fn meets_clients(self) -> bool {
        matches!(self, Role::MqttEdge | Role::StompEdge | Role::Gateway)
    }

    /// Whether it submits to the owners of partitions: edges do, and persistence its wills.
    pub fn submits(self) -> bool {
        self.meets_clients() || self == Role::Persistence
    }

    /// Whether it asks persistence.
    pub fn calls_persistence(self) -> bool {
        self.meets_clients() || self == Role::Routing
    }
}

impl Command {
    /// The role that it runs.
    pub fn role(&self) -> Option<Role> {
        match self {
            Command::Role(role) => Some(*role),
            _ => None,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigAction {
    /// Says whether the configuration is valid; exit code 64 if not.
    Check,
    /// Prints the effective configuration, with secrets masked.
    Show,
}

#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// The user's uid: the token's subject.
    #[arg(long, value_name = "U")]
    pub uid: String,
    /// The org; the configured default when left out.
    #[arg(long, value_name = "O")]
    pub org: Option<String>,
    /// What the user is.
    #[arg(long, value_enum, default_value_t = TokenRole::Visitor)]
    pub role: TokenRole,
    /// A further uid that the user acts under; may be repeated.
    #[arg(long = "alias", value_name = "A")]
    pub aliases: Vec<String>,
    /// The display name.
    #[arg(long, value_name = "N")]
    pub nickname: Option<String>,
    /// How long the token is valid.
    #[arg(long, default_value = "30d", value_name = "TIME")]
    pub ttl: runtime::config::HumanDuration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TokenRole {
    Agent,
    Visitor,
    Admin,
    Service,
}
