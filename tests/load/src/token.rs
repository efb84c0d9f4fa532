//! Who the chat clients are: agents and visitors with tokens of their own.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use crate::error::{Error, Result};

/// The organisation every token belongs to.
pub(crate) const ORG: &str = "df_org_uid";

const DAY: u64 = 86_400;

/// Signs tokens with the server's secret.
pub(crate) struct Signer {
    key: EncodingKey,
}

#[derive(Debug, Serialize)]
struct Claims<'a> {
    sub: &'a str,
    org: &'a str,
    role: &'a str,
    aliases: &'a [&'a str],
    name: &'a str,
    /// Seconds since 1970.
    exp: u64,
}

impl Signer {
    /// Reads the secret as the server's configuration spells it: the text itself, or base64 after `base64:`.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(file).map_err(Error::io(format!("reading the secret {}", file.display())))?;
        Ok(Self {
            key: EncodingKey::from_secret(&key_bytes(text.trim())?),
        })
    }

    /// A signer whose tokens only a peer that does not look will take.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        Self {
            key: EncodingKey::from_secret(b"of no meaning"),
        }
    }

    /// A token of `sub` that is good for a day.
    pub(crate) fn sign(&self, sub: &str, role: &str, aliases: &[&str]) -> Result<String> {
        let exp = epoch().as_secs() + DAY;
        let claims = Claims {
            sub,
            org: ORG,
            role,
            aliases,
            name: sub,
            exp,
        };
        Ok(jsonwebtoken::encode(
            &Header::new(Algorithm::HS256),
            &claims,
            &self.key,
        )?)
    }
}

fn key_bytes(secret: &str) -> Result<Vec<u8>> {
    let Some(encoded) = secret.strip_prefix("base64:") else {
        return Ok(secret.as_bytes().to_vec());
    };
    let decoded = STANDARD
        .decode(encoded)
        .or_else(|_| URL_SAFE_NO_PAD.decode(encoded));
    decoded.map_err(|_| Error::Usage("the secret after base64: is not base64".to_owned()))
}

/// Time since 1970.
pub(crate) fn epoch() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_its_text_or_what_follows_base64() {
        assert_eq!(key_bytes("plain").unwrap(), b"plain");
        assert_eq!(key_bytes("base64:aGk/aGk=").unwrap(), b"hi?hi");
        assert_eq!(key_bytes("base64:_-8").unwrap(), [0xFF, 0xEF]);
        assert!(key_bytes("base64:!").is_err());
    }
}
