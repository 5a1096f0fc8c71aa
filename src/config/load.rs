//! Lays the layers on each other and makes a `Config` of them, going on after each mistake.
//!
//! A wrong value is recorded, replaced by its default or by the example from `config/default.toml`, and the whole is read
//! again, until nothing is wrong: so every mistake is told, and none because of another.

use super::extract::{self, Error, Kind};
use super::loaded::Loaded;
use super::mistakes::{Located, Mistakes, names_secret, shown};
use super::schema::Schema;
use super::text::Text;
use super::tree::{Node, Source, join, split};
use super::{Config, environment, file};
use crate::sink::{ALL_NAMES, NAMES};
use std::collections::BTreeSet;

/// How many wrong keys are told. A file with more is no configuration of ours.
const MISTAKES_MAX: usize = 200;

/// See `Loaded::of`.
pub fn load(
    text: Option<&Text>,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<Loaded, Mistakes> {
    let schema = Schema::get();
    let (mut given, mut mistakes) = match text {
        Some(text) => file::read(text),
        None => (Node::empty(Source::Default), Vec::new()),
    };
    let file = given.clone();
    // Of a file that could not be read as a whole nobody knows what is missing.
    let is_whole = mistakes.is_empty();
    let (variables, of_variables) = environment::read(variables, schema);
    mistakes.extend(of_variables);
    given.merge(variables);
    mistakes.extend(take_unbuilt_sinks(&mut given));

    let mut tree = schema.defaults_below(&given);
    tree.merge(given);
    let written = tree.clone();
    let mut repairs =
        Repairs { schema, written: &written, is_whole, paths: Vec::new(), mistakes: Vec::new() };
    let config = repairs.read(&mut tree);
    mistakes.append(&mut repairs.mistakes);
    if let (Some(config), true) = (&config, is_whole) {
        mistakes.extend(of_parts(config, &repairs.paths, &written));
    }
    match config {
        Some(config) if mistakes.is_empty() => Ok(Loaded { config, tree: written, file }),
        Some(_) | None => Err(Mistakes::new(mistakes)),
    }
}

/// See `config::fields`.
pub fn fields() -> BTreeSet<String> {
    let mut complete = Schema::get().complete.clone();
    take_unbuilt_sinks(&mut complete);
    extract::fields::<Config>(&complete).unwrap_or_default()
}

/// Takes out the tables of sinks that this build lacks.
fn take_unbuilt_sinks(given: &mut Node) -> Vec<Located> {
    let unbuilt = ALL_NAMES.iter().filter(|name| !NAMES.contains(name));
    unbuilt
        .filter_map(|name| {
            let path = split(&format!("sink.{name}"));
            let node = given.remove(&path)?;
            Some(Located {
                key: join(&path),
                value: None,
                source: node.source,
                problem: "is a sink that this build of tieline does not have".into(),
                fix: format!("build with --features {name}, or name another sink"),
            })
        })
        .collect()
}

/// What the parts say of values that serde found right, save of those that stand in for wrong ones.
fn of_parts(config: &Config, replaced: &[Vec<String>], written: &Node) -> Vec<Located> {
    let mut located = Vec::new();
    for (table, mistake) in config.mistakes() {
        let mut path = split(&table);
        path.extend(split(mistake.key));
        if replaced.iter().any(|replaced| path.starts_with(replaced)) {
            continue;
        }
        let known = Schema::get().key(&join(&path)).is_some();
        located.push(Located {
            value: written
                .get(&path)
                .filter(|_| known)
                .and_then(|node| shown(&path, known, &node.to_string())),
            source: written.nearest(&path).source.clone(),
            key: join(&path),
            problem: mistake.problem,
            fix: mistake.fix,
        });
    }
    located
}

/// Reads a tree again and again, mending one key each time.
struct Repairs<'a> {
    schema: &'a Schema,
    /// The tree as it was given.
    written: &'a Node,
    /// Whether all of the file could be read.
    is_whole: bool,
    /// What was mended.
    paths: Vec<Vec<String>>,
    mistakes: Vec<Located>,
}

impl Repairs<'_> {
    /// The configuration; none when something could not be mended.
    fn read(&mut self, tree: &mut Node) -> Option<Config> {
        while self.mistakes.len() < MISTAKES_MAX {
            match extract::extract(tree) {
                Ok(config) => return Some(config),
                Err(error) => self.mend(tree, &error)?,
            }
        }
        None
    }

    /// Records the error and replaces what is wrong; none when there is nothing to replace it by.
    fn mend(&mut self, tree: &mut Node, error: &Error) -> Option<()> {
        let path = self.path(error);
        let is_missing = matches!(error.kind, Kind::Missing { .. });
        if self.is_whole || !is_missing {
            self.mistakes.push(self.locate(error));
        }
        let removed = tree.remove(&path);
        let stand_in = match error.kind {
            Kind::Unknown { .. } => None,
            Kind::Missing { .. }
            | Kind::Type { .. }
            | Kind::Value { .. }
            | Kind::Word { .. }
            | Kind::Other(_) => self.schema.complete.get(&path),
        };
        match stand_in {
            Some(node) => {
                tree.set(&path, node.clone());
                take_unbuilt_sinks(tree);
            }
            // Nothing changed, so that reading again would say the same for ever.
            None if removed.is_none() => return None,
            None => {}
        }
        self.paths.push(path);
        Some(())
    }

    /// The path that is to be mended: the key, and of a list the list.
    fn path(&self, error: &Error) -> Vec<String> {
        let mut path = error.path.clone();
        match &error.kind {
            Kind::Unknown { name } => path.push(name.clone()),
            Kind::Missing { name } => path.push((*name).to_owned()),
            Kind::Type { .. } | Kind::Value { .. } | Kind::Word { .. } | Kind::Other(_) => {
                let whole = path.iter().take_while(|name| !name.starts_with('[')).count();
                path.truncate(whole);
            }
        }
        path
    }

    fn locate(&self, error: &Error) -> Located {
        let path = self.path(error);
        let at = self.written.nearest(&path);
        let value = self.written.get(&path).map(ToString::to_string);
        let shown = value.as_deref().and_then(|value| self.shown(&path, value));
        Located {
            key: join(&path),
            problem: problem(error, value.as_deref(), &at.source),
            fix: self.fix(error, &path, shown.as_deref()),
            value: shown,
            source: at.source.clone(),
        }
    }

    /// The value as a message may show it. What stands at an unknown key may be anything, so that it is shown only where the
    /// key is clearly a known one misspelt.
    fn shown(&self, path: &[String], value: &str) -> Option<String> {
        let known = self.schema.key(&join(path)).is_some();
        let slip = self.schema.nearest(path).is_some_and(|(likeness, nearest)| {
            likeness >= SLIP && self.schema.key(nearest).is_some()
        });
        if known || slip { shown(path, known, value) } else { None }
    }

    fn fix(&self, error: &Error, path: &[String], value: Option<&str>) -> String {
        let name = join(path);
        let key = self.schema.key(&name);
        let leaf = path.last().map_or("", String::as_str);
        let example = key.map(|key| format!("{leaf} = {}", key.example));
        match (&error.kind, example) {
            (Kind::Unknown { .. }, _) => self.fix_unknown(path),
            (Kind::Missing { .. }, Some(example)) => format!("add it, such as {example}"),
            (Kind::Missing { .. }, None) => format!("add the table [{name}]"),
            (Kind::Word { expected }, _) => format!("write one of {}", extract::words(expected)),
            (Kind::Type { .. }, Some(_)) if error.path.len() > path.len() => {
                "write every item of the list as text in quotes".into()
            }
            (Kind::Type { expected, .. }, Some(example)) => match value {
                Some(value) if expected == "a list" => format!("write a list: {leaf} = [{value}]"),
                Some(_) | None => format!("write it like {example}"),
            },
            (Kind::Value { .. } | Kind::Other(_), Some(example)) => {
                format!("write it like {example}")
            }
            (Kind::Type { .. } | Kind::Value { .. } | Kind::Other(_), None) => {
                if self.schema.tables.iter().any(|table| table.path == name) {
                    format!("write a table [{name}] with its keys below it")
                } else {
                    "write it as text in quotes".into()
                }
            }
        }
    }

    fn fix_unknown(&self, path: &[String]) -> String {
        if path.last().is_some_and(|leaf| names_secret(leaf)) {
            return "a secret never stands here: remove it, and name its source in [secret.file], [secret.env] or \
                    [secret.vault]"
                .into();
        }
        if let Some((_, nearest)) = self.schema.nearest(path) {
            return format!("did you mean {nearest}? If not, remove it");
        }
        let above = join(&path[..path.len().saturating_sub(1)]);
        let keys: Vec<&str> = self
            .schema
            .tables
            .iter()
            .filter(|table| table.path == above)
            .flat_map(|table| &table.keys)
            .map(|key| key.path.rsplit('.').next().unwrap_or_default())
            .collect();
        if keys.is_empty() {
            "remove it; config/default.toml names every key".into()
        } else {
            format!("remove it; the keys here are {}", keys.join(", "))
        }
    }
}

/// From this likeness on a key is a slip of the pen, and its value one of the known key's.
const SLIP: f64 = 0.75;

/// What is wrong, as it fits after the value.
fn problem(error: &Error, value: Option<&str>, source: &Source) -> String {
    match (&error.kind, source) {
        (Kind::Unknown { .. }, _) => "is no key that tieline knows".into(),
        (Kind::Missing { .. }, _) => "is missing and has no default".into(),
        // Every variable is text: that it is a string is not what is wrong.
        (Kind::Type { expected, .. }, Source::Variable(_)) => format!("is not {expected}"),
        (Kind::Other(message), _) if message == "invalid socket address syntax" => {
            "is not an IP address with a port".into()
        }
        // A type's own message often begins with the value, which stands before it already.
        (Kind::Other(message), _) => {
            value.and_then(|value| message.strip_prefix(value)).unwrap_or(message).trim().to_owned()
        }
        _ => error.to_string(),
    }
}
