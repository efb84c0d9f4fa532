//! From an accepted socket to something that carries MQTT packets: the first byte tells TLS, MQTT and HTTP apart.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edge::websocket;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::Config;
use crate::transport::{Io, Wire, websocket_config};

/// The first byte of a CONNECT packet.
const MQTT_CONNECT: u8 = 0x10;
/// The first byte of a TLS record that carries a ClientHello.
const TLS_HANDSHAKE: u8 = 0x16;
/// Requests that do not fit are not upgrades.
const MAX_REQUEST: usize = 16 * 1024;

/// Why a socket did not become a connection. For the counter and the debug log.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Nothing, or not enough, came in time.
    Silent,
    /// It spoke something else.
    NotMqtt,
    /// It asked for something else than an upgrade that is offered; it has been answered.
    Http,
    /// The socket failed.
    Io,
}

impl From<std::io::Error> for Refused {
    fn from(_: std::io::Error) -> Self {
        Refused::Io
    }
}

/// Finds out what a socket speaks. At most `limit` long.
pub(crate) async fn accept(
    stream: TcpStream,
    tls: Option<&TlsAcceptor>,
    config: &Arc<Config>,
    limit: Duration,
) -> Result<Wire, Refused> {
    tokio::time::timeout(limit, recognise(stream, tls, config))
        .await
        .unwrap_or(Err(Refused::Silent))
}

async fn recognise(
    stream: TcpStream,
    tls: Option<&TlsAcceptor>,
    config: &Arc<Config>,
) -> Result<Wire, Refused> {
    let mut io = Io::tcp(stream);
    let mut first = io.first_byte().await?.ok_or(Refused::Silent)?;
    if let (TLS_HANDSHAKE, Some(acceptor)) = (first, tls) {
        let tcp = io.into_tcp().ok_or(Refused::Io)?;
        io = Io::tls(Box::pin(acceptor.accept(tcp)).await?);
        first = io.first_byte().await?.ok_or(Refused::Silent)?;
    }
    match first {
        MQTT_CONNECT => Ok(Wire::Plain(io)),
        b'A'..=b'Z' => Box::pin(upgrade(io, config.clone())).await,
        _ => Err(Refused::NotMqtt),
    }
}

/// Serves HTTP until the socket has been upgraded.
async fn upgrade(io: Io, config: Arc<Config>) -> Result<Wire, Refused> {
    let (tell, told) = tokio::sync::oneshot::channel();
    let tell = parking_lot::Mutex::new(Some(tell));
    let max_message = config.limits.max_message.as_usize() + 64 * 1024;
    let answer = service_fn(|mut request: Request<Incoming>| {
        let response = respond(&request, &config);
        if response.status() == StatusCode::SWITCHING_PROTOCOLS
            && let Some(tell) = tell.lock().take()
        {
            drop(tell.send(hyper::upgrade::on(&mut request)));
        }
        std::future::ready(Ok::<_, std::convert::Infallible>(response))
    });
    let served = hyper::server::conn::http1::Builder::new()
        .max_buf_size(MAX_REQUEST)
        .serve_connection(TokioIo::new(io), answer)
        .with_upgrades()
        .await;
    served.map_err(|_| Refused::Http)?;
    let upgraded = told
        .await
        .map_err(|_| Refused::Http)?
        .await
        .map_err(|_| Refused::Http)?;
    let parts = upgraded.downcast::<TokioIo<Io>>().map_err(|_| Refused::Http)?;
    let io = parts.io.into_inner().with_prefix(parts.read_buf);
    let ws = WebSocketStream::from_raw_socket(io, Role::Server, Some(websocket_config(max_message))).await;
    Ok(Wire::WebSocket {
        stream: Box::new(ws),
        unflushed: false,
    })
}

fn respond(request: &Request<Incoming>, config: &Config) -> Response<Full<Bytes>> {
    let headers = request.headers();
    if !config.ws_paths.iter().any(|p| p == request.uri().path()) {
        let paths = config.ws_paths.join(" and ");
        return plain(
            StatusCode::NOT_FOUND,
            format!("MQTT over WebSocket is at {paths}; plain MQTT needs no path\n"),
        );
    }
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .filter(|_| websocket::is_upgrade(request.method(), headers));
    let Some(key) = key else {
        let mut response = plain(
            StatusCode::UPGRADE_REQUIRED,
            "this port speaks MQTT: connect with an MQTT client, over TCP or over WebSocket\n".into(),
        );
        response
            .headers_mut()
            .insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
        return response;
    };
    if !websocket::is_allowed_origin(headers, &config.allowed_origins) {
        return plain(
            StatusCode::FORBIDDEN,
            "this origin may not connect; allow it in mqtt.allowed_origins\n".into(),
        );
    }
    let mut response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()));
    if let Some(protocol) = subprotocol(headers) {
        response = response.header(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    response.body(Full::default()).unwrap_or_default()
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let response = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
        .header(header::CONNECTION, "close");
    response.body(Full::from(text)).unwrap_or_default()
}

/// `mqtt`, or `mqttv3.1` for old clients, is echoed; a client that names neither gets none.
fn subprotocol(headers: &HeaderMap) -> Option<&'static str> {
    websocket::subprotocols(headers)
        .find_map(|name| ["mqtt", "mqttv3.1"].into_iter().find(|known| *known == name))
}
