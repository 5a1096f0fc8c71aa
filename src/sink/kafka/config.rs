//! The `[sink.kafka]` table: what it says, what in it cannot work, and what librdkafka is told.

use super::legal;
use super::options::{self, Options};
use crate::mistake::Mistake;
use crate::sink::Error;
use crate::sink::cloudevents::Mode;
use crate::sink::guarantee::Level;
use crate::sink::template::Template;
use crate::size::Size;
use rdkafka::ClientConfig;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::fmt;
use std::fs;
use std::path::PathBuf;
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
    /// The name of this installation to the brokers, for `exactly_once`; see [`Config::identify`].
    pub transactional_id: Option<String>,
    /// The compacted topic that holds cursors, for `exactly_once`.
    pub cursor_topic: String,
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
    /// How long a batch waits for more; in `exactly_once`, a transaction.
    #[serde(with = "humantime_serde")]
    pub linger: Duration,
    /// The codec: `none`, `gzip`, `snappy`, `lz4`, `zstd`.
    pub compression: String,
    /// A file with the SASL password, read at each opening.
    pub password_file: Option<PathBuf>,
    /// librdkafka's own options.
    #[serde(default)]
    pub options: Options,
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
    /// In transactions that hold the cursor too.
    ExactlyOnce,
}

/// How many records may be in flight: enough for a broker that answers after 80 ms at 400,000 events a second.
pub(super) const WINDOW: usize = 32_768;

/// How often librdkafka tells its statistics: no scraper asks more often.
const STATISTICS: Duration = Duration::from_secs(5);

/// What librdkafka puts into a batch at most unless told otherwise.
const BATCH_BYTES: u64 = 1_000_000;

/// How long librdkafka waits for more of a batch at most within a transaction.
const BATCH_LINGER: Duration = Duration::from_millis(5);

/// The sizes of a batch that topics take: a batch above the least is refused somewhere, a message above the most everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    least: Option<u64>,
    most: Option<u64>,
}

impl Limits {
    /// Takes in another topic's limit, where it is known.
    pub(super) fn add(&mut self, limit: Option<u64>) {
        if let Some(limit) = limit {
            self.least = Some(self.least.map_or(limit, |least| least.min(limit)));
            self.most = Some(self.most.map_or(limit, |most| most.max(limit)));
        }
    }
}

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
        mistakes.extend(self.mistakes_in_transactions());
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
        if self.password_file.is_some() && self.options.contains_key("sasl.password") {
            let problem = "is given, and options sets sasl.password too";
            mistakes.push(Mistake::new("password_file", problem, "remove one of them"));
        }
        mistakes.extend(options::mistakes(&self.options));
        mistakes
    }

    /// What cannot work with `exactly_once`; the keys are ignored without it.
    fn mistakes_in_transactions(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if self.delivery != Delivery::ExactlyOnce {
            return mistakes;
        }
        if !is_topic(&self.cursor_topic) {
            let fix = "use letters, digits, ., - and _, such as tieline.cursors";
            mistakes.push(Mistake::new("cursor_topic", "is not the name of a topic", fix));
        } else if self.cursor_topic == self.topic
            || self.control().as_ref() == Ok(&self.cursor_topic)
        {
            let fix = "keep cursors in a topic of their own, such as tieline.cursors";
            mistakes.push(Mistake::new("cursor_topic", "is a topic of events", fix));
        }
        if self.transactional_id.as_ref().is_some_and(|id| id.trim().is_empty()) {
            let fix = "name this installation, or remove the key: data_dir then remembers a name";
            mistakes.push(Mistake::new("transactional_id", "is empty", fix));
        }
        if self.linger > Duration::from_secs(10) {
            let fix = "transactions of more than a second serve nobody; 5ms suits most";
            mistakes.push(Mistake::new("linger", "is longer than a transaction may last", fix));
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
        if !is_topic(&name) {
            return Err("is not the name of a topic".into());
        }
        Ok(name)
    }

    /// How long a transaction takes in events; then its last batches linger, and it is committed.
    pub(super) fn transaction_open(&self) -> Duration {
        self.linger.saturating_sub(self.batch_linger())
    }

    fn batch_linger(&self) -> Duration {
        match self.delivery {
            Delivery::AtLeastOnce => self.linger,
            Delivery::ExactlyOnce => (self.linger / 2).min(BATCH_LINGER),
        }
    }

    /// What every client of librdkafka is told. Reads the password's file.
    pub(super) fn client(&self) -> Result<ClientConfig, Error> {
        let mut client = ClientConfig::new();
        client
            .set("client.id", "tieline")
            // A broker that comes back is found within seconds, not ten.
            .set("reconnect.backoff.max.ms", "2000")
            // A topic is made by `topic::ensure` alone, as it is configured: one that was deleted would come back as the brokers make them.
            .set("allow.auto.create.topics", "false");
        for (name, value) in &self.options {
            client.set(name, value.expose());
        }
        if let Some(path) = &self.password_file {
            let text = fs::read_to_string(path).map_err(|error| {
                Error::retry(format!("read the password in {}", path.display()), error)
            })?;
            let text = SecretString::from(text);
            client.set("sasl.password", text.expose_secret().trim_end_matches(['\r', '\n']));
        }
        client.set("bootstrap.servers", &self.brokers);
        Ok(client)
    }

    /// What a producer is told, `careful` when each event is to travel alone; and beyond which size an event does so anyway.
    pub(super) fn producer(
        &self,
        limits: Limits,
        careful: bool,
    ) -> Result<(ClientConfig, usize), Error> {
        let mut client = self.client()?;
        if let Some(most) = limits.most
            && !self.options.contains_key("message.max.bytes")
        {
            client.set("message.max.bytes", most.clamp(1_000, 1_000_000_000).to_string());
        }
        let wished = self.options.get("batch.size").and_then(|size| size.expose().parse().ok());
        let batch = wished.unwrap_or(BATCH_BYTES).min(limits.least.unwrap_or(u64::MAX)).max(1);
        client
            .set("batch.size", batch.to_string())
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("partitioner", "murmur2_random")
            .set("compression.type", &self.compression)
            .set("linger.ms", format!("{:.3}", self.batch_linger().as_secs_f64() * 1e3))
            .set("statistics.interval.ms", STATISTICS.as_millis().to_string())
            .set("queue.buffering.max.messages", (2 * WINDOW).to_string())
            .set("queue.buffering.max.kbytes", (self.queue_bytes.0 >> 10).to_string());
        if careful {
            client.set("batch.num.messages", "1");
        }
        match (self.delivery, &self.transactional_id) {
            (Delivery::AtLeastOnce, _) => client.set("message.timeout.ms", "0"),
            // An event that times out ends its transaction, and is sent in the next.
            (Delivery::ExactlyOnce, Some(id)) => client.set("transactional.id", id),
            (Delivery::ExactlyOnce, None) => {
                let reason = "sink.kafka.transactional_id is missing";
                return Err(Error::misconfigured("make a Kafka producer", reason));
            }
        };
        Ok((client, usize::try_from(batch).unwrap_or(usize::MAX)))
    }
}

/// Whether a text can name a topic.
pub(super) fn is_topic(name: &str) -> bool {
    (1..=249).contains(&name.len()) && name.chars().all(legal) && !matches!(name, "." | "..")
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .field("delivery", &self.delivery)
            .field("transactional_id", &self.transactional_id)
            .field("mode", &self.mode)
            .field("password_file", &self.password_file)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::kafka::options::OURS;

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
    fn transactions_have_mistakes_of_their_own() {
        let config = Config {
            delivery: Delivery::ExactlyOnce,
            transactional_id: Some(" ".into()),
            cursor_topic: "genesys.events".into(),
            linger: Duration::from_secs(60),
            password_file: Some("/run/secrets/kafka".into()),
            options: options(&[("sasl.password", "hush"), ("transactional.id", "other")]),
            ..config()
        };
        insta::assert_snapshot!(told(&config), @r"
        cursor_topic: is a topic of events; keep cursors in a topic of their own, such as tieline.cursors
        transactional_id: is empty; name this installation, or remove the key: data_dir then remembers a name
        linger: is longer than a transaction may last; transactions of more than a second serve nobody; 5ms suits most
        password_file: is given, and options sets sasl.password too; remove one of them
        options: sets transactional.id, which is not free; set transactional_id instead
        ");
    }

    #[test]
    fn the_password_comes_from_its_file_without_its_line_break() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let path = folder.path().join("password");
        let config = Config { password_file: Some(path.clone()), ..config() };
        let error = config.client().expect_err("no such file");
        assert!(error.operation.contains("password"), "{error:?}");
        fs::write(path, "hush hush\n").expect("written");
        let client = config.client().expect("the file is there");
        assert_eq!(client.get("sasl.password"), Some("hush hush"));
    }

    #[test]
    fn batches_keep_to_the_least_limit_and_messages_to_the_most() {
        let mut limits = Limits::default();
        for limit in [None, Some(50_000), Some(2_000_000)] {
            limits.add(limit);
        }
        let (client, alone) = config().producer(limits, false).expect("no file to read");
        assert_eq!(client.get("batch.size"), Some("50000"));
        assert_eq!(client.get("message.max.bytes"), Some("2000000"));
        assert_eq!(alone, 50_000);
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
        for most in [None, Some(500), Some(2_097_152)] {
            for delivery in [Delivery::AtLeastOnce, Delivery::ExactlyOnce] {
                let transactional_id = Some("here".into());
                let config = Config { delivery, transactional_id, ..config() };
                let mut limits = Limits::default();
                limits.add(most);
                let (told, _) = config.producer(limits, true).expect("no file to read");
                // Nothing is given up silently: 0 is never. In a transaction the library holds a message to the transaction's own time, and what
                // runs into that is sent in the next.
                let patience = match delivery {
                    Delivery::AtLeastOnce => Some("0"),
                    Delivery::ExactlyOnce => None,
                };
                assert_eq!(told.get("message.timeout.ms"), patience);
                let told = told.create_native_config();
                assert!(told.is_ok(), "{:?}", told.err());
            }
        }
    }

    /// Which codecs there are is decided when librdkafka is built.
    #[test]
    fn every_codec_that_may_be_chosen_is_built_in() {
        for compression in ["none", "gzip", "snappy", "lz4", "zstd"] {
            let config = Config { compression: compression.into(), ..config() };
            assert_eq!(config.mistakes(), []);
            let (told, _) = config.producer(Limits::default(), false).expect("no file to read");
            assert_eq!(told.get("compression.type"), Some(compression));
            let told = told.create_native_config();
            assert!(told.is_ok(), "{compression}: {:?}", told.err());
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

    fn options(pairs: &[(&str, &str)]) -> Options {
        let owned = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).into()));
        owned.collect()
    }

    fn config() -> Config {
        Config {
            brokers: "localhost:9092".into(),
            topic: "genesys.events".into(),
            control_topic: "{prefix}.control".into(),
            delivery: Delivery::AtLeastOnce,
            transactional_id: None,
            cursor_topic: "tieline.cursors".into(),
            mode: Mode::Binary,
            create: true,
            partitions: 6,
            replication: 1,
            queue_bytes: Size(32 << 20),
            linger: Duration::from_millis(5),
            compression: "lz4".into(),
            password_file: None,
            options: Options::new(),
            filter: None,
            required: None,
        }
    }
}
