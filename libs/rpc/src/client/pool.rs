//! A call: which replica, for how long, and whether again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use rand::Rng as _;
use runtime::health::Check;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tonic::Request;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;

use super::board::Board;
use super::connection::Connection;
use super::finder::Finder;
use crate::Config;
use crate::method::{Method, Repeat, Service};
use crate::metrics::{Metrics, Side};
use crate::status::{Done, Failure, from_status, is_unsent};
use contract::{ErrorKind, RpcError};

/// How often a call is made in all.
const ATTEMPTS: u32 = 4;
/// The longest pause before the second attempt; it doubles.
const PAUSE: Duration = Duration::from_millis(20);

/// The replicas of one service as one to call.
pub(super) struct Pool {
    board: Arc<Board>,
    deadline: Duration,
    connect_timeout: Duration,
    max_message: usize,
    permits: Semaphore,
    metrics: Metrics,
    _finder: AbortOnDropHandle<()>,
}

impl Pool {
    pub(super) fn new(
        service: Service,
        names: &[String],
        config: &Config,
        metrics: &Metrics,
        check: Check,
    ) -> Self {
        let board = Arc::new(Board::new(service, metrics, check));
        let finder = Finder::new(board.clone(), names, config);
        Self {
            board,
            deadline: config.deadline.get(),
            connect_timeout: config.connect_timeout.get(),
            max_message: config.max_message.as_usize(),
            permits: Semaphore::new(config.max_calls),
            metrics: metrics.clone(),
            _finder: AbortOnDropHandle::new(tokio::spawn(finder.run())),
        }
    }

    /// The most that one message may have.
    pub(super) fn max_message(&self) -> usize {
        self.max_message
    }

    /// Makes a call.
    pub(super) async fn call<Q, A>(&self, method: Method, request: Q) -> Result<A, RpcError>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        self.call_as(method, method.repeat(), request).await
    }

    /// The same, where the argument decides whether it may be repeated.
    pub(super) async fn call_as<Q, A>(
        &self,
        method: Method,
        repeat: Repeat,
        request: Q,
    ) -> Result<A, RpcError>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        let measured = self.metrics.begin(Side::Caller, method);
        let result = match self.permits.try_acquire() {
            Ok(_) if request.encoded_len() > self.max_message => Err(RpcError::new(
                ErrorKind::PayloadTooLarge,
                format!(
                    "a call of {} has more than {} bytes",
                    self.board.service, self.max_message
                ),
            )),
            Ok(_permit) => self.attempts(method, repeat, &request).await,
            Err(_) => Err(self.unavailable("too many calls to it are under way")),
        };
        measured.end(&result);
        result
    }

    async fn attempts<Q, A>(&self, method: Method, repeat: Repeat, request: &Q) -> Result<A, RpcError>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        let until = Instant::now() + self.deadline;
        let mut tried: Vec<SocketAddr> = Vec::new();
        loop {
            let connection = self.pick(&tried, until).await?;
            let sent = self.send(&connection, method, request.clone(), until);
            let failure = match tokio::time::timeout_at(until, sent).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(failure)) => failure,
                Err(_) => self.late(&connection),
            };
            tried.push(connection.address);
            let is_over = tried.len() >= ATTEMPTS as usize || Instant::now() >= until;
            if is_over || !self.may_repeat(&failure, repeat, &tried) {
                return Err(self.outcome(failure, repeat));
            }
            tracing::debug!(?method, address = %connection.address, error = %failure.error, "a call is made again");
            self.metrics.repeated(method);
            let longest = PAUSE * 2u32.pow(tried.len() as u32 - 1);
            let pause = longest.mul_f64(rand::rng().random_range(0.0..1.0));
            tokio::time::sleep_until(until.min(Instant::now() + pause)).await;
        }
    }

    async fn pick(&self, tried: &[SocketAddr], until: Instant) -> Result<Arc<Connection>, RpcError> {
        let until = until.min(Instant::now() + self.connect_timeout);
        match tokio::time::timeout_at(until, self.board.pick(tried)).await {
            Ok(picked) => picked.map_err(|why| self.unavailable(&why)),
            Err(_) => Err(self.unavailable(&self.board.reason())),
        }
    }

    async fn send<Q, A>(
        &self,
        connection: &Connection,
        method: Method,
        message: Q,
        until: Instant,
    ) -> Result<A, Failure>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let _under_way = connection.begin();
        let mut request = Request::new(message);
        request.set_timeout(until.saturating_duration_since(Instant::now()));
        let mut grpc = Grpc::new(connection.channel.clone()).max_decoding_message_size(self.max_message);
        let codec = ProstCodec::<Q, A>::default();
        let answer = match grpc.ready().await {
            Ok(()) => {
                grpc.unary(request, PathAndQuery::from_static(method.path()), codec)
                    .await
            }
            Err(error) => Err(tonic::Status::from_error(Box::new(error))),
        };
        answer.map(tonic::Response::into_inner).map_err(|status| {
            let whom = format_args!("{} at {}", self.board.service, connection.address);
            let failure = from_status(&status, &whom);
            if is_unsent(&status) {
                connection.closed.cancel();
            } else if failure.done != Done::Unknown && failure.error.kind == ErrorKind::Unavailable {
                connection.shun();
            }
            failure
        })
    }

    /// What surely was not done may be done again; what may have been done, only where that is the same. One that says
    /// it is unavailable is believed: then another is asked, if there is one.
    fn may_repeat(&self, failure: &Failure, repeat: Repeat, tried: &[SocketAddr]) -> bool {
        match (failure.done, repeat) {
            (Done::Nothing, _) | (Done::Unknown, Repeat::Always) => true,
            (Done::Said, Repeat::Always) => {
                failure.error.kind == ErrorKind::Unavailable && self.board.has_other(tried)
            }
            (Done::Unknown | Done::Said, Repeat::IfNotDone) => false,
        }
    }

    fn outcome(&self, failure: Failure, repeat: Repeat) -> RpcError {
        match (failure.done, repeat) {
            (Done::Unknown, Repeat::IfNotDone) => RpcError {
                kind: ErrorKind::NotCommitted,
                ..failure.error
            },
            _ => failure.error,
        }
    }

    fn late(&self, connection: &Connection) -> Failure {
        let detail = format!(
            "{} at {} did not answer within {:?}",
            self.board.service, connection.address, self.deadline
        );
        Failure {
            error: RpcError::new(ErrorKind::Unavailable, detail),
            done: Done::Unknown,
        }
    }

    fn unavailable(&self, why: &str) -> RpcError {
        let detail = format!("{} is unavailable: {why}", self.board.service);
        RpcError::new(ErrorKind::Unavailable, detail)
    }
}
