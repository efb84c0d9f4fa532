use runtime::config::HumanDuration;
use serde::{Deserialize, Serialize};

use crate::DirectorySeed;

/// Settings of the persistence service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long entries may wait for others to be applied with them, when nobody waits for them.
    pub apply_interval: HumanDuration,
    /// Entries applied in one transaction, at most.
    pub batch_entries: usize,
    /// How long an answer waits for the log to be applied before it fails.
    pub wait: HumanDuration,
    /// How long opaque publishes are kept for sessions that were away.
    pub generic_retention: HumanDuration,
    /// The longest that a session outlives its connection.
    pub max_session_expiry: HumanDuration,
    /// How often the journal is told what is no longer needed.
    pub trim_interval: HumanDuration,
    /// How long a partition stays with a replica that has died.
    pub lease: HumanDuration,
    /// What history has beyond chat messages.
    pub history: History,
    /// Who answers at which desk, to begin with.
    pub directory: DirectorySeed,
}

/// What history has beyond chat messages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct History {
    /// Opaque publishes too, while they are kept.
    pub generic: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            apply_interval: HumanDuration::from_millis(20),
            batch_entries: 8192,
            wait: HumanDuration::from_secs(5),
            generic_retention: HumanDuration::from_secs(7 * 86_400),
            max_session_expiry: HumanDuration::from_secs(30 * 86_400),
            trim_interval: HumanDuration::from_secs(60),
            lease: HumanDuration::from_secs(10),
            history: History::default(),
            directory: DirectorySeed::default(),
        }
    }
}

impl Config {
    /// Refuses values that cannot work.
    ///
    /// # Errors
    /// The key, relative to this section, and what is wrong with its value.
    pub fn validate(&self) -> Result<(), (String, String)> {
        let at_least = |key: &str, ok: bool, what: &str| {
            if ok {
                Ok(())
            } else {
                Err((key.to_owned(), what.to_owned()))
            }
        };
        at_least("batch_entries", self.batch_entries >= 1, "must be at least 1")?;
        at_least("lease", self.lease.as_millis() >= 1000, "must be at least 1s")?;
        at_least(
            "trim_interval",
            !self.trim_interval.is_zero(),
            "must be longer than 0",
        )?;
        self.directory.validate()
    }

    /// Seconds that a session may outlive its connection, given what was asked for.
    pub(crate) fn cap_expiry(&self, asked: u32) -> u32 {
        asked.min(u32::try_from(self.max_session_expiry.as_secs()).unwrap_or(u32::MAX))
    }
}
