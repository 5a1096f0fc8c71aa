//! Where a run delivers: what the configuration says about it, and what it holds in the end.

use super::oracle::Held;
use super::read_back;
use anyhow::Context;
use std::path::PathBuf;
use toml::Value;

/// The stream that a run makes.
#[cfg(feature = "nats")]
const STREAM: &str = "GENESYS";

/// The topic that a run makes.
#[cfg(feature = "kafka")]
const TOPIC: &str = "genesys.events";

/// A sink of this run alone, empty at its beginning.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// A file.
    Jsonl(PathBuf),
    /// A stream on the server at this address.
    #[cfg(feature = "nats")]
    Nats { url: String, stream: &'static str },
    /// A topic on these brokers.
    #[cfg(feature = "kafka")]
    Kafka { brokers: String, topic: &'static str },
}

impl Target {
    /// The stream of a server that was just started.
    #[cfg(feature = "nats")]
    pub(super) const fn nats(url: String) -> Self {
        Self::Nats { url, stream: STREAM }
    }

    /// The topic of a broker that was just started.
    #[cfg(feature = "kafka")]
    pub(super) const fn kafka(brokers: String) -> Self {
        Self::Kafka { brokers, topic: TOPIC }
    }

    /// The name of the sink.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Jsonl(_) => "jsonl",
            #[cfg(feature = "nats")]
            Self::Nats { .. } => "nats",
            #[cfg(feature = "kafka")]
            Self::Kafka { .. } => "kafka",
        }
    }

    /// Where it is, for people.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Jsonl(path) => path.display().to_string(),
            #[cfg(feature = "nats")]
            Self::Nats { url, stream } => format!("stream {stream} on {url}"),
            #[cfg(feature = "kafka")]
            Self::Kafka { brokers, topic } => format!("topic {topic} on {brokers}"),
        }
    }

    /// All that it holds, in its own order at least within each key.
    pub(super) async fn read(&self) -> anyhow::Result<Vec<Held>> {
        let held = match self {
            Self::Jsonl(path) => read_back::jsonl(path),
            #[cfg(feature = "nats")]
            Self::Nats { url, stream } => read_back::nats(url, stream).await,
            #[cfg(feature = "kafka")]
            Self::Kafka { brokers, topic } => read_back::kafka(brokers, topic).await,
        };
        held.with_context(|| format!("cannot read the sink back: {}", self.place()))
    }

    /// The keys of the configuration that point to it.
    pub(super) fn config(&self) -> Vec<(String, Value)> {
        let set = |key: &str, value: &str| (format!("sink.{key}"), Value::from(value));
        match self {
            Self::Jsonl(path) => vec![set("jsonl.path", &path.display().to_string())],
            #[cfg(feature = "nats")]
            Self::Nats { url, stream } => vec![set("nats.url", url), set("nats.stream", stream)],
            #[cfg(feature = "kafka")]
            Self::Kafka { brokers, topic } => {
                vec![set("kafka.brokers", brokers), set("kafka.topic", topic)]
            }
        }
    }
}
