use edge::Limits;
use runtime::config::{ByteSize, HumanDuration, Invalid};
use serde::{Deserialize, Serialize};

/// Settings of the STOMP edge.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The paths of WebSocket upgrades.
    pub paths: Vec<String>,
    /// Origins that browsers may connect from; empty = any.
    pub allowed_origins: Vec<String>,
    /// How often the server beats, and how often it wants a client to; 0 = not at all.
    pub heart_beat: HumanDuration,
    /// How long a visitor's durable subscription outlives its last connection.
    pub session_expiry: HumanDuration,
    /// How often one message comes again on a connection because of NACK; after that only on the next connection.
    pub max_redeliveries: u32,
    /// Frames that the open transactions of a connection may hold.
    pub max_transaction_frames: usize,
    /// The longest time that a client is asked to wait before it comes back when this server leaves.
    pub drain_spread: HumanDuration,
    /// What one client may use. The window is that of one subscription.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            paths: vec!["/stomp".into(), "/mini".into()],
            allowed_origins: Vec::new(),
            heart_beat: HumanDuration::from_secs(10),
            session_expiry: HumanDuration::from_secs(7 * 24 * 3600),
            max_redeliveries: 10,
            max_transaction_frames: 100,
            drain_spread: HumanDuration::from_secs(5),
            limits: Limits {
                window: 256,
                window_bytes: ByteSize::kib(256),
                buffer: 256,
                buffer_bytes: ByteSize::kib(256),
                receive_maximum: 256,
                max_subscriptions: 100,
                ..Limits::default()
            },
        }
    }
}

impl Config {
    /// Whether the settings can be kept.
    ///
    /// # Errors
    /// The key and what is wrong with its value.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.limits.validate().map_err(|e| e.under("limits"))?;
        if self.paths.is_empty() || self.paths.iter().any(|p| !p.starts_with('/')) {
            return Err(Invalid::new(
                "paths",
                "at least one, and every path begins with a slash",
            ));
        }
        Ok(())
    }
}
