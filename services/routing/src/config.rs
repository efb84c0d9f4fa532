use runtime::config::{ByteSize, HumanDuration, Invalid};
use serde::{Deserialize, Serialize};

/// Settings of the routing service.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How many messages, over all partitions, are remembered exactly, to answer resends without the store. Of those before
    /// it is known for more than a week whether their uid was accepted; only what seems to be a resend is looked up in the store.
    pub remembered_messages: usize,
    /// How many frames of a partition are read again at most when it is taken over, beyond those that the checkpoint lacks.
    pub replayed_frames: u64,
    /// How often what is known of uids is stored, so that the next owner need not read the log.
    pub checkpoint_interval: HumanDuration,
    /// How long a partition stays with an owner that does not renew its lease.
    pub lease: HumanDuration,
    /// The end of each partition's log that its owner keeps in memory, in bytes: what an edge has missed while its line was
    /// down comes from there, and whether what it sends again is stored.
    pub tail: ByteSize,
    /// The largest frame that is appended to the log.
    pub max_frame: ByteSize,
    /// How long a message is held back at most while the store is asked whether it was accepted before. Then its sender is
    /// told to send it again.
    pub hold: HumanDuration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            remembered_messages: 500_000,
            replayed_frames: 20_000,
            checkpoint_interval: HumanDuration::from_secs(10),
            lease: HumanDuration::from_secs(2),
            tail: ByteSize::mib(4),
            max_frame: ByteSize::kib(900),
            hold: HumanDuration::from_secs(2),
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
