//! Errors on the wire. An answer of a service that says no carries its kind twice: as the nearest gRPC code, which every
//! tool shows, and by its name in the metadata, which tells it from what the transport says.

use std::error::Error as StdError;

use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

use super::wire::Malformed;
use contract::{ErrorKind, RpcError};

/// [`ErrorKind::code`] of what a service answered.
const KIND: &str = "longwire-code";
/// Present when the request was turned away before anything was done about it.
const REFUSED: &str = "longwire-refused";
/// The longest text, in bytes: it travels in a header.
const DETAIL_LIMIT: usize = 2048;

/// What became of a request that was not answered with a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    /// Nothing at all.
    Nothing,
    /// The service says what.
    Said,
    /// It may or may not have been done.
    Unknown,
}

/// Why there is no result.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: RpcError,
    pub(crate) done: Done,
}

/// The connection that a call was to go over is gone: the call was not sent.
#[derive(Debug, thiserror::Error)]
#[error("the connection is closed")]
pub(crate) struct Closed;

fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::Unauthorized => Code::Unauthenticated,
        ErrorKind::Forbidden => Code::PermissionDenied,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Conflict => Code::AlreadyExists,
        ErrorKind::PayloadTooLarge => Code::OutOfRange,
        ErrorKind::RateLimited => Code::ResourceExhausted,
        ErrorKind::InvalidPayload => Code::InvalidArgument,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::NotCommitted => Code::DeadlineExceeded,
        ErrorKind::Internal => Code::Internal,
    }
}

/// A request that cannot be read is the caller's fault.
impl From<Malformed> for RpcError {
    fn from(malformed: Malformed) -> Self {
        RpcError::new(ErrorKind::InvalidPayload, malformed.to_string())
    }
}

/// What a service answers when it says no.
pub(crate) fn to_status(error: &RpcError) -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert(KIND, MetadataValue::from_static(error.kind.code()));
    Status::with_metadata(code(error.kind), shortened(&error.detail), metadata)
}

/// Turns a request away before anything is done: whoever asks may ask another replica.
pub(crate) fn refusal(detail: &str) -> Status {
    let mut status = to_status(&RpcError::new(ErrorKind::Unavailable, detail));
    status
        .metadata_mut()
        .insert(REFUSED, MetadataValue::from_static("1"));
    status
}

/// What the caller makes of it. `whom`: the service and its address, for the text.
pub(crate) fn from_status(status: &Status, whom: &dyn std::fmt::Display) -> Failure {
    if let Some(said) = status.metadata().get(KIND) {
        let known = ErrorKind::ALL.into_iter().find(|kind| said == kind.code());
        // A newer one may know kinds that are not known here: then the code has to do.
        let by_code = || {
            ErrorKind::ALL
                .into_iter()
                .find(|kind| code(*kind) == status.code())
        };
        let kind = known.or_else(by_code).unwrap_or(ErrorKind::Internal);
        let refused = status.metadata().contains_key(REFUSED);
        return Failure {
            error: RpcError::new(kind, status.message()),
            done: if refused { Done::Nothing } else { Done::Said },
        };
    }
    let (kind, done) = match status.code() {
        // One of an older version; a newer replica may be there.
        Code::Unimplemented => (ErrorKind::Unavailable, Done::Nothing),
        Code::OutOfRange => (ErrorKind::PayloadTooLarge, Done::Said),
        Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument => {
            (ErrorKind::Internal, Done::Said)
        }
        _ if is_unsent(status) => (ErrorKind::Unavailable, Done::Nothing),
        _ => (ErrorKind::Unavailable, Done::Unknown),
    };
    Failure {
        error: RpcError::new(kind, format!("{whom}: {}", told(status))),
        done,
    }
}

/// Whether the request never left: the connection was gone, or was closed by the other side before it was taken.
pub(crate) fn is_unsent(status: &Status) -> bool {
    causes(status).any(|cause| {
        cause.is::<Closed>()
            || cause
                .downcast_ref::<hyper::Error>()
                .is_some_and(hyper::Error::is_canceled)
    })
}

/// An error with its causes, as one line.
pub(crate) fn told(error: &(dyn StdError + 'static)) -> String {
    // The text of a status is also that of its cause; its own form is for programmers.
    let mut parts: Vec<String> = Vec::new();
    for cause in causes(error) {
        let text = match cause.downcast_ref::<Status>() {
            Some(status) => status.message().to_owned(),
            None => cause.to_string(),
        };
        if !text.is_empty() && !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
    }
    parts.join(": ")
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| (**error).source())
}

fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(DETAIL_LIMIT)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_code_of_its_own_and_comes_back_as_it_was() {
        for kind in ErrorKind::ALL {
            let same = ErrorKind::ALL
                .into_iter()
                .filter(|other| code(*other) == code(kind));
            assert_eq!(same.count(), 1, "{kind}");
            let error = RpcError::new(kind, "no thread `t` – 没有");
            let failure = from_status(&to_status(&error), &"persistence");
            assert_eq!((failure.error, failure.done), (error, Done::Said));
        }
    }

    #[test]
    fn a_kind_of_a_newer_version_is_read_by_its_code() {
        let mut status = to_status(&RpcError::new(ErrorKind::NotFound, "x"));
        status
            .metadata_mut()
            .insert(KIND, MetadataValue::from_static("gone-for-good"));
        assert_eq!(
            from_status(&status, &"persistence").error.kind,
            ErrorKind::NotFound
        );
    }

    #[test]
    fn what_was_turned_away_was_not_done_and_what_broke_off_may_have_been() {
        assert_eq!(from_status(&refusal("busy"), &"persistence").done, Done::Nothing);
        let broken = from_status(&Status::unknown("broken pipe"), &"persistence at a:1");
        assert_eq!(broken.done, Done::Unknown);
        assert_eq!(
            broken.error,
            RpcError::new(ErrorKind::Unavailable, "persistence at a:1: broken pipe")
        );
        let older = from_status(&Status::unimplemented(""), &"persistence");
        assert_eq!(
            (older.error.kind, older.done),
            (ErrorKind::Unavailable, Done::Nothing)
        );
        assert_eq!(
            from_status(&Status::from_error(Box::new(Closed)), &"persistence").done,
            Done::Nothing
        );
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let status = to_status(&RpcError::new(ErrorKind::Internal, "字".repeat(1000)));
        assert_eq!(status.message().len(), 2046);
    }
}
