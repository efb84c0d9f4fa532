use std::collections::HashMap;
use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use model::{IdError, OrgId, Origin, Principal, Role, UserId};
use parking_lot::Mutex;
use runtime::clock::Clock;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{AuthError, Claims, Config, KeyRing};

/// Over this a token is refused unread.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Tokens remembered per half of the cache, about 1 KiB each.
const CACHED: usize = 4096;

/// Checks tokens. Cheap enough for the task that serves the connection: tens of microseconds for a public-key
/// signature, a few when the token has been seen before.
#[derive(Debug)]
pub struct Verifier {
    keys: Arc<KeyRing>,
    clock: Clock,
    issuer: Option<String>,
    audience: Option<String>,
    default_org: String,
    leeway: u64,
    anonymous_visitors: bool,
    seen: Mutex<Seen>,
}

/// The header's fields that are listened to. `jku`, `jwk`, `x5u` and `x5c` are not: a token does not bring its own key.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<serde_json::Value>,
}

impl Verifier {
    /// A verifier of the tokens that `keys` fit and `config` asks for, by the wall time of `clock`.
    #[must_use]
    pub fn new(config: &Config, keys: Arc<KeyRing>, clock: Clock) -> Self {
        Self {
            keys,
            clock,
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            default_org: config.default_org.clone(),
            leeway: config.leeway.as_secs(),
            anonymous_visitors: config.allows_anonymous_visitors(),
            seen: Mutex::default(),
        }
    }

    /// Checks signature, `exp`, `nbf`, `iss`, `aud` and ids. The principal's `expires_at` is the token's `exp`: when the
    /// connection has to end. A token that says that it is unproven gives an [`Origin::AnonymousVisitor`], where such
    /// visitors are taken.
    pub fn verify(&self, token: &str) -> Result<Principal, AuthError> {
        let now = self.clock.unix_millis() / 1000;
        let checked = self.checked(token)?;
        let expires_at = checked.principal.expires_at;
        if let Some(at) = expires_at.filter(|exp| now >= exp.saturating_add(self.leeway)) {
            return Err(AuthError::Expired { at });
        }
        if let Some(from) = checked
            .not_before
            .filter(|nbf| now.saturating_add(self.leeway) < *nbf)
        {
            return Err(AuthError::NotYetValid { from });
        }
        Ok(checked.principal.clone())
    }

    /// Like [`verify`](Self::verify), but a token whose key is unknown waits, for up to five seconds, for the key sets to be
    /// read again, so that the first client after a rotation is not turned away. Needs [`KeyRing::run`] to be running.
    pub async fn verify_or_refresh(&self, token: &str) -> Result<Principal, AuthError> {
        match self.verify(token) {
            Err(error) if error.may_pass_after_refresh() => {
                self.keys.next_reading().await;
                self.verify(token)
            }
            verdict => verdict,
        }
    }

    /// What does not depend on the time: from memory, or by looking.
    fn checked(&self, token: &str) -> Result<Arc<Checked>, AuthError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(AuthError::Malformed("it is longer than 16 KiB"));
        }
        let (message, signature) = token.rsplit_once('.').ok_or(NOT_THREE)?;
        let (header, payload) = message.split_once('.').ok_or(NOT_THREE)?;
        let header: Header = decoded(header, "its header is not JSON in base64url with alg")?;
        if header.crit.is_some() {
            return Err(AuthError::Malformed(
                "its header has critical extensions, of which none is known here",
            ));
        }
        let keys = self.keys.current();
        // Not a fast hash: whoever found a collision would be somebody else.
        let digest: [u8; 32] = Sha256::digest(token).into();
        if let Some(checked) = self.seen.lock().get(&digest, keys.generation) {
            return Ok(checked);
        }
        let signed = keys
            .check(&header.alg, header.kid.as_deref(), message.as_bytes(), signature)
            .inspect_err(|error| {
                if error.may_pass_after_refresh() {
                    self.keys.want();
                }
            })?;
        let checked = Arc::new(self.read(payload)?);
        if signed.public_key {
            self.seen.lock().put(digest, keys.generation, checked.clone());
        }
        Ok(checked)
    }

    fn read(&self, payload: &str) -> Result<Checked, AuthError> {
        let payload = URL_SAFE_NO_PAD
            .decode(payload)
            .map_err(|_| AuthError::Malformed("its payload is not base64url"))?;
        let claims: Claims = serde_json::from_slice(&payload).map_err(|error| AuthError::Claims {
            reason: error
                .to_string()
                .chars()
                .take(200)
                .flat_map(char::escape_default)
                .collect(),
        })?;
        if let Some(expected) = self
            .issuer
            .as_ref()
            .filter(|expected| claims.iss.as_ref() != Some(expected))
        {
            return Err(AuthError::WrongIssuer {
                expected: expected.clone(),
            });
        }
        if let Some(expected) = self
            .audience
            .as_ref()
            .filter(|expected| !claims.aud.contains(expected))
        {
            return Err(AuthError::WrongAudience {
                expected: expected.clone(),
            });
        }
        let not_before = claims.nbf;
        Ok(Checked {
            principal: self.principal(claims)?,
            not_before,
        })
    }

    fn principal(&self, claims: Claims) -> Result<Principal, AuthError> {
        if claims.unproven && !self.anonymous_visitors {
            return Err(AuthError::Unproven);
        }
        let org = claims.org.as_deref().unwrap_or(&self.default_org);
        let aliases = claims
            .aliases
            .iter()
            .map(|alias| id("aliases", alias, UserId::checked));
        let principal = Principal {
            org: id("org", org, OrgId::checked)?,
            user: id("sub", &claims.sub, UserId::checked)?,
            role: claims.role,
            aliases: aliases.collect::<Result<_, _>>()?,
            nickname: claims.name.unwrap_or_default(),
            avatar: claims.avatar.unwrap_or_default(),
            origin: Origin::Token,
            expires_at: claims.exp,
        };
        Ok(match claims.unproven {
            true => Principal {
                role: Role::Visitor,
                aliases: Vec::new(),
                origin: Origin::AnonymousVisitor,
                ..principal
            },
            false => principal,
        })
    }
}

/// Blank is as good as empty: nobody could tell it from another blank.
fn id<T>(claim: &'static str, text: &str, check: fn(&str) -> Result<T, IdError>) -> Result<T, AuthError> {
    let checked = if text.trim().is_empty() {
        Err(IdError::Empty)
    } else {
        check(text)
    };
    checked.map_err(|source| AuthError::BadId { claim, source })
}

const NOT_THREE: AuthError = AuthError::Malformed("it does not have three parts");

fn decoded<T: serde::de::DeserializeOwned>(part: &str, failure: &'static str) -> Result<T, AuthError> {
    let bytes = URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| AuthError::Malformed(failure))?;
    serde_json::from_slice(&bytes).map_err(|_| AuthError::Malformed(failure))
}

#[derive(Debug)]
struct Checked {
    principal: Principal,
    not_before: Option<u64>,
}

/// Tokens whose signature was good, for the storm of reconnects after an edge went away. Two halves: when the younger is
/// full, it becomes the older, and the older is dropped.
#[derive(Debug, Default)]
struct Seen {
    generation: u64,
    young: HashMap<[u8; 32], Arc<Checked>>,
    old: HashMap<[u8; 32], Arc<Checked>>,
}

impl Seen {
    fn get(&self, digest: &[u8; 32], generation: u64) -> Option<Arc<Checked>> {
        let found = self.young.get(digest).or_else(|| self.old.get(digest));
        found.filter(|_| self.generation == generation).cloned()
    }

    fn put(&mut self, digest: [u8; 32], generation: u64, checked: Arc<Checked>) {
        if self.generation != generation {
            *self = Self {
                generation,
                ..Self::default()
            };
        }
        if self.young.len() >= CACHED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, checked);
    }
}

#[cfg(test)]
mod tests;
