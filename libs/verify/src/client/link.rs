//! Bytes over TCP or over WebSocket.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;

use crate::target::{Address, Socket, Target};

/// How long the other side may take to accept a connection or bytes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A connection.
pub(crate) enum Link {
    Raw(Socket),
    WebSocket(Box<WebSocketStream<Socket>>, Form),
}

/// What frames of WebSocket carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Binary,
    Text,
}

impl Link {
    /// Connects; over WebSocket where a subprotocol is given.
    pub(crate) async fn open(
        target: &Target,
        at: &Address,
        websocket: Option<(&'static str, Form)>,
    ) -> Result<Self, String> {
        let opening = async {
            let socket = target.dial(at).await.map_err(|e| format!("{at}: {e}"))?;
            let Some((protocol, form)) = websocket else {
                return Ok(Self::Raw(socket));
            };
            let wrong = |e: &dyn std::fmt::Display| format!("{}: {e}", at.ws_url());
            let mut request = at.ws_url().into_client_request().map_err(|e| wrong(&e))?;
            let offered = HeaderValue::from_static(protocol);
            request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, offered);
            let upgraded = tokio_tungstenite::client_async(request, socket).await;
            let (socket, _response) = upgraded.map_err(|e| wrong(&e))?;
            Ok(Self::WebSocket(Box::new(socket), form))
        };
        let late = |_| Err(format!("{at}: no connection within {PATIENCE:?}"));
        timeout(PATIENCE, opening).await.unwrap_or_else(late)
    }

    /// Writes what is there, all of it.
    pub(crate) async fn write(&mut self, out: &mut BytesMut) -> Result<(), String> {
        if out.is_empty() {
            return Ok(());
        }
        let bytes = out.split().freeze();
        let writing = async {
            match self {
                Self::Raw(socket) => {
                    socket.write_all(&bytes).await?;
                    socket.flush().await
                }
                Self::WebSocket(socket, form) => {
                    let message = frame(bytes, *form);
                    socket.send(message).await.map_err(io::Error::other)
                }
            }
        };
        match timeout(PATIENCE, writing).await {
            Ok(done) => done.map_err(|e| format!("writing: {e}")),
            Err(_) => Err(format!("the server took nothing for {PATIENCE:?}")),
        }
    }

    /// Appends what comes. Dropping the future loses nothing.
    pub(crate) async fn read(&mut self, buf: &mut BytesMut) -> Result<(), String> {
        match self {
            Self::Raw(socket) => match socket.read_buf(buf).await {
                Ok(0) => Err("the server closed the connection".to_owned()),
                Ok(_) => Ok(()),
                Err(e) => Err(format!("reading: {e}")),
            },
            Self::WebSocket(socket, _) => match socket.next().await {
                Some(Ok(Message::Binary(bytes))) => {
                    buf.extend_from_slice(&bytes);
                    Ok(())
                }
                Some(Ok(Message::Text(text))) => {
                    buf.extend_from_slice(text.as_bytes());
                    Ok(())
                }
                Some(Ok(Message::Close(why))) => Err(format!(
                    "the server closed the WebSocket: {}",
                    why.map(|w| format!("{} {}", w.code, w.reason))
                        .unwrap_or_default()
                )),
                Some(Ok(_)) => Ok(()),
                Some(Err(e)) => Err(format!("reading: {e}")),
                None => Err("the server closed the connection".to_owned()),
            },
        }
    }

    /// Waits until the server closes, but not long.
    pub(crate) async fn closed(mut self) {
        let mut rest = BytesMut::new();
        let reading = async {
            while self.read(&mut rest).await.is_ok() {
                rest.clear();
            }
        };
        let _open = timeout(Duration::from_secs(2), reading).await;
    }
}

/// Text unless it is none.
fn frame(bytes: Bytes, form: Form) -> Message {
    match form {
        Form::Binary => Message::Binary(bytes),
        Form::Text => match String::from_utf8(bytes.to_vec()) {
            Ok(text) => Message::text(text),
            Err(_) => Message::Binary(bytes),
        },
    }
}
