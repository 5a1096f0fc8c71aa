//! Apache Kafka by librdkafka: idempotent, pipelined, keyed.

use crate::mistake::Mistake;
use crate::sink::cloudevents::Mode;
use crate::size::Size;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The `[sink.kafka]` table; `config/default.toml` explains each key.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `host:port`, comma-separated.
    pub brokers: String,
    /// The topic, `{family}` allowed.
    pub topic: String,
    /// The guarantee asked for.
    pub delivery: Delivery,
    /// The CloudEvents content mode.
    pub mode: Mode,
    /// Whether a missing topic is created.
    pub create: bool,
    /// Partitions of a created topic.
    pub partitions: i32,
    /// Replicas of a created topic.
    pub replication: i32,
    /// The bound on librdkafka's queue.
    pub queue_bytes: Size,
    /// How long a batch waits for more.
    #[serde(with = "humantime_serde")]
    pub linger: Duration,
    /// The codec: `none`, `gzip`, `snappy`, `lz4`, `zstd`.
    pub compression: String,
    /// librdkafka's own options.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// The guarantee asked of Kafka.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Idempotent within one run of the process.
    AtLeastOnce,
}

impl Config {
    /// What cannot work.
    pub fn mistakes(&self) -> Vec<Mistake> {
        Vec::new()
    }
}
