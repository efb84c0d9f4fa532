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
    /// At least 1.
    pub replayed_frames: u64,
    /// How often what is known of uids is stored, so that the next owner need not read the log. At least 1s.
    pub checkpoint_interval: HumanDuration,
    /// How long a partition stays with an owner that does not renew its lease.
    pub lease: HumanDuration,
    /// The end of each partition's log that its owner keeps in memory, in bytes: what an edge has missed while its line was
    /// down comes from there, and whether what it sends again is stored.
    pub tail: ByteSize,
    /// The largest frame that is appended to the log, unless one message is larger. At least 1 KiB.
    pub max_frame: ByteSize,
    /// How long a message is held back at most while the store is asked whether it was accepted before. Then its sender is
    /// told to send it again. Between 100ms and 3s: an edge that has no answer for 4s takes the owner for dead.
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
        let second = HumanDuration::from_secs(1);
        if self.lease < second {
            return Err(Invalid::new("lease", "must be at least 1s"));
        }
        if self.replayed_frames == 0 {
            return Err(Invalid::new("replayed_frames", "must be at least 1"));
        }
        if self.checkpoint_interval < second {
            return Err(Invalid::new("checkpoint_interval", "must be at least 1s"));
        }
        if self.max_frame < ByteSize::kib(1) {
            return Err(Invalid::new("max_frame", "must be at least 1 KiB"));
        }
        // `edge::line` breaks a line off after 4 s, and is not to do that while its owner waits for the store.
        if self.hold < HumanDuration::from_millis(100) || self.hold > HumanDuration::from_secs(3) {
            return Err(Invalid::new(
                "hold",
                "must be between 100ms and 3s: an edge that has no answer for 4s takes the owner for dead, \
                 and sends everything again",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        assert!(config.validate().is_ok());
        change(&mut config);
        config
            .validate()
            .map_or_else(|invalid| invalid.key, |()| String::new())
    }

    #[test]
    fn settings_that_an_owner_cannot_work_with_are_refused_by_name() {
        let keys = [
            refused(|c| c.lease = HumanDuration::from_millis(999)),
            refused(|c| c.replayed_frames = 0),
            refused(|c| c.checkpoint_interval = HumanDuration::from_millis(0)),
            refused(|c| c.max_frame = ByteSize::bytes(0)),
            refused(|c| c.hold = HumanDuration::from_millis(0)),
            refused(|c| c.hold = HumanDuration::from_secs(4)),
        ];
        let expected = [
            "lease",
            "replayed_frames",
            "checkpoint_interval",
            "max_frame",
            "hold",
            "hold",
        ];
        assert_eq!(keys, expected);
    }
}
