use bytes::{Bytes, BytesMut};

use crate::{Command, Headers, HeartBeat, Version, encode_frame};

/// One STOMP frame, unescaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What is asked or told.
    pub command: Command,
    /// The headers in order.
    pub headers: Headers,
    /// The body; when decoded, a slice of the read buffer, which it keeps alive.
    pub body: Bytes,
}

impl Frame {
    /// A frame without headers and body.
    pub fn new(command: Command) -> Self {
        Self {
            command,
            headers: Headers::new(),
            body: Bytes::new(),
        }
    }

    /// CONNECTED as the version knows it: 1.0 has neither `version` nor `heart-beat`.
    pub fn connected(version: Version, session: &str, server: &str, heart_beat: HeartBeat) -> Self {
        let frame = Self::new(Command::Connected);
        let frame = if version == Version::V10 {
            frame
        } else {
            frame
                .with_header("version", version.as_str())
                .with_header("heart-beat", &heart_beat.to_string())
        };
        frame
            .with_header("session", session)
            .with_header("server", server)
    }

    /// ERROR with a short `message` and a body that explains. Close the connection after it.
    pub fn error(message: &str, explanation: impl Into<Bytes>) -> Self {
        Self::new(Command::Error)
            .with_header("message", message)
            .with_header("content-type", "text/plain")
            .with_body(explanation)
    }

    /// Adds a header at the end.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push(name, value);
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The value of the first header of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// Appends the frame to `out`; see [`encode_frame`] for what happens to `content-length` and to characters that
    /// the version cannot carry.
    pub fn encode(&self, version: Version, out: &mut BytesMut) {
        encode_frame(self.command, version, self.headers.iter(), &self.body, out);
    }
}
