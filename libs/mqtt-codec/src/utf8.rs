//! Text that shares the bytes it was received in.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use bytestring::ByteString;

/// An MQTT UTF-8 Encoded String (§1.5.4): well formed, without U+0000, at most 65 535 bytes. Cloning is cheap.
///
/// A decoded string is a slice of the read buffer and keeps that buffer alive; copy what is to be kept for long.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Utf8(ByteString);

/// Why bytes are not an MQTT UTF-8 Encoded String.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Utf8Error {
    /// Not UTF-8, which includes overlong forms and surrogates `[MQTT-1.5.4-1]`.
    #[error("ill-formed UTF-8")]
    IllFormed,
    /// Contains U+0000 `[MQTT-1.5.4-2]`.
    #[error("contains U+0000")]
    Null,
    /// Does not fit the two-byte length.
    #[error("longer than 65535 bytes")]
    TooLong,
}

impl Utf8 {
    /// Checks `bytes` and takes them over without copying.
    #[inline]
    pub fn new(bytes: Bytes) -> Result<Self, Utf8Error> {
        if bytes.len() > usize::from(u16::MAX) {
            return Err(Utf8Error::TooLong);
        }
        // Without a way out of the loop it is done sixteen bytes at a time.
        if bytes.iter().fold(0, |found, &byte| found | u8::from(byte == 0)) != 0 {
            return Err(Utf8Error::Null);
        }
        ByteString::try_from(bytes)
            .map(Self)
            .map_err(|_| Utf8Error::IllFormed)
    }

    /// Checks a string literal; does not copy.
    pub fn from_static(text: &'static str) -> Result<Self, Utf8Error> {
        Self::new(Bytes::from_static(text.as_bytes()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The bytes, sharing their storage.
    pub fn into_bytes(self) -> Bytes {
        self.0.into_bytes()
    }
}

impl TryFrom<&str> for Utf8 {
    type Error = Utf8Error;

    /// Copies the text.
    fn try_from(text: &str) -> Result<Self, Utf8Error> {
        Self::new(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl TryFrom<String> for Utf8 {
    type Error = Utf8Error;

    fn try_from(text: String) -> Result<Self, Utf8Error> {
        Self::new(text.into())
    }
}

impl Deref for Utf8 {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Utf8 {
    fn as_ref(&self) -> &str {
        self
    }
}

impl Borrow<str> for Utf8 {
    fn borrow(&self) -> &str {
        self
    }
}

impl PartialEq<str> for Utf8 {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Utf8 {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Debug for Utf8 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Utf8 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}
