//! Topics: found, or created where that is allowed, and what their settings are. All of it blocks.

use super::Config;
use crate::sink::Error;
use rdkafka::ClientContext;
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{FromClientConfig, FromClientConfigAndContext};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::metadata::Metadata;
use rdkafka::producer::{Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use tokio::runtime::Handle;

/// How long one answer of a broker may take while the sink is opened.
pub(super) const ANSWER: Duration = Duration::from_secs(5);

/// The settings of a topic by their names, those it has from its broker included; empty where they may not be asked for.
#[derive(Debug, Default)]
pub(super) struct Settings(BTreeMap<String, String>);

impl Settings {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The largest batch that the topic takes.
    pub(super) fn batch_max(&self) -> Option<u64> {
        self.get("max.message.bytes")?.parse().ok()
    }
}

/// Asks questions about the cluster, until it is dropped.
pub(super) struct Admin<'a> {
    config: &'a Config,
    client: AdminClient<DefaultClientContext>,
    options: AdminOptions,
    /// An admin client never tells what ails it; a producer does.
    probe: ThreadedProducer<Heard>,
}

impl<'a> Admin<'a> {
    /// Reaches the cluster.
    pub(super) fn new(config: &'a Config) -> Result<Self, Error> {
        let settings = config.client()?;
        let client = AdminClient::from_config(&settings)
            .map_err(|error| Error::misconfigured("make a Kafka client", refused(error)))?;
        let probe = ThreadedProducer::from_config_and_context(&settings, Heard::default())
            .map_err(|error| Error::misconfigured("make a Kafka client", refused(error)))?;
        let options = AdminOptions::new().request_timeout(Some(ANSWER));
        let admin = Self { config, client, options, probe };
        admin.metadata()?;
        Ok(admin)
    }

    /// Makes sure that a topic exists, creates it where allowed, and returns its settings.
    pub(super) fn ensure(&self, wanted: &NewTopic<'_>) -> Result<Settings, Error> {
        let mut trouble = None;
        if self.config.create {
            let created =
                Handle::current().block_on(self.client.create_topics([wanted], &self.options));
            let created = created.map_err(|error| self.unreachable(error))?;
            // Whatever else went wrong, what counts is whether the topic is there.
            trouble = created.into_iter().find_map(Result::err).map(|(_, code)| code);
        }
        self.exists(wanted.name, trouble)?;
        Ok(self.settings(wanted.name))
    }

    /// The settings of a topic, as far as they may be asked for.
    fn settings(&self, topic: &str) -> Settings {
        let entries = self.describe(&[topic]).into_iter().flat_map(|topic| topic.entries);
        Settings(entries.filter_map(|entry| Some((entry.name, entry.value?))).collect())
    }

    /// The settings of several topics, in any order; those that may not be asked for are left out.
    pub(super) fn describe(&self, topics: &[&str]) -> Vec<ConfigResource> {
        let asked: Vec<ResourceSpecifier<'_>> =
            topics.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        let described = self.client.describe_configs(&asked, &self.options);
        let answers = Handle::current().block_on(described);
        answers.unwrap_or_default().into_iter().filter_map(Result::ok).collect()
    }

    /// Whether a topic is there. `trouble` is what kept us from creating it.
    fn exists(&self, topic: &str, trouble: Option<RDKafkaErrorCode>) -> Result<(), Error> {
        let mut problem = self.look_up(topic)?;
        let mut pauses = 50;
        // The controller has made it; the brokers learn of that within moments.
        while trouble.is_none() && self.config.create && problem.is_some() && pauses > 0 {
            thread::sleep(Duration::from_millis(100));
            problem = self.look_up(topic)?;
            pauses -= 1;
        }
        let Some(problem) = problem else {
            return Ok(());
        };
        let at = &self.config.brokers;
        match trouble {
            Some(code) if code != RDKafkaErrorCode::TopicAlreadyExists => {
                Err(Error::retry(format!("create topic {topic} at {at}"), code))
            }
            None if !self.config.create && problem == RDKafkaErrorCode::UnknownTopicOrPartition => {
                let reason = "it does not exist and sink.kafka.create is false";
                Err(Error::misconfigured(format!("use topic {topic} at {at}"), reason))
            }
            _ => Err(Error::retry(format!("use topic {topic} at {at}"), problem)),
        }
    }

    /// What is wrong with a topic, as its brokers see it.
    fn look_up(&self, topic: &str) -> Result<Option<RDKafkaErrorCode>, Error> {
        let metadata = self.metadata()?;
        let answer = metadata.topics().iter().find(|found| found.name() == topic);
        let missing = Some(RDKafkaErrorCode::UnknownTopicOrPartition);
        Ok(answer.map_or(missing, |found| found.error().map(RDKafkaErrorCode::from)))
    }

    /// The cluster's brokers and topics.
    pub(super) fn metadata(&self) -> Result<Metadata, Error> {
        // All topics are listed: to ask for one by name makes a broker with auto.create.topics.enable create it.
        self.probe.client().fetch_metadata(None, ANSWER).map_err(|error| self.unreachable(error))
    }

    fn unreachable(&self, error: KafkaError) -> Error {
        unreachable(self.config, self.probe.context(), error)
    }
}

/// Makes sure of a topic for events, and returns its settings. Blocks.
pub(super) fn ensure(config: &Config, topic: &str) -> Result<Settings, Error> {
    let replicas = TopicReplication::Fixed(config.replication);
    Admin::new(config)?.ensure(&NewTopic::new(topic, config.partitions, replicas))
}

/// Remembers what librdkafka last complained of, because its answers say only that time ran out. That all brokers are down is no
/// reason where there is another.
#[derive(Default)]
pub(super) struct Heard(Mutex<Option<String>>);

impl ClientContext for Heard {
    fn error(&self, error: KafkaError, reason: &str) {
        let is_sum = error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown);
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_sum || last.is_none() {
            *last = Some(reason.to_owned());
        }
    }
}

impl ConsumerContext for Heard {}

impl ProducerContext for Heard {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

impl Heard {
    pub(super) fn last(&self) -> Option<String> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.take()
    }
}

/// The brokers gave no answer: says which, and why as far as librdkafka knows.
pub(super) fn unreachable(config: &Config, heard: &Heard, error: KafkaError) -> Error {
    let operation = format!("connect to Kafka at {}", config.brokers);
    match heard.last() {
        Some(reason) => Error::retry(operation, reason),
        None => Error::retry(operation, error),
    }
}

/// What librdkafka says of an option, without the value, which may be a secret.
pub(super) fn refused(error: KafkaError) -> String {
    if let KafkaError::ClientConfig(_, _, name, _) = error {
        return format!("librdkafka does not take {name} as it is");
    }
    if let KafkaError::ClientCreation(reason) = error {
        return reason;
    }
    error.to_string()
}
