//! librdkafka's own options: which are the operator's, which would break the guarantee, and how their values stay hidden.
//!
//! Knows names, not meanings: whether a value is taken is librdkafka's to say.

use crate::mistake::Mistake;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

/// The value of an option, which may be a password: never shown.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Hidden(SecretString);

impl Hidden {
    pub(super) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<&str> for Hidden {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl PartialEq for Hidden {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Hidden {}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

/// Options by their names.
pub type Options = BTreeMap<String, Hidden>;

/// librdkafka's options that are not the operator's, and what to do instead.
pub(super) const OURS: &[(&str, &str)] = &[
    ("bootstrap.servers", "set brokers instead"),
    ("metadata.broker.list", "set brokers instead"),
    ("compression.type", "set compression instead"),
    ("compression.codec", "set compression instead"),
    ("linger.ms", "set linger instead"),
    ("queue.buffering.max.ms", "set linger instead"),
    ("queue.buffering.max.kbytes", "set queue_bytes instead"),
    ("queue.buffering.max.messages", "set queue_bytes instead"),
    ("acks", "remove it: every replica in sync acknowledges"),
    ("request.required.acks", "remove it: every replica in sync acknowledges"),
    ("enable.idempotence", "remove it: without it a resend doubles and reorders"),
    ("message.timeout.ms", "remove it: an event that waits long is still delivered"),
    ("delivery.timeout.ms", "remove it: an event that waits long is still delivered"),
    ("retries", "remove it: an event is sent until it is stored"),
    ("message.send.max.retries", "remove it: an event is sent until it is stored"),
    ("queuing.strategy", "remove it: lifo reorders"),
    ("delivery.report.only.error", "remove it: every event is acknowledged"),
    ("transactional.id", "set transactional_id instead"),
    ("partitioner", "remove it: keys go to the partitions that Java clients choose"),
    ("allow.auto.create.topics", "set create instead"),
    ("statistics.interval.ms", "remove it: the metrics set it"),
];

/// What librdkafka does not know, and what would break the guarantee. Values are not repeated: they may be secret.
pub(super) fn mistakes(options: &Options) -> Vec<Mistake> {
    options.iter().filter_map(|(name, value)| mistake(name, value)).collect()
}

fn mistake(name: &str, value: &Hidden) -> Option<Mistake> {
    if let Some((_, fix)) = OURS.iter().find(|(ours, _)| *ours == name) {
        let problem = format!("sets {name}, which is not free");
        return Some(Mistake::new("options", problem, *fix));
    }
    let in_flight = ["max.in.flight", "max.in.flight.requests.per.connection"];
    if in_flight.contains(&name) && value.expose().parse().is_ok_and(|most: u64| most > 5) {
        let problem = format!("sets {name} above 5, beyond which order is lost");
        return Some(Mistake::new("options", problem, "use at most 5"));
    }
    let alone = ClientConfig::new().set(name, value.expose()).create_native_config();
    let Err(KafkaError::ClientConfig(why, _, name, _)) = alone else {
        return None;
    };
    let problem = match why {
        RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN => {
            format!("sets {name}, which librdkafka does not know")
        }
        RDKafkaConfRes::RD_KAFKA_CONF_INVALID | RDKafkaConfRes::RD_KAFKA_CONF_OK => {
            format!("sets {name} to what librdkafka does not take")
        }
    };
    let fix = "see librdkafka's CONFIGURATION.md for names and values";
    Some(Mistake::new("options", problem, fix))
}
