use jsonwebtoken::{Algorithm, EncodingKey, Header};

use crate::secret::key_bytes;
use crate::{Claims, Config, KeyError};

/// Makes tokens that this installation accepts: HS256 with the configured secret.
#[derive(Clone)]
pub struct Signer {
    key: EncodingKey,
    issuer: Option<String>,
    audience: Option<String>,
}

impl Signer {
    /// A signer with `config`'s secret, whose tokens carry the issuer and audience that `config` demands.
    /// [`KeyError::NoSecret`] when there is none: then somebody else makes the tokens.
    pub fn new(config: &Config) -> Result<Self, KeyError> {
        let bytes = key_bytes(&config.secret)?.ok_or(KeyError::NoSecret)?;
        Ok(Self {
            key: EncodingKey::from_secret(&bytes),
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
        })
    }

    /// Signs `claims` as they are; `iss` and `aud` are filled in when they are empty. Ids are checked by who verifies.
    #[must_use]
    pub fn sign(&self, claims: &Claims) -> String {
        let mut claims = claims.clone();
        claims.iss = claims.iss.or_else(|| self.issuer.clone());
        if claims.aud.is_empty() {
            claims.aud.extend(self.audience.clone());
        }
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.key)
            .expect("claims are strings and numbers, and HMAC takes a key of any length")
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}
