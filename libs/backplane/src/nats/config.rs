use std::path::PathBuf;
use std::time::Duration;

use async_nats::ConnectOptions;
use runtime::config::{ByteSize, HumanDuration, Invalid, Secret};
use serde::{Deserialize, Serialize};

use super::NatsError;
use super::monitor::Monitor;

/// Section `[nats]`: the servers that hold the log and the leases and carry the bus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NatsConfig {
    /// Where to connect: `nats://host:port` or `tls://host:port`, several of one cluster.
    pub servers: Vec<String>,
    /// A credentials file (JWT and key), as `nsc` writes it.
    pub credentials: Option<PathBuf>,
    /// User name, with `password`.
    pub user: String,
    /// The password of `user`.
    pub password: Secret,
    /// A token, where the servers know no users.
    pub token: Secret,
    /// Certificates (PEM) that the servers' are checked against, besides the system's.
    pub tls_ca: Option<PathBuf>,
    /// Our certificate (PEM), where the servers ask for one; with `tls_key`.
    pub tls_cert: Option<PathBuf>,
    /// The key of `tls_cert` (PEM).
    pub tls_key: Option<PathBuf>,
    /// Refuse servers without TLS.
    pub tls_required: bool,
    /// How many servers hold each stream. 3 lives through the loss of one; 1 is for development.
    pub replicas: usize,
    /// How long the log keeps a message: longer than the longest outage of PostgreSQL that is to be survived.
    pub retention: HumanDuration,
    /// How large the log of one partition may grow; it takes no more when it is full. 0: as large as the servers allow.
    pub max_partition_size: ByteSize,
    /// Monitoring addresses of all servers, `http://host:8222`: the only place that tells whether they sync every write.
    pub monitor: Vec<String>,
    /// How long an append waits for servers that are away or choose a leader, before the client is told.
    pub append_timeout: HumanDuration,
    /// How long a start waits for the servers.
    pub start_timeout: HumanDuration,
    /// Use servers that are older than what is known to keep what they acknowledge. For development only.
    pub allow_old_server: bool,
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self {
            servers: vec!["nats://127.0.0.1:4222".to_owned()],
            credentials: None,
            user: String::new(),
            password: Secret::default(),
            token: Secret::default(),
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            tls_required: false,
            replicas: 3,
            retention: HumanDuration::from_secs(7 * 24 * 3600),
            max_partition_size: ByteSize::bytes(0),
            monitor: Vec::new(),
            append_timeout: HumanDuration::from_secs(15),
            start_timeout: HumanDuration::from_secs(30),
            allow_old_server: false,
        }
    }
}

impl NatsConfig {
    /// Whether the settings make sense.
    ///
    /// # Errors
    /// Names the key that does not, below `[nats]`.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.servers.is_empty() {
            return Err(Invalid::new("servers", "must name at least one server"));
        }
        for server in &self.servers {
            if let Err(error) = server.parse::<async_nats::ServerAddr>() {
                return Err(Invalid::new(
                    "servers",
                    format!("{server} is no address: {error}"),
                ));
            }
        }
        if !matches!(self.replicas, 1 | 3 | 5) {
            return Err(Invalid::new("replicas", "must be 1, 3 or 5"));
        }
        if self.retention.get() < Duration::from_secs(3600) {
            return Err(Invalid::new("retention", "must be an hour or more"));
        }
        if self.append_timeout.is_zero() {
            return Err(Invalid::new("append_timeout", "must be more than nothing"));
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return Err(Invalid::new("tls_key", "goes together with tls_cert"));
        }
        let ways = [
            self.credentials.is_some(),
            !self.user.is_empty(),
            !self.token.is_empty(),
        ];
        if ways.iter().filter(|way| **way).count() > 1 {
            return Err(Invalid::new(
                "credentials",
                "choose one of credentials, user with password, and token",
            ));
        }
        for url in &self.monitor {
            Monitor::parse(url).map_err(|reason| Invalid::new("monitor", reason))?;
        }
        Ok(())
    }

    /// Who we are and what we trust, for the client.
    pub(super) async fn options(&self) -> Result<ConnectOptions, NatsError> {
        let mut options = ConnectOptions::new().require_tls(self.tls_required);
        if let Some(file) = &self.credentials {
            options = options
                .credentials_file(file)
                .await
                .map_err(|source| NatsError::Credentials {
                    file: file.clone(),
                    source,
                })?;
        }
        if !self.user.is_empty() {
            options = options.user_and_password(self.user.clone(), self.password.expose().to_owned());
        }
        if !self.token.is_empty() {
            options = options.token(self.token.expose().to_owned());
        }
        if let Some(ca) = &self.tls_ca {
            options = options.add_root_certificates(ca.clone());
        }
        if let (Some(cert), Some(key)) = (&self.tls_cert, &self.tls_key) {
            options = options.add_client_certificate(cert.clone(), key.clone());
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_what_is_wrong_is_named() {
        let valid = NatsConfig::default();
        assert_eq!(valid.validate(), Ok(()));
        let wrong = |change: fn(&mut NatsConfig)| {
            let mut config = valid.clone();
            change(&mut config);
            config.validate().expect_err("it is refused").key
        };
        assert_eq!(wrong(|c| c.servers.clear()), "servers");
        assert_eq!(wrong(|c| c.replicas = 2), "replicas");
        assert_eq!(wrong(|c| c.retention = HumanDuration::from_secs(60)), "retention");
        assert_eq!(wrong(|c| c.monitor.push("https://h:1".into())), "monitor");
        assert_eq!(wrong(|c| c.tls_cert = Some("c".into())), "tls_key");
        let both = wrong(|c| {
            c.user = "u".into();
            c.token = Secret::new("t");
        });
        assert_eq!(both, "credentials");
    }
}
