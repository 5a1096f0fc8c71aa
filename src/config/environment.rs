//! Reads `TIELINE_SECTION__KEY` variables into the tree, each as the type that its key has.
//!
//! Never reads the process's environment by itself except in `variables`; tests hand in their own.

use super::file::{convert, is_too_deep};
use super::mistakes::Located;
use super::schema::Schema;
use super::tree::{Content, Node, Source, join};
use toml::de::DeValue;

/// What every variable of ours begins with.
const PREFIX: &str = "TIELINE_";

/// More names than any key has; each is a level of the tree.
const NAMES_MAX: usize = 8;

/// The process's variables that begin with `TIELINE_`. Bytes that are not UTF-8 are replaced, so that the value is refused
/// by its key instead of ending the process.
pub fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        name.starts_with(PREFIX).then(|| (name, value.to_string_lossy().into_owned()))
    })
}

/// Reads the variables that concern us; the others are ignored.
pub fn read(
    variables: impl Iterator<Item = (String, String)>,
    schema: &Schema,
) -> (Node, Vec<Located>) {
    let mut root = Node::empty(Source::Default);
    let mut mistakes = Vec::new();
    // Sorted, so that a report does not depend on the environment's order.
    let mut variables: Vec<_> = variables.collect();
    variables.sort();
    for (name, value) in variables {
        let Some(path) = name.strip_prefix(PREFIX).filter(|rest| !is_kubernetes(rest)) else {
            continue;
        };
        let source = Source::Variable(name.clone());
        let path = path_of(path, schema);
        if path.iter().any(String::is_empty) || path.len() > NAMES_MAX {
            mistakes.push(Located {
                key: String::new(),
                value: None,
                source,
                problem: "names no key".into(),
                fix: "write TIELINE_SECTION__KEY, such as TIELINE_SINK__KAFKA__BROKERS".into(),
            });
            continue;
        }
        let node = typed(value, schema.complete.get(&path), source);
        match root.get(&path) {
            // TIELINE_SINK__KAFKA="{…}" beside TIELINE_SINK__KAFKA__TOPIC: joined like layers.
            Some(_) => {
                let mut over = Node::empty(node.source.clone());
                over.set(&path, node);
                root.merge(over);
            }
            None => root.set(&path, node),
        }
    }
    (root, mistakes)
}

/// Kubernetes gives each container variables about every service of its namespace; one that is called `tieline` has these.
fn is_kubernetes(rest: &str) -> bool {
    let port = rest == "PORT"
        || rest
            .strip_prefix("PORT_")
            .is_some_and(|more| more.starts_with(|c: char| c.is_ascii_digit()));
    port || rest == "SERVICE_HOST" || rest == "SERVICE_PORT" || rest.starts_with("SERVICE_PORT_")
}

/// `SINK__KAFKA__BROKERS` as a path. Below a table of free keys the rest is one key, with dots for underscores:
/// `SINK__KAFKA__OPTIONS__SECURITY_PROTOCOL`, because few shells take a dot in a name.
fn path_of(name: &str, schema: &Schema) -> Vec<String> {
    let mut path: Vec<String> = Vec::new();
    for part in name.to_ascii_lowercase().split("__").take(NAMES_MAX + 1) {
        let free = schema.free.contains(&join(&path));
        path.push(if free { part.replace('_', ".") } else { part.to_owned() });
    }
    path
}

/// The text as the type that the key's default or example has.
fn typed(text: String, example: Option<&Node>, source: Source) -> Node {
    let content = match example.map(|node| &node.content) {
        Some(Content::Integer(_) | Content::Float(_) | Content::Boolean(_) | Content::Table(_)) => {
            literal(&text, &source).unwrap_or(Content::String(text))
        }
        Some(Content::Array(_)) if text.trim_start().starts_with('[') => {
            literal(&text, &source).unwrap_or(Content::String(text))
        }
        Some(Content::Array(_)) => Content::Array(
            text.split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| Node {
                    source: source.clone(),
                    content: Content::String(item.to_owned()),
                })
                .collect(),
        ),
        Some(Content::String(_)) | None => Content::String(text),
    };
    Node { source, content }
}

/// The text as a TOML value.
fn literal(text: &str, source: &Source) -> Option<Content> {
    let text = text.trim();
    if is_too_deep(text) {
        return None;
    }
    let value = DeValue::parse(text).ok()?;
    Some(convert(value.get_ref(), source.clone(), &|_| source.clone()).content)
}
