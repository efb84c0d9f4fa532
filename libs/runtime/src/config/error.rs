//! What can be wrong with a configuration.

use std::fmt;
use std::path::PathBuf;

use super::Origin;
use super::origin::env_name;

/// The exit code of a process whose configuration is wrong (`EX_USAGE`).
pub const EXIT_BAD_CONFIG: u8 = 64;

/// Why there is no configuration. Each text names the key, the place it was set in, and what would be right; none
/// shows the value of a [`super::Secret`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("reading configuration file {}", path.display())]
    ReadFile {
        /// As given.
        path: PathBuf,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("reading configuration file {}:{line}:{column}: {reason}", path.display())]
    Syntax {
        /// As given.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// In characters, from 1.
        column: usize,
        /// What is wrong there.
        reason: String,
    },
    /// A key that no setting has.
    #[error("unknown key `{key}` in {origin}; {hint}")]
    UnknownKey {
        /// The whole path.
        key: String,
        /// Where it was set.
        origin: Origin,
        /// The nearest known key, or all that are known there.
        hint: String,
    },
    /// A value that its key cannot have.
    #[error("bad value for `{key}` in {origin}: {reason}")]
    BadValue {
        /// The whole path.
        key: String,
        /// Where it was set.
        origin: Origin,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A key without a default that is set nowhere, or whose default will not do here.
    #[error("`{key}` is not set ({}): {reason}", HowToSet(key))]
    NotSet {
        /// The whole path.
        key: String,
        /// Why it is needed.
        reason: String,
    },
    /// An environment variable with a value that is not Unicode.
    #[error("reading environment variable {name}: its value is not valid Unicode")]
    NotUnicode {
        /// The variable.
        name: String,
    },
    /// The configuration has something that TOML cannot say.
    #[error("showing the configuration")]
    Show {
        /// The reason.
        #[source]
        source: toml::ser::Error,
    },
}

impl ConfigError {
    /// What the process ends with: [`EXIT_BAD_CONFIG`].
    pub const fn exit_code(&self) -> u8 {
        EXIT_BAD_CONFIG
    }
}

struct HowToSet<'a>(&'a str);

impl fmt::Display for HowToSet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "set it in the configuration file or as {}", env_name(self.0))
    }
}

/// What a `Config::validate()` says about one of its values: the key as that `Config` knows it, and the reason.
///
/// It becomes a [`ConfigError`], with the place the value came from, in [`super::Loaded::checked`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}`: {reason}")]
pub struct Invalid {
    /// Dotted path of the value.
    pub key: String,
    /// What is wrong and what would be right.
    pub reason: String,
}

impl Invalid {
    /// `key` is wrong because of `reason`.
    pub fn new(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            reason: reason.into(),
        }
    }

    /// The same, as the owner of the table `parent` knows it.
    #[must_use]
    pub fn under(self, parent: &str) -> Self {
        Self {
            key: format!("{parent}.{}", self.key),
            ..self
        }
    }
}
