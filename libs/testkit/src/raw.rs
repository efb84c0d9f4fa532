//! Bytes that no well-behaved client would send.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;

use crate::within;

/// Upgrades a connection to WebSocket.
///
/// # Errors
/// The server's refusal.
///
/// # Panics
/// When there is no answer in time.
pub async fn upgrade(
    tcp: TcpStream,
    url: &str,
    protocols: &[&str],
) -> Result<WebSocketStream<TcpStream>, tungstenite::Error> {
    let mut request = url.into_client_request()?;
    if !protocols.is_empty() {
        let offered = HeaderValue::from_str(&protocols.join(", ")).expect("names of protocols");
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, offered);
    }
    let handshake = tokio_tungstenite::client_async(request, tcp);
    let (socket, _response) = within("an answer to the upgrade", crate::DEADLINE, handshake).await?;
    Ok(socket)
}

/// Opens a WebSocket.
///
/// # Errors
/// The server's refusal.
///
/// # Panics
/// When the server cannot be reached.
pub async fn websocket(
    address: SocketAddr,
    path: &str,
    protocols: &[&str],
) -> Result<WebSocketStream<TcpStream>, tungstenite::Error> {
    upgrade(tcp(address).await, &format!("ws://{address}{path}"), protocols).await
}

/// Opens a TCP connection.
///
/// # Panics
/// When the server cannot be reached.
pub async fn tcp(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address)
        .await
        .expect("connecting to the server")
}

/// Sends `bytes` and reads until the server closes: everything it said.
///
/// # Panics
/// When it does not close in time.
pub async fn exchange(address: SocketAddr, bytes: &[u8], deadline: Duration) -> Vec<u8> {
    let mut socket = tcp(address).await;
    // The server may close while bytes are still on their way.
    let _cut = socket.write_all(bytes).await;
    read_to_close(&mut socket, deadline).await
}

/// Reads until the server closes: everything it said.
///
/// # Panics
/// When it does not close in time.
pub async fn read_to_close(socket: &mut TcpStream, deadline: Duration) -> Vec<u8> {
    let mut said = Vec::new();
    let read = async {
        let mut buf = [0; 16 * 1024];
        loop {
            match socket.read(&mut buf).await {
                // A reset is the end too: the server had bytes of ours that it did not read.
                Ok(0) | Err(_) => return,
                Ok(n) => said.extend_from_slice(&buf[..n]),
            }
        }
    };
    within("the server to close the connection", deadline, read).await;
    said
}
