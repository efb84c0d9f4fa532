//! Where a value came from.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// What the name of every setting in the environment starts with.
pub(super) const ENV_PREFIX: &str = "LONGWIRE_";

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: the built-in default.
    Default,
    /// In a set of defaults for one situation, such as a profile.
    Preset(&'static str),
    /// In the configuration file, lines counted from 1.
    File {
        /// As given to [`super::Sources::file`].
        path: Arc<Path>,
        /// The line of the value.
        line: usize,
    },
    /// In the environment: the variable's name.
    Env(String),
    /// On the command line: the flag as the user wrote it.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the built-in default"),
            Self::Preset(name) => write!(f, "the built-in defaults for {name}"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// The environment variable that sets `key`.
pub(super) fn env_name(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.replace('.', "__").to_uppercase())
}
