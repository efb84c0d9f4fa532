//! The connection to NATS under the journal, the bus, the leases and the checkpoints of a cluster: one for all four.
//!
//! Everything in NATS begins with the installation's name, so that several installations share servers:
//! streams `{name}_log_{p}`, `{name}_checkpoints` and `KV_{name}_leases`, subjects `{name}.log.>`, `{name}.checkpoint.>`, `{name}.bus.>`,
//! `{name}.ask.>`. A user of ours needs these, `$KV.{name}_leases.>`, `$JS.API.>`, `$JS.ACK.>` and `_INBOX.>`.

pub(crate) mod api;
mod attest;
mod config;
mod monitor;
mod version;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::ApiError;
use async_nats::connection::State;
use async_nats::{Client, ConnectErrorKind, Event};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

pub use attest::Attestation;
pub use config::NatsConfig;
use version::Version;

/// Why NATS cannot be used as it is.
#[derive(Debug, Error)]
pub enum NatsError {
    /// The name of the installation cannot be part of a subject.
    #[error("the cluster name {0:?} may only have letters, digits, '-' and '_'")]
    Name(String),
    /// The credentials file cannot be read.
    #[error("reading the NATS credentials in {}", file.display())]
    Credentials {
        /// The file.
        file: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// No server took us.
    #[error("connecting to NATS at {servers}")]
    Connect {
        /// Where we tried.
        servers: String,
        /// The last refusal.
        #[source]
        source: async_nats::ConnectError,
    },
    /// The server is known to lose what it acknowledged, or its version cannot be read.
    #[error(
        "nats-server {version} is too old to be trusted with the log: use {} or newer \
         (nats.allow_old_server = true runs with it, for development only)",
        Version::GOOD
    )]
    TooOld {
        /// What it says it is.
        version: String,
    },
    /// A request was not done: the servers run without JetStream, do not give it to us, or are short of something.
    #[error("{what}: {reason}")]
    Refused {
        /// What was asked for.
        what: String,
        /// What NATS said.
        reason: String,
        /// Whether it may say something else in a moment.
        temporary: bool,
    },
    /// The log has another number of partitions. It is fixed when the log is created: topics would move to other partitions
    /// and lose their order.
    #[error("the log in NATS has {found} partitions, the configuration wants {wanted}: set it to {found}")]
    Partitions {
        /// In NATS.
        found: u16,
        /// In the configuration.
        wanted: u16,
    },
    /// A stream of the log is gone, or is not of this log. Opening it would give old positions to new messages.
    #[error("stream {stream} {what}")]
    Damaged {
        /// The stream.
        stream: String,
        /// What is wrong, and what to do.
        what: String,
    },
}

impl NatsError {
    /// Whether it may be different in a moment: the servers are away, or choose a leader.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Connect { source, .. } => !is_refusal(source),
            Self::Refused { temporary, .. } => *temporary,
            Self::Name(_)
            | Self::Credentials { .. }
            | Self::TooOld { .. }
            | Self::Partitions { .. }
            | Self::Damaged { .. } => false,
        }
    }

    pub(crate) fn refused(what: impl Into<String>, error: &ApiError) -> Self {
        Self::Refused {
            what: what.into(),
            temporary: error.is_temporary(),
            reason: error.to_string(),
        }
    }
}

fn is_refusal(error: &async_nats::ConnectError) -> bool {
    matches!(
        error.kind(),
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Tls
    )
}

/// How long the servers have to answer a request of the JetStream API.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// How often an idle connection is tried; after three times without an answer it is given up and another server is taken.
const PING: Duration = Duration::from_secs(2);

/// A connection that reconnects for ever. Clones share it.
#[derive(Clone)]
pub struct Nats(Arc<Inner>);

struct Inner {
    client: Client,
    name: String,
    config: NatsConfig,
    events: Arc<Events>,
}

/// What the client told of its connection.
struct Events {
    /// Grows with every event, to wait on.
    generation: watch::Sender<u64>,
    disconnects: AtomicU64,
    /// How often the client had no room for a message and dropped it.
    slow: AtomicU64,
}

impl Events {
    fn record(&self, event: &Event) {
        match event {
            Event::Disconnected => {
                tracing::warn!("the connection to NATS is lost");
                self.disconnects.fetch_add(1, Ordering::AcqRel);
            }
            Event::SlowConsumer(_) => {
                self.slow.fetch_add(1, Ordering::AcqRel);
            }
            Event::Connected => tracing::info!("connected to NATS"),
            Event::ServerError(error) => tracing::warn!(%error, "NATS refused something"),
            Event::ClientError(error) => tracing::debug!(%error, "connecting to NATS"),
            Event::LameDuckMode | Event::Draining | Event::Closed => {}
        }
        self.generation.send_modify(|generation| *generation += 1);
    }
}

impl Nats {
    /// Connects, and checks that the server is one to trust. Tries for `start_timeout` while no server answers. Once connected it
    /// reconnects for ever, to any server of the cluster, with a random pause that grows to two seconds.
    ///
    /// # Errors
    /// When no server answers in time or one refuses us, or its version is too old.
    pub async fn connect(config: &NatsConfig, name: &str) -> Result<Self, NatsError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(legal) {
            return Err(NatsError::Name(name.to_owned()));
        }
        let events = Arc::new(Events {
            generation: watch::Sender::new(0),
            disconnects: AtomicU64::new(0),
            slow: AtomicU64::new(0),
        });
        let client = dial(config, name, &events).await?;
        let nats = Self(Arc::new(Inner {
            client,
            name: name.to_owned(),
            config: config.clone(),
            events,
        }));
        nats.check_version()?;
        Ok(nats)
    }

    fn check_version(&self) -> Result<(), NatsError> {
        let version = self.0.client.server_info().version;
        match Version::parse(&version) {
            Some(known) if known.is_good() => Ok(()),
            _ if self.0.config.allow_old_server => {
                tracing::warn!(
                    version,
                    "using a nats-server that loses what it acknowledged, as configured"
                );
                Ok(())
            }
            _ => Err(NatsError::TooOld { version }),
        }
    }

    /// Whether there is a connection now.
    pub fn is_connected(&self) -> bool {
        self.0.client.connection_state() == State::Connected
    }

    /// The largest message, headers included, that the server takes.
    pub fn max_payload(&self) -> usize {
        self.0.client.max_payload()
    }

    /// How often the connection was lost.
    pub fn disconnects(&self) -> u64 {
        self.0.events.disconnects.load(Ordering::Acquire)
    }

    pub(crate) fn client(&self) -> &Client {
        &self.0.client
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    pub(crate) fn config(&self) -> &NatsConfig {
        &self.0.config
    }

    /// How often messages may have been lost on the way to this process: reconnections, and messages that the client had no room
    /// for. A message that came after a loss is not seen before this has grown.
    pub(crate) fn losses(&self) -> u64 {
        let connects = self.0.client.statistics().connects.load(Ordering::Acquire);
        connects + self.0.events.slow.load(Ordering::Acquire)
    }

    /// Changes when the connection is lost or back, or messages were dropped.
    pub(crate) fn events(&self) -> watch::Receiver<u64> {
        self.0.events.generation.subscribe()
    }

    /// Waits until there is a connection; `false` when there is none by then.
    pub(crate) async fn connected_by(&self, deadline: Instant) -> bool {
        let mut events = self.events();
        loop {
            if self.is_connected() {
                return true;
            }
            // The state may change a moment after its event.
            let pause = (Instant::now() + Duration::from_millis(100)).min(deadline);
            let _ = timeout_at(pause, events.changed()).await;
            if Instant::now() >= deadline {
                return self.is_connected();
            }
        }
    }

    /// Resolves when the connection has been lost since `disconnects` was read.
    pub(crate) async fn lost_since(&self, disconnects: u64) {
        let mut events = self.events();
        while self.disconnects() == disconnects {
            if events.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

/// Tries until a server takes us, one refuses us, or the time is over.
async fn dial(config: &NatsConfig, name: &str, events: &Arc<Events>) -> Result<Client, NatsError> {
    let deadline = Instant::now() + config.start_timeout.get();
    for attempt in 0.. {
        let recorder = events.clone();
        let options = config.options().await?;
        let options = options
            .name(name)
            .ping_interval(PING)
            .connection_timeout(PATIENCE)
            .request_timeout(Some(PATIENCE))
            .reconnect_delay_callback(|attempt| backoff(attempt, Duration::from_secs(2)))
            .event_callback(move |event| {
                recorder.record(&event);
                std::future::ready(())
            });
        let source = match options.connect(config.servers.clone()).await {
            Ok(client) => return Ok(client),
            Err(source) => source,
        };
        if is_refusal(&source) || Instant::now() >= deadline {
            return Err(NatsError::Connect {
                servers: config.servers.join(", "),
                source,
            });
        }
        tracing::info!(error = %source, "waiting for NATS");
        sleep(backoff(attempt + 1, Duration::from_secs(1))).await;
    }
    unreachable!("the loop has no end")
}

/// A random pause before an attempt: none before the first, then up to 50 ms, doubling up to `most`. All of it is random, also at the
/// top, so that many clients of one dead server do not come back in step.
pub(crate) fn backoff(attempt: usize, most: Duration) -> Duration {
    if attempt == 0 {
        return Duration::ZERO;
    }
    let doublings = u32::try_from(attempt.min(16)).unwrap_or(16);
    let top = (Duration::from_millis(25) * 2u32.pow(doublings)).min(most);
    top.mul_f64(rand::random())
}
