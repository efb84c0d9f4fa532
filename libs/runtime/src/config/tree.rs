//! Values that know where they came from, layered.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::{ConfigError, Origin};

/// Neither it nor [`Value`] is `Debug`: both hold secrets in the clear.
#[derive(Clone)]
pub(super) struct Node {
    pub origin: Origin,
    pub value: Value,
}

pub(super) type Table = BTreeMap<String, Node>;

#[derive(Clone)]
pub(super) enum Value {
    Table(Table),
    Array(Vec<Node>),
    /// Covers what `i64` and `u64` can hold.
    Integer(i128),
    Float(f64),
    Bool(bool),
    String(String),
    /// From the environment or a flag: its type is whatever the reader asks for.
    Untyped(String),
}

impl Node {
    pub fn empty_table() -> Self {
        Self {
            origin: Origin::Default,
            value: Value::Table(Table::new()),
        }
    }

    /// Reads a TOML document; `origin` makes the origin of a value from its line.
    pub fn parse_document(
        path: &Path,
        text: &str,
        origin: impl Fn(usize) -> Origin,
    ) -> Result<Self, ConfigError> {
        let at = |span: Range<usize>| origin(line_and_column(text, span.start).0);
        match DeTable::parse(text) {
            Ok(table) => Ok(Self {
                origin: at(0..0),
                value: Value::Table(from_table(table.into_inner(), &at)),
            }),
            Err(error) => {
                let (line, column) = line_and_column(text, error.span().map_or(0, |span| span.start));
                let reason = error.message().replace('\n', ", ");
                Err(ConfigError::Syntax {
                    path: path.to_owned(),
                    line,
                    column,
                    reason,
                })
            }
        }
    }

    /// Puts `over` over `self`: tables merge, anything else replaces.
    pub fn merge(&mut self, over: Self) {
        let over = if matches!(self.value, Value::Table(_)) {
            over.into_table_if_one()
        } else {
            over
        };
        match (&mut self.value, over.value) {
            (Value::Table(below), Value::Table(above)) => {
                for (key, node) in above {
                    match below.get_mut(&key) {
                        Some(existing) => existing.merge(node),
                        None => drop(below.insert(key, node)),
                    }
                }
            }
            (below, value) => {
                *below = value;
                self.origin = over.origin;
            }
        }
    }

    /// Sets the value at `path` to an untyped text, making the tables on the way.
    ///
    /// Fails with the dotted path and the origin of a value on the way that is not a table.
    pub fn set(&mut self, path: &[String], origin: &Origin, text: String) -> Result<(), (String, Origin)> {
        let mut node = self;
        for (depth, key) in path.iter().enumerate() {
            if matches!(node.value, Value::Untyped(_)) {
                *node = node.clone().into_table_if_one();
            }
            let Value::Table(table) = &mut node.value else {
                return Err((path[..depth].join("."), node.origin.clone()));
            };
            node = table.entry(key.clone()).or_insert_with(|| Self {
                origin: origin.clone(),
                value: Value::Table(Table::new()),
            });
        }
        node.merge(Self {
            origin: origin.clone(),
            value: Value::Untyped(text),
        });
        Ok(())
    }

    /// The value at a dotted path.
    pub fn get(&self, key: &str) -> Option<&Self> {
        key.split('.').try_fold(self, |node, part| match &node.value {
            Value::Table(table) => table.get(part),
            _ => None,
        })
    }

    /// An untyped text as the TOML value it spells, or as a string when it spells none. Others stay as they are.
    pub fn typed(self) -> Self {
        let Value::Untyped(text) = self.value else {
            return self;
        };
        let origin = self.origin;
        let value = match DeValue::parse(text.trim()) {
            Ok(value) if !value.get_ref().is_datetime() => {
                from_value(value.into_inner(), &|_| origin.clone())
            }
            _ => Value::String(text),
        };
        Self { origin, value }
    }

    fn into_table_if_one(self) -> Self {
        let typed = self.clone().typed();
        if matches!(typed.value, Value::Table(_)) {
            typed
        } else {
            self
        }
    }
}

fn from_table(table: DeTable<'_>, origin: &impl Fn(Range<usize>) -> Origin) -> Table {
    table
        .into_iter()
        .map(|(key, value)| (key.into_inner().into_owned(), from_spanned(value, origin)))
        .collect()
}

fn from_spanned(value: Spanned<DeValue<'_>>, origin: &impl Fn(Range<usize>) -> Origin) -> Node {
    Node {
        origin: origin(value.span()),
        value: from_value(value.into_inner(), origin),
    }
}

fn from_value(value: DeValue<'_>, origin: &impl Fn(Range<usize>) -> Origin) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.into_owned()),
        DeValue::Integer(integer) => from_integer(&integer),
        DeValue::Float(float) => Value::Float(float.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(bool) => Value::Bool(bool),
        DeValue::Datetime(datetime) => Value::String(datetime.to_string()),
        DeValue::Array(array) => {
            Value::Array(array.into_iter().map(|item| from_spanned(item, origin)).collect())
        }
        DeValue::Table(table) => Value::Table(from_table(table, origin)),
    }
}

/// One that no integer can hold stays a text, which no integer setting accepts.
fn from_integer(integer: &DeInteger<'_>) -> Value {
    match i128::from_str_radix(integer.as_str(), integer.radix()) {
        Ok(number) => Value::Integer(number),
        Err(_) => Value::String(integer.to_string()),
    }
}

/// Both from 1.
fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

/// Origins of files share the path.
pub(super) fn file_origin(path: &Path) -> impl Fn(usize) -> Origin + use<> {
    let path: Arc<Path> = path.into();
    move |line| Origin::File {
        path: path.clone(),
        line,
    }
}
