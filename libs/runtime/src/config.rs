//! Settings: the types they are made of, and how a service's `Config` is put together from
//! defaults < file (TOML) < environment < flags.
//!
//! A `Config` is a plain struct with `#[serde(default, deny_unknown_fields)]` and a `Default` that works. A key is the
//! path of its field, `mqtt.tcp_listen`; in the environment it is `LONGWIRE_MQTT__TCP_LISTEN`. Values from the
//! environment and from flags are read as what the field wants: a text as it stands, anything else as TOML
//! (`10`, `true`, `["a", "b"]`, `{ a = 1 }`). Tables merge key by key, everything else replaces what is below it.
//!
//! ```
//! use runtime::config::{HumanDuration, Sources};
//!
//! #[derive(Default, serde::Serialize, serde::Deserialize)]
//! #[serde(default, deny_unknown_fields)]
//! struct Config {
//!     grace: HumanDuration,
//! }
//!
//! let sources = Sources::new().env([("LONGWIRE_GRACE".into(), "10s".into())]);
//! let config: Config = sources.read()?.load()?.config;
//! assert_eq!(config.grace.as_secs(), 10);
//! # Ok::<(), runtime::config::ConfigError>(())
//! ```

mod de;
mod duration;
mod error;
mod listen;
mod origin;
mod secret;
mod size;
mod sources;
mod suggest;
#[cfg(test)]
mod tests;
mod tree;

pub use duration::HumanDuration;
pub use error::{ConfigError, EXIT_BAD_CONFIG, Invalid};
pub use listen::Listen;
pub use origin::Origin;
pub use secret::Secret;
pub use size::ByteSize;
pub use sources::{Loaded, Settings, Sources};

/// Why a text is not a value of one of the setting types; says what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(String);

/// The effective configuration as TOML, with every [`Secret`] masked.
///
/// # Errors
/// When `config` has something that TOML cannot say, like a map whose keys are not texts.
pub fn show<T: serde::Serialize>(config: &T) -> Result<String, ConfigError> {
    toml::to_string_pretty(config).map_err(|source| ConfigError::Show { source })
}
