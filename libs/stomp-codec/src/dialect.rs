//! How a header line is written: the one thing in which the versions differ on the wire.

use memchr::memchr;

use crate::{Command, DecodeError, Headers, Version};

/// The rules a frame's lines follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// CONNECT, STOMP, CONNECTED: nothing escaped, CR LF allowed, for no version is agreed yet.
    Handshake,
    /// Nothing escaped, a CR is part of the value.
    V10,
    /// `\n \c \\`, a CR is part of the value.
    V11,
    /// `\r \n \c \\`, CR LF allowed.
    V12,
}

impl Dialect {
    pub(crate) fn of(command: Command, version: Option<Version>) -> Self {
        if command.is_handshake() {
            return Dialect::Handshake;
        }
        match version {
            Some(Version::V10) => Dialect::V10,
            Some(Version::V11) => Dialect::V11,
            Some(Version::V12) | None => Dialect::V12,
        }
    }

    pub(crate) fn allows_crlf(self) -> bool {
        matches!(self, Dialect::Handshake | Dialect::V12)
    }

    fn escapes(self) -> bool {
        matches!(self, Dialect::V11 | Dialect::V12)
    }

    /// What backslash and `code` stand for.
    fn meaning(self, code: char) -> Option<char> {
        match (self, code) {
            (Dialect::V11 | Dialect::V12, 'n') => Some('\n'),
            (Dialect::V11 | Dialect::V12, 'c') => Some(':'),
            (Dialect::V11 | Dialect::V12, '\\') => Some('\\'),
            (Dialect::V12, 'r') => Some('\r'),
            _ => None,
        }
    }

    /// What is written for `byte`, unless it is written as it is. What the dialect cannot carry becomes a space, so
    /// that no header value ever breaks out of its line.
    pub(crate) fn written(self, byte: u8, in_name: bool) -> Option<&'static [u8]> {
        match (self, byte) {
            (_, 0) => Some(b" "),
            (Dialect::V11 | Dialect::V12, b'\\') => Some(b"\\\\"),
            (Dialect::V11 | Dialect::V12, b'\n') => Some(b"\\n"),
            (Dialect::V11 | Dialect::V12, b':') => Some(b"\\c"),
            (Dialect::V12, b'\r') => Some(b"\\r"),
            (Dialect::Handshake, b'\r') => Some(b" "),
            (Dialect::Handshake | Dialect::V10, b'\n') => Some(b" "),
            (Dialect::Handshake | Dialect::V10, b':') if in_name => Some(b" "),
            _ => None,
        }
    }

    /// Reads one header line, its EOL already taken off and no NUL in it, into `headers`.
    pub(crate) fn read(
        self,
        command: Command,
        line: &[u8],
        headers: &mut Headers,
    ) -> Result<(), DecodeError> {
        let number = headers.len() + 1;
        if self.allows_crlf() && memchr(b'\r', line).is_some() {
            return Err(DecodeError::BareCarriageReturn {
                command,
                line: number,
            });
        }
        let text = std::str::from_utf8(line).map_err(|_| DecodeError::NotUtf8 {
            command,
            line: number,
        })?;
        let (name, value) = text.split_once(':').ok_or(DecodeError::MissingColon {
            command,
            line: number,
        })?;
        if name.is_empty() {
            return Err(DecodeError::EmptyName {
                command,
                line: number,
            });
        }
        if !self.escapes() || memchr(b'\\', line).is_none() {
            headers.push_line(text, name.len());
            return Ok(());
        }
        let undefined = |escape| DecodeError::UndefinedEscape {
            command,
            line: number,
            escape,
        };
        headers.push(
            &self.unescape(name).map_err(undefined)?,
            &self.unescape(value).map_err(undefined)?,
        );
        Ok(())
    }

    /// The text that `raw` stands for, or the first escape that stands for nothing.
    fn unescape(self, raw: &str) -> Result<String, String> {
        let mut text = String::with_capacity(raw.len());
        let mut chars = raw.chars();
        while let Some(char) = chars.next() {
            if char != '\\' {
                text.push(char);
                continue;
            }
            let code = chars.next();
            match code.and_then(|code| self.meaning(code)) {
                Some(meant) => text.push(meant),
                None => {
                    return Err(format!(
                        "\\{}",
                        code.map(|c| c.escape_debug().to_string()).unwrap_or_default()
                    ));
                }
            }
        }
        Ok(text)
    }
}
