//! Bytes over TCP or over WebSocket.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::raw;

#[derive(Debug)]
pub(super) enum Link {
    Tcp(TcpStream),
    WebSocket(Box<WebSocketStream<TcpStream>>),
}

impl Link {
    /// `None` when the server does not take the connection.
    pub(super) async fn open(address: SocketAddr, websocket: Option<&str>) -> Option<Self> {
        let tcp = TcpStream::connect(address).await.ok()?;
        tcp.set_nodelay(true).expect("setting a socket option");
        let Some(path) = websocket else {
            return Some(Self::Tcp(tcp));
        };
        let socket = raw::upgrade(tcp, &format!("ws://{address}{path}"), &["mqtt"])
            .await
            .ok()?;
        Some(Self::WebSocket(Box::new(socket)))
    }

    /// A broken connection is told by reading, not by writing.
    pub(super) async fn write(&mut self, bytes: Bytes) {
        let _broken = match self {
            Self::Tcp(tcp) => tcp.write_all(&bytes).await.is_err(),
            Self::WebSocket(socket) => socket.send(Message::Binary(bytes)).await.is_err(),
        };
    }

    /// Appends what has come; false at the end.
    pub(super) async fn read(&mut self, buf: &mut BytesMut) -> bool {
        match self {
            Self::Tcp(tcp) => tcp.read_buf(buf).await.is_ok_and(|n| n > 0),
            Self::WebSocket(socket) => match socket.next().await {
                Some(Ok(Message::Binary(bytes))) => {
                    buf.extend_from_slice(&bytes);
                    true
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => false,
                Some(Ok(Message::Text(text))) => panic!("the server sent text over MQTT: {text}"),
                Some(Ok(_)) => true,
            },
        }
    }

    pub(super) async fn shutdown(&mut self) {
        let _broken = match self {
            Self::Tcp(tcp) => tcp.shutdown().await.is_err(),
            Self::WebSocket(socket) => socket.close().await.is_err(),
        };
    }
}
