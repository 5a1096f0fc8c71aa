//! The layers as one tree of values, each of which knows where it was written.
//!
//! No knowledge of keys or types: a tree may hold anything that TOML can say.

use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// In the configuration file.
    File {
        /// The file as it was named.
        path: Arc<Path>,
        /// The line, from 1; none when the file as a whole is meant.
        line: Option<usize>,
    },
    /// In an environment variable of this name.
    Variable(String),
    /// In the embedded `config/default.toml`, or nowhere.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line: Some(line) } => write!(f, "{}, line {line}", path.display()),
            Self::File { path, line: None } => path.display().fmt(f),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Default => f.write_str("default"),
        }
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What stands at a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A table by name.
    Table(BTreeMap<String, Node>),
    /// A list.
    Array(Vec<Node>),
    /// Text, and dates, which no key takes.
    String(String),
    /// A whole number.
    Integer(i64),
    /// Another number.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where.
    pub source: Source,
    /// What.
    pub content: Content,
}

impl Node {
    /// A table without keys.
    pub fn empty(source: Source) -> Self {
        Self { source, content: Content::Table(BTreeMap::new()) }
    }

    /// What stands at `path`; the empty path is the node itself.
    pub fn get(&self, path: &[String]) -> Option<&Self> {
        let Some((first, rest)) = path.split_first() else {
            return Some(self);
        };
        match &self.content {
            Content::Table(table) => table.get(first)?.get(rest),
            Content::Array(_)
            | Content::String(_)
            | Content::Integer(_)
            | Content::Float(_)
            | Content::Boolean(_) => None,
        }
    }

    /// What stands at `path`, or the nearest table above it.
    pub fn nearest(&self, path: &[String]) -> &Self {
        (0..=path.len()).rev().find_map(|length| self.get(&path[..length])).unwrap_or(self)
    }

    /// Puts `node` at `path`; what stood in the way, if it was no table, gives way.
    pub fn set(&mut self, path: &[String], node: Self) {
        let Some((first, rest)) = path.split_first() else {
            *self = node;
            return;
        };
        let source = node.source.clone();
        self.table().entry(first.clone()).or_insert_with(|| Self::empty(source)).set(rest, node);
    }

    /// Takes away what stands at `path`.
    pub fn remove(&mut self, path: &[String]) -> Option<Self> {
        let (last, above) = path.split_last()?;
        let mut at = self;
        for name in above {
            at = at.table().get_mut(name)?;
        }
        at.table().remove(last)
    }

    /// Lays `over` on top: tables are joined, all else is replaced.
    pub fn merge(&mut self, over: Self) {
        match (&mut self.content, over.content) {
            (Content::Table(_), Content::Table(table)) => {
                // A table is mentioned where the operator wrote it, not where it has its defaults.
                self.source = over.source;
                for (name, node) in table {
                    match self.table().get_mut(&name) {
                        Some(below) => below.merge(node),
                        None => {
                            self.table().insert(name, node);
                        }
                    }
                }
            }
            (_, content) => *self = Self { source: over.source, content },
        }
    }

    /// The table that this is, or is from now on.
    fn table(&mut self) -> &mut BTreeMap<String, Self> {
        if !matches!(self.content, Content::Table(_)) {
            self.content = Content::Table(BTreeMap::new());
        }
        match &mut self.content {
            Content::Table(table) => table,
            Content::Array(_)
            | Content::String(_)
            | Content::Integer(_)
            | Content::Float(_)
            | Content::Boolean(_) => unreachable!("it was made a table just now"),
        }
    }
}

/// The value as TOML, on one line.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.content {
            Content::Table(table) => {
                f.write_str("{")?;
                for (index, (name, node)) in table.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma} {name} = {node}")?;
                }
                f.write_str(" }")
            }
            Content::Array(nodes) => {
                f.write_str("[")?;
                for (index, node) in nodes.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{node}")?;
                }
                f.write_str("]")
            }
            Content::String(text) => write!(f, "{text:?}"),
            Content::Integer(number) => number.fmt(f),
            Content::Float(number) => number.fmt(f),
            Content::Boolean(value) => value.fmt(f),
        }
    }
}

/// Splits `sink.kafka.topic` into its names.
pub fn split(path: &str) -> Vec<String> {
    path.split('.').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Joins names into a path as a person writes it: names with dots of their own are quoted.
pub fn join(path: &[String]) -> String {
    let mut joined = String::new();
    for name in path {
        if !joined.is_empty() && !name.starts_with('[') {
            joined.push('.');
        }
        if name.contains('.') || name.is_empty() {
            joined.push_str(&format!("{name:?}"));
        } else {
            joined.push_str(name);
        }
    }
    joined
}
