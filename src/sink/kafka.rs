//! Apache Kafka by librdkafka: idempotent, pipelined, keyed.
//!
//! While a producer lives, librdkafka sends again by itself and neither reorders nor doubles, however long a broker is away:
//! nothing is dropped for its age. A producer that failed for good is purged and replaced; what it had in flight may have been
//! stored, so that after a reopening, as after a restart, plain Kafka is at least once.

use super::cloudevents::{Encoder, Mode, STRUCTURED};
use super::template::Template;
use super::window::Window;
use super::{Error, Record, Resume, Sink, Verdict};
use crate::event::Epoch;
use crate::mistake::Mistake;
use crate::size::Size;
use async_trait::async_trait;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, ClientContext};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

/// The `[sink.kafka]` table; `config/default.toml` explains each key. `Debug` hides the values of `options`.
#[derive(Clone, Deserialize, PartialEq, Eq)]
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

/// How many records may be in flight: enough for a broker that answers after 80 ms at 400,000 events a second.
const WINDOW: usize = 32_768;

/// How long one answer of a broker may take while the sink is opened.
const ANSWER: Duration = Duration::from_secs(5);

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
            mistakes.push(Mistake::new("queue_bytes", "is less than 1KiB or absurdly large", fix));
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
        let mut options = ClientConfig::new();
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
            if let Err(KafkaError::ClientConfig(_, _, name, _)) = alone {
                let problem = format!("sets {name} to what librdkafka does not take");
                let fix = "see librdkafka's CONFIGURATION.md for names and values";
                mistakes.push(Mistake::new("options", problem, fix));
                continue;
            }
            options.set(name, value);
        }
        mistakes
    }

    /// The sink, not yet open. `source` is the address of the platform's API.
    pub fn build(self, source: &str) -> Box<dyn Sink> {
        Box::new(Kafka {
            // A bad template is a mistake that `mistakes` names; such a sink is never opened.
            topic: self.template().ok(),
            encoder: Encoder::new(source),
            link: None,
            config: self,
        })
    }

    fn template(&self) -> Result<Template, String> {
        let template = Template::parse(&self.topic, &["family"])?;
        let dull = self.topic.replace("{family}", "");
        if self.topic.is_empty() || self.topic.len() > 249 || !dull.chars().all(legal) {
            return Err("is not the name of a topic".into());
        }
        Ok(template)
    }

    fn client(&self) -> ClientConfig {
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

    fn producer(&self, message_max: Option<&str>) -> ClientConfig {
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

/// What the name of a topic may hold.
fn legal(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

struct Kafka {
    config: Config,
    topic: Option<Template>,
    encoder: Encoder,
    /// The producer; `None` before `open` and after an error.
    link: Option<Link>,
}

/// One producer, from `open` to the first error.
struct Link {
    producer: ThreadedProducer<Reports>,
    reports: mpsc::Receiver<Report>,
    window: Window,
    /// The topics known to exist.
    topics: BTreeSet<String>,
    failure: Option<String>,
}

#[async_trait]
impl Sink for Kafka {
    async fn open(&mut self, _: &Epoch) -> Result<Resume, Error> {
        self.retire().await;
        let config = self.config.clone();
        let name = self.topic.as_ref().and_then(Template::constant).map(str::to_owned);
        let opened = spawn_blocking(move || Link::open(&config, name)).await;
        self.link = Some(opened.unwrap_or_else(|panic| Err(Error::retry("open", panic)))?);
        Ok(Resume::default())
    }

    async fn submit(&mut self, records: &[Record]) -> Result<usize, Error> {
        let (Some(link), Some(template)) = (&mut self.link, &self.topic) else {
            return Err(Error::retry("produce", "the sink is not open"));
        };
        let room = WINDOW.saturating_sub(link.window.len());
        let mut topic = String::new();
        for (taken, record) in records.iter().take(room).enumerate() {
            template.render(&record.event.topic, legal, &mut topic);
            if !link.topics.contains(&topic) {
                let (config, name) = (self.config.clone(), topic.clone());
                let ensured = spawn_blocking(move || ensure(&config, &name)).await;
                ensured.unwrap_or_else(|panic| Err(Error::retry("create a topic", panic)))?;
                link.topics.insert(topic.clone());
            }
            let full = !link.send(&topic, &mut self.encoder, self.config.mode, record)?;
            if full {
                return Ok(taken);
            }
        }
        Ok(records.len().min(room))
    }

    async fn settle(&mut self, verdicts: &mut Vec<Verdict>) -> Result<(), Error> {
        let Some(link) = &mut self.link else {
            return future::pending().await;
        };
        loop {
            if link.window.tell(verdicts) > 0 {
                return Ok(());
            }
            if let Some(reason) = link.failure.take() {
                let operation = format!("produce to {} at {}", self.config.topic, self.config.brokers);
                return Err(Error::retry(operation, reason));
            }
            // The producer holds the other end, so that this waits while nothing is in flight, but for a fatal error.
            let report = link.reports.recv().await;
            link.hear(report);
            while let Ok(report) = link.reports.try_recv() {
                link.hear(Some(report));
            }
        }
    }

    async fn close(&mut self) -> Result<(), Error> {
        self.retire().await;
        Ok(())
    }
}

impl Kafka {
    /// Ends the producer: its queue is purged, so that nothing of it is sent behind its successor's back.
    async fn retire(&mut self) {
        if let Some(link) = self.link.take() {
            // Ending waits for threads. A panic there has been reported and leaves nothing to do.
            drop(spawn_blocking(move || drop(link)).await);
        }
    }
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kafka")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Link {
    /// Reaches the brokers, makes sure of the topic where there is only one, and starts a producer. Blocks.
    fn open(config: &Config, topic: Option<String>) -> Result<Self, Error> {
        let mut message_max = None;
        if let Some(topic) = &topic {
            message_max = ensure(config, topic)?;
        }
        let (sender, reports) = mpsc::channel(2 * WINDOW);
        let context = Reports {
            sender,
            heard: Heard::default(),
        };
        let settings = config.producer(message_max.as_deref());
        let producer = ThreadedProducer::from_config_and_context(&settings, context)
            .map_err(|error| Error::misconfigured("make a Kafka producer", refused(error)))?;
        if topic.is_none() {
            let heard = &producer.context().heard;
            let reached = producer.client().fetch_metadata(None, ANSWER);
            reached.map_err(|error| unreachable(config, heard, error))?;
        }
        Ok(Self {
            producer,
            reports,
            window: Window::default(),
            topics: topic.into_iter().collect(),
            failure: None,
        })
    }

    /// Queues a record, or refuses it in its turn when it can never be taken. False when the queue is full.
    fn send(
        &mut self,
        topic: &str,
        encoder: &mut Encoder,
        mode: Mode,
        record: &Record,
    ) -> Result<bool, Error> {
        let mut document = Vec::new();
        let mut headers = OwnedHeaders::new_with_capacity(20);
        let body: &[u8] = match mode {
            Mode::Binary => {
                headers = binary(encoder, record, headers);
                &record.event.body
            }
            Mode::Structured => {
                encoder.structured(record, &mut document);
                headers = headers.insert(Header {
                    key: "content-type",
                    value: Some(STRUCTURED),
                });
                &document
            }
        };
        let ticket = self.window.admit();
        let message = BaseRecord::with_opaque_to(topic, ticket)
            .key(record.event.topic.key())
            .payload(body)
            .headers(headers);
        let Err((error, _)) = self.producer.send(message) else {
            return Ok(true);
        };
        self.window.retract();
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => Ok(false),
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                let bytes = body.len();
                self.window
                    .refuse(format!("{bytes} bytes and headers are more than the topic takes"));
                Ok(true)
            }
            _ => Err(Error::retry(format!("produce to {topic}"), error)),
        }
    }

    fn hear(&mut self, report: Option<Report>) {
        match report {
            Some(Report::Delivered(ticket)) => self.window.decide(ticket, Verdict::Stored),
            Some(Report::Failed(ticket, code)) if is_refusal(code) => {
                let reason = code.to_string();
                self.window.decide(ticket, Verdict::Refused { reason });
            }
            Some(Report::Failed(_, code)) => self.fail(code.to_string()),
            Some(Report::Fatal(reason)) => self.fail(reason),
            None => self.fail("the producer is gone".into()),
        }
    }

    /// What follows a failure fails too; only the first says why.
    fn fail(&mut self, reason: String) {
        self.failure.get_or_insert(reason);
    }
}

/// Whether an error says that the message itself can never be stored.
fn is_refusal(code: RDKafkaErrorCode) -> bool {
    [
        RDKafkaErrorCode::MessageSizeTooLarge,
        RDKafkaErrorCode::InvalidMessageSize,
        RDKafkaErrorCode::InvalidRecord,
        RDKafkaErrorCode::PolicyViolation,
    ]
    .contains(&code)
}

/// The attributes as headers.
fn binary(encoder: &mut Encoder, record: &Record, headers: OwnedHeaders) -> OwnedHeaders {
    let mut headers = Some(headers);
    encoder.attributes(record, |name, value| {
        headers = headers.take().map(|headers| {
            headers.insert(Header {
                key: name.kafka,
                value: Some(value.as_str()),
            })
        });
    });
    headers.unwrap_or_default()
}

/// What librdkafka tells of a message, or of itself.
#[derive(Debug)]
enum Report {
    Delivered(usize),
    Failed(usize, RDKafkaErrorCode),
    Fatal(String),
}

/// Where librdkafka's thread reports to.
struct Reports {
    /// Room for two windows, and no more than one is in flight: a report is never turned away.
    sender: mpsc::Sender<Report>,
    heard: Heard,
}

impl ClientContext for Reports {
    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.tell(Report::Fatal(reason.to_owned()));
        }
        self.heard.error(error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: usize) {
        self.tell(match result {
            Ok(_) => Report::Delivered(ticket),
            Err((error, _)) => Report::Failed(
                ticket,
                error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail),
            ),
        });
    }
}

impl Reports {
    fn tell(&self, report: Report) {
        // Fails only when the link has been given up, and then nobody wants to know.
        drop(self.sender.try_send(report));
    }
}

/// Remembers what librdkafka last complained of, because its answers say only that time ran out.
#[derive(Default)]
struct Heard(Mutex<Option<String>>);

impl ClientContext for Heard {
    fn error(&self, _: KafkaError, reason: &str) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(reason.to_owned());
    }
}

impl Heard {
    fn last(&self) -> Option<String> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.take()
    }
}

/// The brokers gave no answer: says which, and why as far as librdkafka knows.
fn unreachable(config: &Config, heard: &Heard, error: KafkaError) -> Error {
    let operation = format!("connect to Kafka at {}", config.brokers);
    match heard.last() {
        Some(reason) => Error::retry(operation, reason),
        None => Error::retry(operation, error),
    }
}

/// What librdkafka says of an option, without the value, which may be a secret.
fn refused(error: KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, _, name, _) => format!("librdkafka does not take {name} as it is"),
        KafkaError::ClientCreation(reason) => reason,
        _ => error.to_string(),
    }
}

/// Makes sure that a topic exists, creates it where allowed, and returns the largest batch it takes, if it may be asked.
/// Blocks.
fn ensure(config: &Config, topic: &str) -> Result<Option<String>, Error> {
    let settings = config.client();
    let admin: AdminClient<Heard> =
        AdminClient::from_config_and_context(&settings, Heard::default())
            .map_err(|error| Error::misconfigured("make a Kafka client", refused(error)))?;
    let heard = Arc::clone(admin.inner().context());
    let options = AdminOptions::new().request_timeout(Some(ANSWER));
    let runtime = Handle::current();
    if config.create {
        let replicas = TopicReplication::Fixed(config.replication);
        let wanted = NewTopic::new(topic, config.partitions, replicas);
        let created = runtime.block_on(admin.create_topics([&wanted], &options));
        let created = created.map_err(|error| unreachable(config, &heard, error))?;
        // Whatever else went wrong, what counts is whether the topic is there.
        let trouble = created.into_iter().find_map(Result::err).map(|(_, code)| code);
        exists(config, &admin, topic, trouble)?;
    } else {
        exists(config, &admin, topic, None)?;
    }
    let asked = ResourceSpecifier::Topic(topic);
    let described = runtime.block_on(admin.describe_configs([&asked], &options));
    let answers = described.unwrap_or_default();
    Ok(answers.into_iter().flatten().find_map(|topic| {
        let most = topic.get("max.message.bytes")?;
        most.value.clone()
    }))
}

/// Whether a topic is there. `trouble` is what kept us from creating it.
fn exists(
    config: &Config,
    admin: &AdminClient<Heard>,
    topic: &str,
    trouble: Option<RDKafkaErrorCode>,
) -> Result<(), Error> {
    let metadata = admin.inner().fetch_metadata(Some(topic), ANSWER);
    let metadata = metadata.map_err(|error| unreachable(config, admin.inner().context(), error))?;
    let answer = metadata.topics().iter().find(|found| found.name() == topic);
    let problem = match answer.map(|found| found.error().map(RDKafkaErrorCode::from)) {
        Some(None) => return Ok(()),
        Some(Some(code)) => code,
        None => RDKafkaErrorCode::UnknownTopicOrPartition,
    };
    let at = &config.brokers;
    match trouble {
        Some(code) if code != RDKafkaErrorCode::TopicAlreadyExists => {
            Err(Error::retry(format!("create topic {topic} at {at}"), code))
        }
        None if !config.create && problem == RDKafkaErrorCode::UnknownTopicOrPartition => {
            let reason = "it does not exist and sink.kafka.create is false";
            Err(Error::misconfigured(format!("use topic {topic} at {at}"), reason))
        }
        _ => Err(Error::retry(format!("use topic {topic} at {at}"), problem)),
    }
}
