use ::redis::{Client, ConnectionInfo, IntoConnectionInfo};
use runtime::config::{HumanDuration, Invalid, Secret};
use serde::{Deserialize, Serialize};

use crate::presence::PresenceError;

/// How Redis is reached: the section `[redis]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisConfig {
    /// Where it is: `redis://host:port/database`, or `rediss://…` with TLS. No password here: this is shown.
    pub url: String,
    /// Whom to log in as, where Redis has users.
    pub username: String,
    /// The password; empty: none is asked for.
    pub password: Secret,
    /// How long connecting, logging in included, may take.
    pub connect_timeout: HumanDuration,
    /// How long an answer may take. Whoever waits for it goes on without.
    pub response_timeout: HumanDuration,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379".to_owned(),
            username: String::new(),
            password: Secret::default(),
            connect_timeout: HumanDuration::from_millis(500),
            response_timeout: HumanDuration::from_millis(500),
        }
    }
}

impl RedisConfig {
    /// Whether it can be used.
    pub fn validate(&self) -> Result<(), Invalid> {
        let info = self.info().map_err(|error| Invalid::new("url", error))?;
        if info.redis_settings().password().is_some() {
            let why = "must hold no password, because it is shown; give redis.password";
            return Err(Invalid::new("url", why));
        }
        let timeouts = [
            ("connect_timeout", self.connect_timeout),
            ("response_timeout", self.response_timeout),
        ];
        match timeouts.iter().find(|(_, timeout)| timeout.is_zero()) {
            Some((key, _)) => Err(Invalid::new(*key, "must be longer than 0")),
            None => Ok(()),
        }
    }

    fn info(&self) -> Result<ConnectionInfo, String> {
        let info = self.url.as_str().into_connection_info();
        // The error may repeat the address, and somebody's password in it.
        info.map_err(|error| format!("is not the address of a redis ({:?})", error.kind()))
    }

    pub(super) fn client(&self) -> Result<Client, PresenceError> {
        let info = self
            .info()
            .map_err(|why| PresenceError(format!("redis.url {why}")))?;
        let mut redis = info.redis_settings().clone();
        if !self.username.is_empty() {
            redis = redis.set_username(&self.username);
        }
        if !self.password.is_empty() {
            redis = redis.set_password(self.password.expose());
        }
        let info = info.set_redis_settings(redis);
        Client::open(info).map_err(|error| PresenceError(format!("reading redis.url: {:?}", error.kind())))
    }
}
