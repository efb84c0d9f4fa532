use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use auth::Config as AuthConfig;
use edge::Core;
use edge::rate::UserRates;
use futures::future::BoxFuture;
use runtime::lifecycle::{OnError, Stop, Tasks};
use runtime::metrics::ServiceMetrics;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tracing::{Instrument, debug, debug_span, warn};

use crate::accept::accept;
use crate::config::Tls;
use crate::edge::Edge;
use crate::metrics::{Metrics, Transport};
use crate::{Config, Error, open};

/// What the MQTT edge is built with.
pub struct Deps {
    /// What edges share. Started by whoever built it.
    pub core: Arc<Core>,
    /// Who may connect without a token, and the default org.
    pub auth: AuthConfig,
    /// Where its series go.
    pub metrics: ServiceMetrics,
}

/// The MQTT edge, with its listeners bound.
pub struct Service {
    edge: Arc<Edge>,
    tls: Option<TlsAcceptor>,
    listeners: Vec<TcpListener>,
    tcp: SocketAddr,
    ws: SocketAddr,
}

impl Service {
    /// Reads the certificate and binds the listeners; nothing is accepted before [`Self::start`].
    pub async fn bind(config: Config, deps: Deps) -> Result<Self, Error> {
        let tls = config.tls.as_ref().map(acceptor).transpose()?;
        let tcp = listen(&config.tcp_listen).await?;
        let ws = listen(&config.ws_listen).await?;
        let address = |l: &TcpListener| {
            l.local_addr().map_err(|source| Error::Listen {
                at: "a bound port".into(),
                source,
            })
        };
        let (tcp_at, ws_at) = (address(&tcp)?, address(&ws)?);
        let mut listeners = vec![tcp, ws];
        if let Some(at) = config.tls.as_ref().and_then(|t| t.listen.as_ref()) {
            listeners.push(listen(at).await?);
        }
        let metrics = Metrics::new(&deps.metrics);
        let (core, auth) = (deps.core, deps.auth);
        let edge = Arc::new(Edge {
            core,
            config: Arc::new(config),
            auth,
            metrics,
            users: UserRates::default(),
            open: AtomicUsize::new(0),
        });
        Ok(Self {
            edge,
            tls,
            listeners,
            tcp: tcp_at,
            ws: ws_at,
        })
    }

    /// Where MQTT is listened for.
    pub fn tcp_addr(&self) -> SocketAddr {
        self.tcp
    }

    /// Where MQTT over WebSocket is listened for.
    pub fn ws_addr(&self) -> SocketAddr {
        self.ws
    }

    /// Accepts connections until told to stop; each is then told to go elsewhere and ends with its in-flight messages
    /// settled.
    pub fn start(self, tasks: &Tasks) {
        for listener in self.listeners {
            let (edge, tls, all) = (self.edge.clone(), self.tls.clone(), tasks.clone());
            tasks.spawn("mqtt-edge/accept", OnError::StopProcess, async move {
                accept_all(listener, &edge, tls.as_ref(), &all).await;
            });
        }
    }
}

async fn listen(at: &runtime::config::Listen) -> Result<TcpListener, Error> {
    at.bind().await.map_err(|source| Error::Listen {
        at: at.to_string(),
        source,
    })
}

async fn accept_all(listener: TcpListener, edge: &Arc<Edge>, tls: Option<&TlsAcceptor>, tasks: &Tasks) {
    let stop = tasks.stop().clone();
    tokio::select! {
        () = stop.soft().cancelled() => return,
        () = edge.core.ready() => {}
    }
    loop {
        let accepted = tokio::select! {
            () = stop.soft().cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => spawn(stream, peer, edge, tls.cloned(), tasks),
            Err(error) => {
                // Out of file descriptors, most likely. Those who are connected go on.
                warn!(%error, "accepting an MQTT connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn spawn(stream: TcpStream, peer: SocketAddr, edge: &Arc<Edge>, tls: Option<TlsAcceptor>, tasks: &Tasks) {
    let limit = edge.config.limits.max_connections;
    if limit != 0 && edge.open.load(Ordering::Relaxed) >= limit {
        edge.metrics.close("too-many-connections");
        return;
    }
    edge.open.fetch_add(1, Ordering::Relaxed);
    let (edge, stop) = (edge.clone(), tasks.stop().child());
    let span = debug_span!("mqtt", %peer);
    // What it takes to let a client in is given back before the connection begins to wait: it waits most of the time.
    let connection = async move {
        if let Some(connection) = take_in(stream, edge, tls).await {
            connection(stop).await;
        }
    };
    tasks.spawn("mqtt-edge/connection", OnError::Log, connection.instrument(span));
}

type Running = Box<dyn FnOnce(Stop) -> BoxFuture<'static, ()> + Send>;

fn take_in(
    stream: TcpStream,
    edge: Arc<Edge>,
    tls: Option<TlsAcceptor>,
) -> BoxFuture<'static, Option<Running>> {
    Box::pin(async move {
        let opened = Open(edge.clone());
        prepare(&stream);
        let limit = edge.config.limits.auth_timeout.get();
        let deadline = tokio::time::Instant::now() + limit;
        let wire = match accept(stream, tls.as_ref(), &edge.config, limit).await {
            Ok(wire) => wire,
            Err(refused) => {
                debug!(?refused, "no MQTT connection");
                edge.metrics.close("not-mqtt");
                return None;
            }
        };
        let transport = Transport {
            transport: wire.name(),
        };
        let connection = Box::new(open::take_in(wire, &edge, deadline).await?);
        let running: Running = Box::new(move |stop| {
            Box::pin(async move {
                let kind = edge.metrics.connections.get_or_create_owned(&transport);
                kind.inc();
                connection.run(stop).await;
                kind.dec();
                drop(opened);
            })
        });
        Some(running)
    })
}

/// Counts the connection as open while it lives.
struct Open(Arc<Edge>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Small packets go out at once, and a peer that vanished without a word is noticed within 45 s even with keep alive 0.
fn prepare(stream: &TcpStream) {
    let keep_alive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    let socket = socket2::SockRef::from(stream);
    if let Err(error) = stream
        .set_nodelay(true)
        .and_then(|()| socket.set_tcp_keepalive(&keep_alive))
    {
        debug!(%error, "setting socket options");
    }
}

fn acceptor(tls: &Tls) -> Result<TlsAcceptor, Error> {
    let bad = |path: &std::path::Path| {
        let path = path.to_owned();
        move |e: rustls_pki_types::pem::Error| Error::Tls {
            path,
            reason: e.to_string(),
        }
    };
    let certificates = CertificateDer::pem_file_iter(&tls.certificate).map_err(bad(&tls.certificate))?;
    let certificates = certificates
        .collect::<Result<Vec<_>, _>>()
        .map_err(bad(&tls.certificate))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(bad(&tls.key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|b| b.with_no_client_auth().with_single_cert(certificates, key))
        .map_err(|e| Error::Tls {
            path: tls.certificate.clone(),
            reason: e.to_string(),
        })?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
