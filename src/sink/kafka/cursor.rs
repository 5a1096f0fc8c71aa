//! The cursor of an installation: how far its events are committed, in a record that the same transaction wrote.
//!
//! Kept in a topic that is compacted and has one record for each `transactional.id`. Consumer offsets would not do: they expire.
//! What follows from a cursor is `transaction`'s to say. All of it blocks.

use super::Config;
use super::topic::{ANSWER, Admin, Heard, refused, unreachable};
use crate::event::Epoch;
use crate::sink::{Error, Resume};
use rdkafka::admin::{NewTopic, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::thread;
use std::time::Duration;

/// The one partition that holds cursors: the order of an id's records is what they mean.
pub(super) const PARTITION: i32 = 0;

/// How often the end of the topic is looked at while another installation's transaction is open, and how often at most: longer
/// than a transaction may take before its broker ends it.
const LOOK: (Duration, u32) = (Duration::from_millis(50), 1_400);

/// How many characters are told of a record that is no cursor. It may be as long as the broker allows, and is told at each attempt.
const TOLD_MAX: usize = 200;

/// How much a topic that we create keeps before it is compacted: read within a second at each opening.
const SEGMENT_BYTES: &str = "8388608";

/// A cursor as its record holds it: how far events are committed, and who is to go on.
///
/// The two differ for as long as what an older epoch left is delivered: its place must not be forgotten because a younger one
/// has begun.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Cursor {
    /// The youngest epoch of the process that wrote it; empty where an early version did.
    #[serde(default)]
    pub(super) writer: String,
    /// The epoch of the last event that is committed.
    pub(super) epoch: String,
    /// The position of that event; 0 before the first, and then `epoch` says nothing.
    pub(super) position: u64,
}

impl Cursor {
    /// Nothing is committed yet.
    pub(super) fn new(writer: &Epoch) -> Self {
        Self { writer: writer.to_string(), epoch: writer.to_string(), position: 0 }
    }

    /// Reads the value of a record, whoever wrote it. The error says what it is instead, and quotes little of it.
    pub fn read(record: &[u8]) -> Result<Self, String> {
        let told = |error: serde_json::Error| error.to_string().chars().take(TOLD_MAX).collect();
        serde_json::from_slice(record).map_err(told)
    }

    /// What it says to a process that asks about one epoch of its journal. Epochs sort by age, and are delivered in that order.
    pub fn resume(&self, epoch: &Epoch) -> Resume {
        let mut resume = Resume::default();
        if self.position == 0 {
            return resume;
        }
        match self.epoch.as_str().cmp(epoch.as_str()) {
            Ordering::Less => {}
            Ordering::Equal => resume.last_position = Some(self.position),
            Ordering::Greater => resume.younger = Some(Epoch::named(&self.epoch)),
        }
        resume
    }

    /// The youngest epoch that it knows of.
    pub fn youngest(&self) -> &str {
        self.writer.as_str().max(self.epoch.as_str())
    }

    /// The value of the record.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and a number are valid JSON")
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
                found = message.payload().map(Cursor::read);
            }
            Some(Ok(_)) => {}
            // What cannot be read may say that everything is committed: to go on without it could double all of it.
            Some(Err(KafkaError::PartitionEOF(_))) => {
                return found.transpose().map_err(|error| {
                    let reason = format!(
                        "its last record is no cursor ({error}); to begin without one, and send again what has no acknowledgement, \
                         write a tombstone for that key"
                    );
                    Error::retry(format!("read the cursor of {id} in {topic}"), reason)
                });
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(epoch: &str, position: u64) -> Cursor {
        Cursor { writer: "c".into(), epoch: epoch.into(), position }
    }

    #[test]
    fn an_older_epochs_place_is_kept_when_a_younger_one_asks() {
        let found = cursor("a", 7);
        assert_eq!(found.resume(&Epoch::named("b")), Resume::default());
        let known = Resume { last_position: Some(7), younger: None };
        assert_eq!(found.resume(&Epoch::named("a")), known);
    }

    #[test]
    fn a_younger_epochs_place_says_that_all_of_an_older_one_is_there() {
        let younger = Resume { last_position: None, younger: Some(Epoch::named("b")) };
        assert_eq!(cursor("b", 1).resume(&Epoch::named("a")), younger);
        assert_eq!(cursor("b", 0).resume(&Epoch::named("a")), Resume::default(), "nothing is");
    }

    #[test]
    fn whoever_declared_a_younger_epoch_is_known_by_it() {
        let early = r#"{"epoch":"b","position":3}"#;
        let early: Cursor = serde_json::from_str(early).expect("an early version's");
        for found in [early, Cursor::new(&Epoch::named("b"))] {
            assert_eq!(found.youngest(), "b", "{found:?}");
        }
        let cursor = cursor("a", 7);
        let read: Cursor = serde_json::from_slice(&cursor.to_json()).expect("what was written");
        assert_eq!(read, cursor);
    }
}
