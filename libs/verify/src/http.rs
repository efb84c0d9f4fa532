//! HTTP as a page uses it: one request, one connection.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;

use crate::target::{Address, Target};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// What came of a request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// 200: `data` of the envelope.
    Data(Value),
    /// Another status, with what the server says.
    Status(u16, String),
    /// None.
    Silence(String),
}

impl Answer {
    /// `data`, or why there is none.
    pub(crate) fn data(self) -> Result<Value, String> {
        match self {
            Self::Data(data) => Ok(data),
            Self::Status(status, text) => Err(format!("HTTP {status}: {text}")),
            Self::Silence(why) => Err(why),
        }
    }
}

/// GET.
pub(crate) async fn get(target: &Target, at: &Address, path: &str, token: Option<&str>) -> Answer {
    request(target, at, Method::GET, path, token, String::new()).await
}

/// POST of JSON.
pub(crate) async fn post(
    target: &Target,
    at: &Address,
    path: &str,
    token: Option<&str>,
    body: &Value,
) -> Answer {
    request(target, at, Method::POST, path, token, body.to_string()).await
}

async fn request(
    target: &Target,
    at: &Address,
    method: Method,
    path: &str,
    token: Option<&str>,
    body: String,
) -> Answer {
    let asking = exchange(target, at, method, path, token, body);
    match tokio::time::timeout(PATIENCE, asking).await {
        Ok(Ok((200, text))) => match serde_json::from_str::<Value>(&text) {
            Ok(mut json) => Answer::Data(json["data"].take()),
            Err(_) => Answer::Status(200, "the answer is no JSON".to_owned()),
        },
        Ok(Ok((status, text))) => Answer::Status(status, message_of(&text)),
        Ok(Err(error)) => Answer::Silence(error.to_string()),
        Err(_) => Answer::Silence(format!("no answer within {PATIENCE:?}")),
    }
}

/// What an error envelope says.
fn message_of(text: &str) -> String {
    let json = serde_json::from_str::<Value>(text).ok();
    let message = json.as_ref().and_then(|json| json["message"].as_str());
    let text = message.unwrap_or(text);
    text.chars().take(200).collect()
}

async fn exchange(
    target: &Target,
    at: &Address,
    method: Method,
    path: &str,
    token: Option<&str>,
    body: String,
) -> Result<(u16, String), Box<dyn std::error::Error + Send + Sync>> {
    let socket = target.dial(at).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
    let driver = tokio::spawn(connection);
    let mut request = Request::builder()
        .method(method)
        .uri(at.join(path).path())
        .header(HOST, at.authority());
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    if !body.is_empty() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let answered = async {
        let request = request.body(Full::new(Bytes::from(body)))?;
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    let answer = answered.await;
    driver.abort();
    answer
}

/// A value as part of a query (RFC 3986 §2.3: what is unreserved stays).
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_encoded_for_a_query() {
        assert_eq!(encode("org/agent/a_b/ü+"), "org%2Fagent%2Fa_b%2F%C3%BC%2B");
    }

    #[test]
    fn a_query_holds_any_uid() {
        assert_eq!(encode("a-1._~"), "a-1._~");
        assert_eq!(encode("a b&c=/é"), "a%20b%26c%3D%2F%C3%A9");
    }
}
