//! Serves HTTP with bounds on what a client may cost before it has said what it wants.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use futures::future::{Either, select};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;
use tracing::{debug, warn};

use crate::lifecycle::{OnError, Stop, Tasks};

/// What a client may use before a request of its has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long the head of a request may take to arrive, the wait for it included: an idle connection ends with it.
    pub head_timeout: Duration,
    /// How many bytes the head of a request may have. Beyond them the answer is 431.
    pub max_head: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_timeout: Duration::from_secs(5),
            max_head: 64 * 1024,
        }
    }
}

/// Answers requests, HTTP/1.1 and WebSocket upgrades, until the soft stop; requests under way are finished. Each
/// connection is a task of `tasks`, on a socket with TCP_NODELAY. Handlers may ask for `ConnectInfo<SocketAddr>`.
pub async fn serve(listener: TcpListener, app: Router, limits: Limits, tasks: &Tasks) {
    let stop = tasks.stop().clone();
    let app = Arc::new(app);
    loop {
        let accepted = tokio::select! {
            () = stop.soft().cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let served = connection(stream, peer, app.clone(), limits, stop.child());
                tasks.spawn("http/connection", OnError::Log, served);
            }
            Err(error) => {
                // Out of file descriptors, most likely. Those who are connected go on.
                warn!(%error, "accepting an HTTP connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, app: Arc<Router>, limits: Limits, stop: Stop) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "a socket keeps its delay");
    }
    let answer = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        Router::clone(&app).oneshot(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.max_head)
        .serve_connection(TokioIo::new(stream), answer)
        .with_upgrades();
    let leaving = Box::pin(async move { stop.soft().cancelled().await });
    let ended = match select(Box::pin(served), leaving).await {
        Either::Left((ended, _)) => ended,
        Either::Right(((), mut served)) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "an HTTP connection ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn start(limits: Limits) -> (SocketAddr, Stop, Tasks) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (stop, app) = (Stop::new(), Router::new().route("/", get(async || "hello")));
        let tasks = Tasks::new(stop.clone());
        let all = tasks.clone();
        tasks.spawn("http", OnError::Log, async move {
            serve(listener, app, limits, &all).await
        });
        (at, stop, tasks)
    }

    async fn say(at: SocketAddr, text: &str) -> String {
        let mut stream = TcpStream::connect(at).await.unwrap();
        let mut answer = Vec::new();
        // The server may have closed before everything was written.
        let _ = stream.write_all(text.as_bytes()).await;
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn a_client_that_does_not_ask_is_not_waited_for() {
        let limits = Limits {
            head_timeout: Duration::from_millis(100),
            ..Limits::default()
        };
        let (at, ..) = start(limits).await;
        assert!(!say(at, "").await.contains("200"));
        assert!(!say(at, "GET / HTTP/1.1\r\nhost: x\r\n").await.contains("200"));
    }

    #[tokio::test]
    async fn a_head_that_is_too_large_is_refused() {
        let (at, ..) = start(Limits {
            max_head: 16 * 1024,
            ..Limits::default()
        })
        .await;
        let bomb = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}", "y".repeat(20 * 1024));
        assert!(say(at, &bomb).await.starts_with("HTTP/1.1 431"));
    }

    #[tokio::test]
    async fn requests_are_answered_until_the_soft_stop() {
        let (at, stop, tasks) = start(Limits::default()).await;
        let answer = say(at, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"),
            "{answer}"
        );
        stop.stop_softly();
        tasks.wait().await;
        assert!(TcpStream::connect(at).await.is_err());
    }
}
