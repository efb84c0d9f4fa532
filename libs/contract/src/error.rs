//! The registry of errors: the one list of what can go wrong for a caller, with its spelling in every protocol.

use std::fmt;

use thiserror::Error;

/// A condition that crosses process and protocol borders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Bad or expired credentials.
    Unauthorized,
    /// Not allowed.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// The message uid was used for another message.
    Conflict,
    /// Too large.
    PayloadTooLarge,
    /// Too fast, or a quota is used up.
    RateLimited,
    /// Not a valid chat message, or not a valid request.
    InvalidPayload,
    /// A dependency is away; nothing was stored.
    Unavailable,
    /// The outcome is unknown; safe to retry with the same uid.
    NotCommitted,
    /// A fault of ours.
    Internal,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: [ErrorKind; 10] = [
        ErrorKind::Unauthorized,
        ErrorKind::Forbidden,
        ErrorKind::NotFound,
        ErrorKind::Conflict,
        ErrorKind::PayloadTooLarge,
        ErrorKind::RateLimited,
        ErrorKind::InvalidPayload,
        ErrorKind::Unavailable,
        ErrorKind::NotCommitted,
        ErrorKind::Internal,
    ];

    /// The stable machine code: STOMP `code` header, MQTT 5 user property, logs and metric labels.
    pub fn code(self) -> &'static str {
        match self {
            ErrorKind::Unauthorized => "unauthorized",
            ErrorKind::Forbidden => "forbidden",
            ErrorKind::NotFound => "not-found",
            ErrorKind::Conflict => "conflict",
            ErrorKind::PayloadTooLarge => "payload-too-large",
            ErrorKind::RateLimited => "rate-limited",
            ErrorKind::InvalidPayload => "invalid-payload",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::NotCommitted => "not-committed",
            ErrorKind::Internal => "internal",
        }
    }

    /// The HTTP status, which is also the envelope's `code`.
    pub fn http_status(self) -> u16 {
        match self {
            ErrorKind::Unauthorized => 401,
            ErrorKind::Forbidden => 403,
            ErrorKind::NotFound => 404,
            ErrorKind::Conflict => 409,
            ErrorKind::PayloadTooLarge => 413,
            ErrorKind::RateLimited => 429,
            ErrorKind::InvalidPayload => 400,
            ErrorKind::Unavailable => 503,
            ErrorKind::NotCommitted => 504,
            ErrorKind::Internal => 500,
        }
    }

    /// The MQTT 5 reason code of a PUBACK or PUBREC that refuses a PUBLISH; `None` when the publish must stay
    /// unacknowledged, because it may yet be stored or because the client shall send it again.
    pub fn mqtt_reason(self) -> Option<u8> {
        match self {
            ErrorKind::Unauthorized | ErrorKind::Forbidden => Some(0x87),
            ErrorKind::NotFound => Some(0x90),
            ErrorKind::Conflict | ErrorKind::Internal => Some(0x83),
            ErrorKind::PayloadTooLarge => Some(0x95),
            ErrorKind::RateLimited => Some(0x97),
            ErrorKind::InvalidPayload => Some(0x99),
            ErrorKind::Unavailable | ErrorKind::NotCommitted => None,
        }
    }

    /// Whether the same request may succeed later without a change.
    pub fn is_temporary(self) -> bool {
        matches!(
            self,
            ErrorKind::RateLimited | ErrorKind::Unavailable | ErrorKind::NotCommitted
        )
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// What a service answers when it cannot do what it was asked. The text is for the person who gets it: what was wrong,
/// where, what to change.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{detail}")]
pub struct RpcError {
    /// The condition.
    pub kind: ErrorKind,
    /// The text.
    pub detail: String,
}

impl RpcError {
    /// A condition with its text.
    pub fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_code_and_a_real_status() {
        let codes: std::collections::HashSet<_> = ErrorKind::ALL.iter().map(|k| k.code()).collect();
        assert_eq!(codes.len(), ErrorKind::ALL.len());
        assert!(
            ErrorKind::ALL
                .iter()
                .all(|k| (400..600).contains(&k.http_status()))
        );
    }

    #[test]
    fn what_may_yet_be_stored_is_never_acknowledged() {
        for kind in ErrorKind::ALL {
            let unacknowledged = matches!(kind, ErrorKind::Unavailable | ErrorKind::NotCommitted);
            assert_eq!(kind.mqtt_reason().is_none(), unacknowledged, "{kind}");
        }
    }
}
