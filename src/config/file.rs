//! Reads TOML text into the tree, with the line of every value and every error of syntax.

use super::mistakes::Located;
use super::text::{BYTES_MAX, Text};
use super::tree::{Content, Node, Source};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use toml::de::{DeTable, DeValue};

/// How many errors of syntax are told. A file with more is no TOML.
const ERRORS_MAX: usize = 20;

/// How many names a dotted key may have, and how deep values may nest. Ours have four and one; each level costs a recursive
/// parser a piece of its stack.
const DEPTH_MAX: usize = 32;

/// Reads what a file held. What could not be read is in the mistakes, and the tree holds the rest.
pub fn read(text: &Text) -> (Node, Vec<Located>) {
    let path = text.path();
    let whole = Source::File { path: path.into(), line: None };
    let refuse = |problem: String, fix: &str| {
        let mistake = Located {
            key: String::new(),
            value: None,
            source: whole.clone(),
            problem,
            fix: fix.into(),
        };
        (Node::empty(whole.clone()), vec![mistake])
    };
    match text.bytes().map(std::str::from_utf8) {
        Ok(Ok(text)) if text.len() > BYTES_MAX => refuse(
            format!("is larger than {} KiB", BYTES_MAX / 1024),
            "name a tieline configuration file",
        ),
        Ok(Ok(text)) => parse(text, path),
        Ok(Err(_)) => refuse("is not UTF-8 text".into(), "save the file as UTF-8"),
        Err(error) if error.kind() == ErrorKind::NotFound => refuse(
            "does not exist".into(),
            "name an existing file; config/kafka.toml is one to start from",
        ),
        Err(error) => {
            refuse(format!("cannot be read: {error}"), "name a file that this user may read")
        }
    }
}

/// Reads TOML text; `path` is only named in sources.
pub fn parse(text: &str, path: &Path) -> (Node, Vec<Located>) {
    let lines = Lines {
        path: path.into(),
        starts: std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect(),
    };
    if let Some(span) = too_deep(text) {
        let mistake = Located {
            key: String::new(),
            value: None,
            source: lines.source(&span),
            problem: format!("nests deeper than {DEPTH_MAX} levels"),
            fix: "name a tieline configuration file".into(),
        };
        return (Node::empty(lines.whole()), vec![mistake]);
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    let root = convert_table(table.get_ref(), lines.whole(), &|span| lines.source(span));
    // The parser's own display quotes the line, which may hold a secret; its message does not.
    let mistakes = errors
        .iter()
        .take(ERRORS_MAX)
        .map(|error| Located {
            key: String::new(),
            value: None,
            source: lines.source(&error.span().unwrap_or_default()),
            problem: format!(
                "is not TOML at column {}: {}",
                lines.column(text, error.span().unwrap_or_default().start),
                error.message()
            ),
            fix: match error.message() {
                "duplicate key" => "keep one of the two".into(),
                _ => "correct this line; text stands in quotes: key = \"value\"".into(),
            },
        })
        .collect();
    (root, mistakes)
}

/// Whether the text nests too deeply for a recursive parser.
pub fn is_too_deep(text: &str) -> bool {
    too_deep(text).is_some()
}

/// Where the text nests too deeply, if it does: by brackets, or by the dots of what may be a key. Strings are counted like the
/// rest, which is too strict only for texts that are no configuration.
fn too_deep(text: &str) -> Option<Range<usize>> {
    let (mut open, mut dots) = (0_usize, 0_usize);
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let is_comment = line.trim_start().starts_with('#');
        for (at, byte) in line.bytes().enumerate().filter(|_| !is_comment) {
            match byte {
                b'[' | b'{' => (open, dots) = (open + 1, 0),
                b']' | b'}' => (open, dots) = (open.saturating_sub(1), 0),
                b'.' => dots += 1,
                // What a dotted key is made of, quoted or not.
                b' ' | b'\t' | b'"' | b'\'' | b'_' | b'-' => {}
                byte if byte.is_ascii_alphanumeric() => {}
                _ => dots = 0,
            }
            if open > DEPTH_MAX || dots > DEPTH_MAX {
                return Some(start + at..start + at);
            }
        }
        start += line.len();
    }
    None
}

/// Where each line begins.
struct Lines {
    path: Arc<Path>,
    starts: Vec<usize>,
}

impl Lines {
    /// The file as a whole.
    fn whole(&self) -> Source {
        Source::File { path: self.path.clone(), line: None }
    }

    /// The line on which `span` begins.
    fn source(&self, span: &Range<usize>) -> Source {
        Source::File {
            path: self.path.clone(),
            line: Some(self.starts.partition_point(|start| *start <= span.start)),
        }
    }

    /// The column, in characters from 1.
    fn column(&self, text: &str, at: usize) -> usize {
        let line = self.starts.partition_point(|start| *start <= at);
        let start = self.starts[line.saturating_sub(1)];
        text.get(start..at).map_or(1, |left| left.chars().count() + 1)
    }
}

/// A parsed table as a tree; `place` knows where a span was written.
fn convert_table(
    table: &DeTable<'_>,
    source: Source,
    place: &dyn Fn(&Range<usize>) -> Source,
) -> Node {
    let nodes: BTreeMap<String, Node> = table
        .iter()
        .map(|(name, value)| {
            let node = convert(value.get_ref(), place(&name.span()), place);
            (name.get_ref().to_string(), node)
        })
        .collect();
    Node { source, content: Content::Table(nodes) }
}

/// A parsed value as a tree; `place` knows where a span was written.
pub fn convert(
    value: &DeValue<'_>,
    source: Source,
    place: &dyn Fn(&Range<usize>) -> Source,
) -> Node {
    let content = match value {
        DeValue::Table(table) => return convert_table(table, source, place),
        DeValue::Array(values) => Content::Array(
            values
                .iter()
                .map(|value| convert(value.get_ref(), place(&value.span()), place))
                .collect(),
        ),
        DeValue::String(text) => Content::String(text.to_string()),
        // A number that fits no i64 fits no key: as text it is refused with the right words.
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Content::String(number.to_string()), Content::Integer),
        DeValue::Float(number) => number
            .as_str()
            .parse()
            .map_or_else(|_| Content::String(number.to_string()), Content::Float),
        DeValue::Boolean(value) => Content::Boolean(*value),
        DeValue::Datetime(moment) => Content::String(moment.to_string()),
    };
    Node { source, content }
}
