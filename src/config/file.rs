//! Reads TOML text into the tree, with the line of every value and every error of syntax.

use super::mistakes::Located;
use super::tree::{Content, Node, Source};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use toml::de::{DeTable, DeValue};

/// What a file of configuration may weigh. Real ones have a few KiB; more is a wrong file, such as a log or a disk.
const BYTES_MAX: u64 = 1 << 20;

/// Reads the file. What could not be read is in the mistakes, and the tree holds the rest.
pub fn read(path: &Path) -> (Node, Vec<Located>) {
    let whole = Source::File {
        path: path.into(),
        line: None,
    };
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
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > BYTES_MAX => {
            return refuse(
                format!("is larger than {} KiB", BYTES_MAX / 1024),
                "name a tieline configuration file",
            );
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return refuse(
                "does not exist".into(),
                "name an existing file; config/kafka.toml is one to start from",
            );
        }
        // Reading says the same, in the one place below.
        Err(_) => {}
    }
    match std::fs::read(path).map(String::from_utf8) {
        Ok(Ok(text)) => parse(&text, path),
        Ok(Err(_)) => refuse("is not UTF-8 text".into(), "save the file as UTF-8"),
        Err(error) => refuse(
            format!("cannot be read: {error}"),
            "name a file that this user may read",
        ),
    }
}

/// Reads TOML text; `path` is only named in sources.
pub fn parse(text: &str, path: &Path) -> (Node, Vec<Located>) {
    let lines = Lines {
        path: path.into(),
        starts: std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect(),
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    let root = convert_table(table.get_ref(), lines.whole(), &|span| lines.source(span));
    // The parser's own display quotes the line, which may hold a secret; its message does not.
    let mistakes = errors
        .iter()
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

/// Where each line begins.
struct Lines {
    path: Arc<Path>,
    starts: Vec<usize>,
}

impl Lines {
    /// The file as a whole.
    fn whole(&self) -> Source {
        Source::File {
            path: self.path.clone(),
            line: None,
        }
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
        text.get(start..at)
            .map_or(1, |left| left.chars().count() + 1)
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
    Node {
        source,
        content: Content::Table(nodes),
    }
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
