//! Identifiers. Each is a short immutable string, cheap to clone; up to 23 bytes of it live inline.

use std::fmt;

use smol_str::SmolStr;
use thiserror::Error;

/// What the topic of a side channel ends in.
pub(crate) const INTERNAL: &str = "_internal";

/// Why a string cannot be an identifier.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdError {
    /// The string is empty.
    #[error("an id is empty")]
    Empty,
    /// The string is longer than 128 bytes.
    #[error("an id is {0} bytes long, 128 are allowed")]
    TooLong(usize),
    /// The string holds a character that has a meaning in topics, or a control character.
    #[error("an id holds {0:?}, which topics give a meaning to")]
    Character(char),
    /// The string ends as the topics of side channels do.
    #[error(
        "an id ends in \"_internal\", which is how the side channel of another's conversation is written"
    )]
    Internal,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(SmolStr);

        impl $name {
            /// Takes the string as it is; use [`Self::checked`] for strings from outside that name a user or an org.
            pub fn new(s: impl AsRef<str>) -> Self {
                Self(SmolStr::new(s.as_ref()))
            }

            /// Takes a string that is not empty, at most 128 bytes long, and free of `/ + #` and control characters,
            /// so that it can stand as one topic level and never acts as a pattern. Nor does it end in `_internal`: a topic
            /// that ends in it would be another's side channel.
            pub fn checked(s: &str) -> Result<Self, IdError> {
                check(s)?;
                Ok(Self::new(s))
            }

            /// The string.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl std::ops::Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                self.0.as_str()
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.0.as_str()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.0.as_str(), f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(s: &str) -> Self {
                Self::new(s)
            }
        }

        impl From<String> for $name {
            fn from(s: String) -> Self {
                Self(SmolStr::from(s))
            }
        }
    };
}

id! {
    /// A tenant. Together with a topic it is the key of everything: tenants never see each other.
    OrgId
}
id! {
    /// A user: the `sub` of a token, an alias a user acts under (agent uid, member uid), or a visitor uid.
    UserId
}
id! {
    /// The client's own id of a message; with org and sender it is what duplicates are recognised by.
    MessageUid
}
id! {
    /// The MQTT client identifier. A session belongs to (org, user, client id).
    ClientId
}
id! {
    /// One running edge (or gateway): the address of frames that routing sends.
    EdgeId
}

fn check(s: &str) -> Result<(), IdError> {
    if s.is_empty() {
        return Err(IdError::Empty);
    }
    if s.len() > 128 {
        return Err(IdError::TooLong(s.len()));
    }
    if s.ends_with(INTERNAL) {
        return Err(IdError::Internal);
    }
    match s.chars().find(|c| matches!(c, '/' | '+' | '#') || c.is_control()) {
        Some(c) => Err(IdError::Character(c)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_from_outside_cannot_act_as_a_pattern() {
        for bad in ["", "a/b", "+", "#", "a\u{0}", "a\nb"] {
            assert!(UserId::checked(bad).is_err(), "{bad:?}");
        }
        assert!(UserId::checked("df_ag_uid").is_ok());
        assert_eq!(UserId::checked("v_internal"), Err(IdError::Internal));
        assert!(UserId::checked("v_internal_1").is_ok());
        assert_eq!(UserId::checked(&"x".repeat(129)), Err(IdError::TooLong(129)));
    }
}
