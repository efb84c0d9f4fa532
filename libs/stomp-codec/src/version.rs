use std::fmt;

use crate::FrameError;

/// A version of the protocol, in order of age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// STOMP 1.0: no escaping, no heart-beats.
    V10,
    /// STOMP 1.1.
    V11,
    /// STOMP 1.2.
    V12,
}

impl Version {
    /// All versions spoken, as the `version` header of an ERROR that refuses a CONNECT lists them.
    pub const SUPPORTED: &'static str = "1.0,1.1,1.2";

    /// The highest version that the `accept-version` header of a CONNECT offers and this codec speaks. No header
    /// means 1.0; versions unknown here are passed over.
    ///
    /// # Errors
    /// [`FrameError::NoCommonVersion`] when nothing in the list is spoken here.
    pub fn negotiate(accept_version: Option<&str>) -> Result<Version, FrameError> {
        let Some(offered) = accept_version else {
            return Ok(Version::V10);
        };
        offered
            .split(',')
            .filter_map(|item| Version::parse(item.trim()))
            .max()
            .ok_or_else(|| FrameError::NoCommonVersion {
                offered: crate::error::excerpt(offered.as_bytes()),
            })
    }

    /// The version written `1.0`, `1.1` or `1.2`.
    pub fn parse(text: &str) -> Option<Version> {
        match text {
            "1.0" => Some(Version::V10),
            "1.1" => Some(Version::V11),
            "1.2" => Some(Version::V12),
            _ => None,
        }
    }

    /// `1.0`, `1.1` or `1.2`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Version::V10 => "1.0",
            Version::V11 => "1.1",
            Version::V12 => "1.2",
        }
    }

    /// The name of its WebSocket subprotocol, `v12.stomp` and so on.
    pub const fn subprotocol(self) -> &'static str {
        match self {
            Version::V10 => "v10.stomp",
            Version::V11 => "v11.stomp",
            Version::V12 => "v12.stomp",
        }
    }

    /// The version a WebSocket subprotocol stands for.
    pub fn from_subprotocol(name: &str) -> Option<Version> {
        match name {
            "v10.stomp" => Some(Version::V10),
            "v11.stomp" => Some(Version::V11),
            "v12.stomp" => Some(Version::V12),
            _ => None,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_wins_and_no_header_means_1_0() {
        for (offered, agreed) in [
            (None, Version::V10),
            (Some("1.0"), Version::V10),
            (Some("1.2,1.1,1.0"), Version::V12),
            (Some("1.0, 1.1"), Version::V11),
            (Some("2.0,1.1"), Version::V11),
        ] {
            assert_eq!(Version::negotiate(offered), Ok(agreed), "{offered:?}");
        }
        for refused in ["", "2.0", "1.3,1.4", "1.2.3"] {
            assert!(Version::negotiate(Some(refused)).is_err(), "{refused}");
        }
    }

    #[test]
    fn subprotocols_go_there_and_back() {
        for version in [Version::V10, Version::V11, Version::V12] {
            assert_eq!(Version::from_subprotocol(version.subprotocol()), Some(version));
            assert_eq!(Version::parse(version.as_str()), Some(version));
        }
        assert_eq!(Version::from_subprotocol("mqtt"), None);
    }
}
