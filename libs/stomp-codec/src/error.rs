use crate::{Command, Version};

/// Why a byte stream is not STOMP. The stream cannot be read on afterwards: answer with an ERROR frame and close.
///
/// The texts are meant for whoever wrote the client and carry no header values, which may be secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The first line of a frame is no command of any version. `name` is cut to 32 bytes.
    #[error("unknown command \"{name}\": a frame starts with a STOMP command in capital letters")]
    UnknownCommand {
        /// What stood there, with control characters escaped.
        name: String,
    },
    /// A client sent a command that only servers send, or the other way round.
    #[error("{command} was sent by the wrong side of the connection")]
    WrongDirection {
        /// The command received.
        command: Command,
    },
    /// CR LF used as the end of a line before STOMP 1.2.
    #[error("{command} ends its lines with CR LF, which STOMP 1.2 introduced: end them with LF")]
    CrLf {
        /// The frame.
        command: Command,
    },
    /// A header line without a colon.
    #[error(
        "header line {line} of {command} has no colon: write name:value, and a blank line before the body"
    )]
    MissingColon {
        /// The frame.
        command: Command,
        /// Counted from 1, the command line excluded.
        line: usize,
    },
    /// A header line that starts with the colon.
    #[error("header line {line} of {command} has an empty name")]
    EmptyName {
        /// The frame.
        command: Command,
        /// Counted from 1, the command line excluded.
        line: usize,
    },
    /// A header line that is not UTF-8.
    #[error("header line {line} of {command} is not valid UTF-8")]
    NotUtf8 {
        /// The frame.
        command: Command,
        /// Counted from 1, the command line excluded.
        line: usize,
    },
    /// A backslash followed by something the version gives no meaning.
    #[error(
        "header line {line} of {command} holds the undefined escape \"{escape}\": write a backslash as \\\\"
    )]
    UndefinedEscape {
        /// The frame.
        command: Command,
        /// Counted from 1, the command line excluded.
        line: usize,
        /// The backslash and the character after it, if any.
        escape: String,
    },
    /// A carriage return inside a header where the version forbids it.
    #[error("header line {line} of {command} holds a bare carriage return")]
    BareCarriageReturn {
        /// The frame.
        command: Command,
        /// Counted from 1, the command line excluded.
        line: usize,
    },
    /// A NUL before the blank line.
    #[error(
        "{command} ended in its header line {line}: a blank line must stand between the headers and the NUL"
    )]
    NulInHeaders {
        /// The frame.
        command: Command,
        /// Counted from 1, the command line excluded.
        line: usize,
    },
    /// `content-length` is not a decimal number.
    #[error("the content-length of {command} is not a number of bytes")]
    BadContentLength {
        /// The frame.
        command: Command,
    },
    /// The byte after a body of `content-length` bytes is not NUL.
    #[error(
        "{command} has no NUL after the {length} bytes that its content-length announces: count bytes, not characters"
    )]
    MissingNul {
        /// The frame.
        command: Command,
        /// The announced length.
        length: usize,
    },
    /// More headers than [`crate::Limits::max_headers`].
    #[error("{command} has more than the {limit} headers allowed")]
    TooManyHeaders {
        /// The frame.
        command: Command,
        /// The limit.
        limit: usize,
    },
    /// A header line longer than [`crate::Limits::max_header_line`].
    #[error("header line {line} of {command} is longer than the {limit} bytes allowed")]
    HeaderLineTooLong {
        /// The frame.
        command: Command,
        /// Counted from 1, the command line excluded.
        line: usize,
        /// The limit.
        limit: usize,
    },
    /// All headers together larger than [`crate::Limits::max_header_bytes`].
    #[error("the headers of {command} are larger than the {limit} bytes allowed")]
    HeadersTooLarge {
        /// The frame.
        command: Command,
        /// The limit.
        limit: usize,
    },
    /// A body larger than [`crate::Limits::max_body`], announced or sent.
    #[error("the body of {command} is larger than the {limit} bytes allowed")]
    BodyTooLarge {
        /// The frame.
        command: Command,
        /// The limit.
        limit: usize,
    },
}

/// What is wrong with a frame that is well formed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A header the command needs is missing.
    #[error("{command} needs the header {header} in STOMP {version}")]
    MissingHeader {
        /// The frame.
        command: Command,
        /// The header, or the alternatives joined with "or".
        header: &'static str,
        /// The version that asks for it.
        version: Version,
    },
    /// A command younger than the version in use.
    #[error("{command} does not exist in STOMP {version}")]
    NotInVersion {
        /// The frame.
        command: Command,
        /// The version in use.
        version: Version,
    },
    /// A body on a frame other than SEND, MESSAGE and ERROR.
    #[error("{command} must not have a body")]
    BodyNotAllowed {
        /// The frame.
        command: Command,
    },
    /// Nothing in `accept-version` is spoken here.
    #[error("no version in accept-version \"{offered}\" is spoken here: offer one of 1.0, 1.1, 1.2")]
    NoCommonVersion {
        /// The header, cut to 32 bytes.
        offered: String,
    },
    /// `heart-beat` is not two numbers.
    #[error("heart-beat \"{value}\" is not two numbers of milliseconds joined by a comma")]
    BadHeartBeat {
        /// The header, cut to 32 bytes.
        value: String,
    },
    /// `ack` names no mode.
    #[error("ack mode \"{value}\" is none of auto, client, client-individual")]
    BadAckMode {
        /// The header, cut to 32 bytes.
        value: String,
    },
}

/// The most bytes of foreign text that an error repeats.
pub(crate) const EXCERPT: usize = 32;

/// The first [`EXCERPT`] bytes, fit to be shown: control characters, quotes and ill-formed UTF-8 defused.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    let shown = bytes.get(..EXCERPT).unwrap_or(bytes);
    String::from_utf8_lossy(shown).escape_debug().to_string()
}
