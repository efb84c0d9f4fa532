//! Which module of a crate uses which, as far as its text tells: `use`, and paths that begin with a module.
//!
//! `pub use` is no use of its own: whoever names something by it uses the module where it is. `mod` is none either.
//! What is for tests is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::{files, read};

/// The segments of a path.
type Segments = Vec<String>;

/// A module.
#[derive(Debug, Default)]
struct Module {
    /// What it names.
    used: Vec<Segments>,
    /// What it names for others: the name, and what is meant.
    passed_on: Vec<(String, Segments)>,
}

/// The modules of a crate, by their paths from its root.
#[derive(Debug, Default)]
pub struct Modules(BTreeMap<Segments, Module>);

impl Modules {
    /// Reads the crate in a folder of the checkout.
    pub fn of(krate: &str) -> Self {
        let source = Path::new(krate).join("src");
        let mut modules = Self::default();
        for file in files(&source.to_string_lossy(), &["rs"]) {
            let below = file.strip_prefix(&source).unwrap_or(&file).with_extension("");
            let path = below.iter().map(|s| s.to_string_lossy().into_owned()).collect();
            modules.add(path, &read(&file));
        }
        modules
    }

    fn add(&mut self, mut path: Segments, text: &str) {
        match path.last().map(String::as_str) {
            Some("tests") => return,
            Some("lib" | "main") if path.len() == 1 => path.clear(),
            Some("mod") => path.truncate(path.len() - 1),
            _ => {}
        }
        self.0.insert(path, parse(&tokens(text)));
    }

    /// For each module, those that it uses.
    pub fn edges(&self) -> BTreeMap<&Segments, BTreeSet<&Segments>> {
        let uses = |(from, module): (&'_ Segments, &'_ Module)| {
            let used = module.used.iter().filter_map(|path| self.resolve(from, path, 0));
            used.filter_map(|to| self.0.get_key_value(&to).map(|(to, _)| to))
                .filter(|to| **to != *from)
                .collect::<BTreeSet<_>>()
        };
        let all = self.0.iter().map(|(from, module)| (from, uses((from, module))));
        all.collect()
    }

    /// The module where that is what a path names, seen from a module; `None` when it is none of the crate.
    fn resolve(&self, from: &Segments, path: &[String], passed: usize) -> Option<Segments> {
        let (mut at, mut rest) = (from.clone(), path);
        while let Some((first, others)) = rest.split_first() {
            match first.as_str() {
                "crate" => at.clear(),
                "super" => at.truncate(at.len().saturating_sub(1)),
                "self" => {}
                _ => break,
            }
            rest = others;
        }
        let mut entered = rest.len() < path.len();
        while let Some((first, others)) = rest.split_first() {
            let below: Segments = at.iter().chain([first]).cloned().collect();
            if !self.0.contains_key(&below) {
                break;
            }
            (at, rest, entered) = (below, others, true);
        }
        if !entered {
            return None;
        }
        // Names are passed on a few times at most; a module that passes on its own name does not end.
        let named = self.0.get(&at).zip(rest.first()).filter(|_| passed < 8);
        let meant = named.and_then(|(module, name)| module.passed_on.iter().find(|(of, _)| of == name));
        let meant = meant.and_then(|(_, meant)| self.resolve(&at, meant, passed + 1));
        Some(meant.unwrap_or(at))
    }

    /// The circles: of each, the modules that use one another, by whatever way.
    pub fn circles(&self) -> Vec<Vec<String>> {
        let edges = self.edges();
        let reached: BTreeMap<_, _> = edges.keys().map(|from| (*from, reach(&edges, from))).collect();
        let circle = |of: &Segments| {
            let back = reached[of].iter().filter(|to| reached[**to].contains(of));
            back.map(|to| name(to)).collect::<Vec<_>>()
        };
        let circles: BTreeSet<_> = edges
            .keys()
            .map(|of| circle(of))
            .filter(|c| !c.is_empty())
            .collect();
        circles.into_iter().collect()
    }
}

/// Every module that one uses, by whatever way.
fn reach<'a>(
    edges: &BTreeMap<&'a Segments, BTreeSet<&'a Segments>>,
    from: &'a Segments,
) -> BTreeSet<&'a Segments> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(next) = open.pop() {
        open.extend(edges[next].iter().copied().filter(|to| seen.insert(*to)));
    }
    seen
}

fn name(module: &[String]) -> String {
    match module {
        [] => "the root".to_owned(),
        path => path.join("::"),
    }
}

/// Names, `::` and single signs. Comments, texts and characters are left out.
fn tokens(text: &str) -> Segments {
    let chars: Vec<char> = text.chars().collect();
    let (mut found, mut i) = (Vec::new(), 0);
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    while i < chars.len() {
        match (at(i), at(i + 1)) {
            ('/', '/') => {
                while i < chars.len() && at(i) != '\n' {
                    i += 1
                }
            }
            ('"', _) => i = after_text(&chars, i),
            ('r', '"' | '#') => i = after_raw_text(&chars, i),
            // A character, and not a lifetime.
            ('\'', '\\') => i = (i + 3..).find(|i| matches!(at(*i), '\'' | '\0')).unwrap_or(i) + 1,
            ('\'', _) if at(i + 2) == '\'' => i += 3,
            (':', ':') => {
                found.push("::".to_owned());
                i += 2;
            }
            (c, _) if is_name(c) => {
                let end = (i..).find(|i| !is_name(at(*i))).unwrap_or(i);
                found.push(chars[i..end].iter().collect());
                i = end;
            }
            (c, _) => {
                found.extend((!c.is_whitespace()).then(|| c.to_string()));
                i += 1;
            }
        }
    }
    found
}

fn after_text(chars: &[char], begin: usize) -> usize {
    let mut i = begin + 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

/// Where a text without escapes ends, or one sign on when it is none.
fn after_raw_text(chars: &[char], begin: usize) -> usize {
    let hashes = chars[begin + 1..].iter().take_while(|c| **c == '#').count();
    if chars.get(begin + 1 + hashes) != Some(&'"') {
        return begin + 1;
    }
    let end: Vec<char> = std::iter::once('"')
        .chain(std::iter::repeat_n('#', hashes))
        .collect();
    let from = begin + 2 + hashes;
    let found = chars[from..].windows(end.len()).position(|w| w == end);
    found.map_or(chars.len(), |at| from + at + end.len())
}

fn parse(tokens: &[String]) -> Module {
    let (mut module, mut i, mut public) = (Module::default(), 0, false);
    while i < tokens.len() {
        let is = |n: usize, text: &str| tokens.get(i + n).is_some_and(|t| t == text);
        if is(0, "#") && is(2, "cfg") && (is(4, "test") || (is(4, "all") && is(6, "test"))) {
            i = after_item(tokens, i);
        } else if is(0, "pub") {
            let visible = if is(1, "(") {
                tokens[i..].iter().position(|t| t == ")").unwrap_or(0)
            } else {
                0
            };
            (public, i) = (true, i + visible + 1);
            continue;
        } else if is(0, "use") {
            let end = (i..tokens.len())
                .find(|n| tokens[*n] == ";")
                .unwrap_or(tokens.len());
            let mut paths = Vec::new();
            tree(&tokens[i + 1..end], &[], &mut paths);
            match public {
                true => module.passed_on.extend(paths),
                false => module.used.extend(paths.into_iter().map(|(_, path)| path)),
            }
            i = end + 1;
        } else if is(1, "::") && !(i > 0 && tokens[i - 1] == "::") {
            let mut path = vec![tokens[i].clone()];
            while tokens.get(i + 1).is_some_and(|t| t == "::") && i + 2 < tokens.len() {
                path.push(tokens[i + 2].clone());
                i += 2;
            }
            module.used.push(path);
            i += 1;
        } else {
            i += 1;
        }
        public = false;
    }
    module
}

/// Where the item after an attribute ends.
fn after_item(tokens: &[String], begin: usize) -> usize {
    let mut depth = 0;
    for (i, token) in tokens.iter().enumerate().skip(begin) {
        match token.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 && matches!(token.as_str(), "}" | ";") {
            return i + 1;
        }
    }
    tokens.len()
}

/// The paths of a `use`, each with the name that it gives.
fn tree(tokens: &[String], above: &[String], into: &mut Vec<(String, Segments)>) {
    let (mut path, mut name) = (above.to_vec(), None);
    let mut i = 0;
    while let Some(token) = tokens.get(i) {
        match token.as_str() {
            "{" => {
                let end = after_item(tokens, i);
                let inner = &tokens[i + 1..end.saturating_sub(1)];
                parts(inner).into_iter().for_each(|part| tree(part, &path, into));
                return;
            }
            "as" => name = tokens.get(i + 1).cloned(),
            "::" => {}
            // `a::{self}` is `a`.
            "self" if !path.is_empty() => {}
            _ if name.is_none() => path.push(token.clone()),
            _ => {}
        }
        i += 1;
    }
    if let Some(last) = path.last().cloned() {
        into.push((name.unwrap_or(last), path));
    }
}

/// What commas separate.
fn parts(tokens: &[String]) -> Vec<&[String]> {
    let mut depth = 0;
    let outermost = |token: &String| {
        depth += i32::from(token == "{") - i32::from(token == "}");
        depth == 0 && token == ","
    };
    let parts = tokens.split(outermost);
    parts.filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let mut modules = Modules::default();
        for (path, text) in files {
            modules.add(path.split('/').map(str::to_owned).collect(), text);
        }
        modules.circles()
    }

    #[test]
    fn modules_that_use_one_another_are_a_circle() {
        let a = ("a", "use crate::{b::{self, Y as Z}, x};");
        assert_eq!(circles(&[a, ("b", "fn f() { super::a::g() }")]), [["a", "b"]]);
        assert_eq!(
            circles(&[a, ("b", "use self::c::C;"), ("b/c", "use super::super::a::*;")]),
            [["a", "b", "b::c"]]
        );
        let none: [[&str; 0]; 0] = [];
        assert_eq!(
            circles(&[a, ("b", "use other::a;"), ("x", "use crate::b;")]),
            none
        );
    }

    #[test]
    fn what_is_passed_on_is_used_where_it_is() {
        let root = ("lib", "mod a; mod b; pub use a::A; pub(crate) use b::{B as C};");
        let files = |a| [root, ("a", a), ("b", "use crate::A;")];
        let none: [[&str; 0]; 0] = [];
        assert_eq!(circles(&files("")), none);
        assert_eq!(circles(&files("use crate::C;")), [["a", "b"]]);
    }

    #[test]
    fn comments_texts_and_tests_use_nothing() {
        let a = r##"
            //! use crate::b;
            /// [`crate::b`]
            const T: &str = "use crate::b; \" use crate::b;";
            const R: &str = r#"use crate::b; " "#;
            fn quoted<'a>(c: char) -> bool { c == '"' || c == '\'' }
            #[cfg(test)]
            mod tests { use crate::b::{c, d}; fn f() { crate::b::g() } }
            #[cfg(test)]
            mod more;
            use crate::c;
        "##;
        let none: [[&str; 0]; 0] = [];
        assert_eq!(circles(&[("a", a), ("b", "use crate::a;")]), none);
        assert_eq!(circles(&[("a", a), ("c", "use crate::a;")]), [["a", "c"]]);
    }
}
