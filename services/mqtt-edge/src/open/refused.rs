//! What a client that is not taken in is told.

use contract::ErrorKind;
use edge::Refusal;
use mqtt_codec::{ConnAck, ReasonCode, Utf8, Version};

pub(super) struct Refused {
    pub code: &'static str,
    pub detail: String,
    pub connack: Option<Box<(Version, ConnAck)>>,
}

impl Refused {
    pub(super) fn silently(code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            connack: None,
        }
    }

    pub(super) fn with(
        version: Version,
        reason: ReasonCode,
        code: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        let detail = detail.into();
        let mut connack = ConnAck {
            reason,
            ..ConnAck::accepted(false)
        };
        connack.properties.reason_string = Utf8::try_from(detail.as_str()).ok();
        Self {
            code,
            detail,
            connack: Some(Box::new((version, connack))),
        }
    }

    pub(super) fn from(version: Version, refusal: &Refusal) -> Self {
        let reason = match refusal.kind {
            ErrorKind::Unauthorized => ReasonCode::BadUserNameOrPassword,
            ErrorKind::Forbidden => ReasonCode::NotAuthorized,
            ErrorKind::Unavailable | ErrorKind::NotCommitted => ReasonCode::ServerUnavailable,
            ErrorKind::InvalidPayload => ReasonCode::PayloadFormatInvalid,
            _ => ReasonCode::UnspecifiedError,
        };
        // 3.1.1 knows only a few reasons: what will be no better the next time is not allowed, all others are a server
        // that is unavailable.
        let reason = match (version, reason) {
            (Version::V311, ReasonCode::PayloadFormatInvalid) => ReasonCode::NotAuthorized,
            (Version::V311, ReasonCode::UnspecifiedError) => ReasonCode::ServerUnavailable,
            (_, reason) => reason,
        };
        Self::with(version, reason, refusal.kind.code(), refusal.detail.clone())
    }
}
