//! Makes typed values of a tree by serde, and says exactly which key is wrong and how.
//!
//! Knows nothing of layers or of what a key means; `load` turns its errors into mistakes and goes on.

use super::tree::{Content, Node, join};
use serde::de::value::StrDeserializer;
use serde::de::{
    self, Deserialize, DeserializeSeed, Expected, IntoDeserializer, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

/// What is wrong with one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No such key.
    Unknown {
        /// Its name within the table at the error's path.
        name: String,
    },
    /// A key without default was not given.
    Missing {
        /// Its name within the table at the error's path.
        name: &'static str,
    },
    /// Another type than the key's.
    Type {
        /// In words: "a string".
        found: &'static str,
        /// In words: "a whole number".
        expected: String,
    },
    /// The right type, but not such a value.
    Value {
        /// In words: "a duration".
        expected: String,
    },
    /// None of a few words.
    Word {
        /// The words.
        expected: &'static [&'static str],
    },
    /// What the key's own type said.
    Other(String),
}

/// Which key is wrong, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The key's path, or the table's for `Unknown` and `Missing`.
    pub path: Vec<String>,
    /// How.
    pub kind: Kind,
}

/// Makes a `T` of the tree. The first thing that is wrong ends it.
pub fn extract<T: for<'de> Deserialize<'de>>(tree: &Node) -> Result<T, Error> {
    T::deserialize(At::root(tree, None))
}

/// Every field that serde reads while it makes a `T` of the tree, as paths. Fields of optional tables are seen when the tree
/// has these tables.
pub fn fields<T: for<'de> Deserialize<'de>>(tree: &Node) -> Result<BTreeSet<String>, Error> {
    let seen = RefCell::new(BTreeSet::new());
    T::deserialize(At::root(tree, Some(&seen)))?;
    Ok(seen.into_inner())
}

/// A place in the tree.
struct At<'t> {
    node: &'t Node,
    path: Vec<String>,
    seen: Option<&'t RefCell<BTreeSet<String>>>,
}

impl<'t> At<'t> {
    fn root(node: &'t Node, seen: Option<&'t RefCell<BTreeSet<String>>>) -> Self {
        Self { node, path: Vec::new(), seen }
    }

    fn child(&self, name: String, node: &'t Node) -> Self {
        let mut path = self.path.clone();
        path.push(name);
        Self { node, path, seen: self.seen }
    }

    /// Reads the child; an error without a place gets this one.
    fn read<'de, S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        let path = self.path.clone();
        seed.deserialize(self).map_err(|mut error| {
            if error.path.is_empty() {
                error.path = path;
            }
            error
        })
    }
}

impl<'de> de::Deserializer<'de> for At<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.content {
            Content::String(text) => visitor.visit_str(text),
            Content::Integer(number) => visitor.visit_i64(*number),
            Content::Float(number) => visitor.visit_f64(*number),
            Content::Boolean(value) => visitor.visit_bool(*value),
            Content::Array(nodes) => {
                visitor.visit_seq(Items { at: &self, nodes: nodes.iter(), index: 0 })
            }
            Content::Table(table) => {
                visitor.visit_map(Entries { at: &self, nodes: table.iter(), value: None })
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if let Some(seen) = self.seen {
            for field in fields {
                let mut path = self.path.clone();
                path.push((*field).to_owned());
                seen.borrow_mut().insert(join(&path));
            }
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.node.content {
            Content::String(text) => {
                let word: StrDeserializer<'_, Error> = text.as_str().into_deserializer();
                visitor.visit_enum(word)
            }
            Content::Integer(_)
            | Content::Float(_)
            | Content::Boolean(_)
            | Content::Array(_)
            | Content::Table(_) => Err(de::Error::invalid_type(unexpected(self.node), &"a string")),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

/// A table, entry by entry.
struct Entries<'a, 't> {
    at: &'a At<'t>,
    nodes: std::collections::btree_map::Iter<'t, String, Node>,
    value: Option<(&'t String, &'t Node)>,
}

impl<'de> de::MapAccess<'de> for Entries<'_, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((name, node)) = self.nodes.next() else {
            return Ok(None);
        };
        self.value = Some((name, node));
        let name: StrDeserializer<'_, Error> = name.as_str().into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some((name, node)) = self.value.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        self.at.child(name.clone(), node).read(seed)
    }
}

/// A list, item by item.
struct Items<'a, 't> {
    at: &'a At<'t>,
    nodes: std::slice::Iter<'t, Node>,
    index: usize,
}

impl<'de> de::SeqAccess<'de> for Items<'_, '_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        let Some(node) = self.nodes.next() else {
            return Ok(None);
        };
        let name = format!("[{}]", self.index);
        self.index += 1;
        self.at.child(name, node).read(seed).map(Some)
    }
}

fn unexpected(node: &Node) -> Unexpected<'_> {
    match &node.content {
        Content::String(text) => Unexpected::Str(text),
        Content::Integer(number) => Unexpected::Signed(*number),
        Content::Float(number) => Unexpected::Float(*number),
        Content::Boolean(value) => Unexpected::Bool(*value),
        Content::Array(_) => Unexpected::Seq,
        Content::Table(_) => Unexpected::Map,
    }
}

impl Error {
    fn of(kind: Kind) -> Self {
        Self { path: Vec::new(), kind }
    }
}

/// What serde calls a type, in words for a person.
fn expected_words(expected: &dyn Expected) -> String {
    let expected = expected.to_string();
    match expected.as_str() {
        "a boolean" => "true or false".into(),
        "a sequence" => "a list".into(),
        "a map" => "a table".into(),
        "path string" => "a path".into(),
        "i8" | "i16" | "i32" | "i64" | "u8" | "u16" | "u32" | "u64" | "usize" | "isize" => {
            "a whole number".into()
        }
        "f32" | "f64" => "a number".into(),
        "socket address" => "an address with a port".into(),
        other if other.starts_with("struct ") => "a table".into(),
        other => other.into(),
    }
}

fn found_words(found: &Unexpected<'_>) -> &'static str {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the enum is serde's and open; a tree yields only these"
    )]
    match found {
        Unexpected::Str(_) => "a string",
        Unexpected::Signed(_) | Unexpected::Unsigned(_) | Unexpected::Float(_) => "a number",
        Unexpected::Bool(_) => "true or false",
        Unexpected::Seq => "a list",
        _ => "a table",
    }
}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::of(Kind::Other(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::of(Kind::Type { found: found_words(&found), expected: expected_words(expected) })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        if matches!(found, Unexpected::Signed(_) | Unexpected::Unsigned(_)) {
            return Self::custom("is out of range");
        }
        Self::of(Kind::Value { expected: expected_words(expected) })
    }

    fn unknown_variant(_found: &str, expected: &'static [&'static str]) -> Self {
        Self::of(Kind::Word { expected })
    }

    fn unknown_field(name: &str, _expected: &'static [&'static str]) -> Self {
        Self::of(Kind::Unknown { name: name.to_owned() })
    }

    fn missing_field(name: &'static str) -> Self {
        Self::of(Kind::Missing { name })
    }
}

impl std::error::Error for Error {}

/// As it fits after the value.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Unknown { .. } => f.write_str("is no key of this table"),
            Kind::Missing { .. } => f.write_str("is missing"),
            Kind::Type { found, expected } => write!(f, "is {found}, not {expected}"),
            Kind::Value { expected } => write!(f, "is not {expected}"),
            Kind::Word { .. } => f.write_str("is no word that this key takes"),
            Kind::Other(message) => f.write_str(message),
        }
    }
}

/// `"a", "b"`.
pub fn words(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    quoted.join(", ")
}
