//! Reads a sink's content as any consumer would: from its beginning, with a client of its own, and nothing from the bridge.

mod jsonl;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "nats")]
mod nats;

use super::oracle::Held;
use super::target::Target;
use anyhow::Context;
use serde_json::value::RawValue;
use std::collections::HashMap;

/// All events of the target, in its own order at least within each key.
///
/// What names no topic is no notification but tieline's own word, and is left out.
///
/// # Errors
/// When the target cannot be read, or holds something that is no CloudEvent of tieline's.
pub(super) async fn read(target: &Target) -> anyhow::Result<Vec<Held>> {
    let held = match target {
        Target::Jsonl(path) => jsonl::read(path),
        #[cfg(feature = "nats")]
        Target::Nats { url, stream } => nats::read(url, stream).await,
        #[cfg(feature = "kafka")]
        Target::Kafka { brokers, topic } => kafka::read(brokers, topic).await,
    };
    held.with_context(|| format!("cannot read the sink back from {}", target.place()))
}

/// The event of a message whose headers are CloudEvents attributes, their prefix cut off.
#[cfg(any(feature = "kafka", feature = "nats"))]
fn binary(mut attributes: HashMap<String, String>, data: &[u8]) -> anyhow::Result<Option<Held>> {
    let Some(topic) = attributes.remove("topic") else {
        return Ok(None);
    };
    let mut take = |name: &str| {
        attributes
            .remove(name)
            .with_context(|| format!("an event has no {name}"))
    };
    let sequence = take("sequence")?;
    Ok(Some(Held {
        topic,
        key: take("subject")?,
        correlation_id: take("correlationid")?,
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

/// The padded number of an event.
fn number(text: &str) -> anyhow::Result<u64> {
    text.parse()
        .with_context(|| format!("an event has the number {text:?}"))
}
