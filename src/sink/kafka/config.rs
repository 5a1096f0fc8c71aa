//! The `[sink.kafka]` table: what it says, what in it cannot work, and what librdkafka is told.

use super::legal;
use crate::mistake::Mistake;
use crate::sink::cloudevents::Mode;
use crate::sink::guarantee::Level;
use crate::sink::template::Template;
use crate::size::Size;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The `[sink.kafka]` table; `config/default.toml` explains each key. `Debug` hides the values of `options`.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `host:port`, comma-separated.
    pub brokers: String,
    /// The topic, `{family}` allowed.
    pub topic: String,
    /// The topic of control events, `{prefix}` allowed.
    pub control_topic: String,
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
    /// Which events the sink takes; all without it.
    pub filter: Option<String>,
    /// The least that the broker must give.
    pub required: Option<Level>,
}

/// The guarantee asked of Kafka.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Idempotent within one run of the process.
    AtLeastOnce,
}

/// How many records may be in flight: enough for a broker that answers after 80 ms at 400,000 events a second.
pub(super) const WINDOW: usize = 32_768;

/// librdkafka's options that are not the operator's, and what to do instead.
const OURS: &[(&str, &str)] = &[
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
    ("transactional.id", "remove it: it belongs to another guarantee than at_least_once"),
    ("partitioner", "remove it: keys go to the partitions that Java clients choose"),
    ("statistics.interval.ms", "remove it: nothing reads librdkafka's statistics"),
];

impl Config {
    /// What cannot work.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if self.brokers.split(',').any(|broker| broker.trim().is_empty()) {
            let fix = "write host:port, several with commas between";
            mistakes.push(Mistake::new("brokers", "has an empty address", fix));
        }
        if let Err(problem) = self.template() {
            let fix = "use letters, digits, ., - and _, and {family} where each type is to have its topic";
            mistakes.push(Mistake::new("topic", problem, fix));
        }
        if self.template().is_ok()
            && let Err(problem) = self.control()
        {
            let fix = "use letters, digits, ., - and _; {prefix} is the fixed text with which topic begins";
            mistakes.push(Mistake::new("control_topic", problem, fix));
        }
        if self.partitions < 1 {
            mistakes.push(Mistake::new("partitions", "is not positive", "6 suits most"));
        }
        if !(1..=i32::from(i16::MAX)).contains(&self.replication) {
            let fix = "1 for a single broker, 3 for a cluster";
            mistakes.push(Mistake::new("replication", "is not a number of replicas", fix));
        }
        // librdkafka counts in KiB, to at most 2 GiB.
        if !((1 << 10)..=(1 << 41)).contains(&self.queue_bytes.0) {
            let fix = "32MiB suits most";
            mistakes.push(Mistake::new("queue_bytes", "is not between 1KiB and 2TiB", fix));
        }
        if self.linger > Duration::from_secs(900) {
            let fix = "5ms suits most";
            mistakes.push(Mistake::new("linger", "is longer than 15 minutes", fix));
        }
        if !["none", "gzip", "snappy", "lz4", "zstd"].contains(&&*self.compression) {
            let fix = "use none, gzip, snappy, lz4 or zstd";
            mistakes.push(Mistake::new("compression", "is not a codec", fix));
        }
        mistakes.extend(self.mistakes_in_options());
        mistakes
    }

    /// What librdkafka does not know, and what would break the guarantee. Values are not repeated: they may be secret.
    fn mistakes_in_options(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        for (name, value) in &self.options {
            let reserved = OURS.iter().find(|(ours, _)| ours == name);
            if let Some((_, fix)) = reserved {
                let problem = format!("sets {name}, which is not free");
                mistakes.push(Mistake::new("options", problem, *fix));
                continue;
            }
            let in_flight = ["max.in.flight", "max.in.flight.requests.per.connection"];
            if in_flight.contains(&&**name) && value.parse().is_ok_and(|most: u64| most > 5) {
                let problem = format!("sets {name} above 5, beyond which order is lost");
                mistakes.push(Mistake::new("options", problem, "use at most 5"));
                continue;
            }
            let alone = ClientConfig::new().set(name, value).create_native_config();
            if let Err(KafkaError::ClientConfig(why, _, name, _)) = alone {
                let problem = match why {
                    RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN => {
                        format!("sets {name}, which librdkafka does not know")
                    }
                    RDKafkaConfRes::RD_KAFKA_CONF_INVALID | RDKafkaConfRes::RD_KAFKA_CONF_OK => {
                        format!("sets {name} to what librdkafka does not take")
                    }
                };
                let fix = "see librdkafka's CONFIGURATION.md for names and values";
                mistakes.push(Mistake::new("options", problem, fix));
            }
        }
        mistakes
    }

    pub(super) fn template(&self) -> Result<Template, String> {
        let template = Template::parse(&self.topic, &["family"])?;
        let dull = self.topic.replace("{family}", "");
        if self.topic.is_empty() || self.topic.len() > 249 || !dull.chars().all(legal) {
            return Err("is not the name of a topic".into());
        }
        Ok(template)
    }

    /// Where control events go.
    pub(super) fn control(&self) -> Result<String, String> {
        let name = self.template()?.control(&self.control_topic)?;
        if name.is_empty() || name.len() > 249 || !name.chars().all(legal) {
            return Err("is not the name of a topic".into());
        }
        Ok(name)
    }

    pub(super) fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("client.id", "tieline")
            // A broker that comes back is found within seconds, not ten.
            .set("reconnect.backoff.max.ms", "2000");
        for (name, value) in &self.options {
            client.set(name, value);
        }
        client.set("bootstrap.servers", &self.brokers);
        client
    }

    pub(super) fn producer(&self, message_max: Option<&str>) -> ClientConfig {
        let mut client = self.client();
        if let Some(most) = message_max
            && !self.options.contains_key("message.max.bytes")
        {
            client.set("message.max.bytes", most);
        }
        client
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", "0")
            .set("partitioner", "murmur2_random")
            .set("compression.type", &self.compression)
            .set("linger.ms", format!("{:.3}", self.linger.as_secs_f64() * 1e3))
            .set("queue.buffering.max.messages", WINDOW.to_string())
            .set("queue.buffering.max.kbytes", (self.queue_bytes.0 >> 10).to_string());
        client
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .field("delivery", &self.delivery)
            .field("mode", &self.mode)
            .field("options", &self.options.keys())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_table_has_no_mistakes() {
        assert_eq!(config().mistakes(), []);
        let mut secured = config();
        secured.topic = "genesys.{family}".into();
        secured.options = options(&[
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.password", "hush"),
            ("max.in.flight", "5"),
            ("batch.num.messages", "500"),
        ]);
        assert_eq!(secured.mistakes(), []);
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let config = Config {
            brokers: "a:9092,,".into(),
            topic: "{key} {family}".into(),
            partitions: 0,
            replication: 0,
            queue_bytes: Size(1),
            linger: Duration::from_secs(1000),
            compression: "lzma".into(),
            options: options(&[
                ("acks", "0"),
                ("enable.idempotence", "false"),
                ("max.in.flight.requests.per.connection", "6"),
                ("sasl.pasword", "hush"),
                ("security.protocol", "hush"),
            ]),
            ..config()
        };
        insta::assert_snapshot!(told(&config), @r"
        brokers: has an empty address; write host:port, several with commas between
        topic: has the unknown placeholder {key}; use letters, digits, ., - and _, and {family} where each type is to have its topic
        partitions: is not positive; 6 suits most
        replication: is not a number of replicas; 1 for a single broker, 3 for a cluster
        queue_bytes: is not between 1KiB and 2TiB; 32MiB suits most
        linger: is longer than 15 minutes; 5ms suits most
        compression: is not a codec; use none, gzip, snappy, lz4 or zstd
        options: sets acks, which is not free; remove it: every replica in sync acknowledges
        options: sets enable.idempotence, which is not free; remove it: without it a resend doubles and reorders
        options: sets max.in.flight.requests.per.connection above 5, beyond which order is lost; use at most 5
        options: sets sasl.pasword, which librdkafka does not know; see librdkafka's CONFIGURATION.md for names and values
        options: sets security.protocol to what librdkafka does not take; see librdkafka's CONFIGURATION.md for names and values
        ");
    }

    #[test]
    fn nothing_that_breaks_the_guarantee_passes() {
        for (name, _) in OURS {
            let options = options(&[(name, "1")]);
            let config = Config { options, ..config() };
            assert_eq!(config.mistakes().len(), 1, "{name}");
        }
    }

    #[test]
    fn what_librdkafka_is_told_is_what_it_takes() {
        for most in [None, Some("2097152")] {
            let told = config().producer(most).create_native_config();
            assert!(told.is_ok(), "{:?}", told.err());
        }
    }

    #[test]
    fn the_values_of_options_are_never_shown() {
        let mut config = config();
        config.options = options(&[("sasl.password", "hush")]);
        let shown = format!("{config:?} {:?}", config.clone().build("https://api.example.com"));
        assert!(shown.contains("sasl.password") && !shown.contains("hush"), "{shown}");
    }

    fn told(config: &Config) -> String {
        let lines = config.mistakes().into_iter();
        let lines =
            lines.map(|mistake| format!("{}: {}; {}\n", mistake.key, mistake.problem, mistake.fix));
        lines.collect()
    }

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        owned.collect()
    }

    fn config() -> Config {
        Config {
            brokers: "localhost:9092".into(),
            topic: "genesys.events".into(),
            control_topic: "{prefix}.control".into(),
            delivery: Delivery::AtLeastOnce,
            mode: Mode::Binary,
            create: true,
            partitions: 6,
            replication: 1,
            queue_bytes: Size(32 << 20),
            linger: Duration::from_millis(5),
            compression: "lz4".into(),
            options: BTreeMap::new(),
            filter: None,
            required: None,
        }
    }
}
