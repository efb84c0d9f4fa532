use runtime::config::{ByteSize, HumanDuration, Invalid};
use serde::{Deserialize, Serialize};

/// Settings that every edge has.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long a message may wait for the log before its sender is told that the outcome is unknown.
    pub commit_timeout: HumanDuration,
    /// Messages that may wait for the log, in bytes for each partition; beyond it connections that publish there are not read. An
    /// edge may hold this times `journal.partitions`.
    pub max_waiting: ByteSize,
    /// How often the progress of sessions is stored. A crash of the edge makes it repeat what was acknowledged since.
    pub save_interval: HumanDuration,
    /// How often acknowledged messages are told to the receipts service as delivered.
    pub delivered_interval: HumanDuration,
    /// How long the sessions of this edge stay with it when it does not give a sign of life.
    pub lease: HumanDuration,
    /// How long an edge that cannot renew its lease keeps its connections before it sends them elsewhere.
    pub fence_after: HumanDuration,
    /// How long presence of a connection lasts without being refreshed.
    pub presence_ttl: HumanDuration,
    /// How long a user whose last connection is gone is taken to be there: the others are told that it is offline only
    /// when it does not come back in that time.
    pub presence_linger: HumanDuration,
    /// How long a looked-up thread membership is used before it is looked up again.
    pub membership_ttl: HumanDuration,
    /// How often it is looked whether visitors who merely say who they are may go on: not when their uid has been used with
    /// a token meanwhile.
    pub claim_check: HumanDuration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            commit_timeout: HumanDuration::from_secs(10),
            max_waiting: ByteSize::mib(64),
            save_interval: HumanDuration::from_secs(1),
            delivered_interval: HumanDuration::from_secs(1),
            lease: HumanDuration::from_secs(15),
            fence_after: HumanDuration::from_secs(30),
            presence_ttl: HumanDuration::from_secs(90),
            presence_linger: HumanDuration::from_secs(5),
            membership_ttl: HumanDuration::from_secs(30),
            claim_check: HumanDuration::from_secs(30),
        }
    }
}

/// What one client may use.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The largest message.
    pub max_message: ByteSize,
    /// The time a client has to authenticate.
    pub auth_timeout: HumanDuration,
    /// The bytes a client may send before it has authenticated.
    pub max_before_auth: ByteSize,
    /// Messages that may be on their way to a client unacknowledged.
    pub window: u16,
    /// Bytes that may be on their way to a client unacknowledged.
    pub window_bytes: ByteSize,
    /// Messages kept in memory for a client whose window is full; beyond it they are read again from the store.
    pub buffer: usize,
    /// The same in bytes.
    pub buffer_bytes: ByteSize,
    /// Published messages of a client that may wait for the log; MQTT 5 announces it as Receive Maximum.
    pub receive_maximum: u16,
    /// Messages a second that one connection may publish; 0 = any number.
    pub connection_rate: u32,
    /// Messages a second that one user may publish over all its connections to this edge; 0 = any number.
    pub user_rate: u32,
    /// Subscriptions of one session.
    pub max_subscriptions: usize,
    /// Connections of this edge; 0 = any number.
    pub max_connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message: ByteSize::kib(256),
            auth_timeout: HumanDuration::from_secs(5),
            max_before_auth: ByteSize::kib(64),
            window: 1024,
            window_bytes: ByteSize::mib(4),
            buffer: 1024,
            buffer_bytes: ByteSize::mib(1),
            receive_maximum: 1024,
            connection_rate: 0,
            user_rate: 0,
            max_subscriptions: 1000,
            max_connections: 0,
        }
    }
}

impl Limits {
    /// Whether the limits can be kept.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.window == 0 {
            return Err(Invalid::new("window", "must be at least 1"));
        }
        if self.receive_maximum == 0 {
            return Err(Invalid::new("receive_maximum", "must be at least 1"));
        }
        if self.max_message.get() > 8 * 1024 * 1024 {
            return Err(Invalid::new(
                "max_message",
                "must not exceed 8 MiB, which a frame of the log can hold",
            ));
        }
        Ok(())
    }
}
