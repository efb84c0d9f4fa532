//! Links in documents lead somewhere, and what they call code is there.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use structure::{files, none, read, root};

struct Link {
    line: usize,
    target: String,
}

/// The targets of `[text](target)` in a document, code left out.
fn links(text: &str) -> Vec<Link> {
    let (mut links, mut fenced) = (Vec::new(), false);
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        // Every second piece between backticks is code.
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("code");
        for (at, _) in prose.match_indices("](") {
            let rest = &prose[at + 2..];
            if let Some(end) = rest.find(')') {
                let target = rest[..end].split(' ').next().unwrap_or_default().to_owned();
                links.push(Link {
                    line: number + 1,
                    target,
                });
            }
        }
    }
    links
}

/// The anchors of a document's headings, as they are made by those who show it.
fn anchors(text: &str) -> Vec<String> {
    let mut fenced = false;
    let headings = text.lines().filter(|line| {
        fenced ^= line.trim_start().starts_with("```");
        !fenced && line.starts_with('#')
    });
    let anchor = |heading: &str| -> String {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = kept
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

/// A path without its `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}

/// What is wrong with a link of `document`, if anything is.
fn broken(document: &Path, target: &str) -> Option<&'static str> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = match path {
        "" => document.to_owned(),
        path => normal(&document.parent().unwrap_or(Path::new("")).join(path)),
    };
    if !root().join(&path).exists() {
        return Some("there is no such file");
    }
    let is_document = path.extension().is_some_and(|e| e == "md");
    if !anchor.is_empty() && is_document && !anchors(&read(&path)).iter().any(|a| a == anchor) {
        return Some("there is no such heading");
    }
    None
}

#[test]
fn every_link_of_a_document_leads_somewhere() {
    let mut wrong = Vec::new();
    for document in files("", &["md"]) {
        for Link { line, target } in links(&read(&document)) {
            if let Some(reason) = broken(&document, &target) {
                wrong.push(format!("{}:{line}: {target}: {reason}", document.display()));
            }
        }
    }
    none(&wrong, "relative links name files and headings of this checkout");
}

/// The pieces of code in the prose of a document, with their lines.
fn code(text: &str) -> Vec<Link> {
    let (mut pieces, mut fenced) = (Vec::new(), false);
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            pieces.extend(line.split('`').skip(1).step_by(2).map(|piece| Link {
                line: number + 1,
                target: piece.to_owned(),
            }));
        }
    }
    pieces
}

#[test]
fn what_documents_call_code_is_in_the_code() {
    let sources = ["libs", "services", "tests"]
        .map(|folder| files(folder, &["rs"]))
        .concat();
    let names: BTreeSet<&str> = sources.iter().filter_map(|p| p.file_name()?.to_str()).collect();
    let texts: Vec<String> = sources.iter().map(read).collect();
    let is_part = |c: char| !c.is_alphanumeric() && c != '_';
    let words: BTreeSet<&str> = texts.iter().flat_map(|text| text.split(is_part)).collect();
    let mut wrong = Vec::new();
    for document in ["docs/architecture.md", "docs/delivery.md", "docs/glossary.md"] {
        for Link { line, target } in code(&read(document)) {
            let known = if target.ends_with(".rs") {
                target.rsplit('/').next().is_some_and(|file| names.contains(file))
            } else if target.contains("::") {
                // A crate is called with a hyphen where it is no code.
                target.split("::").all(|part| words.contains(part))
            } else {
                true
            };
            if !known {
                wrong.push(format!("{document}:{line}: {target}"));
            }
        }
    }
    none(&wrong, "documents name what exists");
}

#[test]
fn every_decision_is_in_the_index_and_numbered_once() {
    let index = read("docs/adr/README.md");
    let records = files("docs/adr", &["md"]);
    let names = records.iter().filter_map(|p| p.file_name()?.to_str());
    let names: Vec<&str> = names.filter(|name| *name != "README.md").collect();
    let mut wrong: Vec<String> = names
        .iter()
        .filter(|name| !index.contains(**name))
        .map(|name| format!("{name} is not in the index"))
        .collect();
    let twice = names
        .windows(2)
        .filter(|pair| pair[0].get(..4) == pair[1].get(..4));
    wrong.extend(twice.map(|pair| format!("{} and {} have one number", pair[0], pair[1])));
    none(&wrong, "docs/adr/README.md lists every decision");
}

#[test]
fn links_are_found_where_they_are() {
    let text = "# A `b` c\n[x](y.md#z) and `[no](code)`\n```\n[no](fence)\n```\n[w](v \"title\")";
    let found: Vec<_> = links(text).into_iter().map(|l| (l.line, l.target)).collect();
    assert_eq!(found, [(2, "y.md#z".to_owned()), (6, "v".to_owned())]);
    assert_eq!(anchors(text), ["a-b-c"]);
    assert_eq!(normal(Path::new("docs/../README.md")), Path::new("README.md"));
}
