//! How a connection ends, and what it is told.

use std::time::Duration;

use crate::socket::Lost;
use contract::ErrorKind;
use edge::Refusal;
use stomp_codec::{DecodeError, Frame, FrameError, Version};

/// Why a connection ends.
#[derive(Debug)]
pub(crate) enum Bye {
    /// The peer is gone, or the process has no more time: nothing is said.
    Gone,
    /// The client said DISCONNECT.
    Done,
    /// Nothing came for twice the time that the client promised.
    Silent,
    /// It gets an ERROR first.
    Error(Box<LastWord>),
}

/// An ERROR and the WebSocket close code that follows it.
#[derive(Debug)]
pub(crate) struct LastWord {
    code: &'static str,
    message: &'static str,
    detail: String,
    receipt: Option<String>,
    retry_after: Option<Duration>,
    /// The versions spoken here, where there is none in common.
    version: Option<&'static str>,
    close: u16,
}

/// The code of a server that leaves, which is no condition of a request.
const DRAINING: &str = "server-draining";

impl Bye {
    /// ERROR for a frame that asked for this receipt.
    pub fn refused(refusal: Refusal, receipt: Option<&str>) -> Self {
        let (message, close) = spelled(refusal.kind);
        Bye::Error(Box::new(LastWord {
            code: refusal.kind.code(),
            message,
            detail: refusal.detail,
            receipt: receipt.map(str::to_owned),
            retry_after: refusal.kind.is_temporary().then_some(Duration::from_secs(1)),
            version: None,
            close,
        }))
    }

    /// Too fast: come back after a while.
    pub fn too_fast(after: Duration, receipt: Option<&str>) -> Self {
        let detail = "messages come faster than this server allows; send more slowly";
        let refusal = Refusal::new(ErrorKind::RateLimited, detail);
        let mut bye = Bye::refused(refusal, receipt);
        if let Bye::Error(last) = &mut bye {
            last.retry_after = Some(after);
        }
        bye
    }

    /// The server leaves.
    pub fn draining(retry_after: Duration) -> Self {
        Bye::Error(Box::new(LastWord {
            code: DRAINING,
            message: "server leaving",
            detail: "this server is leaving; connect again, to another one".into(),
            receipt: None,
            retry_after: Some(retry_after),
            version: None,
            close: 1012,
        }))
    }

    /// For the counter.
    pub fn code(&self) -> &'static str {
        match self {
            Bye::Gone => "gone",
            Bye::Done => "disconnect",
            Bye::Silent => "heart-beat",
            Bye::Error(last) => last.code,
        }
    }

    /// The WebSocket close code.
    pub fn close_code(&self) -> u16 {
        match self {
            Bye::Gone | Bye::Done => 1000,
            Bye::Silent => 1008,
            Bye::Error(last) => last.close,
        }
    }

    /// The ERROR, if one is due.
    pub fn frame(&self) -> Option<Frame> {
        let Bye::Error(last) = self else { return None };
        let mut frame = Frame::error(last.message, last.detail.clone()).with_header("code", last.code);
        if let Some(receipt) = &last.receipt {
            frame = frame.with_header("receipt-id", receipt);
        }
        if let Some(versions) = last.version {
            frame = frame.with_header("version", versions);
        }
        if let Some(after) = last.retry_after {
            frame = frame.with_header("retry-after-ms", &after.as_millis().to_string());
        }
        Some(frame)
    }
}

impl From<Lost> for Bye {
    fn from(lost: Lost) -> Self {
        let too_large = |detail| Bye::refused(Refusal::new(ErrorKind::PayloadTooLarge, detail), None);
        match lost {
            Lost::Closed => Bye::Gone,
            Lost::TooLarge => {
                too_large("the WebSocket message is larger than this server allows; send less at once")
            }
            Lost::Quota => too_large("more came before CONNECT was answered than this server allows"),
        }
    }
}

impl From<DecodeError> for Bye {
    fn from(error: DecodeError) -> Self {
        let too_large = matches!(
            error,
            DecodeError::BodyTooLarge { .. }
                | DecodeError::HeadersTooLarge { .. }
                | DecodeError::HeaderLineTooLong { .. }
                | DecodeError::TooManyHeaders { .. }
        );
        let kind = if too_large {
            ErrorKind::PayloadTooLarge
        } else {
            ErrorKind::InvalidPayload
        };
        Bye::refused(Refusal::new(kind, error.to_string()), None)
    }
}

impl From<FrameError> for Bye {
    fn from(error: FrameError) -> Self {
        let mut bye = Bye::refused(Refusal::invalid(error.to_string()), None);
        if let (FrameError::NoCommonVersion { .. }, Bye::Error(last)) = (&error, &mut bye) {
            last.version = Some(Version::SUPPORTED);
        }
        bye
    }
}

fn spelled(kind: ErrorKind) -> (&'static str, u16) {
    match kind {
        ErrorKind::Unauthorized => ("not authorised", 1008),
        ErrorKind::Forbidden => ("not allowed", 1008),
        ErrorKind::NotFound => ("not found", 1008),
        ErrorKind::Conflict => ("message uid used before", 1008),
        ErrorKind::PayloadTooLarge => ("too large", 1009),
        ErrorKind::RateLimited => ("too fast", 1008),
        ErrorKind::InvalidPayload => ("malformed", 1007),
        ErrorKind::Unavailable => ("unavailable, try again", 1013),
        ErrorKind::NotCommitted => ("not committed, try again", 1013),
        ErrorKind::Internal => ("internal error", 1011),
    }
}
