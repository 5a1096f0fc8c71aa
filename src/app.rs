//! Assembly: every part made once from the configuration, and one way to stop them all.
//!
//! They stop in the order of an event's way: sockets, journal, sinks, and last the doors for operators.

use crate::admin::{self, Doors};
use crate::bridge::{self, Driver, Ending, Publisher, Report, Setup, Stall, Status, Stream, Tap};
use crate::clock::Clock;
use crate::config::Config;
use crate::event::Epoch;
use crate::exit::Exit;
use crate::genesys::{self, Genesys, Incoming};
use crate::journal::{Journal, Reader};
use crate::lifecycle::{Backoff, Lifecycle};
use crate::observation::Observation;
use crate::privacy::Privacy;
use crate::route::Routes;
use crate::secret::Secrets;
use crate::sequence::{Arbiter, Ledger};
use crate::sink::Sink;
use crate::sink::cloudevents::Encoder;
use crate::sink::guarantee::Level;
use crate::telemetry::Telemetry;
use crate::telemetry::metrics::Metrics;
use anyhow::Context;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Room for what comes from the platform while the driver works; no sink is behind it.
const INCOMING: usize = 4_096;

/// Room for what secret sources and publishers observe.
const OBSERVED: usize = 1_024;

/// Closed gaps that are remembered.
const GAPS: usize = 1_000;

/// How long parts may take to end that have nothing more to deliver.
const EPILOGUE: Duration = Duration::from_secs(5);

/// The running program.
#[derive(Debug)]
pub struct App {
    status: watch::Receiver<Arc<Status>>,
    telemetry: Telemetry,
    admin: SocketAddr,
    drain_timeout: Duration,
    /// Holds the one task; empty once its end was taken.
    driver: JoinSet<Ending>,
    publishers: JoinSet<Result<u64, bridge::PublishError>>,
    /// Events without acknowledgement of publishers that have ended.
    unacknowledged: u64,
    tracker: TaskTracker,
    tokens: Tokens,
}

/// What ends which parts.
#[derive(Clone, Debug, Default)]
struct Tokens {
    /// Ingest, and then the journal.
    stop: CancellationToken,
    /// Publishers that have not drained in time.
    deadline: CancellationToken,
    /// What serves all others: doors and secret sources.
    end: CancellationToken,
}

/// What every part is made from.
struct Workshop {
    config: Config,
    clock: Clock,
    rng: StdRng,
    epoch: Epoch,
    /// The platform's address: the `source` of every event.
    source: String,
    metrics: Arc<Metrics>,
    telemetry: Telemetry,
    tracker: TaskTracker,
    tokens: Tokens,
    tap: Tap,
}

impl Workshop {
    fn new(config: Config, sinks: &[&'static str]) -> Self {
        let clock = Clock::start();
        let mut rng = match config.process.seed {
            0 => StdRng::from_rng(&mut rand::rng()),
            seed => StdRng::seed_from_u64(seed),
        };
        let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), sinks));
        Self {
            epoch: Epoch::new(clock.timestamp(), rng.random()),
            source: config.genesys.api_url(),
            telemetry: Telemetry::new(Arc::clone(&metrics)),
            metrics,
            tracker: TaskTracker::new(),
            tokens: Tokens::default(),
            tap: Tap::default(),
            config,
            clock,
            rng,
        }
    }

    /// The status before anything has happened.
    fn first_status(&self, sinks: &[&'static str]) -> Status {
        let dead_after = self.config.lifecycle.dead_after;
        let (version, epoch) = (env!("CARGO_PKG_VERSION"), self.epoch.as_str());
        let mut status = Status::new(version, epoch, self.clock.timestamp(), dead_after);
        status.sinks = sinks.iter().copied().map(bridge::status::Sink::new).collect();
        status.login.client_id = self.config.genesys.client_id.clone();
        status.login.source = self.config.secret.name();
        status
    }

    /// Opens the doors for operators, and says where they are.
    async fn open_doors(&self, status: watch::Receiver<Arc<Status>>) -> anyhow::Result<SocketAddr> {
        let entrance = admin::open(&self.config.admin).await?;
        let address = entrance.address().context("admin.listen")?;
        let (metrics, tap, clock) = (Arc::clone(&self.metrics), self.tap.clone(), self.clock);
        let doors = Doors { metrics, status, tap, clock };
        self.tracker.spawn(admin::serve(entrance, doors, self.tokens.end.clone()));
        self.telemetry.record(&Observation::Listening { address });
        Ok(address)
    }

    /// The platform, with the credentials that the secret's source shows.
    fn genesys(
        &self,
        observe: mpsc::Sender<Observation>,
        heard: mpsc::Sender<Incoming>,
    ) -> anyhow::Result<Genesys> {
        let (clock, tracker) = (self.clock, &self.tracker);
        let end = self.tokens.end.clone();
        let secrets = Secrets::start(&self.config.secret, clock, observe, tracker, end)?;
        let config = self.config.genesys.clone();
        Ok(Genesys::new(config, secrets, clock, heard, tracker.clone())?)
    }

    fn publisher(
        &mut self,
        sink: Box<dyn Sink>,
        required: Option<Level>,
        reader: Reader,
        observations: mpsc::Sender<Observation>,
    ) -> anyhow::Result<Publisher> {
        let metrics = self.metrics.sink(reader.sink()).cloned();
        Ok(Publisher::new(Setup {
            sink,
            required,
            reader,
            epoch: self.epoch.clone(),
            delay: delay(&self.config, StdRng::from_rng(&mut self.rng)),
            encode: encode(&self.source),
            data_dir: self.config.data_dir.clone(),
            observations,
            metrics: metrics.context("a sink has no metrics")?,
            deadline: self.tokens.deadline.clone(),
            clock: self.clock,
        }))
    }
}

impl App {
    /// Makes every part and sets it going. What cannot be reached is waited for; with `fail_fast` it ends the process.
    ///
    /// # Errors
    /// What cannot work: no data directory, the admin port is taken, an authority file is unreadable.
    pub async fn start(config: Config, fail_fast: bool) -> anyhow::Result<Self> {
        genesys::tls::install_provider();
        std::fs::create_dir_all(&config.data_dir)
            .with_context(|| format!("data_dir: cannot make {}", config.data_dir.display()))?;
        let privacy_key = config.privacy.read_key()?;
        let terms = config.sinks.terms();
        let sinks = config.sinks.clone().build(&config.genesys.api_url());
        let names: Vec<&'static str> = sinks.iter().map(|(name, _)| *name).collect();
        let mut workshop = Workshop::new(config, &names);
        let (version, epoch) = (env!("CARGO_PKG_VERSION"), workshop.epoch.to_string());
        workshop.telemetry.record(&Observation::Started { version, epoch });

        let first = workshop.first_status(&names);
        let (show, status) = watch::channel(Arc::new(first.clone()));
        let admin = workshop.open_doors(status.clone()).await?;
        let (observe, observed) = mpsc::channel(OBSERVED);
        let (heard, incoming) = mpsc::channel(INCOMING);
        let genesys = workshop.genesys(observe.clone(), heard)?;
        let journal = &workshop.config.journal;
        let (journal, readers) = Journal::new(journal, workshop.epoch.clone(), &names);
        let mut publishers = JoinSet::new();
        let mut filters = Vec::new();
        for (((_, sink), reader), terms) in sinks.into_iter().zip(readers).zip(terms) {
            filters.push(terms.filter);
            let publisher = workshop.publisher(sink, terms.required, reader, observe.clone())?;
            publishers.spawn(publisher.run());
        }
        let seed = workshop.rng.random();
        let Workshop { config, clock, metrics, telemetry, tracker, tokens, tap, .. } = workshop;
        let arbiter = Arbiter::new(&config.arbitration);
        let privacy = Privacy::new(&config.privacy, privacy_key);
        let driver = Driver {
            clock,
            lifecycle: Lifecycle::new(config.lifecycle, seed),
            genesys,
            incoming,
            observed,
            stream: Stream::new(clock, arbiter, journal, Ledger::new(GAPS), metrics)
                .guarded(privacy)
                .routed(Routes::new(filters))
                .tapped(tap),
            report: Report::new(telemetry.clone(), first, clock),
            stall: Stall::default(),
            status: show,
            fail_fast,
        };
        let run = driver.run(tokens.stop.clone(), tokens.end.clone());
        let mut driver = JoinSet::new();
        driver.spawn(tracker.track_future(run));
        let (drain_timeout, unacknowledged) = (config.process.drain_timeout, 0);
        Ok(Self {
            status,
            telemetry,
            admin,
            drain_timeout,
            driver,
            publishers,
            unacknowledged,
            tracker,
            tokens,
        })
    }

    /// What the bridge says of itself, at least each second.
    pub fn status(&self) -> watch::Receiver<Arc<Status>> {
        self.status.clone()
    }

    /// Where the doors for operators are.
    pub const fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// What ends a drain at once when it is cancelled.
    pub fn deadline(&self) -> CancellationToken {
        self.tokens.deadline.clone()
    }

    /// Waits until the program must end by itself, and says why on the log. Cancel-safe.
    pub async fn failed(&mut self) -> Exit {
        loop {
            tokio::select! {
                Some(ended) = self.driver.join_next() => return exit_of(ended),
                Some(ended) = self.publishers.join_next() => {
                    // A clean end means that the journal is closed: the driver is ending too, and it is the one to say why.
                    if let Err(exit) = self.published(ended) {
                        return exit;
                    }
                }
                else => return Exit::Success,
            }
        }
    }

    /// Closes the sockets, delivers what is in hand for at most `process.drain_timeout`, and ends every part.
    pub async fn stop(mut self, reason: &'static str) -> Exit {
        let deadline = self.drain_timeout;
        self.telemetry.record(&Observation::Draining { reason, deadline });
        self.tokens.stop.cancel();
        let drained = tokio::time::timeout(deadline, self.drain()).await;
        let mut exit = match drained {
            Ok(exit) => exit,
            Err(_) => {
                self.tokens.deadline.cancel();
                self.drain().await
            }
        };
        let unacknowledged = self.unacknowledged;
        self.telemetry.record(&Observation::Drained { unacknowledged });
        self.tokens.end.cancel();
        self.tracker.close();
        // What is still at work then has nothing to deliver.
        if tokio::time::timeout(EPILOGUE, self.tracker.wait()).await.is_err() {
            tracing::warn!("some tasks did not end within {EPILOGUE:?}");
        }
        if let Some(Err(panic)) = self.driver.try_join_next() {
            exit = bug(&panic);
        }
        exit
    }

    /// Waits for the publishers to end.
    async fn drain(&mut self) -> Exit {
        let mut exit = Exit::Success;
        while let Some(ended) = self.publishers.join_next().await {
            if let Err(failure) = self.published(ended) {
                exit = failure;
            }
        }
        exit
    }

    /// Takes the end of a publisher; the error is what it makes of the process.
    fn published(
        &mut self,
        ended: Result<Result<u64, bridge::PublishError>, JoinError>,
    ) -> Result<(), Exit> {
        match ended {
            Ok(Ok(left)) => {
                self.unacknowledged += left;
                Ok(())
            }
            Ok(Err(error)) => {
                let error = anyhow::Error::from(error);
                tracing::error!("the configuration cannot work: {error:#}");
                Err(Exit::Configuration)
            }
            Err(panic) => Err(bug(&panic)),
        }
    }
}

/// What the driver's end means, said on the log.
fn exit_of(ended: Result<Ending, JoinError>) -> Exit {
    match ended {
        Ok(Ending::Stopped) => Exit::Success,
        Ok(Ending::Unreachable(what)) => {
            tracing::error!("--fail-fast: {what}");
            Exit::Unreachable
        }
        Ok(Ending::Misconfigured(what)) => {
            tracing::error!("the configuration cannot work: {what}");
            Exit::Configuration
        }
        Err(panic) => bug(&panic),
    }
}

fn bug(panic: &JoinError) -> Exit {
    tracing::error!("a bug ended the process: {panic}; please report it with this log");
    Exit::Bug
}

/// The back-off of one sink: the lifecycle's bounds, jittered by its own generator.
fn delay(config: &Config, mut rng: StdRng) -> bridge::Delay {
    let mut backoff = Backoff::new(&config.lifecycle);
    Box::new(move |attempt| {
        if attempt == 0 {
            backoff.reset();
        }
        backoff.next(None, &mut rng)
    })
}

/// How a parked event is written.
fn encode(source: &str) -> bridge::Encode {
    let mut encoder = Encoder::new(source);
    Box::new(move |record, out| encoder.structured(record, out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app() -> App {
        let status = Status::new("test", "", Default::default(), Duration::ZERO);
        App {
            status: watch::channel(Arc::new(status)).1,
            telemetry: Telemetry::new(Arc::new(Metrics::new("test", &[]))),
            admin: ([127, 0, 0, 1], 0).into(),
            drain_timeout: Duration::from_secs(1),
            driver: JoinSet::new(),
            publishers: JoinSet::new(),
            unacknowledged: 0,
            tracker: TaskTracker::new(),
            tokens: Tokens::default(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn publishers_that_end_first_do_not_hide_why_the_driver_ends() {
        let mut app = app();
        app.publishers.spawn(async { Ok(0) });
        app.driver.spawn(async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ending::Unreachable("nobody answers".into())
        });
        assert_eq!(app.failed().await, Exit::Unreachable);
    }

    #[tokio::test(start_paused = true)]
    async fn a_driver_that_fails_while_it_drains_is_a_bug() {
        let mut app = app();
        let stop = app.tokens.stop.clone();
        app.driver.spawn(app.tracker.track_future(async move {
            stop.cancelled().await;
            panic!("as the test wants it")
        }));
        assert_eq!(app.stop("a test").await, Exit::Bug);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_can_be_cut_short_and_what_is_left_is_counted() {
        let mut app = app();
        app.drain_timeout = Duration::from_secs(3600);
        let deadline = app.deadline();
        let cut = deadline.clone();
        app.publishers.spawn(async move {
            cut.cancelled().await;
            Ok(3)
        });
        let stopping = tokio::time::timeout(Duration::from_secs(60), app.stop("a test"));
        let (stopped, ()) = tokio::join!(stopping, async { deadline.cancel() });
        assert_eq!(stopped.expect("at once"), Exit::Success);
    }
}
