//! Lines to owners in other processes.

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
use tokio_util::task::AbortOnDropHandle;
use tonic::client::Grpc;
use tonic::{Request, Streaming};
use tonic_prost::ProstCodec;

use super::board::Board;
use super::connection::Connection;
use super::finder::Finder;
use crate::grpc::Config;
use crate::grpc::method::Service;
use crate::grpc::metrics::Metrics;
use crate::grpc::pb;
use crate::grpc::status::{from_status, is_unsent};
use crate::grpc::wire::routing as wire;
use crate::routing::{Downstream, Hello, Routing, Up, Upstream};
use crate::{ErrorKind, RpcError};

const PATH: &str = "/longwire.rpc.v1.Routing/Line";
/// So much goes up in one message, about.
const UP_ENTRIES: usize = 512;

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

    fn remember(&self, partition: PartitionId, address: SocketAddr) {
        let (mut last, index) = (self.last.lock(), usize::from(partition.0));
        if last.len() <= index {
            last.resize(index + 1, None);
        }
        if let Some(slot) = last.get_mut(index) {
            *slot = Some(address);
        }
    }

    async fn open_at(
        &self,
        connection: &Connection,
        hello: Hello,
        edge: &Arc<dyn Downstream>,
    ) -> Result<Box<dyn Upstream>, RpcError> {
        let (ups, said) = mpsc::unbounded_channel();
        let outgoing = Outgoing {
            hello: Some(wire::hello_to(hello)),
            said,
        };
        let mut grpc = Grpc::new(connection.channel.clone()).max_decoding_message_size(self.max_message);
        let codec = ProstCodec::<pb::LineUp, pb::LineDown>::default();
        let opening = async {
            grpc.ready()
                .await
                .map_err(|e| tonic::Status::from_error(Box::new(e)))?;
            grpc.streaming(Request::new(outgoing), PathAndQuery::from_static(PATH), codec)
                .await
        };
        let whom = format!("{} at {}", self.board.service, connection.address);
        let opened = tokio::time::timeout(self.connect_timeout, opening).await;
        let opened =
            opened.map_err(|_| RpcError::new(ErrorKind::Unavailable, format!("{whom} does not answer")))?;
        let downs = opened.map_err(|status| {
            if is_unsent(&status) {
                connection.closed.cancel();
            }
            from_status(&status, &format_args!("{whom}")).error
        })?;
        let reading = tokio::spawn(read(downs.into_inner(), edge.clone()));
        Ok(Box::new(Line {
            ups,
            _reading: AbortOnDropHandle::new(reading),
        }))
    }
}

#[async_trait]
impl Routing for Remote {
    /// Asks the replica that owned the partition last, then the others.
    async fn open(&self, hello: Hello, edge: Arc<dyn Downstream>) -> Result<Box<dyn Upstream>, RpcError> {
        let mut replicas = self.board.ready();
        let last = self.last(hello.partition);
        replicas.sort_by_key(|c| Some(c.address) != last);
        let mut refused = RpcError::new(
            ErrorKind::Unavailable,
            format!("{} is unavailable: {}", self.board.service, self.board.reason()),
        );
        for connection in replicas {
            match self.open_at(&connection, hello.clone(), &edge).await {
                Ok(line) => {
                    self.remember(hello.partition, connection.address);
                    return Ok(line);
                }
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }
}

/// Hands over what the owner says, until it says no more.
async fn read(mut downs: Streaming<pb::LineDown>, edge: Arc<dyn Downstream>) {
    while let Ok(Some(message)) = downs.message().await {
        match wire::down(message) {
            Ok(routed) => {
                if !edge.routed(routed) {
                    break;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "what an owner says on a line cannot be read; the line is ended");
                break;
            }
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

/// What goes to the owner: all that waits at once. Bounded by the edge's credit, since all of it waits for an answer.
struct Outgoing {
    hello: Option<pb::LineHello>,
    said: mpsc::UnboundedReceiver<Up>,
}

impl Stream for Outgoing {
    type Item = pb::LineUp;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<pb::LineUp>> {
        if let Some(hello) = self.hello.take() {
            return Poll::Ready(Some(pb::LineUp {
                hello: Some(hello),
                said: Vec::new(),
            }));
        }
        let mut ups = Vec::new();
        match self.said.poll_recv_many(cx, &mut ups, UP_ENTRIES) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(0) => Poll::Ready(None),
            Poll::Ready(_) => Poll::Ready(Some(pb::LineUp {
                hello: None,
                said: ups.into_iter().map(wire::up_to).collect(),
            })),
        }
    }
}
