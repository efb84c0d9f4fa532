//! The envelope of every answer, and what goes wrong in it.

use std::time::Duration;

use auth::AuthError;
use axum::response::{IntoResponse, Response};
use axum::{Json, http::HeaderName};
use contract::{ErrorKind, RpcError};
use edge::Refusal;
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// The machine's name of an error, beside the envelope, whose members deployed clients know.
pub(crate) const CODE_HEADER: HeaderName = HeaderName::from_static("longwire-code");

/// What every call answers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Envelope<T> {
    /// `success`, or what was wrong and what to change.
    pub message: String,
    /// The HTTP status.
    #[schema(example = 200)]
    pub code: u16,
    /// What was asked for; `false` when something was wrong.
    pub data: T,
}

/// A success.
#[derive(Debug)]
pub(crate) struct Reply<T> {
    message: &'static str,
    data: T,
}

impl<T> Reply<T> {
    pub fn new(data: T) -> Self {
        Self {
            message: "success",
            data,
        }
    }

    pub fn saying(message: &'static str, data: T) -> Self {
        Self { message, data }
    }
}

impl<T: Serialize> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        let (message, code) = (self.message.to_owned(), StatusCode::OK.as_u16());
        Json(Envelope {
            message,
            code,
            data: self.data,
        })
        .into_response()
    }
}

/// What a call answers.
pub(crate) type Answer<T> = Result<Reply<T>, Problem>;

/// What is wrong with a request, or with us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub status: StatusCode,
    /// The machine's name of it.
    pub code: &'static str,
    /// For the client's author: what was wrong and what to change.
    pub message: String,
    pub retry_after: Option<Duration>,
}

/// How long a client waits when nobody knows better.
const RETRY: Duration = Duration::from_secs(1);

impl Problem {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::from_u16(kind.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            code: kind.code(),
            message: message.into(),
            retry_after: kind.is_temporary().then_some(RETRY),
        }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidPayload, message)
    }

    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Forbidden, message)
    }

    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unauthorized, message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    pub fn too_fast(wait: Duration) -> Self {
        let message = "too many requests; wait as long as Retry-After says, then send this one again";
        Self {
            retry_after: Some(wait),
            ..Self::new(ErrorKind::RateLimited, message)
        }
    }

    pub fn draining() -> Self {
        let message = "this server is leaving; send the request again, and it goes to another one";
        Self {
            code: "server-draining",
            ..Self::new(ErrorKind::Unavailable, message)
        }
    }

    /// One of the statuses that only HTTP has.
    pub fn of_http(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            retry_after: None,
        }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CODE_HEADER, HeaderValue::from_static(self.code));
        if let Some(wait) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        headers
    }
}

/// RFC 9110 §10.2.3 has whole seconds; 0 would mean at once.
fn whole_seconds(wait: Duration) -> u64 {
    let rest = u64::from(wait.subsec_nanos() != 0);
    (wait.as_secs() + rest).max(1)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let headers = self.headers();
        let envelope = Envelope {
            message: self.message,
            code: self.status.as_u16(),
            data: false,
        };
        (self.status, headers, Json(envelope)).into_response()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.kind, refusal.detail)
    }
}

impl From<RpcError> for Problem {
    fn from(error: RpcError) -> Self {
        Self::new(error.kind, error.detail)
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        match error {
            // The client's token may be good: it is we who cannot tell yet.
            AuthError::NoKeys => Self::new(ErrorKind::Unavailable, error.to_string()),
            _ => Self::unauthorized(error.to_string()),
        }
    }
}

/// There is no such path.
pub(crate) async fn unknown_path(uri: http::Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::not_found(format!(
        "there is no call {path:?}; see /openapi.json for those that there are"
    ))
}

/// There is such a path, but not with this method. The router adds `Allow`.
pub(crate) async fn wrong_method(method: http::Method) -> Problem {
    let message = format!("this call is not made with {method}; the Allow header says with what");
    Problem::of_http(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", message)
}

/// A JSON text that we wrote ourselves, as a value.
pub(crate) fn value(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap_or(Value::Null)
}
