//! Carries one sink's events from the journal to the sink, and is the only one to decide what is sent again.
//!
//! Opens the sink with back-off, keeps its window full, acknowledges to the journal in order, parks what the sink can never
//! take, and after an error begins again at the first event without acknowledgement. Knows no broker.

mod dead_letter;
mod pace;
mod parking;
mod reach;

#[cfg(test)]
mod tests;

use crate::clock::Clock;
use crate::event::Epoch;
use crate::journal::Reader;
use crate::observation::Observation;
use crate::sink::guarantee::{Effect, Guarantee, Level};
use crate::sink::{self, Disposition, Record, Resume, Sink, Verdict};
use crate::telemetry::metrics;
use crate::time::Timestamp;
use dead_letter::DeadLetters;
use pace::Pace;
use parking::Parking;
use reach::Reach;
use std::collections::VecDeque;
use std::error::Error as _;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How many records a sink is offered at once: JetStream's whole window, and enough to make the calls cheap.
const BATCH: usize = 256;

/// How long a sink may take to close once the drain's deadline has passed.
const FAREWELL: Duration = Duration::from_secs(2);

/// How long the broker may take to say what it gives where nothing is required: events wait for it.
const ANSWER: Duration = Duration::from_secs(5);

/// How much of what weakens a guarantee is told: more than any sink can find.
const WEAKNESSES_MAX: usize = 16;

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
    pace: Pace,
    /// What the sink is doing: one of `metrics::FAILURES`.
    doing: &'static str,
    /// The epoch that the sink was opened for.
    epoch: Option<Epoch>,
    /// The last position that was ever offered to the sink.
    offered: u64,
    /// What was refused and has no marker yet, and what was stored behind it.
    parking: Parking,
    reach: Reach,
    /// Whether what weakens the guarantee has been told.
    is_explained: bool,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("sink", &self.sink).finish_non_exhaustive()
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
            reach: Reach::of(setup.sink.figures()),
            dead_letters: DeadLetters::new(&setup.data_dir, setup.reader.sink()),
            setup,
            attempt: 0,
            in_flight: VecDeque::new(),
            pace: Pace::default(),
            doing: "connect",
            epoch: None,
            offered: 0,
            parking: Parking::default(),
            is_explained: false,
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
        if ended.transpose()?.is_none() {
            // What the sink has begun it ends now, so that nobody waits for that: a transaction holds up its readers. A broker that
            // does not answer is not waited for.
            drop(tokio::time::timeout(FAREWELL, self.setup.sink.close()).await);
        }
        Ok(self.setup.reader.unacknowledged() as u64)
    }

    async fn publish(&mut self) -> Result<(), Error> {
        // With nothing left to deliver, a broker that is away need not come back.
        while !self.setup.reader.is_finished() {
            let streamed = match self.open().await {
                Ok(true) => self.stream().await,
                // Nothing is left to deliver, so that the sink is not needed any more.
                Ok(false) => return Ok(()),
                Err(error) => Err(error),
            };
            match streamed {
                Ok(Streamed::ToTheEnd) => {
                    // Everything is acknowledged: a sink that cannot say goodbye has lost nothing.
                    self.doing = "close";
                    if let Err(error) = self.setup.sink.close().await {
                        self.fail(&error, Duration::ZERO).await;
                    }
                    return Ok(());
                }
                Ok(Streamed::ToTheNextEpoch) => {}
                Err(error) => self.back_off(error).await?,
            }
        }
        Ok(())
    }

    /// Opens the sink and forgets what its broker turns out to hold. False when it need not be opened any more.
    async fn open(&mut self) -> Result<bool, sink::Error> {
        self.in_flight.clear();
        self.pace.forget();
        self.reach.begin();
        self.doing = "connect";
        self.parking.forget();
        self.setup.reader.rewind();
        let (mut resumed_from, mut given) = (None, None);
        // The youngest first: a broker that holds something of it has all that is older. There is more than one only after a restart
        // that could not go on with the last.
        for epoch in self.setup.reader.epochs().into_iter().rev() {
            // Asked first: a sink that fails at once would otherwise be opened for ever.
            let resume = tokio::select! {
                biased;
                () = is_over(&self.setup.reader) => return Ok(false),
                resume = self.setup.sink.open(&epoch) => resume?,
            };
            given = self.ask().await?;
            self.epoch = Some(epoch.clone());
            if self.epoch == self.setup.reader.epochs().pop() {
                self.renew_behind(&resume).await?;
            }
            resumed_from = resume.last_position;
            // Whoever holds something of a younger epoch holds all of this one.
            if let Some(position) = resume.younger.map_or(resumed_from, |_| Some(u64::MAX)) {
                // A refused event cannot hide among these: a sink that can resume stores nothing behind one until it was told.
                let skipped = self.setup.reader.skip_through(&epoch, position).await;
                let known = skipped.map_err(unreadable)?;
                let markers = self.parking.settle_through(position);
                self.setup.metrics.known(known.saturating_sub(markers) as u64);
                break;
            }
        }
        self.setup.reader.rewind();
        self.observe(Observation::SinkReady { sink: self.setup.reader.sink(), resumed_from }).await;
        self.explain(given).await;
        Ok(true)
    }

    /// Begins a new epoch where the sink holds what was never offered to it and did not lie in the journal when that was opened: those
    /// positions were given before, to other events. The next attempt finds the new epoch.
    async fn renew_behind(&mut self, resume: &Resume) -> Result<(), sink::Error> {
        // Not the journal's end: it grows while the sink is being asked.
        let known = self.setup.reader.began().max(self.offered);
        let held = match (&resume.younger, resume.last_position) {
            (Some(younger), _) => format!("events of epoch {younger}"),
            (None, Some(position)) if position > known => {
                format!("events up to position {position}")
            }
            (None, Some(_) | None) => return Ok(()),
        };
        self.setup.reader.renew(resume.younger.as_ref()).await.map_err(unreadable)?;
        let detail = format!("it holds {held}, and the journal does not: data_dir is an old copy");
        Err(sink::Error::retry("go on with the epoch", detail))
    }

    /// Asks what the broker gives, and gives up when it is less than is required. What only could not be read is no reason. Where nothing
    /// is required it is asked until it has answered once, and no failure of that holds up events.
    async fn ask(&mut self) -> Result<Option<Guarantee>, sink::Error> {
        let Some(required) = self.setup.required else {
            if self.is_explained {
                return Ok(None);
            }
            let asked = tokio::time::timeout(ANSWER, self.setup.sink.guarantee()).await;
            return Ok(asked.ok().and_then(Result::ok));
        };
        let given = self.setup.sink.guarantee().await?;
        match given.shortfall(required) {
            None => Ok(Some(given)),
            Some(shortfall) => {
                let key = format!("give what sink.{}.required asks for", self.setup.reader.sink());
                Err(sink::Error::misconfigured(key, shortfall))
            }
        }
    }

    /// Tells once what weakens the guarantee: a line each, so that who never ran `explain` finds it in the log.
    async fn explain(&mut self, given: Option<Guarantee>) {
        let Some(given) = given.filter(|_| !self.is_explained) else {
            return;
        };
        self.is_explained = true;
        let weakens = |effect| matches!(effect, Effect::Weakens | Effect::Lowers);
        let found = given.findings.into_iter().filter(|finding| weakens(finding.effect));
        for finding in found.take(WEAKNESSES_MAX) {
            let (sink, about) = (self.setup.reader.sink(), finding.name);
            let text = finding.text;
            self.observe(Observation::GuaranteeWeakened { sink, about, text }).await;
        }
    }

    /// Sends and settles until everything of a closed journal is settled, or of an epoch.
    async fn stream(&mut self) -> Result<Streamed, sink::Error> {
        let mut batch: Vec<Record> = Vec::with_capacity(BATCH);
        let mut verdicts = Vec::new();
        let mut is_full = false;
        loop {
            // Asked before the queue: what was appended before the close is then seen.
            let is_closed = self.setup.reader.is_closed();
            batch.clear();
            let is_parking = self.parking.is_busy();
            if !is_full && !is_parking {
                self.setup.reader.peek(BATCH, &mut batch).await.map_err(unreadable)?;
            }
            if let Some(first) = batch.first()
                && self.epoch.as_ref() != Some(&first.event.epoch)
            {
                if self.in_flight.is_empty() {
                    return Ok(Streamed::ToTheNextEpoch);
                }
                // The sink is asked about the next epoch once it has settled this one.
                batch.clear();
                is_full = true;
            }
            let offered = batch.len();
            if offered > 0 {
                self.doing = "send";
                let last = batch.last().map_or(0, |last| last.event.position);
                self.offered = self.offered.max(last);
                let now = self.setup.clock.timestamp();
                let taken = self.setup.sink.submit(&batch).await?.min(offered);
                self.setup.reader.advance(taken);
                self.pace.took(taken, now);
                let sent = batch.drain(..).take(taken);
                self.in_flight.extend(sent.map(|record| record.event.received));
                is_full = taken < offered;
            }
            if self.in_flight.is_empty() && !is_parking {
                if is_full {
                    return Err(takes_nothing(self.setup.reader.sink()));
                }
                if is_closed && offered == 0 {
                    return Ok(Streamed::ToTheEnd);
                }
            }
            let has_more = offered == BATCH && !is_full;
            tokio::select! {
                biased;
                // 1 What became of what was sent, so that the window opens.
                settled = self.setup.sink.settle(&mut verdicts), if !self.in_flight.is_empty() => {
                    self.apply(&mut verdicts).await?;
                    self.doing = "acknowledge";
                    settled?;
                    is_full = false;
                }
                // 2 More of what is there already.
                () = tokio::task::yield_now(), if has_more => {}
                // 3 Something new.
                () = self.setup.reader.changed(), if !is_full && !is_parking => {}
                // 4 The brokers went away behind a library that connects again by itself, or came back.
                is_out = self.reach.changed() => self.tell_reach(is_out).await,
            }
            if self.parking.is_busy() && self.in_flight.is_empty() {
                self.mark_parked().await?;
            }
        }
    }

    async fn tell_reach(&mut self, is_out: bool) {
        let sink = self.setup.reader.sink();
        if is_out {
            let detail = "none of its brokers is connected; its library goes on trying".to_owned();
            self.observe_failure("connect", detail, Duration::ZERO).await;
        } else {
            self.observe(Observation::SinkReady { sink, resumed_from: None }).await;
        }
    }

    /// Takes verdicts in order and passes them on to the journal.
    async fn apply(&mut self, verdicts: &mut Vec<Verdict>) -> Result<(), sink::Error> {
        if verdicts.is_empty() {
            return Ok(());
        }
        self.attempt = 0;
        let mut stored = 0;
        for verdict in verdicts.drain(..) {
            let received = self.in_flight.pop_front().unwrap_or_default();
            let taken = self.pace.settle();
            match verdict {
                Verdict::Stored if !self.parking.is_busy() => {
                    self.delivered(received);
                    stored += 1;
                    if let Some(taken) = taken {
                        let took = self.since(taken);
                        self.setup.metrics.acknowledged_after(took);
                    }
                }
                // Nothing is acknowledged over a refused one before its marker is stored.
                Verdict::Stored => self.parking.hold(received),
                Verdict::Refused { reason } => {
                    self.setup.reader.acknowledge(std::mem::take(&mut stored));
                    self.park(&reason).await?;
                }
            }
        }
        self.setup.reader.acknowledge(stored);
        Ok(())
    }

    /// Counts an event that the sink has.
    fn delivered(&self, received: Timestamp) {
        self.setup.metrics.delivered(self.since(received));
    }

    /// How long ago that was.
    fn since(&self, earlier: Timestamp) -> Duration {
        let now = self.setup.clock.timestamp().as_micros();
        Duration::from_micros(now.saturating_sub(earlier.as_micros()))
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
        self.observe_failure(self.doing, detail, retry_in).await;
    }

    async fn observe_failure(&mut self, kind: &'static str, detail: String, retry_in: Duration) {
        let sink = self.setup.reader.sink();
        self.observe(Observation::SinkFailed { sink, kind, detail, retry_in }).await;
    }

    async fn observe(&mut self, observation: Observation) {
        // Without a reader the process is past telling anything.
        self.setup.observations.send(observation).await.ok();
    }
}

/// Why a stream came to its end.
enum Streamed {
    ToTheEnd,
    ToTheNextEpoch,
}

fn unreadable(error: std::io::Error) -> sink::Error {
    sink::Error::retry("read the journal", error)
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
