use runtime::config::HumanDuration;
use serde::{Deserialize, Serialize};

/// Settings of the receipts service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long receipts may wait for others to be applied with them, when nobody waits for them. Each batch is a synced commit,
    /// which costs as much as some fifty receipts.
    pub apply_interval: HumanDuration,
    /// Receipts applied in one transaction, at most.
    pub batch_entries: usize,
    /// How long an answer waits for the log to be applied before it fails.
    pub wait: HumanDuration,
    /// How long a partition stays with a replica that has died.
    pub lease: HumanDuration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            apply_interval: HumanDuration::from_millis(100),
            batch_entries: 8192,
            wait: HumanDuration::from_secs(5),
            lease: HumanDuration::from_secs(10),
        }
    }
}

impl Config {
    /// Refuses values that cannot work.
    ///
    /// # Errors
    /// The key, relative to this section, and what is wrong with its value.
    pub fn validate(&self) -> Result<(), (String, String)> {
        if self.batch_entries == 0 {
            return Err(("batch_entries".to_owned(), "must be at least 1".to_owned()));
        }
        if self.lease.as_millis() < 1000 {
            return Err(("lease".to_owned(), "must be at least 1s".to_owned()));
        }
        Ok(())
    }
}
