use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jsonwebtoken::{Algorithm, AlgorithmFamily, crypto};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::fetch::{Fetcher, TIMEOUT};
use crate::key::{Key, read_key_set};
use crate::secret::key_bytes;
use crate::{AuthError, Config, KeyError};

/// Least time between two readings of the key sets, whatever tokens ask for.
const GAP: Duration = Duration::from_secs(10);

/// The keys tokens are checked with.
///
/// The secret and the PEM files stay as they are; key sets are read again by [`KeyRing::run`]. A set that cannot be
/// read, or has no key for us, leaves the last good one in place; one that was never read leaves no key, so its tokens are
/// refused.
pub struct KeyRing {
    fixed: Arc<[Key]>,
    /// Whether there are key sets.
    readable: bool,
    sources: tokio::sync::Mutex<Vec<Source>>,
    current: RwLock<KeySet>,
    fetcher: Option<Fetcher>,
    every: Duration,
    gap: Duration,
    wanted: Notify,
    /// When the sets were last read, well or not; none without sets or before the first time.
    read_at: watch::Sender<Option<Instant>>,
    /// When all of them were last read well.
    fresh_at: Mutex<Option<Instant>>,
}

struct Source {
    place: Place,
    good: Option<(Bytes, Arc<[Key]>)>,
}

enum Place {
    File(PathBuf),
    Url(String),
}

/// What is in force now. The generation tells a cached verdict of older keys.
#[derive(Clone)]
pub(crate) struct KeySet {
    pub(crate) generation: u64,
    /// Every set has been read at least once.
    complete: bool,
    parts: Arc<[Arc<[Key]>]>,
}

impl KeyRing {
    /// Reads the secret, the PEM files and the key set file. The key set URL is not asked yet: [`run`](Self::run) or
    /// [`refresh`](Self::refresh) does.
    pub fn build(config: &Config) -> Result<Self, KeyError> {
        if !config.has_keys() {
            return Err(KeyError::Missing);
        }
        let mut fixed: Vec<Key> = key_bytes(&config.secret)?
            .iter()
            .map(|bytes| Key::shared(bytes))
            .collect();
        for public in &config.public_keys {
            let pem = fs::read_to_string(&public.file).map_err(cannot_read(&public.file))?;
            fixed.push(Key::from_pem(&public.file, &pem, public.kid.clone())?);
        }
        let mut sources = Vec::new();
        if let Some(path) = &config.jwks_file {
            let text = Bytes::from(fs::read(path).map_err(cannot_read(path))?);
            let place = Place::File(path.clone());
            let keys = read_key_set(&place.to_string(), &text)?.into();
            sources.push(Source {
                place,
                good: Some((text, keys)),
            });
        }
        if let Some(url) = &config.jwks_url {
            sources.push(Source {
                place: Place::Url(url.clone()),
                good: None,
            });
        }
        let fixed: Arc<[Key]> = fixed.into();
        let current = key_set(0, &fixed, &sources);
        Ok(Self {
            fixed,
            fetcher: config.jwks_url.is_some().then(Fetcher::new),
            readable: !sources.is_empty(),
            sources: sources.into(),
            current: current.into(),
            every: config.jwks_refresh.get().max(GAP),
            gap: GAP,
            wanted: Notify::new(),
            read_at: watch::Sender::new(None),
            fresh_at: Mutex::default(),
        })
    }

    /// Reads every key set once. An error is the last of them; sets that could be read are in force all the same, and
    /// the others keep their last good keys.
    pub async fn refresh(&self) -> Result<(), KeyError> {
        let mut sources = self.sources.lock().await;
        let mut outcome = Ok(());
        let mut changed = false;
        for source in sources.iter_mut() {
            match source.read(self.fetcher.as_ref()).await {
                Ok(new) => changed |= new,
                Err(error) => outcome = Err(error),
            }
        }
        if changed {
            let mut current = self.current.write();
            *current = key_set(current.generation + 1, &self.fixed, &sources);
        }
        if outcome.is_ok() {
            *self.fresh_at.lock() = Some(Instant::now());
        }
        self.read_at.send_replace(Some(Instant::now()));
        outcome
    }

    /// Keeps the key sets fresh; never returns, so drop it to stop. Reads at once, then every `jwks_refresh`; sooner when
    /// a token names an unknown key or the last reading failed, but never twice within ten seconds.
    pub async fn run(&self) {
        if !self.readable {
            return std::future::pending().await;
        }
        let mut failures = 0;
        loop {
            match self.refresh().await {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures += 1;
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        failures,
                        "keeping the last good keys"
                    );
                }
            }
            tokio::time::sleep(self.gap).await;
            let rest = if failures == 0 {
                self.every
            } else {
                (self.gap * (1 << failures.min(6))).min(self.every)
            };
            tokio::select! {
                () = tokio::time::sleep(rest.saturating_sub(self.gap)) => {}
                () = self.wanted.notified() => {}
            }
        }
    }

    /// Whether there is any key: false means that every token is refused until the key set has been read.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.current().keys().next().is_some()
    }

    /// How long ago all key sets were last read well: worth an alert when it is several times `jwks_refresh`. None
    /// before the first time, and without key sets.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.fresh_at.lock().map(|at| at.elapsed())
    }

    pub(crate) fn current(&self) -> KeySet {
        self.current.read().clone()
    }

    /// Asks [`run`](Self::run) for a reading.
    pub(crate) fn want(&self) {
        self.wanted.notify_one();
    }

    /// Waits until the key sets have been read again by [`run`](Self::run), no longer than a reading may take; not at all when
    /// that was just now.
    pub(crate) async fn next_reading(&self) {
        let mut read_at = self.read_at.subscribe();
        if !self.readable
            || read_at
                .borrow_and_update()
                .is_some_and(|at| at.elapsed() < self.gap)
        {
            return;
        }
        self.want();
        // Its end is no news: the caller looks at the keys again anyway.
        let _ = tokio::time::timeout(TIMEOUT, read_at.changed()).await;
    }

    #[cfg(test)]
    pub(crate) fn with_gap(mut self, gap: Duration) -> Self {
        self.gap = gap;
        self
    }
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let current = self.current();
        f.debug_struct("KeyRing")
            .field("keys", &current.keys().count())
            .field("generation", &current.generation)
            .finish_non_exhaustive()
    }
}

impl KeySet {
    fn keys(&self) -> impl Iterator<Item = &Key> {
        self.parts.iter().flat_map(|part| part.iter())
    }

    /// Checks `signature` over `message`. A key named like the token's `kid` is the only one asked; when none is, those
    /// without a name are.
    pub(crate) fn check(
        &self,
        alg: &str,
        kid: Option<&str>,
        message: &[u8],
        signature: &str,
    ) -> Result<Checked, AuthError> {
        let unusable = || AuthError::Algorithm { alg: shortened(alg) };
        let algorithm: Algorithm = alg.parse().map_err(|_| unusable())?;
        let named = kid.is_some_and(|kid| self.keys().any(|key| key.kid.as_deref() == Some(kid)));
        let asked = |key: &&Key| kid.is_none() || key.kid.as_deref() == kid.filter(|_| named);
        let mut tried = false;
        for key in self
            .keys()
            .filter(asked)
            .filter(|key| key.algorithms.contains(&algorithm))
        {
            tried = true;
            if crypto::verify(signature, message, &key.decoding, algorithm).unwrap_or(false) {
                return Ok(Checked {
                    public_key: algorithm.family() != AlgorithmFamily::Hmac,
                });
            }
        }
        // Sets hold public keys only: for an HMAC token there is nothing to wait for.
        let could_come = algorithm.family() != AlgorithmFamily::Hmac;
        Err(match kid {
            _ if could_come && !tried && !self.complete => AuthError::NoKeys,
            Some(kid) if could_come && !named => AuthError::UnknownKey { kid: shortened(kid) },
            _ if tried => AuthError::BadSignature,
            _ => unusable(),
        })
    }
}

/// What a good signature was made with.
pub(crate) struct Checked {
    /// Checking it again would cost much.
    pub(crate) public_key: bool,
}

impl Source {
    /// Whether it now has other keys than before.
    async fn read(&mut self, fetcher: Option<&Fetcher>) -> Result<bool, KeyError> {
        let text = match (&self.place, fetcher) {
            (Place::Url(url), Some(fetcher)) => fetcher.get(url).await.map_err(|reason| KeyError::Fetch {
                url: url.clone(),
                reason,
            })?,
            (Place::File(path), _) => tokio::fs::read(path).await.map_err(cannot_read(path))?.into(),
            (Place::Url(_), None) => return Ok(false),
        };
        if self.good.as_ref().is_some_and(|(known, _)| *known == text) {
            return Ok(false);
        }
        let keys: Arc<[Key]> = read_key_set(&self.place.to_string(), &text)?.into();
        tracing::info!(from = %self.place, keys = keys.len(), "read a new key set");
        self.good = Some((text, keys));
        Ok(true)
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(url) => f.write_str(url),
        }
    }
}

fn key_set(generation: u64, fixed: &Arc<[Key]>, sources: &[Source]) -> KeySet {
    let read = sources
        .iter()
        .filter_map(|source| source.good.as_ref().map(|(_, keys)| keys.clone()));
    let complete = sources.iter().all(|source| source.good.is_some());
    KeySet {
        generation,
        complete,
        parts: std::iter::once(fixed.clone()).chain(read).collect(),
    }
}

fn cannot_read(path: &Path) -> impl FnOnce(std::io::Error) -> KeyError + use<> {
    let path = path.to_owned();
    move |source| KeyError::File {
        doing: "reading the key in",
        path,
        source,
    }
}

/// What a stranger wrote, short enough for a log line.
fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests;
