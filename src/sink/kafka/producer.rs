//! One producer of librdkafka: queues, hears what became of it, and tells in order.

use super::config::{Limits, WINDOW};
use super::report::{CURSOR, Report, Reports};
use super::topic::{ANSWER, ensure, refused, unreachable};
use super::transaction::{Claim, Transactions, fenced, give_up, is_full};
use super::{Config, Delivery, cursor};
use crate::observation::BrokerFigures;
use crate::sink::cloudevents::{Encoder, Mode, STRUCTURED};
use crate::sink::window::Window;
use crate::sink::{Error, Record, Resume, Verdict};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tokio::sync::{mpsc, watch};

/// What a link is made from.
pub(super) struct Setup {
    pub(super) config: Config,
    pub(super) claim: Claim,
    /// The topic, where there is only one.
    pub(super) topic: Option<String>,
    pub(super) limits: Limits,
    /// Whether each event travels alone, so that a refusal is meant for nobody else.
    pub(super) careful: bool,
    pub(super) figures: watch::Sender<BrokerFigures>,
}

/// One producer, from `open` to the first error.
pub(super) struct Link {
    producer: ThreadedProducer<Reports>,
    reports: mpsc::Receiver<Report>,
    transactions: Option<Transactions>,
    pub(super) window: Window,
    /// The positions of what is in the window, and how many have left it.
    positions: VecDeque<u64>,
    told: usize,
    /// The topics known to exist.
    pub(super) topics: BTreeSet<String>,
    pub(super) limits: Limits,
    pub(super) careful: bool,
    /// An event of more bytes is a batch of its own.
    alone_above: usize,
    queue_bytes: usize,
    /// Whether the last in the window is a refused one, behind which nothing may be stored until it was told.
    is_closed: bool,
    pub(super) failure: Option<String>,
    /// What the brokers refused for good, by position.
    pub(super) refused: BTreeMap<u64, String>,
    /// Whether a batch was refused in which some events may be innocent.
    pub(super) suspects: bool,
    /// For documents in structured mode.
    document: Vec<u8>,
}

/// What became of a record that was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is in the window.
    Yes,
    /// There is no room, or nothing may follow yet.
    NotYet,
    /// librdkafka has no room although nothing is in flight: in a moment it will.
    InAMoment,
}

impl Link {
    /// Reaches the brokers, makes sure of the topic where there is only one, and starts a producer. Returns what is known to be stored,
    /// too. Blocks.
    pub(super) fn open(setup: Setup) -> Result<(Self, Resume), Error> {
        let Setup { config, claim, topic, mut limits, careful, figures } = setup;
        if let Some(topic) = &topic {
            limits.add(ensure(&config, topic)?.batch_max());
        }
        if config.delivery == Delivery::ExactlyOnce {
            cursor::ensure(&config)?;
        }
        let (sender, mut reports) = mpsc::channel(2 * WINDOW + 16);
        let (settings, alone_above) = config.producer(limits, careful)?;
        let context = Reports::new(sender, figures);
        let producer = ThreadedProducer::from_config_and_context(&settings, context)
            .map_err(|error| Error::misconfigured("make a Kafka producer", refused(error)))?;
        if topic.is_none() {
            let heard = &producer.context().heard;
            let reached = producer.client().fetch_metadata(None, ANSWER);
            reached.map_err(|error| unreachable(&config, heard, error))?;
        }
        let (mut transactions, mut resume) = (None, Resume::default());
        if config.delivery == Delivery::ExactlyOnce {
            let entered = Transactions::enter(&config, &producer, &claim)?;
            (transactions, resume) = (Some(entered.0), entered.1);
            // The first cursor is settled.
            while reports.try_recv().is_ok() {}
        }
        let link = Self {
            producer,
            reports,
            transactions,
            window: Window::default(),
            positions: VecDeque::new(),
            told: 0,
            topics: topic.into_iter().collect(),
            limits,
            careful,
            alone_above,
            queue_bytes: usize::try_from(config.queue_bytes.0).unwrap_or(usize::MAX),
            is_closed: false,
            failure: None,
            refused: BTreeMap::new(),
            suspects: false,
            document: Vec::new(),
        };
        Ok((link, resume))
    }

    /// Ends the producer: its queue is purged, so that nothing of it is sent behind its successor's back. Returns what the brokers
    /// refused for good, and the last position in flight if a batch was refused as a whole. Blocks.
    pub(super) fn end(mut self) -> (BTreeMap<u64, String>, Option<u64>) {
        if self.transactions.as_ref().is_some_and(|transactions| !transactions.is_idle()) {
            give_up(&self.producer);
        }
        while let Ok(report) = self.reports.try_recv() {
            self.hear(Some(report));
        }
        let suspect = self.positions.back().copied().filter(|_| self.suspects);
        (std::mem::take(&mut self.refused), suspect)
    }

    /// Queues a record, or refuses it in its turn when it can never be taken. `refused` is the reason where that is known already.
    pub(super) fn take(
        &mut self,
        topic: &str,
        encoder: &mut Encoder,
        mode: Mode,
        record: &Record,
        refused: Option<&String>,
    ) -> Result<Taken, Error> {
        if self.is_closed || self.window.len() >= WINDOW {
            return Ok(Taken::NotYet);
        }
        let position = record.event.position;
        if let Some(reason) = refused {
            return Ok(self.refuse(position, reason.clone()));
        }
        let mut headers = OwnedHeaders::new_with_capacity(20);
        let body: &[u8] = match mode {
            Mode::Binary => {
                headers = binary(encoder, record, headers);
                &record.event.body
            }
            Mode::Structured => {
                self.document.clear();
                encoder.structured(record, &mut self.document);
                headers = headers.insert(Header { key: "content-type", value: Some(STRUCTURED) });
                &self.document
            }
        };
        let key = record.event.topic.key();
        let bytes = body.len();
        if bytes + key.len() > self.queue_bytes {
            let reason = format!("{bytes} bytes are more than sink.kafka.queue_bytes holds");
            return Ok(self.refuse(position, reason));
        }
        if let Some(transactions) = &mut self.transactions {
            let admitted = transactions.admit(&self.producer);
            let admitted = admitted.map_err(|error| {
                Error::retry("begin a transaction", transactions.explain(error))
            })?;
            if !admitted {
                return Ok(Taken::NotYet);
            }
        }
        let ticket = self.window.admit();
        let message =
            BaseRecord::with_opaque_to(topic, ticket).key(key).payload(body).headers(headers);
        match self.producer.send(message) {
            Ok(()) => {
                self.positions.push_back(position);
                if let Some(transactions) = &mut self.transactions {
                    transactions.sent(position);
                }
                Ok(Taken::Yes)
            }
            Err((error, _)) => {
                self.window.retract();
                self.not_sent(topic, position, bytes, error)
            }
        }
    }

    /// What a record comes to that librdkafka did not take.
    fn not_sent(
        &mut self,
        topic: &str,
        position: u64,
        bytes: usize,
        error: KafkaError,
    ) -> Result<Taken, Error> {
        if is_full(&error) {
            self.hurry();
            let is_alone = self.window.len() == 0;
            return Ok(if is_alone { Taken::InAMoment } else { Taken::NotYet });
        }
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) {
            let reason = format!("{bytes} bytes and headers are more than the topic takes");
            return Ok(self.refuse(position, reason));
        }
        let operation = format!("produce to {topic}");
        Err(match &self.transactions {
            Some(transactions) => Error::retry(operation, transactions.explain(error)),
            None => Error::retry(operation, error),
        })
    }

    /// Refuses a record in its turn. Nothing follows it before it was told, so that its marker comes before the later events of its
    /// key. In a transaction's sink nothing else may be in flight either: were an event committed with it, the cursor would lie behind
    /// the refused one, and after a crash nobody would be told.
    fn refuse(&mut self, position: u64, reason: String) -> Taken {
        if self.transactions.is_some() && self.window.len() > 0 {
            self.hurry();
            return Taken::NotYet;
        }
        self.is_closed = true;
        self.window.refuse(reason);
        self.positions.push_back(position);
        Taken::Yes
    }

    fn hurry(&mut self) {
        if let Some(transactions) = &mut self.transactions {
            transactions.hurry();
        }
    }

    /// Waits for verdicts, and returns the position of the last. The error says what ended the link.
    pub(super) async fn settle(&mut self, verdicts: &mut Vec<Verdict>) -> Result<u64, String> {
        loop {
            if let Some(position) = self.tell(verdicts) {
                return Ok(position);
            }
            if let Some(reason) = self.failure.take() {
                return Err(reason);
            }
            // The producer holds the other end, so that this waits while nothing is in flight, but for a fatal error.
            let Some(transactions) = &mut self.transactions else {
                let report = self.reports.recv().await;
                self.hear_all(report);
                continue;
            };
            tokio::select! {
                biased;
                report = self.reports.recv() => self.hear_all(report),
                step = transactions.advance(&self.producer) => {
                    if let Err(error) = step {
                        let reason = transactions.explain(error);
                        self.fail(reason);
                    }
                }
            }
        }
    }

    /// Tells what is decided, and in transactions also committed.
    fn tell(&mut self, verdicts: &mut Vec<Verdict>) -> Option<u64> {
        if self.transactions.as_ref().is_some_and(|transactions| !transactions.is_idle()) {
            return None;
        }
        let count = self.window.tell(verdicts);
        self.told += count;
        self.is_closed &= self.window.len() > 0;
        self.positions.drain(..count).next_back()
    }

    fn hear_all(&mut self, report: Option<Report>) {
        self.hear(report);
        while let Ok(report) = self.reports.try_recv() {
            self.hear(Some(report));
        }
    }

    fn hear(&mut self, report: Option<Report>) {
        match report {
            Some(Report::Delivered(ticket)) => {
                if ticket != CURSOR {
                    self.window.decide(ticket, Verdict::Stored);
                }
                if let Some(transactions) = &mut self.transactions {
                    transactions.acknowledged();
                }
            }
            Some(Report::Failed { ticket, code, bytes }) => self.hear_failure(ticket, code, bytes),
            Some(Report::Fatal(reason)) => self.fail_fatally(reason),
            None => self.fail("the producer is gone".into()),
        }
    }

    fn hear_failure(&mut self, ticket: usize, code: RDKafkaErrorCode, bytes: usize) {
        if !is_refusal(code) {
            return self.fail_fatally(code.to_string());
        }
        let place = ticket.checked_sub(self.told);
        let position = place.and_then(|place| self.positions.get(place)).copied();
        let is_alone = self.careful || bytes > self.alone_above;
        let Some(position) = position.filter(|_| is_alone) else {
            self.suspects = true;
            return self.fail(format!("{code}: now sent one by one, to find which event is meant"));
        };
        let reason = code.to_string();
        self.refused.insert(position, reason.clone());
        if self.transactions.is_some() {
            self.fail(format!("{code}: the transaction is begun again without that event"));
        } else {
            self.window.decide(ticket, Verdict::Refused { reason });
        }
    }

    /// As `fail`, when the reason may be that the brokers have shut this producer out, of which messages hear before we do.
    fn fail_fatally(&mut self, reason: String) {
        let fatal = self.producer.client().fatal_error();
        let is_fenced = fatal.is_some_and(|(code, _)| code == RDKafkaErrorCode::Fenced);
        self.fail(match &self.transactions {
            Some(transactions) if is_fenced => fenced(transactions.id()),
            _ => reason,
        });
    }

    /// What follows a failure fails too; only the first says why.
    fn fail(&mut self, reason: String) {
        self.failure.get_or_insert(reason);
    }
}

/// Whether an error says that the message itself, or another of its batch, can never be stored.
fn is_refusal(code: RDKafkaErrorCode) -> bool {
    [
        RDKafkaErrorCode::MessageSizeTooLarge,
        RDKafkaErrorCode::MessageBatchTooLarge,
        RDKafkaErrorCode::InvalidMessageSize,
        RDKafkaErrorCode::InvalidRecord,
        RDKafkaErrorCode::InvalidTimestamp,
        RDKafkaErrorCode::PolicyViolation,
        RDKafkaErrorCode::InvalidDifferentRecord,
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
