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
use crate::sink::Error;
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

/// How long one call to commit may take; it is repeated for as long as the brokers are away.
const COMMIT: Duration = Duration::from_secs(5);

/// How long to try to tell the brokers that a transaction is given up, so that readers need not wait until it times out.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long to wait for room in librdkafka's queue before the next look.
const MOMENT: Duration = Duration::from_millis(1);

type Producing = ThreadedProducer<Reports>;

/// The transactions of one producer, one after the other.
pub(super) struct Transactions {
    id: String,
    cursor_topic: String,
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
    Committing(JoinHandle<Result<(), KafkaError>>),
    Failed,
}

impl Transactions {
    /// Fences whoever used the name before, learns how far it got in this epoch, and leaves a cursor that says who writes now.
    /// `held` says that this process has done so before in this epoch: then it stays out if a younger one has taken over. Blocks.
    pub(super) fn enter(
        config: &Config,
        producer: &Producing,
        epoch: &Epoch,
        held: bool,
    ) -> Result<(Self, Option<u64>), Error> {
        let id = config.transactional_id.clone().unwrap_or_default();
        let operation = || format!("begin transactions as {id} at {}", config.brokers);
        if held
            && let Some(cursor) = cursor::read(config, &id)?
            && cursor.epoch.as_str() > epoch.as_str()
        {
            let reason = format!("another process has taken over with epoch {}", cursor.epoch);
            return Err(Error::retry(operation(), reason));
        }
        producer.init_transactions(ENTRY).map_err(|error| failed(&id, operation(), error))?;
        // Only now: what was being committed is committed or not.
        let found = cursor::read(config, &id)?;
        let position = found.filter(|found| found.epoch == epoch.as_str()).map(|it| it.position);
        let mut transactions = Self {
            cursor_topic: config.cursor_topic.clone(),
            cursor: Cursor::new(epoch, position.unwrap_or(0)),
            open_for: config.transaction_open(),
            phase: Phase::Idle,
            outstanding: 0,
            id,
        };
        let entered = producer
            .begin_transaction()
            .and_then(|()| transactions.write_cursor(producer))
            .and_then(|()| producer.commit_transaction(ENTRY));
        transactions.outstanding = 0;
        let operation = format!("write the cursor to {}", config.cursor_topic);
        entered.map_err(|error| failed(&transactions.id, operation, error))?;
        Ok((transactions, position.filter(|position| *position > 0)))
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
            Phase::Closing { .. } | Phase::Committing(_) | Phase::Failed => Ok(false),
        }
    }

    /// The event at that position has joined.
    pub(super) fn sent(&mut self, position: u64) {
        self.outstanding += 1;
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
                self.phase = Phase::Committing(committing(producer));
                Ok(())
            }
            Phase::Committing(commit) => {
                // A panic in the library's wrapper leaves the outcome open, and the next link will know.
                let committed = commit.await.unwrap_or(Err(KafkaError::Canceled));
                self.phase = match committed {
                    Ok(()) => Phase::Idle,
                    Err(error) if is_retriable(&error) => Phase::Committing(committing(producer)),
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

fn committing(producer: &Producing) -> JoinHandle<Result<(), KafkaError>> {
    let producer = producer.clone();
    spawn_blocking(move || {
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
