//! Where a topic lives: what its partition is chosen by.
//!
//! Topics that the same people follow share a home, and all topics of a home share a partition: who serves a desk, or follows
//! a thread and its side channel, concerns one partition and not all of them. A home goes by the uid alone, so that a desk's
//! threads, its queue and its notices meet although `org/queue/{desk}` does not say what kind of desk that is.
//!
//! | topic | home |
//! |---|---|
//! | `org/{agent, workgroup, robot, unified, kb, kbdoc, department}/{desk}` and everything below | `{desk}` |
//! | `org/queue/{desk}`, `robot/{robot}` and everything below | `{desk}`, `{robot}` |
//! | `org/ticket/{any kind of desk}/{desk}` and everything below | `{desk}` |
//! | `org/group/{group}`, `group/{group}` and everything below | `{group}` |
//! | `user/{user}`, `file/{user}`, `clipboard/{user}`, `system/{user}` and everything below | `{user}` |
//! | `org/member` and everything below: all colleague threads of an organisation | `org/member` |
//! | `private/{a}/{b}` and everything below | the pair, whichever comes first |
//! | anything else, such as `org/{org}` or an ordinary topic | itself |
//!
//! The side channel `{topic}_internal` lives with its topic, whatever that is.

use crate::TopicFilter;
use crate::ids::INTERNAL;

const COLLEAGUES: &str = "org/member";

/// What a topic's partition is chosen by. Part of the storage format: what is the home of a topic never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Home<'a> {
    /// A desk, group or user.
    Uid(&'a str),
    /// The two of `private/{a}/{b}`; the smaller uid first.
    Pair(&'a str, &'a str),
    /// The topic itself, or the one that it lies below.
    Topic(&'a str),
}

impl<'a> Home<'a> {
    /// The home of a topic.
    pub fn of(topic: &'a str) -> Self {
        let mut levels = [Level::None; LEVELS];
        for (to, level) in levels.iter_mut().zip(topic.split('/')) {
            *to = Level::of(level);
        }
        let of_table = of_levels(&levels).flatten();
        of_table.unwrap_or(Home::Topic(without_side_channel(topic)))
    }

    /// The one home of every topic that matches; `None` when they may have several.
    pub fn of_filter(filter: &'a TopicFilter) -> Option<Self> {
        if !filter.has_wildcard() {
            return Some(Home::of(filter.as_str()));
        }
        // A topic that matches has at each level what the filter has there, or anything where the filter has a wildcard. So
        // the home that is found without looking at a wildcard is that of all of them.
        let mut levels = [Level::None; LEVELS];
        for (i, level) in filter.split('/').enumerate().take(LEVELS) {
            match level {
                "+" => levels[i] = Level::Any,
                // This and all below it, or nothing: `a/#` matches `a` too.
                "#" => levels[i..].fill(Level::Any),
                level => levels[i] = Level::of(level),
            }
        }
        of_levels(&levels).flatten()
    }
}

/// As many levels as the table looks at.
const LEVELS: usize = 4;

/// What stands at a level.
#[derive(Clone, Copy)]
enum Level<'a> {
    /// This, which is not empty.
    Is(&'a str),
    /// Nothing: it is empty, or the topic ends before it.
    None,
    /// It depends on the topic: it is not to be looked at.
    Any,
}

impl<'a> Level<'a> {
    fn of(level: &'a str) -> Self {
        if level.is_empty() {
            Level::None
        } else {
            Level::Is(level)
        }
    }
}

/// The table. `None`: it depends on a level that may be anything. `Some(None)`: the topic itself.
fn of_levels<'a>(levels: &[Level<'a>; LEVELS]) -> Option<Option<Home<'a>>> {
    let [first, kind, third, fourth] = *levels;
    let one = |level| Some(uid(level)?.map(Home::Uid));
    match first {
        Level::Any => None,
        Level::Is("user" | "file" | "clipboard" | "system" | "group" | "robot") => one(kind),
        Level::Is("private") => Some(pair(uid(kind)?, uid(third)?)),
        Level::Is("org") => match kind {
            Level::Any => None,
            Level::Is("agent" | "workgroup" | "robot" | "unified" | "kb" | "kbdoc") => one(third),
            Level::Is("department" | "queue" | "group") => one(third),
            Level::Is("ticket") => one(fourth),
            // Both sides follow their threads by wildcards, `org/member/{me}/+` and `org/member/+/{me}`: no other home would
            // let either concern one partition.
            Level::Is("member") => Some(Some(Home::Topic(COLLEAGUES))),
            Level::Is(_) | Level::None => Some(None),
        },
        Level::Is(_) | Level::None => Some(None),
    }
}

fn uid(level: Level<'_>) -> Option<Option<&str>> {
    match level {
        Level::Any => None,
        Level::None => Some(None),
        Level::Is(uid) => Some(Some(without_side_channel(uid)).filter(|uid| !uid.is_empty())),
    }
}

fn pair<'a>(a: Option<&'a str>, b: Option<&'a str>) -> Option<Home<'a>> {
    let (a, b) = (a?, b?);
    Some(Home::Pair(a.min(b), a.max(b)))
}

fn without_side_channel(topic: &str) -> &str {
    topic.trim_end_matches(INTERNAL)
}

#[cfg(test)]
mod tests;
