//! One connection: a socket with its buffers, raw or behind WebSocket framing.
//!
//! Everything runs on one thread, reads as much as there is and writes once per turn: the generator must cost
//! less than the server it measures.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;

use crate::error::{Error, Result};
use crate::ws::{self, Kind};

/// How long a server may take to answer a connection, a subscription, a receipt.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

const SMALL: usize = 512;
const LARGE: usize = 64 * 1024;

/// Where to connect and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    host: String,
    /// The path of the WebSocket endpoint; none on raw TCP.
    path: Option<String>,
}

impl Target {
    /// Reads `mqtt://host:port` or `ws://host:port/path` and resolves the host.
    pub(crate) async fn resolve(url: &str) -> Result<Self> {
        let wrong = || Error::Address(url.to_owned());
        let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
        let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let path = match scheme {
            "mqtt" | "tcp" => None,
            "ws" | "http" => Some(path.to_owned()),
            _ => return Err(wrong()),
        };
        let mut found = lookup_host(host)
            .await
            .map_err(Error::io(format!("resolving {host}")))?;
        let address = found.next().ok_or_else(wrong)?;
        Ok(Self {
            address,
            host: host.to_owned(),
            path,
        })
    }

    /// `tcp` or `ws`.
    pub(crate) fn transport(&self) -> &'static str {
        if self.path.is_some() { "ws" } else { "tcp" }
    }

    /// Opens the socket. On loopback `spread` picks one of many source addresses, so that thousands of short
    /// connections do not run out of ports.
    async fn open(&self, spread: usize) -> std::io::Result<TcpStream> {
        let socket = if self.address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        if self.address.ip() == Ipv4Addr::LOCALHOST {
            let source = Ipv4Addr::new(127, 0, 1, 1 + (spread % 200) as u8);
            socket.bind(SocketAddr::from((source, 0)))?;
        }
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// A connection with its buffers.
#[derive(Debug)]
pub(crate) struct Link {
    stream: TcpStream,
    framing: Option<Kind>,
    /// Bytes not yet unframed; used only behind WebSocket.
    raw: BytesMut,
    /// Protocol bytes not yet decoded.
    pub(crate) input: BytesMut,
    output: BytesMut,
    /// How much room to offer a read: grows with what arrives, so that idle connections stay small.
    room: usize,
}

impl Link {
    /// Connects, and upgrades when the target is a WebSocket, offering `protocol`.
    pub(crate) async fn open(target: &Target, protocol: &str, kind: Kind, spread: usize) -> Result<Self> {
        let doing = || Error::io(format!("connecting to {}", target.address));
        let opening = timeout(PATIENCE, target.open(spread))
            .await
            .map_err(|_| Error::Timeout("a TCP connect"))?;
        let mut link = Self {
            stream: opening.map_err(doing())?,
            framing: None,
            raw: BytesMut::new(),
            input: BytesMut::new(),
            output: BytesMut::new(),
            room: SMALL,
        };
        if let Some(path) = &target.path {
            link.output
                .extend_from_slice(ws::upgrade(&target.host, path, protocol).as_bytes());
            link.upgrade().await?;
            link.framing = Some(kind);
            ws::deframe(&mut link.raw, &mut link.input, &mut link.output)?;
        }
        Ok(link)
    }

    async fn upgrade(&mut self) -> Result<()> {
        loop {
            self.wait("the WebSocket upgrade").await?;
            self.raw.unsplit(self.input.split());
            if ws::upgraded(&mut self.raw)? {
                return Ok(());
            }
        }
    }

    /// Queues one packet: a frame of its own behind WebSocket, as deployed clients write them.
    pub(crate) fn push(&mut self, packet: &[u8]) {
        match self.framing {
            None => self.output.extend_from_slice(packet),
            Some(kind) => ws::put_frame(&mut self.output, kind, packet),
        }
    }

    /// Writes what is queued, then waits until bytes came, queued bytes went out, or `wake` is ready.
    pub(crate) async fn turn(&mut self, wake: impl Future<Output = ()>) -> Result<()> {
        self.write_some()?;
        let buffer = if self.framing.is_some() {
            &mut self.raw
        } else {
            &mut self.input
        };
        buffer.reserve(self.room);
        let room = buffer.capacity() - buffer.len();
        let (mut reader, mut writer) = self.stream.split();
        let read = tokio::select! {
            biased;
            read = reader.read_buf(buffer) => Some(read),
            wrote = writer.write_buf(&mut self.output), if !self.output.is_empty() => {
                wrote.map_err(Error::io("writing to the server"))?;
                None
            }
            () = wake => None,
        };
        let Some(read) = read else { return Ok(()) };
        let count = read.map_err(Error::io("reading from the server"))?;
        if count == 0 {
            return Err(Error::Closed("it was in use"));
        }
        if count == room {
            self.room = (self.room * 4).min(LARGE);
        }
        if self.framing.is_some() {
            ws::deframe(&mut self.raw, &mut self.input, &mut self.output)?;
        }
        Ok(())
    }

    /// A turn that must bring something within [`PATIENCE`].
    pub(crate) async fn wait(&mut self, what: &'static str) -> Result<()> {
        timeout(PATIENCE, self.turn(std::future::pending()))
            .await
            .map_err(|_| Error::Timeout(what))?
    }

    /// Writes all that is queued and closes.
    pub(crate) async fn close(mut self) -> Result<()> {
        let writing = async {
            self.stream.write_all_buf(&mut self.output).await?;
            self.stream.shutdown().await
        };
        let done = timeout(PATIENCE, writing)
            .await
            .map_err(|_| Error::Timeout("the last bytes written"))?;
        done.map_err(Error::io("closing a connection"))
    }

    fn write_some(&mut self) -> Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        match self.stream.try_write(&self.output) {
            Ok(count) => self.output.advance(count),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(Error::io("writing to the server")(error)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_are_read_with_their_transport() {
        let tcp = Target::resolve("mqtt://127.0.0.1:1883").await.unwrap();
        assert_eq!((tcp.address.port(), tcp.transport()), (1883, "tcp"));
        let ws = Target::resolve("ws://127.0.0.1:9885/websocket").await.unwrap();
        assert_eq!((ws.path.as_deref(), ws.transport()), (Some("/websocket"), "ws"));
        assert!(Target::resolve("127.0.0.1:1883").await.is_err());
        assert!(Target::resolve("amqp://127.0.0.1:1883").await.is_err());
    }
}
