//! The side that is called.

mod directory;
mod persistence;
mod receipts;
mod routing;

use std::sync::Arc;
use std::time::Duration;

use runtime::lifecycle::Stop;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tracing::Instrument as _;

use super::method::{Method, Service};
use super::metrics::{Metrics, Side};
use super::pb::directory_server::DirectoryServer;
use super::pb::persistence_server::PersistenceServer;
use super::pb::receipts_server::ReceiptsServer;
use super::pb::routing_server::RoutingServer;
use super::status::{refusal, to_status};
use super::tls::Error;
use super::{Config, wire};
use contract::persistence::Persistence;
use contract::receipts::Receipts;
use contract::routing::Routing;
use contract::{ErrorKind, RpcError};

/// What a caller that names no deadline gets.
const LONGEST: Duration = Duration::from_secs(60);
/// Streams of one connection that are no calls.
const WATCHES: usize = 64;
/// So that a large page does not wait for permission to go on.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

/// What is served, by whoever has it.
#[derive(Clone, Default)]
pub struct Services {
    /// The persistence service.
    pub persistence: Option<Arc<dyn Persistence>>,
    /// The receipts service.
    pub receipts: Option<Arc<dyn Receipts>>,
    /// The owners of partitions in this process.
    pub routing: Option<Arc<dyn Routing>>,
}

/// Answers calls on `listener` until told to stop: softly, callers are told to go elsewhere and what is under way is
/// finished; hard, it is given up.
///
/// # Errors
/// When the files of [`Config::tls`] cannot be used.
pub async fn serve(
    listener: TcpListener,
    config: Config,
    services: Services,
    metrics: Metrics,
    stop: Stop,
) -> Result<(), Error> {
    let mut server = builder(&config);
    if let Some(tls) = &config.tls {
        server = server.tls_config(tls.server()?).map_err(Error::Tls)?;
    }
    let gate = Arc::new(Gate {
        permits: Semaphore::new(config.max_calls),
        metrics,
        hard: stop.hard().clone(),
    });
    let limit = config.max_message.as_usize();
    let directory = services.persistence.clone().map(|service| {
        let gate = gate.clone();
        DirectoryServer::new(Served { service, gate })
            .max_decoding_message_size(limit)
            .max_encoding_message_size(limit)
    });
    let persistence = services.persistence.map(|service| {
        let gate = gate.clone();
        PersistenceServer::new(Served { service, gate })
            .max_decoding_message_size(limit)
            .max_encoding_message_size(limit)
    });
    let receipts = services.receipts.map(|service| {
        let gate = gate.clone();
        ReceiptsServer::new(Served { service, gate })
            .max_decoding_message_size(limit)
            .max_encoding_message_size(limit)
    });
    let routing = services.routing.map(|service| {
        let gate = gate.clone();
        RoutingServer::new(Served { service, gate })
            .max_decoding_message_size(limit)
            .max_encoding_message_size(limit)
    });
    let reporter = HealthReporter::new();
    let served = [
        persistence.is_some().then_some(Service::Persistence),
        receipts.is_some().then_some(Service::Receipts),
        routing.is_some().then_some(Service::Routing),
    ];
    report(&reporter, &served, ServingStatus::Serving).await;
    let health = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
    let router = server
        .add_service(health)
        .add_optional_service(persistence)
        .add_optional_service(directory)
        .add_optional_service(receipts)
        .add_optional_service(routing);
    let told_to_stop = async {
        stop.soft().cancelled().await;
        report(&reporter, &served, ServingStatus::NotServing).await;
    };
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    tokio::select! {
        ended = router.serve_with_incoming_shutdown(incoming, told_to_stop) => ended.map_err(Error::Serve),
        () = stop.hard().cancelled() => Ok(()),
    }
}

fn builder(config: &Config) -> Server {
    let keep_alive = config.keep_alive.get();
    // One more than may be under way is refused with a reason; and each caller watches the health of what it calls.
    let streams = config.max_calls.saturating_add(WATCHES);
    Server::builder()
        .timeout(LONGEST)
        .max_concurrent_streams(u32::try_from(streams).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(keep_alive * 5))
        .http2_keepalive_timeout(Some(keep_alive * 5))
}

/// Callers watch the service that they call; the empty name is the process as a whole, for other tools.
async fn report(reporter: &HealthReporter, served: &[Option<Service>], status: ServingStatus) {
    reporter.set_service_status("", status).await;
    for service in served.iter().flatten() {
        reporter.set_service_status(service.name(), status).await;
    }
}

/// What every call goes through.
struct Gate {
    permits: Semaphore,
    metrics: Metrics,
    hard: CancellationToken,
}

/// A service as gRPC calls it.
struct Served<S: ?Sized> {
    service: Arc<S>,
    gate: Arc<Gate>,
}

type Answer<A> = Result<Response<A>, Status>;

impl<S: ?Sized> Served<S> {
    /// Answers one call. Dropped when the caller has gone or its deadline is over.
    async fn answer<Q, A, F>(
        &self,
        method: Method,
        request: Request<Q>,
        call: impl FnOnce(Arc<S>, Q) -> F,
    ) -> Answer<A>
    where
        F: Future<Output = Result<A, RpcError>>,
    {
        let measured = self.gate.metrics.begin(Side::Called, method);
        let Ok(_permit) = self.gate.permits.try_acquire() else {
            let status = refusal("too many calls are under way");
            measured.end(&Err::<(), _>(RpcError::new(ErrorKind::Unavailable, "")));
            return Err(status);
        };
        let span = tracing::debug_span!(
            "rpc",
            ?method,
            peer = request.remote_addr().map(tracing::field::display)
        );
        let answered = call(self.service.clone(), request.into_inner()).instrument(span);
        let result = tokio::select! {
            biased;
            result = answered => result,
            () = self.gate.hard.cancelled() => {
                Err(RpcError::new(ErrorKind::NotCommitted, "the service stopped before it had an answer"))
            }
        };
        measured.end(&result);
        result.map(Response::new).map_err(|error| to_status(&error))
    }
}

/// What a caller is told that sends what cannot be read.
fn malformed(error: &wire::Malformed) -> RpcError {
    RpcError::new(ErrorKind::InvalidPayload, error.to_string())
}

/// A value as the answer of a call.
fn told<T: wire::Wire>(value: T) -> T::Message {
    value.to_wire()
}
