//! Bytes in and out of a WebSocket.
//!
//! STOMP frames and WebSocket messages do not line up: a message may hold part of a frame, several, or nothing at all.
//! What is written begins and ends with a whole frame, as many in one message as wait. A connection that waits owns no
//! buffers of ours.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures::{Sink, Stream};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::protocol::frame::Utf8Bytes;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

/// About how much goes into one WebSocket message.
const CHUNK: usize = 16 * 1024;

/// A stream that gives no more than an allowance, as long as it has one.
struct Metered {
    io: TokioIo<Upgraded>,
    allowance: Option<usize>,
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.allowance == Some(0) {
            return Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        self.allowance = self.allowance.map(|left| left.saturating_sub(read));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// What a turn of I/O brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// There is something to decode.
    Read,
    /// Everything that waited has been written.
    Written,
}

/// Why there are no more turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The peer closed, or the socket failed.
    Closed,
    /// A message beyond the limit.
    TooLarge,
    /// More than may come before authentication.
    Quota,
}

/// A WebSocket with what waits to be written.
pub(crate) struct Socket {
    ws: WebSocketStream<Metered>,
    out: VecDeque<BytesMut>,
    queued: usize,
    unflushed: bool,
}

impl Socket {
    /// Over an upgraded connection. `allowance` bounds what is read until [`Self::trust`].
    pub async fn new(upgraded: Upgraded, max_message: usize, allowance: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(4096)
            .write_buffer_size(0)
            .max_message_size(Some(max_message))
            .max_frame_size(Some(max_message));
        let io = Metered {
            io: TokioIo::new(upgraded),
            allowance: Some(allowance),
        };
        Self {
            ws: WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await,
            out: VecDeque::new(),
            queued: 0,
            unflushed: false,
        }
    }

    /// The client has authenticated: it may send as much as it likes.
    pub fn trust(&mut self) {
        self.ws.get_mut().allowance = None;
    }

    /// Puts one whole frame, or an EOL, behind what waits.
    pub fn put(&mut self, encode: impl FnOnce(&mut BytesMut)) {
        if self.out.back().is_none_or(|last| last.len() >= CHUNK) {
            self.out.push_back(BytesMut::new());
        }
        if let Some(last) = self.out.back_mut() {
            let before = last.len();
            encode(last);
            self.queued += last.len() - before;
        }
    }

    /// Bytes that wait to be written.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Whether all that was put has been given to the system.
    pub fn is_drained(&self) -> bool {
        self.queued == 0 && !self.unflushed
    }

    /// Reads (while `input` holds less than `room`) and writes what waits, until there is something to say. Cancel safe: what was read is in
    /// `input`, what was written no longer waits.
    pub async fn turn(&mut self, room: usize, input: &mut BytesMut) -> Result<Turn, Lost> {
        let had_output = !self.is_drained();
        std::future::poll_fn(|cx| {
            if had_output && self.poll_write_all(cx)?.is_ready() {
                return Poll::Ready(Ok(Turn::Written));
            }
            if input.len() < room {
                ready!(self.poll_read_some(cx, room, input))?;
                return Poll::Ready(Ok(Turn::Read));
            }
            Poll::Pending
        })
        .await
    }

    /// Writes what can be written at once; the rest waits.
    pub async fn write_now(&mut self) -> Result<(), Lost> {
        std::future::poll_fn(|cx| match self.poll_write_all(cx) {
            Poll::Ready(Err(lost)) => Poll::Ready(Err(lost)),
            _ => Poll::Ready(Ok(())),
        })
        .await
    }

    /// Writes everything, closes, and reads on until the peer has closed too, so that what it has not read yet is not
    /// lost by a reset.
    pub async fn close(mut self, code: u16) {
        let written = std::future::poll_fn(|cx| self.poll_write_all(cx)).await;
        let frame = CloseFrame {
            code: CloseCode::from(code),
            reason: Utf8Bytes::from_static(""),
        };
        if written.is_err() || self.ws.close(Some(frame)).await.is_err() {
            return;
        }
        self.ws.get_mut().allowance = Some(64 * 1024);
        while let Some(Ok(_)) = std::future::poll_fn(|cx| Pin::new(&mut self.ws).poll_next(cx)).await {}
    }

    fn poll_write_all(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        loop {
            if self.unflushed {
                ready!(Pin::new(&mut self.ws).poll_flush(cx)).map_err(lost)?;
                self.unflushed = false;
            }
            let Some(chunk) = self.out.pop_front() else {
                return Poll::Ready(Ok(()));
            };
            self.queued -= chunk.len();
            Pin::new(&mut self.ws)
                .start_send(message(chunk.freeze()))
                .map_err(lost)?;
            self.unflushed = true;
        }
    }

    fn poll_read_some(
        &mut self,
        cx: &mut Context<'_>,
        room: usize,
        input: &mut BytesMut,
    ) -> Poll<Result<(), Lost>> {
        let before = input.len();
        while input.len() < room {
            match Pin::new(&mut self.ws).poll_next(cx) {
                Poll::Ready(Some(Ok(Message::Text(text)))) => input.extend_from_slice(text.as_bytes()),
                Poll::Ready(Some(Ok(Message::Binary(bytes)))) => input.extend_from_slice(&bytes),
                Poll::Ready(Some(Ok(_))) => self.unflushed = true,
                _ if input.len() > before => break,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(lost(error))),
                Poll::Ready(None) => return Poll::Ready(Err(Lost::Closed)),
                Poll::Pending => {
                    // A pong may be due.
                    if self.unflushed && Pin::new(&mut self.ws).poll_flush(cx).map_err(lost)?.is_ready() {
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Text where it is text, as deployed servers do; opaque bodies of other protocols may be none.
fn message(bytes: Bytes) -> Message {
    match Utf8Bytes::try_from(bytes.clone()) {
        Ok(text) => Message::Text(text),
        Err(_) => Message::Binary(bytes),
    }
}

fn lost(error: WsError) -> Lost {
    match error {
        WsError::Capacity(CapacityError::MessageTooLong { .. }) => Lost::TooLarge,
        WsError::Io(e) if e.kind() == io::ErrorKind::QuotaExceeded => Lost::Quota,
        _ => Lost::Closed,
    }
}
