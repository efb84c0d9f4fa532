//! Reads a struct from a [`Node`], remembering which key of which origin was being read when something was wrong.

use std::fmt::{self, Display};

use serde::de::value::{MapAccessDeserializer, StringDeserializer};
use serde::de::{self, DeserializeSeed, Expected, IntoDeserializer, Unexpected, Visitor};

use super::Origin;
use super::suggest::join;
use super::tree::{Node, Table, Value};

/// A problem and, once it has passed the innermost value concerned, where it is.
#[derive(Debug)]
pub(super) struct DeError {
    pub at: Option<(String, Origin)>,
    pub problem: Problem,
}

#[derive(Debug)]
pub(super) enum Problem {
    /// A key nobody reads, and those that would be read in its place.
    Unknown(Vec<String>),
    Missing(&'static str),
    Bad(String),
}

impl DeError {
    fn new(problem: Problem) -> Self {
        Self { at: None, problem }
    }

    fn or_at(mut self, key: &str, origin: &Origin) -> Self {
        self.at.get_or_insert_with(|| (key.to_owned(), origin.clone()));
        self
    }
}

impl Display for DeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.problem)
    }
}

impl std::error::Error for DeError {}

impl de::Error for DeError {
    fn custom<M: Display>(message: M) -> Self {
        Self::new(Problem::Bad(message.to_string()))
    }

    /// Tells the kind of what was found, not the value: it may be a secret without its quotes.
    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!(
            "expected {}, found {}",
            wanted(expected),
            kind(&found)
        ))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("expected {}, found {found}", wanted(expected)))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let nearest = expected
            .iter()
            .find(|known| strsim::damerau_levenshtein(known, variant) <= 2);
        let hint = nearest
            .map(|known| format!("; did you mean `{known}`?"))
            .unwrap_or_default();
        Self::custom(format_args!(
            "expected one of {}, found `{variant}`{hint}",
            expected.join(", ")
        ))
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Problem::Unknown(
            expected.iter().map(ToString::to_string).collect(),
        ))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Problem::Missing(field))
    }
}

/// What serde calls an expectation, in the words of a TOML file.
fn wanted(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    let range = |min: i128, max: i128| format!("a whole number from {min} to {max}");
    match text.as_str() {
        "u8" => range(0, u8::MAX.into()),
        "u16" => range(0, u16::MAX.into()),
        "u32" => range(0, u32::MAX.into()),
        "u64" | "usize" => "a whole number, not negative".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" => "a text".to_owned(),
        "a sequence" => "an array, like [\"a\", \"b\"]".to_owned(),
        "a map" => "a table".to_owned(),
        _ if text.starts_with("struct ") => "a table".to_owned(),
        _ => text,
    }
}

fn kind(found: &Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "true or false",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number",
        Unexpected::Float(_) => "a number with a fraction",
        Unexpected::Str(_) | Unexpected::Char(_) => "a text",
        Unexpected::Seq => "an array",
        Unexpected::Map => "a table",
        _ => "something else",
    }
}

/// Reads one node, which is at `key`.
pub(super) struct NodeDeserializer {
    pub node: Node,
    pub key: String,
}

impl NodeDeserializer {
    fn visit<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        match self.node.typed().value {
            Value::Table(table) => visitor.visit_map(TableAccess::new(self.key, table)),
            Value::Array(items) => visitor.visit_seq(ArrayAccess::new(self.key, items)),
            Value::Integer(number) => visit_integer(number, visitor),
            Value::Float(number) => visitor.visit_f64(number),
            Value::Bool(bool) => visitor.visit_bool(bool),
            Value::String(text) | Value::Untyped(text) => visitor.visit_string(text),
        }
    }

    /// What `seed` makes of it. A problem without a place is this place's: also one that was found only after reading,
    /// as by a type that parses a text.
    fn seeded<'de, S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, DeError> {
        let (key, origin) = (self.key.clone(), self.node.origin.clone());
        seed.deserialize(self).map_err(|error| error.or_at(&key, &origin))
    }

    fn visit_text<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        match self.node.value {
            Value::Untyped(text) => visitor.visit_string(text),
            _ => self.visit(visitor),
        }
    }
}

fn visit_integer<'de, V: Visitor<'de>>(number: i128, visitor: V) -> Result<V::Value, DeError> {
    match (i64::try_from(number), u64::try_from(number)) {
        (Ok(number), _) => visitor.visit_i64(number),
        (_, Ok(number)) => visitor.visit_u64(number),
        _ => visitor.visit_i128(number),
    }
}

impl<'de> de::Deserializer<'de> for NodeDeserializer {
    type Error = DeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.visit(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.visit_text(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.visit_text(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.visit_text(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, DeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeError> {
        match self.node.value {
            Value::Untyped(text) | Value::String(text) => visitor.visit_enum(text.into_deserializer()),
            Value::Table(table) => {
                visitor.visit_enum(MapAccessDeserializer::new(TableAccess::new(self.key, table)))
            }
            _ => self.visit(visitor),
        }
    }

    /// serde asks for this when a struct has no such field and does not deny it. We do.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, DeError> {
        Err(DeError::new(Problem::Unknown(Vec::new())))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 bytes byte_buf unit unit_struct seq tuple tuple_struct
        map struct identifier
    }
}

struct TableAccess {
    key: String,
    rest: std::collections::btree_map::IntoIter<String, Node>,
    current: Option<NodeDeserializer>,
}

impl TableAccess {
    fn new(key: String, table: Table) -> Self {
        Self {
            key,
            rest: table.into_iter(),
            current: None,
        }
    }
}

impl<'de> de::MapAccess<'de> for TableAccess {
    type Error = DeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DeError> {
        let Some((name, node)) = self.rest.next() else {
            return Ok(None);
        };
        let key = join(&self.key, &name);
        let name: StringDeserializer<DeError> = name.into_deserializer();
        let read = seed
            .deserialize(name)
            .map_err(|error| error.or_at(&key, &node.origin))?;
        self.current = Some(NodeDeserializer { node, key });
        Ok(Some(read))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DeError> {
        let value = self
            .current
            .take()
            .expect("serde reads a value only after its key");
        value.seeded(seed)
    }
}

struct ArrayAccess {
    key: String,
    rest: std::iter::Enumerate<std::vec::IntoIter<Node>>,
}

impl ArrayAccess {
    fn new(key: String, items: Vec<Node>) -> Self {
        Self {
            key,
            rest: items.into_iter().enumerate(),
        }
    }
}

impl<'de> de::SeqAccess<'de> for ArrayAccess {
    type Error = DeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, DeError> {
        let Some((index, node)) = self.rest.next() else {
            return Ok(None);
        };
        let key = join(&self.key, &index.to_string());
        NodeDeserializer { node, key }.seeded(seed).map(Some)
    }
}
