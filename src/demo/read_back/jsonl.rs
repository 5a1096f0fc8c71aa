//! The file: one structured CloudEvent a line.

use super::{Held, number};
use anyhow::Context;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

#[derive(Deserialize)]
struct Line {
    topic: Option<String>,
    subject: String,
    correlationid: Option<String>,
    epoch: String,
    sequence: String,
    #[serde(default)]
    late: bool,
    data: Box<RawValue>,
}

pub(super) fn read(path: &Path) -> anyhow::Result<Vec<Held>> {
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
    Ok(Some(Held {
        topic,
        key: line.subject,
        correlation_id: line
            .correlationid
            .context("an event has no correlationid")?,
        epoch: line.epoch,
        sequence: number(&line.sequence)?,
        late: line.late,
        body: line.data,
    }))
}
