//! What `config/default.toml` says about itself: every key with its default or example, and its meaning.
//!
//! The file is written for people and read here by its few habits: a comment stands directly above its key or table, a key
//! that is commented out has no default, and a quoted key is an example of a table whose keys are free.

use super::file;
use super::tree::{Content, Node, Source, join, split};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

/// The lowest layer.
const TEXT: &str = include_str!("../../config/default.toml");

/// A key that the program knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The full path, such as `sink.kafka.topic`.
    pub path: String,
    /// The default as TOML; none when the key is commented out.
    pub default: Option<String>,
    /// A value as TOML that shows the form: the default, or what stands in the comment.
    pub example: String,
    /// The comment above it, on one line.
    pub meaning: String,
}

/// A table that the program knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The full path, such as `sink.kafka`; empty for the root.
    pub path: String,
    /// The comment above it, on one line.
    pub meaning: String,
    /// Its own keys in the order of the file.
    pub keys: Vec<Key>,
}

/// The whole of `config/default.toml`.
#[derive(Debug)]
pub struct Schema {
    /// Every table in the order of the file, the root first.
    pub tables: Vec<Table>,
    /// Paths of tables whose keys are free.
    pub free: BTreeSet<String>,
    /// The defaults.
    pub defaults: Node,
    /// The defaults, and the examples where there is none.
    pub complete: Node,
}

/// Tables that are on only when somebody names them.
const OPTIONAL: [&str; 2] = ["sink", "secret"];

/// The sink that is on when nobody names one.
const DEFAULT_SINK: &str = "jsonl";

impl Schema {
    /// The one there is.
    pub fn get() -> &'static Self {
        static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::read(TEXT));
        &SCHEMA
    }

    fn read(text: &str) -> Self {
        let mut tables =
            vec![Table { path: String::new(), meaning: String::new(), keys: Vec::new() }];
        let mut free = BTreeSet::new();
        let mut comment = String::new();
        let mut complete = String::new();
        for line in text.lines() {
            let bare = line.strip_prefix("# ").filter(|bare| is_assignment(bare));
            let code = bare.unwrap_or(line);
            complete.push_str(code);
            complete.push('\n');
            if let Some(path) = code.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
                tables.push(Table {
                    path: path.to_owned(),
                    meaning: std::mem::take(&mut comment),
                    keys: Vec::new(),
                });
            } else if let Some((name, value)) = split_assignment(code) {
                let Some(table) = tables.last_mut() else {
                    continue;
                };
                if name.starts_with('"') {
                    free.insert(table.path.clone());
                }
                let above = if table.path.is_empty() { "" } else { "." };
                table.keys.push(Key {
                    path: format!("{}{above}{name}", table.path),
                    default: bare.is_none().then(|| value.to_owned()),
                    example: value.to_owned(),
                    meaning: std::mem::take(&mut comment),
                });
            } else if let Some(words) = line.strip_prefix('#') {
                let gap = if comment.is_empty() { "" } else { " " };
                comment = format!("{comment}{gap}{}", words.trim());
            } else {
                comment.clear();
            }
        }
        Self { tables, free, defaults: embedded(text), complete: embedded(&complete) }
    }

    /// The defaults that lie below what was `given`: of the optional tables only those that it names.
    pub fn defaults_below(&self, given: &Node) -> Node {
        let mut below = self.defaults.clone();
        for parent in OPTIONAL {
            let path = split(parent);
            let named = names(given.get(&path));
            for child in names(self.defaults.get(&path)) {
                let by_default = parent == "sink" && named.is_empty() && child == DEFAULT_SINK;
                let child = vec![parent.to_owned(), child];
                let is_table = self
                    .defaults
                    .get(&child)
                    .is_some_and(|node| matches!(node.content, Content::Table(_)));
                if is_table && !named.contains(&child[1]) && !by_default {
                    below.remove(&child);
                }
            }
        }
        below
    }

    /// The key at `path`, if it is one.
    pub fn key(&self, path: &str) -> Option<&Key> {
        self.tables.iter().flat_map(|table| &table.keys).find(|key| key.path == path)
    }

    /// The known key or table that `path` was most likely meant to be, and how like it is, from `LIKENESS_MIN` to 1.
    pub fn nearest(&self, path: &[String]) -> Option<(f64, &str)> {
        let (leaf, above) = path.split_last()?;
        let above = join(above);
        self.tables
            .iter()
            .flat_map(|table| {
                let keys = table.keys.iter().map(|key| key.path.as_str());
                keys.chain([table.path.as_str()])
            })
            .filter(|known| !known.is_empty() && !known.contains('"'))
            .map(|known| (likeness(&above, leaf, known), known))
            .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
            // The first of equals: what stands earlier in the file.
            .reduce(|best, new| if new.0 > best.0 { new } else { best })
    }
}

/// Below this a suggestion confuses more than it helps: "topik" is 0.8 like "topic", "colour" 0.17 like "flush".
const LIKENESS_MIN: f64 = 0.6;

/// How much a key of another table is like a wrong one of the very same name: less than a slip within the right table.
const MOVED: f64 = 0.7;

/// How much a wrong name is like a known key or table, from 0 to 1.
fn likeness(above: &str, leaf: &str, known: &str) -> f64 {
    let (known_above, known_leaf) = known.rsplit_once('.').unwrap_or(("", known));
    if known_above == above {
        strsim::normalized_damerau_levenshtein(leaf, known_leaf)
    } else if known_leaf == leaf {
        MOVED
    } else {
        0.0
    }
}

/// The names in a table; none when it is no table.
fn names(node: Option<&Node>) -> Vec<String> {
    match node.map(|node| &node.content) {
        Some(Content::Table(table)) => table.keys().cloned().collect(),
        Some(
            Content::Array(_)
            | Content::String(_)
            | Content::Integer(_)
            | Content::Float(_)
            | Content::Boolean(_),
        )
        | None => Vec::new(),
    }
}

/// A tree of the embedded text, whose source is `Default` throughout.
fn embedded(text: &str) -> Node {
    let (mut root, mistakes) = file::parse(text, Path::new("config/default.toml"));
    debug_assert!(mistakes.is_empty(), "config/default.toml: {mistakes:?}");
    forget_lines(&mut root);
    root
}

fn forget_lines(node: &mut Node) {
    node.source = Source::Default;
    match &mut node.content {
        Content::Table(table) => table.values_mut().for_each(forget_lines),
        Content::Array(nodes) => nodes.iter_mut().for_each(forget_lines),
        Content::String(_) | Content::Integer(_) | Content::Float(_) | Content::Boolean(_) => {}
    }
}

/// Whether a comment's text is a key that is commented out.
fn is_assignment(text: &str) -> bool {
    split_assignment(text).is_some()
}

/// `name = value`, where `name` is a plain or quoted key.
fn split_assignment(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once(" = ")?;
    let plain = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let quoted = name.len() > 2 && name.starts_with('"') && name.ends_with('"');
    (plain || quoted).then(|| (name, value.trim()))
}
