use http::HeaderValue;
use runtime::config::{ByteSize, HumanDuration, Invalid};
use serde::{Deserialize, Serialize};

/// The largest page that persistence gives.
const PAGE_LIMIT: u32 = 1000;

/// Settings of the HTTP calls. The listener is the composition root's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether `POST /auth/v1/login` knows the users of the development seed. Default: only in dev.
    pub dev_login: Option<bool>,
    /// How long the tokens are valid that visitors and the dev login get.
    pub token_ttl: HumanDuration,
    /// The largest message. A request may be twice as large and a little more, since a message comes as JSON text within
    /// JSON, where every quote is escaped.
    pub max_message: ByteSize,
    /// How long a client has to send its request's body.
    pub body_timeout: HumanDuration,
    /// The largest page of `pageSize`; a larger one is cut to this.
    pub max_page: u32,
    /// Requests a second that one user may make to this process; 0 = any number.
    pub user_rate: u32,
    /// Requests a second that one address may make to this process; 0 = any number. Behind a load balancer every request
    /// comes from its address.
    pub address_rate: u32,
    /// Origins whose pages may call from a browser; `*` = any. There are no cookies, so a foreign page has no more than
    /// what it is given.
    pub cors_origins: Vec<String>,
    /// What a visitor is greeted with in a new thread.
    pub welcome: String,
    /// What a visitor is greeted with in a thread that it comes back to.
    pub welcome_back: String,
    /// What a visitor is told when nobody is there: it may leave a message.
    pub offline: String,
    /// What a visitor is told while it waits for an agent; `{position}` is its place in the queue, from 1.
    pub queue: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dev_login: None,
            token_ttl: HumanDuration::from_secs(30 * 86_400),
            max_message: ByteSize::kib(256),
            body_timeout: HumanDuration::from_secs(20),
            max_page: 500,
            user_rate: 0,
            address_rate: 0,
            cors_origins: vec!["*".to_owned()],
            welcome: "Hello, how can we help you?".to_owned(),
            welcome_back: "Welcome back".to_owned(),
            offline: "Nobody is here right now. Leave a message, and we will answer it.".to_owned(),
            queue: "All of us are busy. You are number {position} in the queue.".to_owned(),
        }
    }
}

impl Config {
    /// Opens what the dev profile opens, as far as the configuration leaves it open.
    pub fn apply_dev(&mut self) {
        self.dev_login.get_or_insert(true);
    }

    /// Whether there is a dev login.
    #[must_use]
    pub fn has_dev_login(&self) -> bool {
        self.dev_login.unwrap_or(false)
    }

    /// The largest request body, in bytes.
    pub(crate) fn max_body(&self) -> usize {
        self.max_message
            .as_usize()
            .saturating_mul(2)
            .saturating_add(64 * 1024)
    }

    /// Checks what the types do not. Keys are named as in this table.
    ///
    /// # Errors
    /// The value that cannot be used, and what would be right.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.token_ttl < HumanDuration::from_secs(60) {
            return Err(Invalid::new("token_ttl", "it must be 1m or more"));
        }
        if self.body_timeout.is_zero() {
            return Err(Invalid::new("body_timeout", "it must be longer than 0"));
        }
        if self.max_page == 0 || self.max_page > PAGE_LIMIT {
            return Err(Invalid::new(
                "max_page",
                format!("it must be between 1 and {PAGE_LIMIT}"),
            ));
        }
        let max = ByteSize::mib(8);
        if self.max_message > max {
            let reason = format!("it must not exceed {max}, which a frame of the log can hold");
            return Err(Invalid::new("max_message", reason));
        }
        let bad = |origin: &&String| *origin != "*" && HeaderValue::from_str(origin).is_err();
        if let Some(origin) = self.cors_origins.iter().find(bad) {
            return Err(Invalid::new(
                "cors_origins",
                format!("{origin:?} is no origin; write https://host"),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_has_no_dev_login() {
        let mut config = Config::default();
        assert_eq!(config.validate(), Ok(()));
        assert!(!config.has_dev_login());
        config.apply_dev();
        assert!(config.has_dev_login());
    }

    #[test]
    fn bad_values_are_named() {
        let is_named = |key: &str, change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            assert_eq!(config.validate().unwrap_err().key, key);
        };
        is_named("token_ttl", |c| c.token_ttl = HumanDuration::ZERO);
        is_named("body_timeout", |c| c.body_timeout = HumanDuration::ZERO);
        is_named("max_page", |c| c.max_page = 0);
        is_named("max_page", |c| c.max_page = 1001);
        is_named("max_message", |c| c.max_message = ByteSize::mib(9));
        is_named("cors_origins", |c| c.cors_origins = vec!["a\nb".to_owned()]);
    }
}
