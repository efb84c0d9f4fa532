use runtime::config::{HumanDuration, Invalid};
use serde::{Deserialize, Serialize};

/// Settings of the routing service.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How many messages, over all partitions, are remembered to recognise resends. A message that says it is older than
    /// what is remembered is looked up in the store.
    pub remembered_messages: usize,
    /// How many frames of a partition are read again at start to remember them.
    pub replayed_frames: u64,
    /// How long a partition stays with an owner that does not renew its lease.
    pub lease: HumanDuration,
    /// An edge that has not been heard of for so long is forgotten.
    pub edge_timeout: HumanDuration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            remembered_messages: 500_000,
            replayed_frames: 20_000,
            lease: HumanDuration::from_secs(5),
            edge_timeout: HumanDuration::from_secs(60),
        }
    }
}

impl Config {
    /// Whether the settings can be kept.
    ///
    /// # Errors
    /// The key, relative to this section, and what would be right.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.lease < HumanDuration::from_secs(1) {
            return Err(Invalid::new("lease", "must be at least 1s"));
        }
        Ok(())
    }
}
