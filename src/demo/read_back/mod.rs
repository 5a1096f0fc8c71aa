//! Reads a sink's content as any consumer would: from its beginning, with a client of its own, and nothing from the bridge.
//!
//! What is tieline's own word (gaps, snapshots) is read too: it has a number like any other event.

mod jsonl;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "nats")]
mod nats;

pub use jsonl::read as jsonl;
#[cfg(feature = "kafka")]
pub use kafka::read as kafka;
#[cfg(feature = "nats")]
pub use nats::read as nats;

use super::oracle::Held;
use anyhow::Context;
#[cfg(any(feature = "kafka", feature = "nats"))]
use serde_json::value::RawValue;
#[cfg(any(feature = "kafka", feature = "nats"))]
use std::collections::HashMap;

/// The event of a message whose headers are CloudEvents attributes, their prefix cut off.
#[cfg(any(feature = "kafka", feature = "nats"))]
fn binary(mut attributes: HashMap<String, String>, data: &[u8]) -> anyhow::Result<Option<Held>> {
    let Some(topic) = attributes.remove("topic") else {
        return Ok(None);
    };
    let mut take =
        |name: &str| attributes.remove(name).with_context(|| format!("an event has no {name}"));
    let sequence = take("sequence")?;
    let own = is_own(&take("type")?);
    Ok(Some(Held {
        own,
        topic,
        key: take("subject")?,
        correlation_id: if own { String::new() } else { take("correlationid")? },
        epoch: take("epoch")?,
        sequence: number(&sequence)?,
        late: take("late").is_ok_and(|late| late == "true"),
        body: body(data)?,
    }))
}

#[cfg(any(feature = "kafka", feature = "nats"))]
fn body(data: &[u8]) -> anyhow::Result<Box<RawValue>> {
    serde_json::from_slice(data).context("an event's data are not JSON")
}

/// Whether an event of that type is tieline's own: a gap, a snapshot, an epoch.
fn is_own(kind: &str) -> bool {
    kind.starts_with("tieline.")
}

/// The padded number of an event.
fn number(text: &str) -> anyhow::Result<u64> {
    text.parse().with_context(|| format!("an event has the number {text:?}"))
}
