//! The syntax of topic names and topic filters (§4.7, §4.8.2).

/// Why a topic name or a topic filter is not well formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// No character at all `[MQTT-4.7.3-1]`.
    #[error("is empty")]
    Empty,
    /// More than 65 535 bytes `[MQTT-4.7.3-3]`.
    #[error("is longer than 65535 bytes")]
    TooLong,
    /// Contains U+0000 `[MQTT-4.7.3-2]`.
    #[error("contains U+0000")]
    Null,
    /// A topic name contains `+` or `#` `[MQTT-3.3.2-2]`.
    #[error("contains a wildcard")]
    Wildcard,
    /// `#` is not the whole last level `[MQTT-4.7.1-1]`.
    #[error("has a '#' that is not its whole last level")]
    MultiLevelWildcard,
    /// `+` does not occupy a whole level `[MQTT-4.7.1-2]`.
    #[error("has a '+' that is not a whole level")]
    SingleLevelWildcard,
    /// `$share/` is not followed by a share name, `/` and a filter `[MQTT-4.8.2-1]` `[MQTT-4.8.2-2]`.
    #[error("is not of the form $share/name/filter")]
    Share,
}

/// Checks a topic name: what a message is published to.
///
/// # Errors
/// Empty, too long, with U+0000 or with a wildcard.
#[inline]
pub fn validate_topic_name(topic: &str) -> Result<(), TopicError> {
    check_size(topic)?;
    // Without a way out of the loop it is done sixteen bytes at a time; which one it was is for the cold path.
    let wrong = |byte| matches!(byte, 0 | b'+' | b'#');
    if topic.bytes().fold(0, |found, byte| found | u8::from(wrong(byte))) != 0 {
        let null = topic.contains('\0');
        return Err(if null {
            TopicError::Null
        } else {
            TopicError::Wildcard
        });
    }
    Ok(())
}

/// Checks a topic filter: what is subscribed to. `$share/…` is a filter like any other here;
/// see [`split_shared`] for shared subscriptions, which only MQTT 5 defines.
///
/// # Errors
/// Empty, too long, with U+0000 or with a misplaced wildcard.
pub fn validate_topic_filter(filter: &str) -> Result<(), TopicError> {
    check_size(filter)?;
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let last = levels.peek().is_none();
        if level.contains('\0') {
            return Err(TopicError::Null);
        }
        if level.contains('#') && !(level == "#" && last) {
            return Err(TopicError::MultiLevelWildcard);
        }
        if level.contains('+') && level != "+" {
            return Err(TopicError::SingleLevelWildcard);
        }
    }
    Ok(())
}

/// Splits `$share/name/filter` into `(name, filter)`; `None` if the filter does not begin with `$share/`.
///
/// The inner filter is checked too.
///
/// # Errors
/// The share name is empty or contains a wildcard, or there is no valid filter after it.
pub fn split_shared(filter: &str) -> Result<Option<(&str, &str)>, TopicError> {
    let Some(rest) = filter.strip_prefix("$share/") else {
        return Ok(None);
    };
    let (name, inner) = rest.split_once('/').ok_or(TopicError::Share)?;
    if name.is_empty() || name.contains(['+', '#']) || inner.is_empty() {
        return Err(TopicError::Share);
    }
    validate_topic_filter(inner)?;
    Ok(Some((name, inner)))
}

#[inline]
fn check_size(topic: &str) -> Result<(), TopicError> {
    if topic.is_empty() {
        return Err(TopicError::Empty);
    }
    if topic.len() > usize::from(u16::MAX) {
        return Err(TopicError::TooLong);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_name_takes_anything_but_wildcards_null_and_emptiness() {
        for good in ["/", "a", "a/b", " ", "$SYS/x", "//", "é/消息", "a b/c"] {
            assert_eq!(validate_topic_name(good), Ok(()), "{good}");
        }
        assert_eq!(validate_topic_name(""), Err(TopicError::Empty));
        assert_eq!(validate_topic_name("a/+"), Err(TopicError::Wildcard));
        assert_eq!(validate_topic_name("a#"), Err(TopicError::Wildcard));
        assert_eq!(validate_topic_name("a\0"), Err(TopicError::Null));
        assert_eq!(validate_topic_name(&"a".repeat(65_535)), Ok(()));
        assert_eq!(validate_topic_name(&"a".repeat(65_536)), Err(TopicError::TooLong));
    }

    #[test]
    fn a_wildcard_of_a_filter_stands_alone_in_its_level() {
        for good in [
            "#",
            "+",
            "/#",
            "+/+",
            "a/+/b/#",
            "/",
            "+/",
            "$SYS/#",
            "$share/g/#",
            "$share/g",
        ] {
            assert_eq!(validate_topic_filter(good), Ok(()), "{good}");
        }
        for bad in ["a#", "#/a", "a/#/b", "##", "+#", "a/#+"] {
            assert_eq!(
                validate_topic_filter(bad),
                Err(TopicError::MultiLevelWildcard),
                "{bad}"
            );
        }
        for bad in ["a+", "+a/b", "++", "a/b+/c"] {
            assert_eq!(
                validate_topic_filter(bad),
                Err(TopicError::SingleLevelWildcard),
                "{bad}"
            );
        }
        assert_eq!(validate_topic_filter(""), Err(TopicError::Empty));
        assert_eq!(validate_topic_filter("a/\0"), Err(TopicError::Null));
    }

    #[test]
    fn a_shared_filter_has_a_name_and_a_filter() {
        assert_eq!(split_shared("a/b"), Ok(None));
        assert_eq!(split_shared("$share"), Ok(None));
        assert_eq!(split_shared("$share/g/a/+"), Ok(Some(("g", "a/+"))));
        assert_eq!(split_shared("$share/g//a"), Ok(Some(("g", "/a"))));
        for bad in [
            "$share/",
            "$share/g",
            "$share/g/",
            "$share//a",
            "$share/+/a",
            "$share/g#/a",
        ] {
            assert_eq!(split_shared(bad), Err(TopicError::Share), "{bad}");
        }
        assert_eq!(split_shared("$share/g/a#"), Err(TopicError::MultiLevelWildcard));
    }
}
