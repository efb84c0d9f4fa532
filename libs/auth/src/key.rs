use std::path::Path;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, crypto};
use serde::Deserialize;

use crate::KeyError;

/// Most keys taken from one set: a token without `kid` is tried against all of its algorithm.
const MAX_KEYS: usize = 32;

type PemReader = fn(&[u8]) -> jsonwebtoken::errors::Result<DecodingKey>;

/// A key and the algorithms it is good for. Which of them a token is checked with is never up to the token alone.
pub(crate) struct Key {
    pub(crate) kid: Option<String>,
    pub(crate) algorithms: &'static [Algorithm],
    pub(crate) decoding: DecodingKey,
}

impl Key {
    /// `bytes` are the secret.
    pub(crate) fn shared(bytes: &[u8]) -> Self {
        let algorithms = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
        Self {
            kid: None,
            algorithms,
            decoding: DecodingKey::from_secret(bytes),
        }
    }

    /// One public key from a PEM file's text. `path` is for errors.
    pub(crate) fn from_pem(path: &Path, pem: &str, kid: Option<String>) -> Result<Self, KeyError> {
        let bad = |reason| KeyError::BadKey {
            name: path.display().to_string(),
            reason,
        };
        let mut labels = pem
            .lines()
            .filter_map(|line| line.trim().strip_prefix("-----BEGIN "));
        let readers: &[PemReader] = match (labels.next(), labels.next()) {
            (Some("PUBLIC KEY-----"), None) => &[
                DecodingKey::from_rsa_pem,
                DecodingKey::from_ec_pem,
                DecodingKey::from_ed_pem,
            ],
            (Some("RSA PUBLIC KEY-----"), None) => &[DecodingKey::from_rsa_pem],
            (Some(label), None) if label.contains("PRIVATE") => {
                return Err(bad(
                    "it is a private key, which does not belong here; extract the public one with openssl pkey -pubout",
                ));
            }
            (Some(_), Some(_)) => {
                return Err(bad(
                    "there are several PEM blocks in it; give each key its own file",
                ));
            }
            _ => {
                return Err(bad(
                    "it is no PEM public key; a certificate's key comes out with openssl x509 -pubkey",
                ));
            }
        };
        // Each reader refuses the families of the others.
        let decoding = readers.iter().find_map(|read| read(pem.as_bytes()).ok());
        Self::checked(decoding.ok_or_else(|| bad(UNFIT))?, kid).map_err(bad)
    }

    /// `decoding` holds whatever bytes it was given, so everything that verifying would trip over is looked at here.
    fn checked(decoding: DecodingKey, kid: Option<String>) -> Result<Self, &'static str> {
        let algorithms: &'static [Algorithm] = match Jwk::from_decoding_key(&decoding, None)
            .map_err(|_| UNFIT)?
            .algorithm
        {
            AlgorithmParameters::RSA(rsa) => {
                let modulus = unpadded_len(&rsa.n).ok_or(UNFIT)?;
                if !(256..=512).contains(&modulus) {
                    return Err("an RSA key must have 2048 to 4096 bits");
                }
                &[Algorithm::RS256]
            }
            AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => &[Algorithm::ES256],
            AlgorithmParameters::OctetKeyPair(_) => &[Algorithm::EdDSA],
            _ => return Err(UNFIT),
        };
        // Refuses a point that is not on the curve.
        crypto::verify("", b"", &decoding, algorithms[0]).map_err(|_| UNFIT)?;
        Ok(Self {
            kid,
            algorithms,
            decoding,
        })
    }
}

const UNFIT: &str = "it is none of RSA (2048 to 4096 bits), EC P-256, Ed25519";

/// Bytes of a base64url integer without its leading zeros.
fn unpadded_len(encoded: &str) -> Option<usize> {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(encoded)
        .ok()?;
    Some(bytes.iter().skip_while(|byte| **byte == 0).count())
}

#[derive(Deserialize)]
struct KeySetText {
    keys: Vec<serde_json::Value>,
}

/// RFC 7517 §4, as far as it matters here.
#[derive(Deserialize)]
struct JwkText {
    kty: String,
    crv: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// The signature keys of a JWKS that are for us. Keys of other kinds are passed over, as RFC 7517 §5 says; a set without
/// one for us is refused. Symmetric keys (`oct`) are never taken from a set: it is public.
pub(crate) fn read_key_set(from: &str, text: &[u8]) -> Result<Vec<Key>, KeyError> {
    let bad = |reason: String| KeyError::BadKeySet {
        from: from.to_owned(),
        reason,
    };
    let set: KeySetText =
        serde_json::from_slice(text).map_err(|error| bad(format!("it is no JWKS: {error}")))?;
    if set.keys.len() > MAX_KEYS {
        return Err(bad(format!("it has {} keys, over {MAX_KEYS}", set.keys.len())));
    }
    let mut keys = Vec::new();
    for value in set.keys {
        match serde_json::from_value::<JwkText>(value)
            .map_err(|_| UNFIT)
            .and_then(read_jwk)
        {
            Ok(key) => keys.push(key),
            Err(reason) => tracing::debug!(from, reason, "passing over a key of the set"),
        }
    }
    if keys.is_empty() {
        return Err(bad("it has no RS256, ES256 or EdDSA signature key".to_owned()));
    }
    Ok(keys)
}

fn read_jwk(jwk: JwkText) -> Result<Key, &'static str> {
    if jwk.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
        return Err("its use is not sig");
    }
    if jwk
        .key_ops
        .as_ref()
        .is_some_and(|ops| !ops.iter().any(|op| op == "verify"))
    {
        return Err("its key_ops do not include verify");
    }
    let decoding = match (
        jwk.kty.as_str(),
        jwk.crv.as_deref(),
        &jwk.n,
        &jwk.e,
        &jwk.x,
        &jwk.y,
    ) {
        ("RSA", _, Some(n), Some(e), _, _) => DecodingKey::from_rsa_components(n, e),
        ("EC", Some("P-256"), _, _, Some(x), Some(y)) => DecodingKey::from_ec_components(x, y),
        ("OKP", Some("Ed25519"), _, _, Some(x), _) => DecodingKey::from_ed_components(x),
        _ => return Err(UNFIT),
    };
    let key = Key::checked(decoding.map_err(|_| UNFIT)?, jwk.kid)?;
    let expected = match key.decoding.family() {
        AlgorithmFamily::Rsa => "RS256",
        AlgorithmFamily::Ec => "ES256",
        _ => "EdDSA",
    };
    // RFC 9864 gives EdDSA on this curve the name Ed25519.
    match jwk.alg.as_deref() {
        None => Ok(key),
        Some(alg) if alg == expected || (alg == "Ed25519" && expected == "EdDSA") => Ok(key),
        Some(_) => Err("its alg is none of RS256, ES256, EdDSA"),
    }
}
