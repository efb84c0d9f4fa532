use std::path::PathBuf;

use runtime::config::{ByteSize, HumanDuration, Invalid, Listen};
use serde::{Deserialize, Serialize};

/// Settings of the calls between roles.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the roles that others call (persistence, receipts, routing) listen. Never for clients.
    pub listen: Listen,
    /// `host:port` of the persistence replicas. A name that has several addresses stands for all of them and is looked
    /// up again and again.
    pub persistence: Vec<String>,
    /// The same of the receipts replicas.
    pub receipts: Vec<String>,
    /// The same of the routing replicas, which own the partitions of the log between them.
    pub routing: Vec<String>,
    /// How long a call may take in all, every repetition included. More than the `wait` of those who are called.
    pub deadline: HumanDuration,
    /// How long a replica may take to accept a connection and to say that it serves, and the owner of a partition to
    /// say its first word on a line.
    pub connect_timeout: HumanDuration,
    /// How often a silent connection is asked for a sign of life, and how long the sign may take: a peer that is cut off
    /// or stopped is left after the sum.
    pub keep_alive: HumanDuration,
    /// How often names are looked up again.
    pub resolve_interval: HumanDuration,
    /// The largest request or answer, at least 16 MiB: what goes on a line between an edge and an owner is cut, but
    /// not the largest message. A page of history has up to 1000 messages.
    pub max_message: ByteSize,
    /// How many calls may be under way at once, to one service and in one that is called. One more is refused.
    pub max_calls: usize,
    /// Mutual TLS; without it the calls are plain, which only a private network makes safe.
    pub tls: Option<Tls>,
}

/// Who may call and be called: both sides show a certificate of the same authority. All files are PEM.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// The authority that signs the certificates of all roles, and nothing else.
    pub ca: PathBuf,
    /// The certificate chain of this role.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The name in the certificates of those who are called; empty: the host of the address that was given.
    pub server_name: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Listen::loopback(9200),
            persistence: Vec::new(),
            receipts: Vec::new(),
            routing: Vec::new(),
            deadline: HumanDuration::from_secs(10),
            connect_timeout: HumanDuration::from_secs(1),
            keep_alive: HumanDuration::from_secs(2),
            resolve_interval: HumanDuration::from_secs(5),
            max_message: ByteSize::mib(64),
            max_calls: 4096,
            tls: None,
        }
    }
}

impl Config {
    /// Whether the settings can be kept. Which of the lists must not be empty is for the role to say.
    ///
    /// # Errors
    /// Names the first key that is wrong.
    pub fn validate(&self) -> Result<(), Invalid> {
        endpoints("persistence", &self.persistence)?;
        endpoints("receipts", &self.receipts)?;
        endpoints("routing", &self.routing)?;
        for (key, value) in [
            ("deadline", self.deadline),
            ("connect_timeout", self.connect_timeout),
            ("keep_alive", self.keep_alive),
            ("resolve_interval", self.resolve_interval),
        ] {
            if value.get().is_zero() {
                return Err(Invalid::new(key, "must be longer than 0"));
            }
        }
        if self.max_message < ByteSize::mib(16) || self.max_message > ByteSize::mib(1024) {
            return Err(Invalid::new("max_message", "must be from 16 MiB to 1 GiB"));
        }
        // What is above is no limit any more to a counter of permits.
        if self.max_calls == 0 || self.max_calls > 1 << 20 {
            return Err(Invalid::new("max_calls", "must be from 1 to 1048576"));
        }
        self.tls.as_ref().map_or(Ok(()), Tls::validate)
    }
}

impl Tls {
    fn validate(&self) -> Result<(), Invalid> {
        let files = [
            ("tls.ca", &self.ca),
            ("tls.cert", &self.cert),
            ("tls.key", &self.key),
        ];
        match files.into_iter().find(|(_, path)| path.as_os_str().is_empty()) {
            Some((key, _)) => Err(Invalid::new(
                key,
                "names no file; both sides of a call need all three",
            )),
            None => Ok(()),
        }
    }
}

fn endpoints(key: &str, list: &[String]) -> Result<(), Invalid> {
    for (i, text) in list.iter().enumerate() {
        let key = || format!("{key}[{i}]");
        let endpoint: Listen = text
            .parse()
            .map_err(|error: runtime::config::InvalidValue| Invalid::new(key(), error.to_string()))?;
        if endpoint.port() == 0 {
            return Err(Invalid::new(
                key(),
                format!("`{text}` has no port that can be called"),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_can_be_kept() {
        assert!(Config::default().validate().is_ok());
    }

    #[test]
    fn what_cannot_be_kept_is_named() {
        let bad = |c: &mut Config| c.persistence = vec!["a:1".into(), "http://b:2".into()];
        assert!(refused(bad).starts_with("`persistence[1]`: `http://b:2` is not host:port"));
        assert!(refused(|c| c.receipts = vec!["a:0".into()]).contains("no port that can be called"));
        assert!(refused(|c| c.deadline = HumanDuration::from_secs(0)).starts_with("`deadline`"));
        assert!(refused(|c| c.max_message = ByteSize::mib(15)).starts_with("`max_message`"));
        assert!(refused(|c| c.max_calls = 0).starts_with("`max_calls`"));
        let half = Tls {
            ca: "ca.pem".into(),
            ..Tls::default()
        };
        assert!(refused(|c| c.tls = Some(half)).starts_with("`tls.cert`"));
    }
}
