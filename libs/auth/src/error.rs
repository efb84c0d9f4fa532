use std::path::PathBuf;

/// Why a token was refused. Each text says what to change; all of them are `unauthorized` outside.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// It is not a compact JWS with JSON inside.
    #[error("reading the token: {0}; send the three base64url parts of a signed JWT, unchanged")]
    Malformed(&'static str),
    /// No key of this server goes with the algorithm, which includes `none`.
    #[error(
        "checking the token: no key here is used with algorithm {alg:?}; sign it with HS256, HS384, HS512, RS256, ES256 or EdDSA and a key \
         configured under auth"
    )]
    Algorithm {
        /// The header's `alg`, shortened.
        alg: String,
    },
    /// No key of this server has the token's `kid`.
    #[error(
        "checking the token: no key here is named {kid:?}; publish that key in the key set or sign with one that is in it"
    )]
    UnknownKey {
        /// The header's `kid`, shortened.
        kid: String,
    },
    /// No key has been loaded yet.
    #[error(
        "checking the token: no key has been loaded yet; try again, and see that the key set (auth.jwks_url) can be read"
    )]
    NoKeys,
    /// The signature fits none of the keys.
    #[error(
        "checking the token: the signature fits no key here; sign it with the secret or private key that belongs to this server's configuration"
    )]
    BadSignature,
    /// `exp` is in the past.
    #[error("checking the token: it expired at unix time {at}; get a new one")]
    Expired {
        /// Its `exp`, unix seconds.
        at: u64,
    },
    /// `nbf` is in the future.
    #[error(
        "checking the token: it is not valid before unix time {from}; wait until then, or set the clock of its issuer"
    )]
    NotYetValid {
        /// Its `nbf`, unix seconds.
        from: u64,
    },
    /// `iss` is not the configured issuer.
    #[error("checking the token: its issuer is not {expected:?}; get one from that issuer (auth.issuer)")]
    WrongIssuer {
        /// The configured issuer.
        expected: String,
    },
    /// `aud` does not name the configured audience.
    #[error(
        "checking the token: it is not meant for {expected:?}; ask its issuer to put that into aud (auth.audience)"
    )]
    WrongAudience {
        /// The configured audience.
        expected: String,
    },
    /// It was given for a uid that somebody merely said was its own, and no such visitor is taken here.
    #[error(
        "checking the token: it proves nothing (unproven), and visitors have to prove who they are here; get one for a uid of your own"
    )]
    Unproven,
    /// An id cannot stand as a topic level.
    #[error(
        "reading the token: claim {claim} is no id; put in one that is not blank and has no / + # and no control character, and does not end in _internal"
    )]
    BadId {
        /// The claim's name.
        claim: &'static str,
        /// What is wrong with it.
        #[source]
        source: model::IdError,
    },
    /// A claim is missing or of the wrong type.
    #[error(
        "reading the token: its claims are not as expected: {reason}; sub is required, role is agent, visitor or admin"
    )]
    Claims {
        /// What the decoder says, shortened.
        reason: String,
    },
}

impl AuthError {
    /// Whether the token was good once: the client should get a new one rather than give up.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        matches!(self, Self::Expired { .. })
    }

    /// Whether the keys that a background refresh brings could change the answer.
    #[must_use]
    pub fn may_pass_after_refresh(&self) -> bool {
        matches!(self, Self::UnknownKey { .. } | Self::NoKeys)
    }
}

/// Why keys could not be had: what the operator has to change.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Nothing to check tokens with is configured.
    #[error("no key is configured: set auth.secret, auth.public_keys, auth.jwks_file or auth.jwks_url")]
    Missing,
    /// Tokens cannot be made here.
    #[error("no secret to sign with is configured: set auth.secret")]
    NoSecret,
    /// The secret is shorter than the hash (RFC 7518 §3.2).
    #[error(
        "reading the secret: {bytes} bytes are too few, 32 or more are needed; make one with `openssl rand -base64 48`"
    )]
    ShortSecret {
        /// Its length after decoding.
        bytes: usize,
    },
    /// `base64:` is followed by something else.
    #[error("reading the secret: what follows base64: is not base64")]
    SecretEncoding,
    /// A file could not be read or written.
    #[error("{doing} {}", path.display())]
    File {
        /// What was being done to it.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A key is not one of RSA (2048 to 4096 bits), P-256, Ed25519.
    #[error("reading the key {name}: {reason}")]
    BadKey {
        /// File, or key id in a key set.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A key set has no key for us in it.
    #[error("reading the key set {from}: {reason}")]
    BadKeySet {
        /// Where it is from.
        from: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The key set's server did not give it.
    #[error("fetching the key set {url}: {reason}")]
    Fetch {
        /// Its address.
        url: String,
        /// Why not.
        reason: String,
    },
}

/// Why a rule's filter is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing there.
    #[error("reading an access rule: the filter is empty")]
    Empty,
    /// `#` not alone in the last level, or `+` not alone in a level.
    #[error(
        "reading an access rule: in the filter {filter:?} + and # must fill a whole level, # only the last one"
    )]
    Wildcard {
        /// The filter.
        filter: String,
    },
    /// `${…}` that is none of ours.
    #[error(
        "reading an access rule: the filter {filter:?} has a variable other than ${{uid}}, ${{org}}, ${{clientid}}"
    )]
    Variable {
        /// The filter.
        filter: String,
    },
    /// `$`-topics are the server's.
    #[error(
        "reading an access rule: the filter {filter:?} begins with $, and such topics are always refused"
    )]
    Reserved {
        /// The filter.
        filter: String,
    },
}
