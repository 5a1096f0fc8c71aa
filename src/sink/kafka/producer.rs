//! One producer of librdkafka: queues, and hears what became of it.

use super::Config;
use super::config::WINDOW;
use super::topic::{ANSWER, Heard, ensure, refused, unreachable};
use crate::sink::cloudevents::{Encoder, Mode, STRUCTURED};
use crate::sink::window::Window;
use crate::sink::{Error, Record, Verdict};
use rdkafka::ClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use std::collections::BTreeSet;
use tokio::sync::mpsc;

/// One producer, from `open` to the first error.
pub(super) struct Link {
    pub(super) producer: ThreadedProducer<Reports>,
    pub(super) reports: mpsc::Receiver<Report>,
    pub(super) window: Window,
    /// The topics known to exist.
    pub(super) topics: BTreeSet<String>,
    pub(super) failure: Option<String>,
}

impl Link {
    /// Reaches the brokers, makes sure of the topic where there is only one, and starts a producer. Blocks.
    pub(super) fn open(config: &Config, topic: Option<String>) -> Result<Self, Error> {
        let mut message_max = None;
        if let Some(topic) = &topic {
            message_max = ensure(config, topic)?;
        }
        let (sender, reports) = mpsc::channel(2 * WINDOW);
        let context = Reports { sender, heard: Heard::default() };
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
    pub(super) fn send(
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
                headers = headers.insert(Header { key: "content-type", value: Some(STRUCTURED) });
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

    pub(super) fn hear(&mut self, report: Option<Report>) {
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
        headers = headers
            .take()
            .map(|headers| headers.insert(Header { key: name.kafka, value: Some(value.as_str()) }));
    });
    headers.unwrap_or_default()
}

/// What librdkafka tells of a message, or of itself.
#[derive(Debug)]
pub(super) enum Report {
    Delivered(usize),
    Failed(usize, RDKafkaErrorCode),
    Fatal(String),
}

/// Where librdkafka's thread reports to.
pub(super) struct Reports {
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
            Err((error, _)) => {
                Report::Failed(ticket, error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail))
            }
        });
    }
}

impl Reports {
    fn tell(&self, report: Report) {
        // Fails only when the link has been given up, and then nobody wants to know.
        drop(self.sender.try_send(report));
    }
}
