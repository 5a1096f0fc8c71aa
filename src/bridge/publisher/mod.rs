//! Carries one sink's events from the journal to the sink, and is the only one to decide what is sent again.
//!
//! Opens the sink with back-off, keeps its window full, acknowledges to the journal in order, parks what the sink can never
//! take, and after an error begins again at the first event without acknowledgement. Knows no broker.

mod dead_letter;

#[cfg(test)]
mod tests;

use crate::clock::Clock;
use crate::event::Epoch;
use crate::journal::Reader;
use crate::observation::Observation;
use crate::sink::guarantee::Level;
use crate::sink::{self, Disposition, Record, Sink, Verdict};
use crate::telemetry::metrics;
use crate::time::Timestamp;
use dead_letter::DeadLetters;
use std::collections::VecDeque;
use std::error::Error as _;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How many records a sink is offered at once: JetStream's whole window, and enough to make the calls cheap.
const BATCH: usize = 256;

/// How long to wait before attempt `n` (from 0), jitter included.
pub type Delay = Box<dyn FnMut(u32) -> Duration + Send>;

/// Appends an event in its structured form, for the dead-letter file: the CloudEvents encoder, with its source.
pub type Encode = Box<dyn FnMut(&Record, &mut Vec<u8>) + Send>;

/// What a publisher is made of.
pub struct Setup {
    /// Where events go.
    pub sink: Box<dyn Sink>,
    /// Where they come from; names the sink.
    pub reader: Reader,
    /// The least that the broker must give.
    pub required: Option<Level>,
    /// The journal's.
    pub epoch: Epoch,
    /// The back-off; asked again from attempt 0 after each verdict.
    pub delay: Delay,
    /// How a parked event is written.
    pub encode: Encode,
    /// Where dead-letter files are kept.
    pub data_dir: PathBuf,
    /// Bounded; its reader never waits for a sink.
    pub observations: mpsc::Sender<Observation>,
    /// What the sink acknowledged is counted there.
    pub metrics: metrics::Sink,
    /// Cancelled when the drain's deadline has passed.
    pub deadline: CancellationToken,
    /// For the latency from frame to acknowledgement.
    pub clock: Clock,
}

/// Why a publisher gave up.
#[derive(Debug, thiserror::Error)]
#[error("sink {sink} cannot work as it is configured")]
pub struct Error {
    /// Which sink.
    pub sink: &'static str,
    /// What it said; its disposition is `Misconfigured`.
    pub source: sink::Error,
}

/// The task between one sink and the journal.
pub struct Publisher {
    setup: Setup,
    dead_letters: DeadLetters,
    /// Failures since the last verdict.
    attempt: u32,
    /// When the frames of submitted records were read, oldest first.
    in_flight: VecDeque<Timestamp>,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("sink", &self.sink)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("setup", &self.setup)
            .field("attempt", &self.attempt)
            .field("in_flight", &self.in_flight.len())
            .finish_non_exhaustive()
    }
}

impl Publisher {
    /// A publisher that has not opened its sink yet.
    pub fn new(setup: Setup) -> Self {
        Self {
            dead_letters: DeadLetters::new(&setup.data_dir, setup.reader.sink()),
            setup,
            attempt: 0,
            in_flight: VecDeque::new(),
        }
    }

    /// Publishes until the journal is closed and delivered, or the deadline is cancelled. Returns how many events are without
    /// acknowledgement then: 0 is a clean end.
    ///
    /// # Errors
    /// When the sink says that only a change of configuration helps.
    pub async fn run(mut self) -> Result<u64, Error> {
        let deadline = self.setup.deadline.clone();
        let ended = deadline.run_until_cancelled(self.publish()).await;
        ended.transpose()?;
        Ok(self.setup.reader.unacknowledged() as u64)
    }

    async fn publish(&mut self) -> Result<(), Error> {
        // With nothing left to deliver, a broker that is away need not come back.
        while !self.setup.reader.is_finished() {
            let failed = match self.open().await {
                Ok(true) => self.stream().await,
                // Nothing is left to deliver, so that the sink is not needed any more.
                Ok(false) => return Ok(()),
                Err(error) => Err(error),
            };
            match failed {
                Ok(()) => {
                    // Everything is acknowledged: a sink that cannot say goodbye has lost nothing.
                    if let Err(error) = self.setup.sink.close().await {
                        self.fail(&error, Duration::ZERO).await;
                    }
                    return Ok(());
                }
                Err(error) => self.back_off(error).await?,
            }
        }
        Ok(())
    }

    /// Opens the sink and forgets what its broker turns out to hold. False when it need not be opened any more.
    async fn open(&mut self) -> Result<bool, sink::Error> {
        self.in_flight.clear();
        // Asked first: a sink that fails at once would otherwise be opened for ever.
        let resume = tokio::select! {
            biased;
            () = is_over(&self.setup.reader) => return Ok(false),
            resume = self.setup.sink.open(&self.setup.epoch) => resume?,
        };
        self.require().await?;
        if let Some(position) = resume.last_position {
            // A refused event cannot hide among these: a sink that can resume stores nothing behind one until it was told.
            let known = self.setup.reader.skip_through(position);
            self.setup.metrics.known(known as u64);
        }
        self.setup.reader.rewind();
        self.observe(Observation::SinkReady {
            sink: self.setup.reader.sink(),
            resumed_from: resume.last_position,
        })
        .await;
        Ok(true)
    }

    /// Gives up when the broker gives less than is required. What only could not be read is no reason.
    async fn require(&mut self) -> Result<(), sink::Error> {
        let Some(required) = self.setup.required else {
            return Ok(());
        };
        let given = self.setup.sink.guarantee().await?;
        match given.shortfall(required) {
            None => Ok(()),
            Some(shortfall) => {
                let key = format!("give what sink.{}.required asks for", self.setup.reader.sink());
                Err(sink::Error::misconfigured(key, shortfall))
            }
        }
    }

    /// Sends and settles until everything of a closed journal is settled.
    async fn stream(&mut self) -> Result<(), sink::Error> {
        let mut batch: Vec<Record> = Vec::with_capacity(BATCH);
        let mut verdicts = Vec::new();
        let mut is_full = false;
        loop {
            // Asked before the queue: what was appended before the close is then seen.
            let is_closed = self.setup.reader.is_closed();
            batch.clear();
            if !is_full {
                self.setup.reader.peek(BATCH, &mut batch);
            }
            let offered = batch.len();
            if offered > 0 {
                let taken = self.setup.sink.submit(&batch).await?.min(offered);
                self.setup.reader.advance(taken);
                let sent = batch.drain(..).take(taken);
                self.in_flight.extend(sent.map(|record| record.event.received));
                is_full = taken < offered;
            }
            if self.in_flight.is_empty() {
                if is_full {
                    return Err(takes_nothing(self.setup.reader.sink()));
                }
                if is_closed && offered == 0 {
                    return Ok(());
                }
            }
            let has_more = offered == BATCH && !is_full;
            tokio::select! {
                biased;
                // 1 What became of what was sent, so that the window opens.
                settled = self.setup.sink.settle(&mut verdicts), if !self.in_flight.is_empty() => {
                    self.apply(&mut verdicts).await;
                    settled?;
                    is_full = false;
                }
                // 2 More of what is there already.
                () = tokio::task::yield_now(), if has_more => {}
                // 3 Something new.
                () = self.setup.reader.changed(), if !is_full => {}
            }
        }
    }

    /// Takes verdicts in order and passes them on to the journal.
    async fn apply(&mut self, verdicts: &mut Vec<Verdict>) {
        if verdicts.is_empty() {
            return;
        }
        self.attempt = 0;
        let now = self.setup.clock.timestamp().as_micros();
        let mut stored = 0;
        for verdict in verdicts.drain(..) {
            let received = self.in_flight.pop_front().unwrap_or_default();
            match verdict {
                Verdict::Stored => {
                    stored += 1;
                    let micros = now.saturating_sub(received.as_micros());
                    self.setup.metrics.delivered(Duration::from_micros(micros));
                }
                Verdict::Refused { reason } => {
                    self.acknowledge(std::mem::take(&mut stored));
                    self.park(reason).await;
                }
            }
        }
        self.acknowledge(stored);
    }

    fn acknowledge(&mut self, count: usize) {
        self.setup.reader.acknowledge(count);
    }

    /// Parks the oldest event without acknowledgement. Tries for as long as it takes: to go on would lose the event.
    async fn park(&mut self, reason: String) {
        let Some(record) = self.setup.reader.first() else {
            return;
        };
        let mut structured = Vec::new();
        (self.setup.encode)(&record, &mut structured);
        while let Err(error) = self.dead_letters.park(&structured, &reason).await {
            let retry_in = (self.setup.delay)(self.attempt);
            self.attempt = self.attempt.saturating_add(1);
            let path = self.dead_letters.path().display();
            let detail = format!("write the dead letter to {path}: {error}");
            self.observe_failure(detail, retry_in).await;
            tokio::time::sleep(retry_in).await;
        }
        self.setup.reader.acknowledge(1);
        self.observe(Observation::EventParked {
            sink: self.setup.reader.sink(),
            topic: record.event.topic.clone(),
            number: record.number,
            reason,
        })
        .await;
    }

    /// Waits before the sink is opened again, but not for nothing, or gives up when that cannot help.
    async fn back_off(&mut self, error: sink::Error) -> Result<(), Error> {
        let after = match error.disposition {
            Disposition::Retry { after } => after.unwrap_or_default(),
            Disposition::Misconfigured => {
                return Err(Error { sink: self.setup.reader.sink(), source: error });
            }
        };
        // The broker's own wish is never shortened: jitter comes on top.
        let retry_in = after + (self.setup.delay)(self.attempt);
        self.attempt = self.attempt.saturating_add(1);
        self.fail(&error, retry_in).await;
        tokio::select! {
            () = tokio::time::sleep(retry_in) => {}
            () = is_over(&self.setup.reader) => {}
        }
        Ok(())
    }

    async fn fail(&mut self, error: &sink::Error, retry_in: Duration) {
        let mut detail = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            detail.push_str(": ");
            detail.push_str(&cause.to_string());
            source = cause.source();
        }
        self.observe_failure(detail, retry_in).await;
    }

    async fn observe_failure(&mut self, detail: String, retry_in: Duration) {
        self.observe(Observation::SinkFailed { sink: self.setup.reader.sink(), detail, retry_in })
            .await;
    }

    async fn observe(&mut self, observation: Observation) {
        // Without a reader the process is past telling anything.
        self.setup.observations.send(observation).await.ok();
    }
}

/// Waits until nothing is left to deliver and nothing more will come: a drain must not wait for a sink that is away then.
async fn is_over(reader: &Reader) {
    while !reader.is_closed() || reader.unacknowledged() > 0 {
        reader.changed().await;
    }
}

/// A sink that has room for nothing while nothing is in flight would wait for ever.
fn takes_nothing(sink: &'static str) -> sink::Error {
    sink::Error {
        operation: format!("submit to {sink}: nothing is in flight, and nothing is taken"),
        disposition: Disposition::Retry { after: None },
        source: None,
    }
}
