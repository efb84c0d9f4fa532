use std::path::PathBuf;

use model::OrgId;
use runtime::config::{HumanDuration, Invalid, Secret};
use serde::{Deserialize, Serialize};

use crate::secret::key_bytes;
use crate::{AclConfig, Action, KeyError};

/// The `auth` section. Its defaults are those of production: no keys, nobody anonymous, nothing allowed; the dev
/// profile fills in what was left open, see [`Config::apply_dev`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Key of HS256, HS384 and HS512: 32 bytes or more, raw or `base64:…`. Empty: none.
    pub secret: Secret,
    /// Keys of RS256, ES256 and EdDSA, each in a PEM file.
    pub public_keys: Vec<PublicKey>,
    /// A key set (JWKS, RFC 7517) in a file, read again every `jwks_refresh`.
    pub jwks_file: Option<PathBuf>,
    /// Address of a key set, http or https, asked without proxy or redirects, every `jwks_refresh` and when a token names an unknown key.
    pub jwks_url: Option<String>,
    /// How often key sets are read again, at least 10 s.
    pub jwks_refresh: HumanDuration,
    /// When set, a token's `iss` must be this.
    pub issuer: Option<String>,
    /// When set, a token's `aud` must name this.
    pub audience: Option<String>,
    /// How far clocks may differ when `exp` and `nbf` are checked.
    pub leeway: HumanDuration,
    /// Whether MQTT clients may connect without a token, for ordinary topics only. Default: only in dev.
    pub anonymous_mqtt: Option<bool>,
    /// Whether visitors may connect without a token, for their own threads only. Default: only in dev.
    pub anonymous_visitors: Option<bool>,
    /// The organisation of tokens and clients that name none.
    pub default_org: String,
    /// Who may publish and subscribe to what, besides chat topics.
    pub acl: AclConfig,
}

/// A public key in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicKey {
    /// PEM file with one `PUBLIC KEY` (RSA of 2048 to 4096 bits, P-256 or Ed25519) or `RSA PUBLIC KEY`.
    pub file: PathBuf,
    /// The `kid` of the tokens it is for; without it, it is tried for all of its algorithm.
    #[serde(default)]
    pub kid: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            secret: Secret::default(),
            public_keys: Vec::new(),
            jwks_file: None,
            jwks_url: None,
            jwks_refresh: HumanDuration::from_secs(600),
            issuer: None,
            audience: None,
            leeway: HumanDuration::from_secs(5),
            anonymous_mqtt: None,
            anonymous_visitors: None,
            default_org: "df_org_uid".to_owned(),
            acl: AclConfig::default(),
        }
    }
}

impl Config {
    /// Opens what the dev profile opens, as far as the configuration leaves it open: anonymous clients, ordinary topics. The
    /// secret is not made here, see [`dev_secret`](crate::dev_secret).
    pub fn apply_dev(&mut self) {
        self.anonymous_mqtt.get_or_insert(true);
        self.anonymous_visitors.get_or_insert(true);
        self.acl.default.get_or_insert(Action::Allow);
    }

    /// Whether MQTT clients may connect without a token.
    #[must_use]
    pub fn allows_anonymous_mqtt(&self) -> bool {
        self.anonymous_mqtt.unwrap_or(false)
    }

    /// Whether visitors may connect without a token.
    #[must_use]
    pub fn allows_anonymous_visitors(&self) -> bool {
        self.anonymous_visitors.unwrap_or(false)
    }

    /// Whether there is anything to check a token with.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        !self.secret.is_empty()
            || !self.public_keys.is_empty()
            || self.jwks_file.is_some()
            || self.jwks_url.is_some()
    }

    /// Checks what the types do not: that there are keys, that secret, address and default organisation are usable.
    /// Keys are named as in this table: add [`Invalid::under`]`("auth")`. Files are read by
    /// [`KeyRing::build`](crate::KeyRing::build).
    pub fn validate(&self) -> Result<(), Invalid> {
        if !self.has_keys() {
            return Err(Invalid::new("secret", KeyError::Missing.to_string()));
        }
        key_bytes(&self.secret).map_err(|error| Invalid::new("secret", error.to_string()))?;
        self.jwks_url
            .as_deref()
            .map_or(Ok(()), check_url)
            .map_err(|reason| Invalid::new("jwks_url", reason))?;
        if self.jwks_refresh < HumanDuration::from_secs(10) {
            return Err(Invalid::new("jwks_refresh", "it must be 10s or more"));
        }
        if self.leeway > HumanDuration::from_secs(300) {
            return Err(Invalid::new("leeway", "it must be 5m or less"));
        }
        OrgId::checked(&self.default_org).map_err(|error| Invalid::new("default_org", error.to_string()))?;
        Ok(())
    }
}

fn check_url(url: &str) -> Result<(), String> {
    let uri: http::Uri = url
        .parse()
        .map_err(|error| format!("it is no address: {error}"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
        return Err("it must begin with http:// or https:// and a host".to_owned());
    }
    if uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        return Err("it cannot carry a user name or password".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"
        secret = "0123456789abcdef0123456789abcdef"
        public_keys = [{ file = "a.pem" }, { file = "b.pem", kid = "b" }]
        jwks_url = "https://id.example/keys"
        jwks_refresh = "10m"
        leeway = 0
        anonymous_mqtt = true
        acl.default = "deny"
        acl.rules = [{ action = "allow", who = "user:u1", access = "all", filter = "devices/${uid}/#" }]
    "#;

    #[test]
    fn a_configuration_reads_and_shows_without_its_secret() {
        let config: Config = toml::from_str(FULL).unwrap();
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.jwks_refresh, HumanDuration::from_secs(600));
        let shown = format!("{config:?} {config:#?} {}", toml::to_string(&config).unwrap());
        assert!(
            !shown.contains("0123456789abcdef") && shown.contains("***"),
            "{shown}"
        );
        assert!(shown.contains("devices/${uid}/#"), "{shown}");
    }

    #[test]
    fn unknown_keys_and_bad_values_are_named() {
        for (text, named) in [
            ("secrets = 1", "secrets"),
            ("jwks_refresh = \"soon\"", "soon"),
            ("leeway = 5", "5"),
            (
                "acl.rules = [{ action = \"allow\", who = \"boss\", access = \"all\", filter = \"a\" }]",
                "boss",
            ),
            (
                "acl.rules = [{ action = \"allow\", who = \"all\", access = \"all\", filter = \"a#\" }]",
                "a#",
            ),
        ] {
            let error = toml::from_str::<Config>(text).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn nothing_is_open_unless_said_or_in_dev() {
        let mut config = Config::default();
        assert!(!config.allows_anonymous_mqtt() && !config.allows_anonymous_visitors());
        assert_eq!(config.validate().unwrap_err().key, "secret");
        config.anonymous_mqtt = Some(false);
        config.apply_dev();
        assert!(!config.allows_anonymous_mqtt() && config.allows_anonymous_visitors());
        assert_eq!(config.acl.default, Some(Action::Allow));
    }

    #[test]
    fn an_address_that_is_none_is_refused() {
        for url in [
            "ftp://x/y",
            "/keys",
            "https://",
            "not a url",
            "https://u:p@host/keys",
        ] {
            let config = Config {
                jwks_url: Some(url.to_owned()),
                ..Config::default()
            };
            assert_eq!(config.validate().unwrap_err().key, "jwks_url", "{url}");
        }
    }

    #[test]
    fn a_short_secret_is_named_and_not_shown() {
        let invalid = Config {
            secret: Secret::new("hunter2"),
            ..Config::default()
        }
        .validate()
        .unwrap_err();
        assert!(
            invalid.key == "secret" && invalid.reason.contains("32") && !invalid.reason.contains("hunter2")
        );
    }
}
