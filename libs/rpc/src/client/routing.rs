//! Lines to owners in other processes.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use futures::Stream;
use http::uri::PathAndQuery;
use model::PartitionId;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use tonic::client::Grpc;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::board::Board;
use super::connection::Connection;
use super::finder::Finder;
use super::unreadable;
use crate::Config;
use crate::method::Service;
use crate::metrics::Metrics;
use crate::pb;
use crate::status::{from_status, is_unsent};
use crate::wire::routing as wire;
use contract::routing::{Downstream, Hello, Routing, Up, Upstream};
use contract::{ErrorKind, RpcError};

const PATH: &str = "/longwire.rpc.v1.Routing/Line";

/// The owners of partitions in other processes: each replica owns some of them.
pub(super) struct Remote {
    board: Arc<Board>,
    /// Which replica owned a partition when it was last asked.
    last: Mutex<Vec<Option<SocketAddr>>>,
    connect_timeout: Duration,
    max_message: usize,
    _finder: AbortOnDropHandle<()>,
}

impl Remote {
    pub(super) fn new(config: &Config, metrics: &Metrics, check: runtime::health::Check) -> Self {
        let board = Arc::new(Board::new(Service::Routing, metrics, check));
        let finder = Finder::new(board.clone(), &config.routing, config);
        Self {
            board,
            last: Mutex::default(),
            connect_timeout: config.connect_timeout.get(),
            max_message: config.max_message.as_usize(),
            _finder: AbortOnDropHandle::new(tokio::spawn(finder.run())),
        }
    }

    fn last(&self, partition: PartitionId) -> Option<SocketAddr> {
        self.last.lock().get(usize::from(partition.0)).copied().flatten()
    }

    fn remember(&self, partition: PartitionId, address: Option<SocketAddr>) {
        let (mut last, index) = (self.last.lock(), usize::from(partition.0));
        if last.len() <= index {
            last.resize(index + 1, None);
        }
        if let Some(slot) = last.get_mut(index) {
            *slot = address;
        }
    }

    /// A line to this replica, if it is the owner and says so in time.
    async fn open_at(
        &self,
        connection: &Connection,
        hello: Hello,
        edge: &Arc<dyn Downstream>,
    ) -> Result<Box<dyn Upstream>, RpcError> {
        let (until, known) = (Instant::now() + self.connect_timeout, hello.epoch);
        let (ups, said) = mpsc::unbounded_channel();
        let outgoing = Outgoing {
            hello: wire::hello_to(hello),
            said,
        };
        let opened = timeout_at(until, self.begin(connection, outgoing)).await;
        let mut downs = opened.map_err(|_| unavailable("it does not answer"))??;
        let first = timeout_at(until, downs.message()).await;
        let first = first.map_err(|_| unavailable("it took up the line and says nothing on it"))?;
        let first = first.map_err(|status| self.refused(&status))?;
        let first = first.ok_or_else(|| unavailable("it ended the line before it said anything"))?;
        let first = wire::down(first).map_err(unreadable)?;
        if first.epoch < known {
            return Err(unavailable("it speaks under an epoch that is over"));
        }
        if !edge.routed(first) {
            return Err(unavailable("the line is not wanted any more"));
        }
        let reading = tokio::spawn(read(downs, edge.clone()));
        Ok(Box::new(Line {
            ups,
            _reading: AbortOnDropHandle::new(reading),
        }))
    }

    async fn begin(
        &self,
        connection: &Connection,
        outgoing: Outgoing,
    ) -> Result<Streaming<pb::LineDown>, RpcError> {
        let mut grpc = Grpc::new(connection.channel.clone()).max_decoding_message_size(self.max_message);
        let codec = ProstCodec::<pb::LineUp, pb::LineDown>::default();
        let ready = grpc.ready().await;
        let begun = match ready.map_err(|e| Status::from_error(Box::new(e))) {
            Ok(()) => {
                grpc.streaming(Request::new(outgoing), PathAndQuery::from_static(PATH), codec)
                    .await
            }
            Err(status) => Err(status),
        };
        let begun = begun.map_err(|status| {
            if is_unsent(&status) {
                connection.closed.cancel();
            }
            self.refused(&status)
        })?;
        Ok(begun.into_inner())
    }

    fn refused(&self, status: &Status) -> RpcError {
        from_status(status, &self.board.service).error
    }
}

fn unavailable(why: &str) -> RpcError {
    RpcError::new(ErrorKind::Unavailable, why)
}

#[async_trait]
impl Routing for Remote {
    /// Asks the replica that owned the partition last, then the others. The one that speaks is the owner.
    async fn open(&self, hello: Hello, edge: Arc<dyn Downstream>) -> Result<Box<dyn Upstream>, RpcError> {
        let partition = hello.partition;
        let mut replicas = self.board.ready();
        let last = self.last(partition);
        replicas.sort_by_key(|c| Some(c.address) != last);
        if replicas.is_empty() {
            let (service, why) = (self.board.service, self.board.reason());
            return Err(unavailable(&format!("{service} is unavailable: {why}")));
        }
        let mut refusals = Vec::with_capacity(replicas.len());
        for connection in replicas {
            // Until it has spoken: whoever gives up waiting asks another first the next time.
            self.remember(partition, None);
            match self.open_at(&connection, hello.clone(), &edge).await {
                Ok(line) => {
                    self.remember(partition, Some(connection.address));
                    return Ok(line);
                }
                Err(error) => refusals.push(format!("{}: {}", connection.address, error.detail)),
            }
        }
        let refusals = refusals.join(", ");
        Err(unavailable(&format!(
            "no owner of partition {partition} is to be found: {refusals}"
        )))
    }
}

/// Hands over what the owner says, until it says no more.
async fn read(mut downs: Streaming<pb::LineDown>, edge: Arc<dyn Downstream>) {
    loop {
        let message = match downs.message().await {
            Ok(Some(message)) => message,
            Ok(None) => break,
            Err(status) => {
                tracing::info!(%status, "a line to an owner is broken");
                break;
            }
        };
        let goes_on = match wire::down(message) {
            Ok(routed) => edge.routed(routed),
            Err(error) => {
                tracing::warn!(%error, "what an owner says on a line cannot be read; the line is ended");
                false
            }
        };
        if !goes_on {
            break;
        }
    }
    edge.ended();
}

/// The edge's end of a line. Dropped, it ends the line.
struct Line {
    ups: mpsc::UnboundedSender<Up>,
    _reading: AbortOnDropHandle<()>,
}

impl Upstream for Line {
    fn send(&self, up: Up) -> bool {
        self.ups.send(up).is_ok()
    }
}

/// What goes to the owner: of all that waits, as much at once as one message should hold. What is submitted is
/// bounded by the edge's credit, what is attached by what its connections want; what is transient, and is not taken
/// in time, goes with the line.
struct Outgoing {
    hello: VecDeque<pb::LineHello>,
    said: mpsc::UnboundedReceiver<Up>,
}

impl Stream for Outgoing {
    type Item = pb::LineUp;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<pb::LineUp>> {
        if let Some(hello) = self.hello.pop_front() {
            return Poll::Ready(Some(pb::LineUp {
                hello: Some(hello),
                said: Vec::new(),
            }));
        }
        let mut has_ended = false;
        let said = wire::ups_to(|| match self.said.poll_recv(cx) {
            Poll::Ready(None) => {
                has_ended = true;
                None
            }
            Poll::Ready(up) => up,
            Poll::Pending => None,
        });
        match said.is_empty() {
            false => Poll::Ready(Some(pb::LineUp { hello: None, said })),
            true if has_ended => Poll::Ready(None),
            true => Poll::Pending,
        }
    }
}
