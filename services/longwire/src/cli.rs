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
    /// Prints a signed access token.
    Token(TokenArgs),
    /// Checks the configuration, or shows what it comes to.
    Config {
        #[command(subcommand)]
        action: ConfigAction,
    },
    /// Brings the database schema up to this version.
    Migrate,
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
}
