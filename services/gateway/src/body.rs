//! Bodies and queries, read so that what is wrong with them is said in the envelope.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use bytes::Bytes;
use contract::ErrorKind;
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use model::UserId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::app::App;
use crate::reply::Problem;

/// The uid in a path, if it can be one.
pub(crate) type PathUid = Result<Path<String>, PathRejection>;

/// The uid in a path.
pub(crate) fn checked(uid: &PathUid) -> Result<UserId, Problem> {
    let Path(uid) = uid
        .as_ref()
        .map_err(|rejection| Problem::invalid(format!("uid: {}", rejection.body_text())))?;
    UserId::checked(uid).map_err(|e| Problem::invalid(format!("uid: {e}")))
}

/// A body, no larger than it may be.
pub(crate) struct Body(pub Bytes);

impl FromRequest<Arc<App>> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let max = app.config.max_body();
        // Said before the body is sent, where the client says how large it is.
        let announced = request
            .headers()
            .get(CONTENT_LENGTH)
            .and_then(|v| v.to_str().ok()?.parse().ok());
        if announced.is_some_and(|size: usize| size > max) {
            return Err(too_large(max));
        }
        let read = axum::body::to_bytes(request.into_body(), max);
        match tokio::time::timeout(app.config.body_timeout.get(), read).await {
            Ok(Ok(bytes)) => Ok(Body(bytes)),
            Ok(Err(error)) => Err(unreadable(&error, max)),
            Err(_) => {
                let message = "the request's body did not come in time; send it again";
                Err(Problem::of_http(StatusCode::REQUEST_TIMEOUT, "timeout", message))
            }
        }
    }
}

fn unreadable(error: &axum::Error, max: usize) -> Problem {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if error.to_string().contains("length limit") {
            return too_large(max);
        }
        cause = error.source();
    }
    Problem::invalid("the request's body ended early; send it whole")
}

pub(crate) fn too_large(max: usize) -> Problem {
    Problem::new(
        ErrorKind::PayloadTooLarge,
        format!("larger than the {max} bytes that are allowed; send less"),
    )
}

/// A body of JSON, whatever its content type.
pub(crate) struct JsonBody<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<App>> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let Body(bytes) = Body::from_request(request, app).await?;
        Ok(JsonBody(json(&bytes)?))
    }
}

/// Reads an object of JSON; what is wrong is named with its line and column.
pub(crate) fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // A struct would be read from an array as well.
    let first = bytes.iter().find(|b| !b.is_ascii_whitespace());
    if first.is_some_and(|b| *b != b'{') {
        return Err(Problem::invalid(
            "the body is not a JSON object; it begins with something else than {",
        ));
    }
    serde_json::from_slice(bytes)
        .map_err(|error| Problem::invalid(format!("the body is not the JSON of this call: {error}")))
}

/// The query of an address.
pub(crate) struct QueryOf<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for QueryOf<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(query)) => Ok(QueryOf(query)),
            Err(rejection) => Err(Problem::invalid(rejection.body_text())),
        }
    }
}

/// A string; a number or boolean becomes its text, null becomes empty. Deployed clients send either.
pub(crate) fn text<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    match Value::deserialize(d)? {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Array(_) | Value::Object(_) => Err(serde::de::Error::custom("a string is expected")),
    }
}
