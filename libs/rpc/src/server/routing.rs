//! Lines that edges open to owners in this process.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use prost::Message as _;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::Served;
use crate::pb;
use crate::pb::routing_server::Routing as Calls;
use crate::status::{refusal, to_status};
use crate::wire::routing as wire;
use contract::routing::{Downstream, Routed, RoutedEntry, Routing, Upstream};

/// How long an edge may take to say who it is.
const HELLO: Duration = Duration::from_secs(5);
/// What may wait for one edge on one line. One that takes less than it is given loses the line, and reads what it has missed.
const BACKED_UP: usize = 32 << 20;

#[async_trait]
impl Calls for Served<dyn Routing> {
    type LineStream = Said;

    async fn line(&self, request: Request<Streaming<pb::LineUp>>) -> Result<Response<Said>, Status> {
        let mut ups = request.into_inner();
        let hello = tokio::time::timeout(HELLO, hello(&mut ups)).await;
        let hello = hello.map_err(|_| refusal("no hello came on a line"))??;
        let hello = wire::hello(hello).map_err(|error| to_status(&super::malformed(&error)))?;
        let (outgoing, said) = outgoing();
        let up = self
            .service
            .open(hello, outgoing)
            .await
            .map_err(|error| to_status(&error))?;
        let hard = self.gate.hard.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = hard.cancelled() => {}
                () = read(ups, &*up) => {}
            }
            // Dropped here, the line ends.
            drop(up);
        });
        Ok(Response::new(said))
    }
}

/// How an edge begins, in one message or in several.
async fn hello(ups: &mut Streaming<pb::LineUp>) -> Result<pb::LineHello, Status> {
    let mut hello: Option<pb::LineHello> = None;
    loop {
        let next = ups.message().await?.and_then(|up| up.hello);
        let next = next.ok_or_else(|| refusal("a line began without a whole hello"))?;
        let hello = match &mut hello {
            None => hello.insert(next),
            Some(hello) => {
                wire::add_hello(hello, next);
                hello
            }
        };
        if !hello.more {
            return Ok(std::mem::take(hello));
        }
    }
}

/// Passes on what the edge says, until it says no more or the owner has ended.
async fn read(mut ups: Streaming<pb::LineUp>, up: &dyn Upstream) {
    loop {
        let message = match ups.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return,
            Err(status) => {
                tracing::info!(%status, "a line from an edge is broken");
                return;
            }
        };
        let whole = message.encoded_len();
        for said in message.said {
            match wire::up(said, whole) {
                Ok(said) => {
                    if !up.send(said) {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "what an edge says on a line cannot be read; the line is ended");
                    return;
                }
            }
        }
    }
}

fn outgoing() -> (Arc<Outgoing>, Said) {
    let (frames, said) = mpsc::unbounded_channel();
    let waiting = Arc::<AtomicUsize>::default();
    let outgoing = Outgoing {
        frames: parking_lot::Mutex::new(Some(frames)),
        waiting: waiting.clone(),
    };
    let said = Said {
        said,
        waiting,
        pieces: VecDeque::new(),
    };
    (Arc::new(outgoing), said)
}

/// The owner's end of a line.
struct Outgoing {
    /// `None`: the line has ended.
    frames: parking_lot::Mutex<Option<mpsc::UnboundedSender<(Routed, usize)>>>,
    waiting: Arc<AtomicUsize>,
}

impl Downstream for Outgoing {
    fn routed(&self, routed: Routed) -> bool {
        let entries: usize = routed.entries.iter().map(RoutedEntry::size).sum();
        let size = entries + Routed::AROUND * (1 + routed.answers.len() + routed.attached.len());
        let mut frames = self.frames.lock();
        let waiting = self.waiting.fetch_add(size, Ordering::Relaxed) + size;
        let sent = frames.as_ref().is_some_and(|f| f.send((routed, size)).is_ok());
        if !sent || waiting > BACKED_UP {
            *frames = None;
            return false;
        }
        true
    }

    fn ended(&self) {
        *self.frames.lock() = None;
    }
}

/// What goes to the edge.
pub(crate) struct Said {
    said: mpsc::UnboundedReceiver<(Routed, usize)>,
    waiting: Arc<AtomicUsize>,
    /// What is left of the last.
    pieces: VecDeque<pb::LineDown>,
}

impl Stream for Said {
    type Item = Result<pb::LineDown, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(piece) = self.pieces.pop_front() {
            return Poll::Ready(Some(Ok(piece)));
        }
        self.said.poll_recv(cx).map(|next| {
            let (routed, size) = next?;
            self.waiting.fetch_sub(size, Ordering::Relaxed);
            self.pieces = wire::down_to(routed);
            self.pieces.pop_front().map(Ok)
        })
    }
}
