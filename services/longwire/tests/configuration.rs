//! docs/configuration.md lists every key, with the words of the code and the defaults that `longwire config show` prints.
//! `UPDATE=1 cargo test -p longwire --test configuration` writes the list anew.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What stands before the list in the document.
const MARK: &str = "<!-- From here on written by services/longwire/tests/configuration.rs -->\n";

/// A field of a struct that is read from the configuration.
#[derive(Clone)]
struct Field {
    name: String,
    /// As written, without `Option`.
    ty: String,
    doc: String,
    required: bool,
}

fn root() -> PathBuf {
    let here = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
    here.ancestors().nth(2).expect("two folders deep").to_owned()
}

/// The structs that are read from the configuration, by crate and name.
type Structs = BTreeMap<(String, String), Vec<Field>>;

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for path in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Reads every struct that derives `Deserialize`. The sources are in the form that rustfmt gives them.
fn structs() -> Structs {
    let mut structs = Structs::new();
    for folder in ["libs", "services"] {
        for krate in std::fs::read_dir(root().join(folder)).unwrap() {
            let krate = krate.unwrap().path();
            let name = krate.file_name().unwrap().to_str().unwrap().replace('-', "_");
            let mut files = Vec::new();
            sources(&krate.join("src"), &mut files);
            for file in files {
                read_structs(&name, &std::fs::read_to_string(file).unwrap(), &mut structs);
            }
        }
    }
    structs
}

fn read_structs(krate: &str, text: &str, structs: &mut Structs) {
    let (mut attributes, mut current) = (String::new(), None::<(String, Vec<Field>)>);
    let (mut doc, mut optional) = (String::new(), false);
    for line in text.lines() {
        let code = line.trim();
        if let Some(words) = code.strip_prefix("///") {
            let _ = write!(doc, "{}{}", if doc.is_empty() { "" } else { " " }, words.trim());
        } else if code.starts_with("#[") {
            attributes.push_str(code);
            optional |= code.starts_with("#[serde(default)]");
        } else if let Some((_, fields)) = current.as_mut().filter(|_| code != "}") {
            let field = code.strip_prefix("pub ").unwrap_or(code);
            if let Some((name, ty)) = field.trim_end_matches(',').split_once(": ") {
                let (doc, required) = (std::mem::take(&mut doc), !std::mem::take(&mut optional));
                fields.push(Field {
                    name: name.to_owned(),
                    required: required && !ty.starts_with("Option<"),
                    ty: unwrapped(ty, "Option<").to_owned(),
                    doc,
                });
            }
        } else {
            if let Some(((name, fields), true)) = current.take().map(|c| (c, code == "}")) {
                structs.insert((krate.to_owned(), name), fields);
            }
            let name = code.trim_start_matches("pub(crate) ").trim_start_matches("pub ");
            let name = name.strip_prefix("struct ").and_then(|n| n.strip_suffix(" {"));
            let is_read = attributes.contains("Deserialize") && !attributes.contains("try_from");
            current = name.filter(|_| is_read).map(|n| (n.to_owned(), Vec::new()));
            (attributes, doc, optional) = (String::new(), String::new(), false);
        }
    }
}

/// What is inside of `Option<…>` or `Vec<…>`, if it is that.
fn unwrapped<'t>(ty: &'t str, outer: &str) -> &'t str {
    ty.strip_prefix(outer)
        .and_then(|t| t.strip_suffix('>'))
        .unwrap_or(ty)
}

/// The struct that a type named in `krate` is, if it is one.
fn resolve(structs: &Structs, krate: &str, ty: &str) -> Option<(String, String)> {
    let ty = unwrapped(ty, "Vec<");
    let (path, name) = ty.rsplit_once("::").unwrap_or((krate, ty));
    let home = path.split("::").next().unwrap_or(krate);
    let named = (home.to_owned(), name.to_owned());
    if structs.contains_key(&named) {
        return Some(named);
    }
    // Imported: then the name says which.
    let mut others = structs.keys().filter(|(_, n)| n == name);
    let found = others.next().cloned();
    assert!(others.next().is_none(), "{krate}: which {name} is meant?");
    found
}

/// What `longwire config show` prints.
fn show(env: &[(&str, &str)]) -> toml::Table {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longwire"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().to_uppercase().starts_with("LONGWIRE_") {
            command.env_remove(name);
        }
    }
    let output = command
        .args(["config", "show"])
        .envs(env.iter().copied())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    toml::from_str(&String::from_utf8(output.stdout).unwrap()).unwrap()
}

/// Every key of a table and those below it; of an array of tables the keys of its elements.
fn keys(table: &toml::Table, under: &str, found: &mut BTreeSet<String>) {
    for (name, value) in table {
        let key = format!("{under}{name}");
        match value {
            toml::Value::Table(inner) => keys(inner, &format!("{key}."), found),
            toml::Value::Array(list) if list.iter().any(toml::Value::is_table) => {
                let tables = list.iter().filter_map(toml::Value::as_table);
                tables.for_each(|t| keys(t, &format!("{key}[]."), found));
            }
            _ => drop(found.insert(key)),
        }
    }
}

struct Writer {
    structs: Structs,
    dev: toml::Table,
    production: toml::Table,
    text: String,
    written: BTreeSet<String>,
}

impl Writer {
    /// A section for the keys of a struct, then those of the structs in it.
    fn section(&mut self, of: &(String, String), key: &str, intro: &str) {
        let fields = self.structs[of].clone();
        let (nested, plain): (Vec<Field>, Vec<Field>) = fields
            .into_iter()
            .partition(|f| resolve(&self.structs, &of.0, &f.ty).is_some());
        let heading = if key.is_empty() {
            "Outside of any section"
        } else {
            key
        };
        if !plain.is_empty() {
            let _ = write!(
                self.text,
                "\n### {heading}\n\n{intro}\n\n| key | default | meaning |\n|---|---|---|\n"
            );
        }
        for field in &plain {
            let path = if key.is_empty() {
                field.name.clone()
            } else {
                format!("{key}.{}", field.name)
            };
            let default = self.default_of(&path, field);
            let doc = field.doc.replace('|', "\\|");
            let _ = writeln!(self.text, "| `{}` | {default} | {doc} |", field.name);
            self.written.insert(path);
        }
        for field in nested {
            let inner = resolve(&self.structs, &of.0, &field.ty).expect("it was one");
            let list = if field.ty.starts_with("Vec<") { "[]" } else { "" };
            let path = if key.is_empty() {
                field.name
            } else {
                format!("{key}.{}", field.name)
            };
            self.section(&inner, &format!("{path}{list}"), &field.doc);
        }
    }

    fn default_of(&self, path: &str, field: &Field) -> String {
        if path.contains("[]") {
            return if field.required {
                "required".to_owned()
            } else {
                "–".to_owned()
            };
        }
        let shown = |table| find(table, path).map(|v| format!("`{v}`"));
        let (dev, production) = (shown(&self.dev), shown(&self.production));
        let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "–".to_owned());
        match dev == production || production.as_deref() == Some("`\"***\"`") {
            true => or_none(&dev),
            false => format!("{}, in production {}", or_none(&dev), or_none(&production)),
        }
    }
}

fn find<'t>(table: &'t toml::Table, path: &str) -> Option<&'t toml::Value> {
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    let value = table.get(first)?;
    if rest.is_empty() {
        Some(value)
    } else {
        find(value.as_table()?, rest)
    }
}

#[test]
fn the_document_lists_every_key_as_the_code_has_it() {
    let secret = ("LONGWIRE_AUTH__SECRET", "0123456789abcdef0123456789abcdef");
    let mut writer = Writer {
        structs: structs(),
        dev: show(&[]),
        production: show(&[("LONGWIRE_PROFILE", "production"), secret]),
        text: String::new(),
        written: BTreeSet::new(),
    };
    writer.section(
        &("longwire".into(), "Config".into()),
        "",
        "What is set at the top of the file.",
    );
    let (mut shown, document) = (BTreeSet::new(), root().join("docs/configuration.md"));
    keys(&writer.dev, "", &mut shown);
    // An empty list does not show what its elements have.
    let is_written = |key: &String| {
        let elements = format!("{key}[].");
        writer.written.contains(key) || writer.written.iter().any(|w| w.starts_with(&elements))
    };
    let missing: Vec<_> = shown.iter().filter(|key| !is_written(key)).collect();
    assert!(
        missing.is_empty(),
        "`config show` has keys that were not found in the code: {missing:?}"
    );
    let text = std::fs::read_to_string(&document).unwrap();
    let (before, list) = text.split_once(MARK).expect("the document has the mark");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&document, format!("{before}{MARK}{}", writer.text)).unwrap();
        return;
    }
    for (is, should) in list.lines().zip(writer.text.lines()) {
        assert_eq!(
            is, should,
            "docs/configuration.md differs from the code; UPDATE=1 writes it anew"
        );
    }
    assert_eq!(
        list.len(),
        writer.text.len(),
        "docs/configuration.md differs from the code; UPDATE=1 writes it anew"
    );
}
