//! Bytes in and out of a socket, whatever it is: plain, TLS, WebSocket.
//!
//! A connection that waits owns no buffers of ours: room to read is made when the socket is readable.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

/// How much is read, or written into one WebSocket message, at a time.
const CHUNK: usize = 16 * 1024;
/// How much is taken from a WebSocket in one turn.
const READ_AHEAD: usize = 64 * 1024;

/// A plain or a TLS stream, with bytes that were read to find out what it is.
pub(crate) struct Io {
    stream: Socket,
    prefix: Bytes,
}

enum Socket {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Io {
    pub fn tcp(stream: TcpStream) -> Self {
        Self {
            stream: Socket::Tcp(stream),
            prefix: Bytes::new(),
        }
    }

    pub fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self {
            stream: Socket::Tls(Box::new(stream)),
            prefix: Bytes::new(),
        }
    }

    /// The plain socket, if it is one.
    pub fn into_tcp(self) -> Option<TcpStream> {
        match self.stream {
            Socket::Tcp(stream) => Some(stream),
            Socket::Tls(_) => None,
        }
    }

    /// Bytes that were read already come first.
    pub fn with_prefix(mut self, prefix: Bytes) -> Self {
        self.prefix = prefix;
        self
    }

    /// The first byte, without taking it.
    pub async fn first_byte(&mut self) -> io::Result<Option<u8>> {
        if let Socket::Tcp(stream) = &self.stream {
            let mut first = [0];
            return Ok((stream.peek(&mut first).await? == 1).then_some(first[0]));
        }
        let mut first = [0];
        let mut buf = ReadBuf::new(&mut first);
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_read(cx, &mut buf)).await?;
        let filled = Bytes::copy_from_slice(buf.filled());
        let byte = filled.first().copied();
        self.prefix = filled;
        Ok(byte)
    }

    fn inner(&mut self) -> Pin<&mut dyn ReadWrite> {
        match &mut self.stream {
            Socket::Tcp(s) => Pin::new(s),
            Socket::Tls(s) => Pin::new(&mut **s),
        }
    }
}

trait ReadWrite: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> ReadWrite for T {}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.prefix.is_empty() {
            let n = self.prefix.len().min(buf.remaining());
            let first = self.prefix.split_to(n);
            buf.put_slice(&first);
            return Poll::Ready(Ok(()));
        }
        self.inner().poll_read(cx, buf)
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.inner().poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_shutdown(cx)
    }
}

/// What carries the packets.
pub(crate) enum Wire {
    Plain(Io),
    WebSocket {
        stream: Box<WebSocketStream<Io>>,
        unflushed: bool,
    },
}

/// What a turn of I/O brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// There is something to decode.
    Read,
    /// Everything that waited has been written.
    Written,
    /// The peer is gone.
    Closed,
}

/// The limits of a WebSocket of ours.
pub(crate) fn websocket_config(max_message: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(1024)
        .write_buffer_size(0)
        .max_message_size(Some(max_message))
        .max_frame_size(Some(max_message))
}

impl Wire {
    /// How it is named in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Wire::Plain(Io {
                stream: Socket::Tcp(_),
                ..
            }) => "tcp",
            Wire::Plain(_) => "tls",
            Wire::WebSocket { .. } => "websocket",
        }
    }

    /// Reads (if `read`) and writes what waits in `out`, until there is something to say. Cancel safe: what was read is
    /// in `input`, what was written is gone from `out`.
    pub async fn turn(&mut self, read: bool, input: &mut BytesMut, out: &mut BytesMut) -> io::Result<Turn> {
        let had_output = !out.is_empty();
        std::future::poll_fn(|cx| {
            if had_output && self.poll_write_all(cx, out)?.is_ready() {
                return Poll::Ready(Ok(Turn::Written));
            }
            if read {
                return match ready!(self.poll_read_some(cx, input))? {
                    0 => Poll::Ready(Ok(Turn::Closed)),
                    _ => Poll::Ready(Ok(Turn::Read)),
                };
            }
            Poll::Pending
        })
        .await
    }

    /// Writes what can be written at once; the rest stays in `out`.
    pub async fn write_now(&mut self, out: &mut BytesMut) -> io::Result<()> {
        std::future::poll_fn(|cx| match self.poll_write_all(cx, out) {
            Poll::Ready(Err(e)) => Poll::Ready(Err(e)),
            _ => Poll::Ready(Ok(())),
        })
        .await
    }

    /// Writes everything and closes.
    pub async fn close(mut self, out: &mut BytesMut, code: u16) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_write_all(cx, out)).await?;
        match &mut self {
            Wire::Plain(io) => std::future::poll_fn(|cx| Pin::new(&mut *io).poll_shutdown(cx)).await,
            Wire::WebSocket { stream, .. } => {
                let frame = CloseFrame {
                    code: CloseCode::from(code),
                    reason: "".into(),
                };
                stream.close(Some(frame)).await.map_err(ws_error)
            }
        }
    }

    fn poll_read_some(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<io::Result<usize>> {
        match self {
            Wire::Plain(io) => poll_read_plain(io, cx, input),
            Wire::WebSocket { stream, unflushed } => poll_read_ws(stream, unflushed, cx, input),
        }
    }

    fn poll_write_all(&mut self, cx: &mut Context<'_>, out: &mut BytesMut) -> Poll<io::Result<()>> {
        match self {
            Wire::Plain(io) => {
                while !out.is_empty() {
                    let n = ready!(Pin::new(&mut *io).poll_write(cx, out))?;
                    if n == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    out.advance(n);
                }
                Pin::new(io).poll_flush(cx)
            }
            Wire::WebSocket { stream, unflushed } => loop {
                if *unflushed {
                    ready!(Pin::new(&mut **stream).poll_flush(cx)).map_err(ws_error)?;
                    *unflushed = false;
                }
                if out.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                let message = Message::Binary(out.split_to(out.len().min(CHUNK)).freeze());
                Pin::new(&mut **stream).start_send(message).map_err(ws_error)?;
                *unflushed = true;
            },
        }
    }
}

fn poll_read_plain(io: &mut Io, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<io::Result<usize>> {
    if let Socket::Tcp(stream) = &mut io.stream
        && io.prefix.is_empty()
    {
        ready!(stream.poll_read_ready(cx))?;
        input.reserve(CHUNK);
        // Unlike `try_read_buf` it knows that a short read has emptied the socket, and saves the next, vain, attempt.
        return tokio_util::io::poll_read_buf(Pin::new(stream), cx, input);
    }
    let mut chunk = [0u8; 4096];
    let mut buf = ReadBuf::new(&mut chunk);
    ready!(Pin::new(io).poll_read(cx, &mut buf))?;
    input.extend_from_slice(buf.filled());
    Poll::Ready(Ok(buf.filled().len()))
}

/// MQTT packets and WebSocket frames do not line up: a frame may hold part of a packet, several, or nothing at all.
fn poll_read_ws(
    stream: &mut WebSocketStream<Io>,
    unflushed: &mut bool,
    cx: &mut Context<'_>,
    input: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    let before = input.len();
    while input.len() < before + READ_AHEAD {
        match Pin::new(&mut *stream).poll_next(cx) {
            Poll::Ready(Some(Ok(Message::Binary(bytes)))) => input.extend_from_slice(&bytes),
            Poll::Ready(Some(Ok(Message::Text(_)))) => {
                // [MQTT-6.0.0-1]
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a text frame on an MQTT WebSocket",
                )));
            }
            Poll::Ready(Some(Ok(_))) => *unflushed = true,
            Poll::Ready(Some(Err(error))) if input.len() == before => {
                return Poll::Ready(Err(ws_error(error)));
            }
            Poll::Ready(None) if input.len() == before => return Poll::Ready(Ok(0)),
            Poll::Ready(_) => break,
            Poll::Pending if input.len() == before => {
                // A pong may be due.
                if *unflushed
                    && Pin::new(&mut *stream)
                        .poll_flush(cx)
                        .map_err(ws_error)?
                        .is_ready()
                {
                    *unflushed = false;
                }
                return Poll::Pending;
            }
            Poll::Pending => break,
        }
    }
    Poll::Ready(Ok(input.len() - before))
}

fn ws_error(error: WsError) -> io::Error {
    match error {
        WsError::Io(e) => e,
        WsError::ConnectionClosed | WsError::AlreadyClosed => io::ErrorKind::ConnectionReset.into(),
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}
