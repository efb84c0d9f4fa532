//! An HTTP client: one request, one connection, no surprises.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{HeaderMap, Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::{DEADLINE, within};

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Its header.
    pub headers: HeaderMap,
    /// Its body as text.
    pub text: String,
}

impl Reply {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> Value {
        match serde_json::from_str(&self.text) {
            Ok(json) => json,
            Err(error) => panic!("not JSON ({error}): {} {}", self.status, self.text),
        }
    }

    /// `data` of a successful envelope.
    ///
    /// # Panics
    /// When the answer is no success.
    pub fn data(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        let mut json = self.json();
        assert_eq!(json["code"], 200, "{}", self.text);
        assert!(json["message"].is_string(), "{}", self.text);
        json["data"].take()
    }

    /// Checks an error: the real status and the same envelope, with a message for whoever must change something.
    ///
    /// # Panics
    /// When it is another answer.
    pub fn assert_error(&self, status: u16) {
        assert_eq!(self.status, status, "{}", self.text);
        let json = self.json();
        assert_eq!(json["code"], status, "{}", self.text);
        let message = json["message"].as_str().expect("errors have a message");
        assert!(message.len() > 5, "a message that helps: {}", self.text);
    }
}

/// GET.
pub async fn get(address: SocketAddr, path: &str, token: Option<&str>) -> Reply {
    send(address, Method::GET, path, token, None).await
}

/// POST of JSON.
pub async fn post(address: SocketAddr, path: &str, token: Option<&str>, body: &Value) -> Reply {
    send(address, Method::POST, path, token, Some(body.to_string())).await
}

/// POST of a chat message as deployed clients do: its JSON as text within JSON.
pub async fn say(address: SocketAddr, path: &str, token: Option<&str>, message: &wire::Message) -> Reply {
    let json = crate::chat::to_json(message).to_string();
    let body = serde_json::json!({ "json": json, "client": "WEB" });
    post(address, path, token, &body).await
}

/// Any request.
///
/// # Panics
/// When there is no answer in time.
pub async fn send(
    address: SocketAddr,
    method: Method,
    path: &str,
    token: Option<&str>,
    body: Option<String>,
) -> Reply {
    within(
        "an HTTP answer",
        DEADLINE,
        exchange(address, method, path, token, body),
    )
    .await
    .unwrap_or_else(|error| panic!("asking {path}: {error}"))
}

/// Any request, perhaps to a server that is away.
///
/// # Errors
/// When there is no answer.
pub async fn exchange(
    address: SocketAddr,
    method: Method,
    path: &str,
    token: Option<&str>,
    body: Option<String>,
) -> Result<Reply, Box<dyn std::error::Error + Send + Sync>> {
    let tcp = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await?;
    let driver = tokio::spawn(connection);
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, address.to_string());
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    if body.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let request = request.body(Full::new(Bytes::from(body.unwrap_or_default())))?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let body = response.into_body().collect().await?.to_bytes();
    driver.abort();
    Ok(Reply {
        status,
        headers,
        text: String::from_utf8_lossy(&body).into_owned(),
    })
}
