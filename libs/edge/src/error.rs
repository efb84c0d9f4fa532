use contract::{ErrorKind, RpcError};
use thiserror::Error;

/// Why a client does not get what it asked for. The text is for its author.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{detail}")]
pub struct Refusal {
    /// The condition, spelled per protocol by its registry.
    pub kind: ErrorKind,
    /// What was wrong and what to change.
    pub detail: String,
}

impl Refusal {
    /// A condition with its text.
    pub fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
        }
    }

    /// Not allowed.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Forbidden, detail)
    }

    /// Not a valid message.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidPayload, detail)
    }
}

impl From<RpcError> for Refusal {
    fn from(e: RpcError) -> Self {
        Self {
            kind: e.kind,
            detail: e.detail,
        }
    }
}
