use std::fmt;

use serde::{Deserialize, Serialize};

use crate::PatternError;

/// The filter of a rule, parsed: variables are filled in level by level when it is asked, and what fills them in is
/// compared as text, so an id can never bring a wildcard or a further level (lessons Z3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TopicPattern {
    text: String,
    levels: Vec<Level<Vec<Piece>>>,
}

/// One level of a filter; `N` is how a name is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Level<N> {
    Name(N),
    /// `+`
    One,
    /// `#`, always the last.
    Rest,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Uid,
    Org,
    ClientId,
}

/// What the variables stand for.
pub(super) struct Bindings<'a> {
    pub(super) uid: Option<&'a str>,
    pub(super) org: &'a str,
    pub(super) client_id: &'a str,
}

/// The levels of a topic name or filter; nothing when it is neither or begins with `$`. Wildcards fill a whole level,
/// `#` the last (MQTT 5 §4.7.1).
pub(super) fn parse_filter(filter: &str) -> Option<Vec<Level<&str>>> {
    if filter.is_empty() || filter.starts_with('$') || filter.contains('\0') {
        return None;
    }
    let mut levels = Vec::new();
    for name in filter.split('/') {
        if levels.last() == Some(&Level::Rest) {
            return None;
        }
        levels.push(match name {
            "+" => Level::One,
            "#" => Level::Rest,
            name if name.contains(['+', '#']) => return None,
            name => Level::Name(name),
        });
    }
    Some(levels)
}

impl TopicPattern {
    /// Whether every topic that `asked` matches is matched by this.
    pub(super) fn covers(&self, asked: &[Level<&str>], bindings: &Bindings<'_>) -> bool {
        match asked {
            // A topic has a level at least, so `#` alone asks for no more than `+/#`.
            [Level::Rest] => covers(&self.levels, &[Level::One, Level::Rest], bindings),
            _ => covers(&self.levels, asked, bindings),
        }
    }

    /// Whether there is a topic that both match.
    pub(super) fn overlaps(&self, asked: &[Level<&str>], bindings: &Bindings<'_>) -> bool {
        overlaps(&self.levels, asked, bindings)
    }
}

fn covers(own: &[Level<Vec<Piece>>], asked: &[Level<&str>], bindings: &Bindings<'_>) -> bool {
    match (own, asked) {
        // `#` matches the level above it too [MQTT 5 §4.7.1.2]; no variable before it has gone unfilled to get here.
        ([Level::Rest], _) | ([], []) => true,
        ([], _) | (_, [] | [Level::Rest, ..]) => false,
        ([Level::One, own @ ..], [_, asked @ ..]) => covers(own, asked, bindings),
        ([Level::Name(pieces), own @ ..], [Level::Name(name), asked @ ..]) => {
            spells(pieces, name, bindings) && covers(own, asked, bindings)
        }
        ([Level::Name(_), ..], [Level::One, ..]) | ([Level::Rest, ..], _) => false,
    }
}

fn overlaps(own: &[Level<Vec<Piece>>], asked: &[Level<&str>], bindings: &Bindings<'_>) -> bool {
    match (own, asked) {
        ([], []) => true,
        // What is left of the rule still has to be something that exists.
        (own, [Level::Rest]) => own.iter().all(|level| exists(level, bindings)),
        ([Level::Rest], _) => true,
        ([], _) | (_, []) => false,
        ([Level::Name(pieces), own @ ..], [Level::Name(name), asked @ ..]) => {
            spells(pieces, name, bindings) && overlaps(own, asked, bindings)
        }
        ([level, own @ ..], [_, asked @ ..]) => exists(level, bindings) && overlaps(own, asked, bindings),
    }
}

/// The value of one piece; nothing when it cannot be part of a level, and then its level matches nothing.
fn value<'a>(piece: &'a Piece, bindings: &Bindings<'a>) -> Option<&'a str> {
    let value = match piece {
        Piece::Text(text) => return Some(text),
        Piece::Uid => bindings.uid?,
        Piece::Org => bindings.org,
        Piece::ClientId => bindings.client_id,
    };
    (!value.is_empty() && !value.contains(['/', '+', '#', '\0'])).then_some(value)
}

fn exists(level: &Level<Vec<Piece>>, bindings: &Bindings<'_>) -> bool {
    match level {
        Level::Name(pieces) => pieces.iter().all(|piece| value(piece, bindings).is_some()),
        Level::One | Level::Rest => true,
    }
}

fn spells(pieces: &[Piece], name: &str, bindings: &Bindings<'_>) -> bool {
    let mut rest = name;
    for piece in pieces {
        match value(piece, bindings).and_then(|value| rest.strip_prefix(value)) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    rest.is_empty()
}

impl std::str::FromStr for TopicPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.starts_with('$') && !text.starts_with("${") {
            return Err(PatternError::Reserved {
                filter: text.to_owned(),
            });
        }
        let mut levels = Vec::new();
        for name in text.split('/') {
            let misplaced = levels.last() == Some(&Level::Rest);
            levels.push(match name {
                "+" => Level::One,
                "#" => Level::Rest,
                name => Level::Name(pieces(name).ok_or_else(|| PatternError::Variable {
                    filter: text.to_owned(),
                })?),
            });
            if misplaced || (name.len() > 1 && name.contains(['+', '#'])) {
                return Err(PatternError::Wildcard {
                    filter: text.to_owned(),
                });
            }
        }
        Ok(Self {
            text: text.to_owned(),
            levels,
        })
    }
}

fn pieces(mut name: &str) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    while let Some((before, after)) = name.split_once("${") {
        let (variable, after) = after.split_once('}')?;
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        pieces.push(match variable {
            "uid" => Piece::Uid,
            "org" => Piece::Org,
            "clientid" => Piece::ClientId,
            _ => return None,
        });
        name = after;
    }
    if !name.is_empty() {
        pieces.push(Piece::Text(name.to_owned()));
    }
    Some(pieces)
}

impl TryFrom<String> for TopicPattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        text.parse()
    }
}

impl From<TopicPattern> for String {
    fn from(pattern: TopicPattern) -> Self {
        pattern.text
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
