//! Topic names and topic filters, as MQTT 5 §4.7 has them.

use std::fmt;

use smol_str::SmolStr;
use thiserror::Error;

/// Why a string is no topic name or no topic filter.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TopicError {
    /// Names and filters hold at least one character [MQTT-4.7.3-1].
    #[error("the topic is empty")]
    Empty,
    /// The configured length is exceeded.
    #[error("the topic is {0} bytes long, {1} are allowed")]
    TooLong(usize, usize),
    /// The configured depth is exceeded.
    #[error("the topic has more than {0} levels")]
    TooDeep(usize),
    /// U+0000 is never allowed [MQTT-4.7.3-2].
    #[error("the topic holds U+0000")]
    Nul,
    /// A topic name holds no wildcard [MQTT-3.3.2-2].
    #[error("the topic name holds the wildcard {0:?}")]
    Wildcard(char),
    /// `#` stands alone in the last level, `+` alone in its level [MQTT-4.7.1-1, MQTT-4.7.1-2].
    #[error("the wildcard {0:?} of the topic filter does not fill a level, or is not last")]
    MisplacedWildcard(char),
}

/// The longest topic, in bytes.
pub(crate) const MAX_BYTES: usize = 512;
/// The deepest topic, in levels.
pub(crate) const MAX_LEVELS: usize = 128;

/// A topic name: where a message is published. No wildcards.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct TopicName(SmolStr);

/// A topic filter: what a subscription asks for.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct TopicFilter(SmolStr);

impl TopicName {
    /// Checks and takes a name of at most 512 bytes and 128 levels.
    pub fn new(s: &str) -> Result<Self, TopicError> {
        check_size(s)?;
        match s.chars().find(|c| matches!(c, '+' | '#')) {
            Some(c) => Err(TopicError::Wildcard(c)),
            None => Ok(Self(SmolStr::new(s))),
        }
    }

    /// Takes a name that came out of the log or the store, where only checked names are.
    pub fn trusted(s: impl AsRef<str>) -> Self {
        Self(SmolStr::new(s.as_ref()))
    }

    /// The string.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The STOMP spelling: `/` becomes `.`.
    pub fn to_dotted(&self) -> String {
        self.0.replace('/', ".")
    }

    /// From the STOMP spelling: `.` becomes `/`. A topic whose levels hold a dot cannot be named over STOMP.
    pub fn from_dotted(s: &str) -> Result<Self, TopicError> {
        Self::new(&s.replace('.', "/"))
    }

    /// This name as a filter that matches nothing else.
    pub fn to_filter(&self) -> TopicFilter {
        TopicFilter(self.0.clone())
    }
}

impl TopicFilter {
    /// Checks and takes a filter of at most 512 bytes and 128 levels.
    pub fn new(s: &str) -> Result<Self, TopicError> {
        check_size(s)?;
        let mut levels = s.split('/').peekable();
        while let Some(level) = levels.next() {
            if level.contains('#') && (level != "#" || levels.peek().is_some()) {
                return Err(TopicError::MisplacedWildcard('#'));
            }
            if level.contains('+') && level != "+" {
                return Err(TopicError::MisplacedWildcard('+'));
            }
        }
        Ok(Self(SmolStr::new(s)))
    }

    /// Takes a filter that was checked before it was stored.
    pub fn trusted(s: impl AsRef<str>) -> Self {
        Self(SmolStr::new(s.as_ref()))
    }

    /// The string.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it holds a wildcard; one without is a topic name.
    pub fn has_wildcard(&self) -> bool {
        self.0.split('/').any(|l| l == "+" || l == "#")
    }

    /// The filter as the topic name that it is when it holds no wildcard.
    pub fn as_topic(&self) -> Option<TopicName> {
        (!self.has_wildcard()).then(|| TopicName(self.0.clone()))
    }

    /// Whether a topic matches. A leading wildcard does not match a topic that begins with `$` [MQTT-4.7.2-1].
    pub fn matches(&self, topic: &str) -> bool {
        if topic.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let (filter, topic) = (self.0.as_bytes(), topic.as_bytes());
        let (mut f, mut t) = (0, 0);
        // Byte by byte: most filters that are tried differ early. A wildcard fills its level, and '/' is no part of any other
        // character.
        while let Some(byte) = filter.get(f) {
            match byte {
                b'#' => return true,
                b'+' => t += topic[t..].iter().take_while(|b| **b != b'/').count(),
                byte if topic.get(t) == Some(byte) => t += 1,
                // `a/#` matches `a` as well.
                _ => return t == topic.len() && &filter[f..] == b"/#",
            }
            f += 1;
        }
        t == topic.len()
    }

    /// Everything before the first wildcard: what an ordered index can seek to.
    pub fn literal_prefix(&self) -> &str {
        match self.0.find(['+', '#']) {
            // `a/#` matches `a` too, so the slash before it is no part of what must be there.
            Some(i) if self.0.as_bytes().get(i) == Some(&b'#') => self.0[..i].trim_end_matches('/'),
            Some(i) => &self.0[..i],
            None => &self.0,
        }
    }
}

fn check_size(s: &str) -> Result<(), TopicError> {
    if s.is_empty() {
        return Err(TopicError::Empty);
    }
    if s.len() > MAX_BYTES {
        return Err(TopicError::TooLong(s.len(), MAX_BYTES));
    }
    if s.split('/').count() > MAX_LEVELS {
        return Err(TopicError::TooDeep(MAX_LEVELS));
    }
    if s.contains('\0') {
        return Err(TopicError::Nul);
    }
    Ok(())
}

macro_rules! text {
    ($name:ident) => {
        impl std::ops::Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
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
    };
}
text!(TopicName);
text!(TopicFilter);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn wildcards_match_whole_levels() {
        let m = |f: &str, t: &str| TopicFilter::new(f).unwrap().matches(t);
        assert!(m("a/+/c", "a/b/c") && !m("a/+/c", "a/b/d/c") && !m("a/+", "a"));
        assert!(
            m("a/#", "a")
                && m("a/#", "a/b/c")
                && m("#", "a/b")
                && m("+", "a")
                && m("/+", "/a")
                && !m("+", "/a")
        );
        assert!(!m("#", "$SYS/x") && !m("+/x", "$SYS/x") && m("$SYS/#", "$SYS/x"));
        assert!(m("é/+", "é/x"));
    }

    #[test]
    fn malformed_filters_and_names_are_refused() {
        for f in ["", "a#", "a/#/b", "a+/b", "a\0"] {
            assert!(TopicFilter::new(f).is_err(), "{f}");
        }
        for n in ["", "a/+", "#", "a\0"] {
            assert!(TopicName::new(n).is_err(), "{n}");
        }
        assert!(TopicName::new(&"a/".repeat(128)).is_err());
        assert_eq!(TopicFilter::new("a/b/#").unwrap().literal_prefix(), "a/b");
        assert_eq!(TopicFilter::new("a/b/+").unwrap().literal_prefix(), "a/b/");
    }

    proptest! {
        #[test]
        fn the_stomp_spelling_is_reversible(levels in proptest::collection::vec("[a-zA-Z0-9_-]{1,8}", 1..6)) {
            let topic = TopicName::new(&levels.join("/")).unwrap();
            prop_assert_eq!(TopicName::from_dotted(&topic.to_dotted()).unwrap(), topic);
        }
    }
}
