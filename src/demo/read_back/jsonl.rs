//! The file: one structured CloudEvent a line.

use super::{Held, is_own, number};
use anyhow::Context;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: String,
    topic: Option<String>,
    subject: String,
    correlationid: Option<String>,
    epoch: String,
    sequence: String,
    #[serde(default)]
    late: bool,
    data: Box<RawValue>,
}

/// All events of the file, in its order.
///
/// # Errors
/// When it cannot be read, or a line is no event of tieline's.
pub fn read(path: &Path) -> anyhow::Result<Vec<Held>> {
    let mut held = Vec::new();
    for (index, line) in BufReader::new(File::open(path)?).lines().enumerate() {
        let event = parse(&line?).with_context(|| format!("line {}", index + 1))?;
        held.extend(event);
    }
    Ok(held)
}

fn parse(line: &str) -> anyhow::Result<Option<Held>> {
    let line: Line = serde_json::from_str(line)?;
    let Some(topic) = line.topic else {
        return Ok(None);
    };
    let own = is_own(&line.kind);
    let named = line.correlationid.or_else(|| own.then(String::new));
    Ok(Some(Held {
        own,
        topic,
        key: line.subject,
        correlation_id: named.context("an event has no correlationid")?,
        epoch: line.epoch,
        sequence: number(&line.sequence)?,
        late: line.late,
        body: line.data,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const EVENT: &str = r#"{"specversion":"1.0","type":"t","subject":"k","sequence":"00000000000000000007","epoch":"e","correlationid":"c","topic":"v2.k","late":true,"data":{"n":1.50}}"#;

    #[test]
    fn every_line_is_an_event_unless_it_names_no_topic() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let own = r#"{"type":"t","subject":"k","epoch":"e","sequence":"00000000000000000001","data":null}"#;
        writeln!(file, "{EVENT}\n{own}").unwrap();
        let held = read(file.path()).unwrap();
        assert_eq!(held.len(), 1);
        assert_eq!((held[0].sequence, held[0].late), (7, true));
        assert_eq!(held[0].body.get(), r#"{"n":1.50}"#);
    }

    #[test]
    fn a_line_that_is_no_event_is_an_error_with_its_number() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "{EVENT}\n{{").unwrap();
        assert_eq!(read(file.path()).unwrap_err().to_string(), "line 2");
    }
}
