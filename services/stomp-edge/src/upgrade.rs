//! From an HTTP request to a WebSocket.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use edge::websocket;
use http::{HeaderMap, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use runtime::lifecycle::{OnError, Tasks};
use stomp_codec::Version;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tracing::{Instrument, debug, debug_span};

use crate::connect;
use crate::identity::Query;
use crate::service::Edge;
use crate::socket::Socket;

/// Headers of one frame, and the frames around them: what a WebSocket message may hold besides one body.
const AROUND_A_BODY: usize = 64 * 1024;

/// Answers an upgrade and serves the connection in a task of its own.
pub(crate) async fn upgrade(
    State((edge, tasks)): State<(Arc<Edge>, Tasks)>,
    mut request: Request,
) -> Response {
    let headers = request.headers();
    let Some(key) = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .filter(|_| websocket::is_upgrade(request.method(), headers))
    else {
        let upgrade = [(header::UPGRADE, "websocket")];
        let text = "this address speaks STOMP over WebSocket; connect with a STOMP client\n";
        return (StatusCode::UPGRADE_REQUIRED, upgrade, text).into_response();
    };
    if !websocket::is_allowed_origin(headers, &edge.config.allowed_origins) {
        let text = "this origin may not connect; allow it in stomp.allowed_origins\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    if tasks.stop().soft().is_cancelled() {
        return unavailable("this server is leaving; connect again\n");
    }
    let Some(opened) = edge.enter() else {
        edge.metrics.close("too-many-connections");
        return unavailable("this server has as many connections as it may; connect again later\n");
    };
    let mut response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()));
    if let Some(version) = subprotocol(headers) {
        response = response.header(header::SEC_WEBSOCKET_PROTOCOL, version.subprotocol());
    }
    let query = query(request.uri().query().unwrap_or_default());
    let Some(upgraded) = request.extensions_mut().remove::<OnUpgrade>() else {
        return (StatusCode::UPGRADE_REQUIRED, "WebSocket needs HTTP/1.1\n").into_response();
    };
    let stop = tasks.stop().child();
    let connection = async move {
        let limits = &edge.config.limits;
        let deadline = Instant::now() + limits.auth_timeout.get();
        match tokio::time::timeout_at(deadline, upgraded).await {
            Ok(Ok(upgraded)) => {
                let max_message = limits.max_message.as_usize() + AROUND_A_BODY;
                let socket = Socket::new(upgraded, max_message, limits.max_before_auth.as_usize()).await;
                connect::serve(socket, &edge, &query, deadline, stop).await;
            }
            _ => debug!("the upgrade was not completed"),
        }
        drop(opened);
    };
    tasks.spawn(
        "stomp-edge/connection",
        OnError::Log,
        connection.instrument(debug_span!("stomp", session = tracing::field::Empty)),
    );
    response.body(axum::body::Body::empty()).unwrap_or_default()
}

fn unavailable(text: &'static str) -> Response {
    (
        StatusCode::SERVICE_UNAVAILABLE,
        [(header::RETRY_AFTER, "1")],
        text,
    )
        .into_response()
}

/// The newest version that the client names is echoed; one that names none gets none.
fn subprotocol(headers: &HeaderMap) -> Option<Version> {
    websocket::subprotocols(headers)
        .filter_map(Version::from_subprotocol)
        .max()
}

/// Tokens and ids hold nothing that would be escaped in a query.
fn query(text: &str) -> Query {
    let mut query = Query::default();
    for (name, value) in text.split('&').filter_map(|pair| pair.split_once('=')) {
        match name {
            "access_token" => query.token = Some(value.to_owned()),
            "org" | "orgUid" => query.org = Some(value.to_owned()),
            _ => {}
        }
    }
    query
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_subprotocol_is_chosen_whatever_the_order() {
        let mut headers = HeaderMap::new();
        assert_eq!(subprotocol(&headers), None);
        headers.insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            "x, v10.stomp, v11.stomp".parse().unwrap(),
        );
        assert_eq!(subprotocol(&headers), Some(Version::V11));
    }
}
