//! The table for people: the page of the protocols and the description of the HTTP calls hold this very text.

use super::rule::Sender;
use super::table::{FAMILIES, TYPES};

/// The table in Markdown: a row for each group of types, then the families of names that are not listed.
pub fn types_as_markdown() -> String {
    let mut text = String::from(
        "| types | visitors send | agents, admins send | services send | visitors are shown |\n|---|---|---|---|---|\n",
    );
    let listed = TYPES.iter().map(|(rule, names)| (names.join(", "), rule));
    let families = FAMILIES
        .iter()
        .map(|(prefix, rule)| (format!("other {prefix}…"), rule));
    for (names, rule) in listed.chain(families) {
        let senders = [Sender::Visitor, Sender::Staff, Sender::Service].map(|s| word(rule.lets(s)));
        let [visitors, staff, services] = senders;
        let shown = word(rule.shows_to_visitors());
        text += &format!("| {names} | {visitors} | {staff} | {services} | {shown} |\n");
    }
    text
}

fn word(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}
