//! Topics: found, or created where that is allowed. All of it blocks.

use super::Config;
use crate::sink::Error;
use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use tokio::runtime::Handle;

/// How long one answer of a broker may take while the sink is opened.
pub(super) const ANSWER: Duration = Duration::from_secs(5);

/// Makes sure that a topic exists, creates it where allowed, and returns the largest batch it takes, if it may be asked.
/// Blocks.
pub(super) fn ensure(config: &Config, topic: &str) -> Result<Option<String>, Error> {
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
    let mut problem = look_up(config, admin, topic)?;
    let mut pauses = 50;
    // The controller has made it; the brokers learn of that within moments.
    while trouble.is_none() && config.create && problem.is_some() && pauses > 0 {
        thread::sleep(Duration::from_millis(100));
        problem = look_up(config, admin, topic)?;
        pauses -= 1;
    }
    let Some(problem) = problem else {
        return Ok(());
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

/// What is wrong with a topic, as its brokers see it.
fn look_up(
    config: &Config,
    admin: &AdminClient<Heard>,
    topic: &str,
) -> Result<Option<RDKafkaErrorCode>, Error> {
    // All of them are listed: to ask for one by name makes a broker with auto.create.topics.enable create it.
    let metadata = admin.inner().fetch_metadata(None, ANSWER);
    let metadata = metadata.map_err(|error| unreachable(config, admin.inner().context(), error))?;
    let answer = metadata.topics().iter().find(|found| found.name() == topic);
    let missing = Some(RDKafkaErrorCode::UnknownTopicOrPartition);
    Ok(answer.map_or(missing, |found| found.error().map(RDKafkaErrorCode::from)))
}

/// Remembers what librdkafka last complained of, because its answers say only that time ran out.
#[derive(Default)]
pub(super) struct Heard(Mutex<Option<String>>);

impl ClientContext for Heard {
    fn error(&self, _: KafkaError, reason: &str) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(reason.to_owned());
    }
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
