//! The topic: every partition from its first record to its last, with a consumer that belongs to no group.

use super::{Held, binary};
use anyhow::Context;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::HashMap;
use std::time::Duration;
use tokio::task::spawn_blocking;

/// How long the broker may take to answer, and the next record to come.
const NEXT_MAX: Duration = Duration::from_secs(15);

/// What the names of CloudEvents headers begin with.
const PREFIX: &str = "ce_";

/// All events of the topic, in the order of each partition.
///
/// # Errors
/// When it cannot be read within its time, or holds something that is no event of tieline's.
pub async fn read(brokers: &str, topic: &str) -> anyhow::Result<Vec<Held>> {
    let (brokers, topic) = (brokers.to_owned(), topic.to_owned());
    // The C library's own consumer blocks.
    spawn_blocking(move || read_blocking(&brokers, &topic)).await?
}

fn read_blocking(brokers: &str, topic: &str) -> anyhow::Result<Vec<Held>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        // It must be named, and is never used: offsets are neither asked for nor kept.
        .set("group.id", "tieline-demo")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(topic), NEXT_MAX)?;
    let found = metadata.topics().first().context("the topic does not exist")?;
    let mut partitions = TopicPartitionList::new();
    for partition in found.partitions() {
        partitions.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
    }
    consumer.assign(&partitions)?;

    let mut held = Vec::new();
    let mut unread = partitions.count();
    while unread > 0 {
        match consumer.poll(NEXT_MAX).context("the topic ended early")? {
            Ok(message) => held.extend(event(&message)?),
            Err(KafkaError::PartitionEOF(_)) => unread -= 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(held)
}

fn event(message: &BorrowedMessage<'_>) -> anyhow::Result<Option<Held>> {
    let mut attributes = HashMap::new();
    for header in message.headers().into_iter().flat_map(|headers| headers.iter()) {
        if let (Some(name), Some(value)) = (header.key.strip_prefix(PREFIX), header.value) {
            attributes.insert(name.to_owned(), std::str::from_utf8(value)?.to_owned());
        }
    }
    binary(attributes, message.payload().unwrap_or_default())
}
