use std::path::PathBuf;

use edge::Limits;
use runtime::config::{HumanDuration, Invalid, Listen};
use serde::{Deserialize, Serialize};

/// Settings of the MQTT edge.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where MQTT is listened for. WebSocket upgrades are taken here as well.
    pub tcp_listen: Listen,
    /// Where MQTT over WebSocket is listened for. Plain MQTT is taken here as well.
    pub ws_listen: Listen,
    /// The paths of WebSocket upgrades.
    pub ws_paths: Vec<String>,
    /// Origins that browsers may connect from; empty = any.
    pub allowed_origins: Vec<String>,
    /// The certificate for TLS on all listeners and on `tls.listen`.
    pub tls: Option<Tls>,
    /// The longest time that a session outlives its connection, whatever the client asks for.
    pub max_session_expiry: HumanDuration,
    /// How long a persistent session of MQTT 3.1.1, which cannot say it, outlives its connection.
    pub session_expiry: HumanDuration,
    /// What one client may use.
    pub limits: Limits,
}

/// TLS.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// A PEM file with the certificate chain.
    pub certificate: PathBuf,
    /// A PEM file with the private key.
    pub key: PathBuf,
    /// Where MQTT over TLS is listened for, in addition; TLS is recognised by its first byte on the other listeners.
    pub listen: Option<Listen>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            tcp_listen: Listen::loopback(1883),
            ws_listen: Listen::loopback(9885),
            ws_paths: vec!["/websocket".into(), "/mqtt".into()],
            allowed_origins: Vec::new(),
            tls: None,
            max_session_expiry: HumanDuration::from_secs(30 * 24 * 3600),
            session_expiry: HumanDuration::from_secs(7 * 24 * 3600),
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// Whether the settings can be kept.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.limits.validate().map_err(|e| e.under("limits"))?;
        if self.ws_paths.iter().any(|p| !p.starts_with('/')) {
            return Err(Invalid::new("ws_paths", "every path begins with a slash"));
        }
        Ok(())
    }
}
