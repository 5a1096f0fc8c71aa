//! The cursor of an installation: how far its events are committed, in a record that the same transaction wrote.
//!
//! Kept in a topic that is compacted and has one record for each `transactional.id`. Consumer offsets would not do: they expire.
//! What follows from a cursor is `transaction`'s to say. All of it blocks.

use super::Config;
use super::topic::{ANSWER, Admin, Heard, refused, unreachable};
use crate::event::Epoch;
use crate::sink::Error;
use rdkafka::admin::{NewTopic, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use std::thread;
use std::time::Duration;

/// The one partition that holds cursors: the order of an id's records is what they mean.
pub(super) const PARTITION: i32 = 0;

/// How often the end of the topic is looked at while another installation's transaction is open, and how often at most: longer
/// than a transaction may take before its broker ends it.
const LOOK: (Duration, u32) = (Duration::from_millis(50), 1_400);

/// How much a topic that we create keeps before it is compacted: read within a second at each opening.
const SEGMENT_BYTES: &str = "8388608";

/// A cursor as its record holds it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Cursor {
    /// The journal's epoch.
    pub(super) epoch: String,
    /// The position of the last event that is committed; 0 before the first.
    pub(super) position: u64,
}

impl Cursor {
    pub(super) fn new(epoch: &Epoch, position: u64) -> Self {
        Self { epoch: epoch.to_string(), position }
    }

    /// The value of the record.
    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a text and a number are valid JSON")
    }
}

/// Makes sure of the topic, and that it keeps what it is told.
pub(super) fn ensure(config: &Config) -> Result<(), Error> {
    let name = &config.cursor_topic;
    let wanted = NewTopic::new(name, 1, TopicReplication::Fixed(config.replication))
        .set("cleanup.policy", "compact")
        .set("segment.bytes", SEGMENT_BYTES)
        .set("min.cleanable.dirty.ratio", "0.1");
    let settings = Admin::new(config)?.ensure(&wanted)?;
    match settings.get("cleanup.policy") {
        Some(policy) if policy != "compact" => Err(Error::misconfigured(
            format!("keep cursors in {name}"),
            format!("its cleanup.policy is {policy}, which forgets them; it must be compact"),
        )),
        _ => Ok(()),
    }
}

/// The cursor of that id, if it has one. Waits for transactions of others that were open when it was asked, because what lies
/// behind them cannot be read before.
pub(super) fn read(config: &Config, id: &str) -> Result<Option<Cursor>, Error> {
    let topic = &config.cursor_topic;
    let uncommitted = consumer(config, "read_uncommitted")?;
    let (_, end) = watermarks(config, &uncommitted)?;
    drop(uncommitted);
    let consumer = consumer(config, "read_committed")?;
    let mut looks = LOOK.1;
    let start = loop {
        let (start, readable) = watermarks(config, &consumer)?;
        if readable >= end {
            break start;
        }
        if looks == 0 {
            let reason = "a transaction there has stayed open for longer than any may; kafka-transactions.sh find-hanging names it";
            return Err(Error::retry(format!("read the cursor in {topic}"), reason));
        }
        looks -= 1;
        thread::sleep(LOOK.0);
    };
    let mut assignment = TopicPartitionList::new();
    let failed = |error: KafkaError| Error::retry(format!("read the cursor in {topic}"), error);
    assignment.add_partition_offset(topic, PARTITION, Offset::Offset(start)).map_err(failed)?;
    consumer.assign(&assignment).map_err(failed)?;
    let mut found = None;
    // Each wait is bounded, and so is the topic.
    loop {
        match consumer.poll(ANSWER) {
            Some(Ok(message)) if message.key() == Some(id.as_bytes()) => {
                found = message.payload().and_then(|value| serde_json::from_slice(value).ok());
            }
            Some(Ok(_)) => {}
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(found),
            Some(Err(error)) => return Err(failed(error)),
            None => {
                let reason = consumer.context().last().unwrap_or_else(|| "no answer".into());
                return Err(Error::retry(format!("read the cursor in {topic}"), reason));
            }
        }
    }
}

fn consumer(config: &Config, isolation: &str) -> Result<BaseConsumer<Heard>, Error> {
    let mut settings = config.client()?;
    settings
        // It must be named, and is never used: offsets are neither asked for nor kept.
        .set("group.id", "tieline-cursor")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", isolation);
    BaseConsumer::from_config_and_context(&settings, Heard::default())
        .map_err(|error| Error::misconfigured("make a Kafka consumer", refused(error)))
}

fn watermarks(config: &Config, consumer: &BaseConsumer<Heard>) -> Result<(i64, i64), Error> {
    consumer
        .fetch_watermarks(&config.cursor_topic, PARTITION, ANSWER)
        .map_err(|error| unreachable(config, consumer.context(), error))
}
