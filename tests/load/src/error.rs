//! What can go wrong while measuring.

use std::io;

/// Why a scenario could not be measured. Lost messages are not an error here: they are a result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// An address that is not `mqtt://`, `ws://` or `http://` with a host and a port.
    #[error("reading the address {0:?}: want mqtt://host:port, ws://host:port/path or http://host:port")]
    Address(String),
    /// A scenario was asked for without something it needs.
    #[error("{scenario} needs {option}")]
    Missing {
        scenario: &'static str,
        option: &'static str,
    },
    /// An option whose value makes no sense.
    #[error("{0}")]
    Usage(String),
    /// An operation on a socket or a file failed.
    #[error("{doing}")]
    Io {
        doing: String,
        #[source]
        source: io::Error,
    },
    /// The server ended the connection.
    #[error("the server closed a connection while {0}")]
    Closed(&'static str),
    /// The server refused a connection, a subscription or an upgrade.
    #[error("the server refused {what}: {answer}")]
    Refused { what: &'static str, answer: String },
    /// The server sent what the protocol does not allow.
    #[error("reading what the server sent: {0}")]
    Protocol(&'static str),
    /// An answer did not come in time.
    #[error("no answer to {0} in time")]
    Timeout(&'static str),
    /// A token could not be signed.
    #[error("signing a token")]
    Token(#[from] jsonwebtoken::errors::Error),
    /// A line of results could not be read or written.
    #[error("reading or writing results as JSON")]
    Json(#[from] serde_json::Error),
}

impl Error {
    /// An I/O error with what was being done.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}

/// The result of anything here.
pub(crate) type Result<T> = std::result::Result<T, Error>;
