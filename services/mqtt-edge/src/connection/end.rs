//! Why connections end.

use mqtt_codec::{DecodeError, ReasonCode};

/// Why a connection ends.
#[derive(Debug)]
pub(crate) enum End {
    /// DISCONNECT with reason 0: the will is dropped. The client may have shortened the session's life.
    Goodbye,
    /// DISCONNECT with will message, or any other reason of the client's.
    Left,
    /// The socket ended or failed.
    Lost,
    /// We end it, for this reason; 3.1.1 clients see the connection close.
    Ours {
        code: &'static str,
        reason: ReasonCode,
        detail: String,
    },
    /// Another connection holds the session.
    TakenOver,
}

impl End {
    pub fn ours(code: &'static str, reason: ReasonCode, detail: impl Into<String>) -> Self {
        End::Ours {
            code,
            reason,
            detail: detail.into(),
        }
    }

    pub fn code(&self) -> &'static str {
        match self {
            End::Goodbye | End::Left => "client",
            End::Lost => "lost",
            End::Ours { code, .. } => code,
            End::TakenOver => "session-taken-over",
        }
    }
}

impl From<DecodeError> for End {
    fn from(error: DecodeError) -> Self {
        let reason = error.reason_code();
        let code = if reason == ReasonCode::PacketTooLarge {
            "payload-too-large"
        } else {
            "protocol"
        };
        End::ours(code, reason, error.to_string())
    }
}
