use std::fmt;
use std::ops::Range;

/// The headers of a frame in the order they came, unescaped. Names are case-sensitive and may repeat; the first
/// one counts (STOMP 1.2, "Repeated Header Entries").
///
/// All names and values lie in one string, so that a frame costs two allocations whatever it carries, and keeping
/// its headers does not keep the read buffer.
#[derive(Clone, Default)]
pub struct Headers {
    text: String,
    entries: Vec<Entry>,
}

#[derive(Clone)]
struct Entry {
    name: Range<usize>,
    value: Range<usize>,
}

impl Headers {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn with_capacity(headers: usize, bytes: usize) -> Self {
        Self {
            text: String::with_capacity(bytes),
            entries: Vec::with_capacity(headers),
        }
    }

    /// The value of the first header of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find_map(|(found, value)| (found == name).then_some(value))
    }

    /// Names and values in order, repeated ones included.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.entries
            .iter()
            .map(|entry| (self.part(&entry.name), self.part(&entry.value)))
    }

    /// How many there are, repeated ones included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds one at the end. It does not replace an earlier one of the same name, which goes on counting.
    pub fn push(&mut self, name: &str, value: &str) {
        let start = self.text.len();
        self.text.push_str(name);
        let middle = self.text.len();
        self.text.push_str(value);
        self.entries.push(Entry {
            name: start..middle,
            value: middle..self.text.len(),
        });
    }

    /// Adds `line`, which is `name:value` with the colon at `colon`.
    pub(crate) fn push_line(&mut self, line: &str, colon: usize) {
        let start = self.text.len();
        self.text.push_str(line);
        self.entries.push(Entry {
            name: start..start + colon,
            value: start + colon + 1..self.text.len(),
        });
    }

    /// Takes the spaces off the front of every value.
    pub(crate) fn trim_values(&mut self) {
        let text = &self.text;
        for entry in &mut self.entries {
            let value = text.get(entry.value.clone()).unwrap_or_default();
            entry.value.start += value.len() - value.trim_start_matches(' ').len();
        }
    }

    fn part(&self, range: &Range<usize>) -> &str {
        self.text.get(range.clone()).unwrap_or_default()
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Headers {}

impl fmt::Debug for Headers {
    /// Credentials are masked: a frame may end up in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = |name: &str| {
            ["passcode", "authorization"]
                .iter()
                .any(|s| name.eq_ignore_ascii_case(s))
        };
        f.debug_map()
            .entries(
                self.iter()
                    .map(|(name, value)| (name, if secret(name) { "***" } else { value })),
            )
            .finish()
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Headers {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> Self {
        let mut headers = Self::new();
        for (name, value) in pairs {
            headers.push(name, value);
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_repeated_headers_counts() {
        let headers: Headers = [("foo", "1"), ("bar", "2"), ("foo", "3")].into_iter().collect();
        assert_eq!(headers.get("foo"), Some("1"));
        assert_eq!(headers.get("Foo"), None);
        assert_eq!(headers.len(), 3);
    }

    #[test]
    fn credentials_do_not_show_in_debug_output() {
        let headers: Headers = [
            ("passcode", "hunter2"),
            ("Authorization", "Bearer x"),
            ("login", "v"),
        ]
        .into_iter()
        .collect();
        let shown = format!("{headers:?}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("Bearer") && shown.contains("\"v\""),
            "{shown}"
        );
    }
}
