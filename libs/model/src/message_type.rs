//! The types of messages: who may send which, and who is shown it. One table, by role, for live delivery, backlog and
//! history alike.
//!
//! Names are compared without case everywhere, and only here: [`MessageType::listed`] gives a listed name its one spelling.
//! A name that is not listed is a custom one. It passes, unless it begins like a family that is the staff's side.

use std::cmp::Ordering;
use std::sync::LazyLock;

mod document;
mod rule;
mod table;

pub use document::types_as_markdown;
pub use rule::{Rule, Sender};
use table::{FAMILIES, TYPES};

/// A type that has a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageType {
    /// Its one spelling.
    pub name: &'static str,
    /// Its row of the table.
    pub rule: Rule,
}

/// Every listed type, by name.
static BY_NAME: LazyLock<Vec<MessageType>> = LazyLock::new(|| {
    let rows = TYPES
        .iter()
        .flat_map(|(rule, names)| names.iter().map(|name| MessageType { name, rule: *rule }));
    let mut rows: Vec<_> = rows.collect();
    rows.sort_unstable_by_key(|row| row.name);
    rows
});

impl MessageType {
    /// The listed type of a name in any case; `None` for a custom one.
    pub fn listed(name: &str) -> Option<&'static MessageType> {
        let found = BY_NAME.binary_search_by(|row| compare(row.name, name));
        found.ok().and_then(|at| BY_NAME.get(at))
    }

    /// Every listed type.
    pub fn all() -> &'static [MessageType] {
        &BY_NAME
    }

    /// What holds for a name, listed or not.
    pub fn rule(name: &str) -> Rule {
        let of_family = || FAMILIES.iter().find(|(prefix, _)| begins(name, prefix));
        match MessageType::listed(name) {
            Some(listed) => listed.rule,
            None => of_family().map_or(table::EVERYBODY, |(_, rule)| *rule),
        }
    }
}

/// The order of upper-case `listed` and of `name` taken as upper case.
fn compare(listed: &str, name: &str) -> Ordering {
    listed.bytes().cmp(name.bytes().map(|b| b.to_ascii_uppercase()))
}

/// Whether a name begins so, whatever its case.
pub(crate) fn begins(name: &str, prefix: &str) -> bool {
    let head = name.as_bytes().get(..prefix.len());
    head.is_some_and(|head| head.eq_ignore_ascii_case(prefix.as_bytes()))
}

#[cfg(test)]
mod tests;
