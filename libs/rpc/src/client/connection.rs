//! One connection to one replica, and the task that keeps there being one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rand::Rng as _;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::board::{Board, State};
use crate::Config;
use crate::config::Tls;
use crate::status::{Closed, told};

/// How long one that said it is unavailable is passed over, where there are others.
const SHUN: Duration = Duration::from_secs(1);
/// The first pause before one that is away is tried again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// One that was ready for so long is tried again at once when it is lost.
const STEADY: Duration = Duration::from_secs(1);
/// So that a large page does not wait for permission to go on.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

/// A connection to a replica that serves.
pub(super) struct Connection {
    pub(super) address: SocketAddr,
    pub(super) channel: Channel,
    /// It was found closed.
    pub(super) closed: CancellationToken,
    under_way: AtomicUsize,
    shunned: Mutex<Option<Instant>>,
}

impl Connection {
    /// Calls that have no answer yet.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    /// A call is under way until what this returns is dropped.
    pub(super) fn begin(&self) -> UnderWay<'_> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(&self.under_way)
    }

    /// It said that it is unavailable.
    pub(super) fn shun(&self) {
        *self.shunned.lock() = Some(Instant::now() + SHUN);
    }

    pub(super) fn is_shunned(&self, now: Instant) -> bool {
        self.shunned.lock().is_some_and(|until| until > now)
    }
}

/// A call that has no answer yet.
pub(super) struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Keeps a connection to one address.
pub(super) struct Keeper {
    pub(super) board: Arc<Board>,
    pub(super) address: SocketAddr,
    /// `host:port` as it was configured.
    pub(super) authority: String,
    /// The host of it.
    pub(super) host: String,
    pub(super) connect_timeout: Duration,
    pub(super) keep_alive: Duration,
    pub(super) tls: Option<Tls>,
}

impl Keeper {
    pub(super) fn new(board: Arc<Board>, address: SocketAddr, authority: &str, config: &Config) -> Self {
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        Self {
            board,
            address,
            authority: authority.to_owned(),
            host: host.trim_matches(['[', ']']).to_owned(),
            connect_timeout: config.connect_timeout.get(),
            keep_alive: config.keep_alive.get(),
            tls: config.tls.clone(),
        }
    }

    /// Connects, stays, connects again. Never returns.
    pub(super) async fn run(self) {
        let mut pause = PAUSES.0;
        self.board.set(self.address, State::Connecting);
        loop {
            let connected = tokio::time::timeout(self.connect_timeout, self.connect()).await;
            let why = match connected.unwrap_or_else(|_| Err("it does not answer".to_owned())) {
                Ok((connection, watch)) => {
                    let since = Instant::now();
                    let closed = connection.closed.clone();
                    self.board.set(self.address, State::Ready(connection));
                    let why = tokio::select! {
                        why = ended(watch) => why,
                        () = closed.cancelled() => Closed.to_string(),
                    };
                    tracing::debug!(service = %self.board.service, address = %self.address, why, "left a replica");
                    self.board.lost.notify_one();
                    if since.elapsed() >= STEADY {
                        pause = PAUSES.0;
                        self.board.set(self.address, State::Connecting);
                        continue;
                    }
                    why
                }
                Err(why) => why,
            };
            self.board.set(self.address, State::Away(why));
            self.board.lost.notify_one();
            tokio::time::sleep(part_of(pause)).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// A connection on which the other side has said that it serves.
    async fn connect(&self) -> Result<(Arc<Connection>, Streaming<HealthCheckResponse>), String> {
        let channel = self.channel().await?;
        let request = HealthCheckRequest {
            service: self.board.service.name().to_owned(),
        };
        let watch = HealthClient::new(channel.clone()).watch(request).await;
        let mut watch = watch.map_err(|status| refused(&status))?.into_inner();
        match next(&mut watch).await? {
            ServingStatus::Serving => {}
            other => return Err(not_serving(other)),
        }
        let connection = Connection {
            address: self.address,
            channel,
            closed: CancellationToken::new(),
            under_way: AtomicUsize::new(0),
            shunned: Mutex::default(),
        };
        Ok((Arc::new(connection), watch))
    }

    async fn channel(&self) -> Result<Channel, String> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{}", self.authority))
            .map_err(|error| told(&error))?
            .http2_keep_alive_interval(self.keep_alive)
            .keep_alive_timeout(self.keep_alive)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        if let Some(tls) = &self.tls {
            // Read each time: a certificate that was replaced is used from the next connection on.
            let tls = tls.client(&self.host).map_err(|error| told(&error))?;
            endpoint = endpoint.tls_config(tls).map_err(|error| told(&error))?;
        }
        let stream = TcpStream::connect(self.address)
            .await
            .map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        // For one connection only: a channel that connects again by itself would hide that the replica was lost.
        let mut stream = Some(TokioIo::new(stream));
        let once = tower::service_fn(move |_| {
            let stream = stream.take().ok_or(Closed);
            async move { stream }
        });
        endpoint
            .connect_with_connector(once)
            .await
            .map_err(|error| told(&error))
    }
}

/// Half of it, all of it, or what is between: so that not all come back at once.
fn part_of(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..1.0))
}

async fn next(watch: &mut Streaming<HealthCheckResponse>) -> Result<ServingStatus, String> {
    match watch.message().await {
        Ok(Some(said)) => Ok(said.status()),
        Ok(None) => Err(Closed.to_string()),
        Err(status) => Err(told(&status)),
    }
}

/// Returns when the other side no longer serves, with the reason.
async fn ended(mut watch: Streaming<HealthCheckResponse>) -> String {
    loop {
        match next(&mut watch).await {
            Ok(ServingStatus::Serving) => {}
            Ok(other) => return not_serving(other),
            Err(why) => return why,
        }
    }
}

fn refused(status: &Status) -> String {
    match status.code() {
        Code::NotFound => not_serving(ServingStatus::ServiceUnknown),
        _ => told(status),
    }
}

fn not_serving(status: ServingStatus) -> String {
    match status {
        ServingStatus::ServiceUnknown => "another service is there".to_owned(),
        _ => "it is stopping".to_owned(),
    }
}
