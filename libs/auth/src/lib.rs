//! Who a client is and what it may touch: tokens, keys and access rules.
//!
//! * [`Verifier::verify`] turns a JWT into a [`Principal`](model::Principal), or into an [`AuthError`] that says what to change.
//!   The key decides the algorithm, never the token.
//! * [`KeyRing`] holds the keys: a secret, PEM files, key sets (JWKS) from a file or a URL, read again in the background.
//! * [`Signer`] makes tokens with the secret, for `longwire token`, for visitors and for the development login.
//! * [`Acl`] answers for topics that are no chat topics, on parsed levels: an id is compared, never pasted into a pattern.
//!
//! Ids in a token hold no `/`, `+`, `#` and no control character, so that each can stand as one topic level.
//!
//! ```
//! use std::sync::Arc;
//! use runtime::{clock::Clock, config::Secret};
//!
//! let config = auth::Config { secret: Secret::new("32 bytes or more, as RFC 7518 demands"), ..Default::default() };
//! let verifier = auth::Verifier::new(&config, Arc::new(auth::KeyRing::build(&config)?), Clock::system());
//! let signer = auth::Signer::new(&config)?;
//! let token = signer.sign(&auth::Claims::new("1418711693000834", model::Role::Agent));
//! assert_eq!(verifier.verify(&token)?.user.as_str(), "1418711693000834");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod acl;
mod claims;
mod config;
mod error;
mod fetch;
mod key;
mod keyring;
mod secret;
mod signer;
mod verifier;

pub use acl::{Acl, AclAccess, AclConfig, AclRule, Action, TopicPattern, Who};
pub use claims::Claims;
pub use config::{Config, PublicKey};
pub use error::{AuthError, KeyError, PatternError};
pub use keyring::KeyRing;
pub use secret::{DEV_SECRET_FILE, MIN_SECRET_BYTES, dev_secret};
pub use signer::Signer;
pub use verifier::{MAX_TOKEN_BYTES, Verifier};
