//! Transactions: events and the cursor are committed together, under a name that lets only one process write.
//!
//! One is open for `linger`, then takes no more, writes the cursor, waits until every message is acknowledged, and commits. What
//! fails is never mended here: the link ends, and the next one, which the brokers let in by ending the transaction that was left
//! open, reads the cursor to learn what became of it.
//!
//! ```text
//! Idle ──first event──► Open ──linger, or full──► Closing ──all acknowledged──► Committing ──► Idle
//!                         └─────── any error ────────┴──────────────┴─────────► Failed
//! ```

use super::Config;
use super::cursor::{self, Cursor};
use super::report::{CURSOR, Reports};
use crate::event::Epoch;
use crate::sink::{Error, Resume};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use std::future;
use std::pin::Pin;
use std::thread;
use std::time::Duration;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Sleep, sleep};

/// How long the brokers may take to let us in: the first time a cluster sees a transaction it makes a topic for them.
const ENTRY: Duration = Duration::from_secs(30);

/// How long one call to commit may take.
const COMMIT: Duration = Duration::from_secs(5);

/// How often that is repeated before the link ends, so that it is told; the next link learns from the cursor what became of it. The
/// pause doubles from the first to the last.
const COMMITS: u32 = 8;
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// How long to try to tell the brokers that a transaction is given up, so that readers need not wait until it times out.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long to wait for room in librdkafka's queue before the next look.
const MOMENT: Duration = Duration::from_millis(1);

type Producing = ThreadedProducer<Reports>;

/// The transactions of one producer, one after the other.
pub(super) struct Transactions {
    id: String,
    cursor_topic: String,
    /// The epoch of what is sent.
    epoch: Epoch,
    cursor: Cursor,
    open_for: Duration,
    phase: Phase,
    /// Messages without a report, the cursor's included.
    outstanding: usize,
}

enum Phase {
    Idle,
    Open(Pin<Box<Sleep>>),
    Closing {
        /// Whether the cursor is on its way.
        written: bool,
    },
    Committing {
        commit: JoinHandle<Result<(), KafkaError>>,
        /// How often it was tried before.
        attempt: u32,
    },
    Failed,
}

/// Who wants to write.
pub(super) struct Claim {
    /// The epoch that is asked about.
    pub(super) epoch: Epoch,
    /// The youngest epoch of this process.
    pub(super) youngest: Epoch,
    /// The youngest that it has written into a cursor.
    pub(super) declared: Option<Epoch>,
}

impl Claim {
    /// Refuses a process that has written before and was followed by one of a younger epoch: it must stay out. One that begins may
    /// take over, from whom it will.
    fn check(&self, found: Option<&Cursor>, operation: &str) -> Result<(), Error> {
        match (found, &self.declared) {
            (Some(found), Some(declared)) if found.youngest() > declared.as_str() => {
                let younger = found.youngest();
                let reason = format!("another process has taken over with epoch {younger}");
                Err(Error::retry(operation, reason))
            }
            _ => Ok(()),
        }
    }
}

impl Transactions {
    /// Fences whoever used the name before, learns how far it got, and leaves a cursor that says who writes now and forgets nothing of
    /// that. Where a younger epoch is found, nothing is written: the journal is an old copy, or has a younger epoch itself. Blocks.
    pub(super) fn enter(
        config: &Config,
        producer: &Producing,
        claim: &Claim,
    ) -> Result<(Self, Resume), Error> {
        let id = config.transactional_id.clone().unwrap_or_default();
        let operation = format!("begin transactions as {id} at {}", config.brokers);
        if claim.declared.is_some() {
            // Asked before, so that the younger one is not fenced each time that we try.
            claim.check(cursor::read(config, &id)?.as_ref(), &operation)?;
        }
        let begun = producer.init_transactions(ENTRY);
        begun.map_err(|error| failed(&id, operation.clone(), error))?;
        // Only now: what was being committed is committed or not, and who has come meanwhile is seen.
        let found = cursor::read(config, &id)?;
        claim.check(found.as_ref(), &operation)?;
        let resume = found.as_ref().map(|found| found.resume(&claim.epoch)).unwrap_or_default();
        let writer = claim.youngest.to_string();
        let mut transactions = Self {
            cursor_topic: config.cursor_topic.clone(),
            epoch: claim.epoch.clone(),
            cursor: found
                .filter(|found| found.position > 0)
                .map_or_else(|| Cursor::new(&claim.youngest), |found| Cursor { writer, ..found }),
            open_for: config.transaction_open(),
            phase: Phase::Idle,
            outstanding: 0,
            id,
        };
        if resume.younger.is_some() {
            return Ok((transactions, resume));
        }
        let entered = producer
            .begin_transaction()
            .and_then(|()| transactions.write_cursor(producer))
            .and_then(|()| producer.commit_transaction(ENTRY));
        transactions.outstanding = 0;
        let operation = format!("write the cursor to {}", config.cursor_topic);
        entered.map_err(|error| failed(&transactions.id, operation, error))?;
        Ok((transactions, resume))
    }

    /// Whether another event may join, in a transaction that is begun if none is open.
    pub(super) fn admit(&mut self, producer: &Producing) -> Result<bool, KafkaError> {
        match self.phase {
            Phase::Idle => {
                producer.begin_transaction()?;
                self.phase = Phase::Open(Box::pin(sleep(self.open_for)));
                Ok(true)
            }
            Phase::Open(_) => Ok(true),
            Phase::Closing { .. } | Phase::Committing { .. } | Phase::Failed => Ok(false),
        }
    }

    /// The event at that position has joined.
    pub(super) fn sent(&mut self, position: u64) {
        self.outstanding += 1;
        if self.cursor.epoch != self.epoch.as_str() {
            self.cursor.epoch = self.epoch.to_string();
        }
        self.cursor.position = position;
    }

    /// A message is acknowledged.
    pub(super) fn acknowledged(&mut self) {
        self.outstanding = self.outstanding.saturating_sub(1);
    }

    /// No more shall join: there is no room.
    pub(super) fn hurry(&mut self) {
        if let Phase::Open(due) = &mut self.phase {
            due.set(sleep(Duration::ZERO));
        }
    }

    /// Whether what is acknowledged is committed.
    pub(super) const fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle)
    }

    /// Waits for the next step and takes it. For ever when reports must come first. Cancel-safe.
    pub(super) async fn advance(&mut self, producer: &Producing) -> Result<(), KafkaError> {
        let step = self.step(producer).await;
        if step.is_err() {
            self.phase = Phase::Failed;
        }
        step
    }

    async fn step(&mut self, producer: &Producing) -> Result<(), KafkaError> {
        match &mut self.phase {
            Phase::Open(due) => {
                due.await;
                self.phase = Phase::Closing { written: false };
                Ok(())
            }
            Phase::Closing { written: false } => match self.write_cursor(producer) {
                Err(error) if is_full(&error) => {
                    // Room comes with the reports of events, and the last of them makes it a moment later.
                    sleep(MOMENT).await;
                    Ok(())
                }
                written => {
                    self.phase = Phase::Closing { written: true };
                    written
                }
            },
            Phase::Closing { written: true } if self.outstanding == 0 => {
                self.phase =
                    Phase::Committing { commit: committing(producer, Duration::ZERO), attempt: 0 };
                Ok(())
            }
            Phase::Committing { commit, attempt } => {
                // A panic in the library's wrapper leaves the outcome open, and the next link will know.
                let committed = commit.await.unwrap_or(Err(KafkaError::Canceled));
                self.phase = match committed {
                    Ok(()) => Phase::Idle,
                    Err(error) if is_retriable(&error) && *attempt + 1 < COMMITS => {
                        let pause = (PAUSE.0 * 2_u32.pow(*attempt)).min(PAUSE.1);
                        let attempt = *attempt + 1;
                        Phase::Committing { commit: committing(producer, pause), attempt }
                    }
                    Err(error) => return Err(error),
                };
                Ok(())
            }
            Phase::Idle | Phase::Closing { .. } | Phase::Failed => future::pending().await,
        }
    }

    /// The name under which they are known.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// What to say of a failure.
    pub(super) fn explain(&self, error: KafkaError) -> String {
        explain(&self.id, error)
    }

    fn write_cursor(&mut self, producer: &Producing) -> Result<(), KafkaError> {
        let value = self.cursor.to_json();
        let record = BaseRecord::with_opaque_to(&self.cursor_topic, CURSOR)
            .partition(cursor::PARTITION)
            .key(self.id.as_str())
            .payload(&value);
        producer.send(record).map_err(|(error, _)| error)?;
        self.outstanding += 1;
        Ok(())
    }
}

/// Gives up what is open, so that readers do not wait until the brokers do. Blocks.
pub(super) fn give_up(producer: &Producing) {
    // What cannot be aborted is ended by the next producer of this name, or by time.
    drop(producer.abort_transaction(FAREWELL));
}

fn committing(producer: &Producing, pause: Duration) -> JoinHandle<Result<(), KafkaError>> {
    let producer = producer.clone();
    spawn_blocking(move || {
        thread::sleep(pause);
        // All reports are in, and librdkafka forgets their messages within moments. Its wrapper would look only each 100 ms.
        for _ in 0..1_000 {
            if producer.in_flight_count() == 0 {
                break;
            }
            thread::sleep(Duration::from_micros(50));
        }
        producer.commit_transaction(COMMIT)
    })
}

/// Whether librdkafka's queue has no room.
pub(super) fn is_full(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull)
}

fn is_retriable(error: &KafkaError) -> bool {
    if let KafkaError::Transaction(error) = error {
        return error.is_retriable();
    }
    matches!(error, KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut))
}

fn failed(id: &str, operation: String, error: KafkaError) -> Error {
    let hopeless = [
        RDKafkaErrorCode::InvalidTransactionTimeout,
        RDKafkaErrorCode::UnsupportedFeature,
        RDKafkaErrorCode::UnsupportedVersion,
    ];
    let is_hopeless = error.rdkafka_error_code().is_some_and(|code| hopeless.contains(&code));
    let reason = explain(id, error);
    if is_hopeless {
        return Error::misconfigured(operation, reason);
    }
    Error::retry(operation, reason)
}

fn explain(id: &str, error: KafkaError) -> String {
    let fences = [
        RDKafkaErrorCode::Fenced,
        RDKafkaErrorCode::ProducerFenced,
        RDKafkaErrorCode::InvalidProducerEpoch,
    ];
    let is_fenced = error.rdkafka_error_code().is_some_and(|code| fences.contains(&code));
    if is_fenced { fenced(id) } else { error.to_string() }
}

/// What to say when the brokers have shut a producer out.
pub(super) fn fenced(id: &str) -> String {
    format!(
        "another process writes as {id}, or the brokers ended a transaction that took longer than transaction.timeout.ms"
    )
}
