//! Assembly: every part made once from the configuration, and one way to stop them all.
//!
//! They stop in the order of an event's way: sockets, journal, sinks, and last the doors for operators.

use crate::admin::{self, Doors};
use crate::bridge::{self, Driver, Ending, Publisher, Report, Setup, Status, Stream};
use crate::clock::Clock;
use crate::config::Config;
use crate::event::Epoch;
use crate::exit::Exit;
use crate::genesys::{self, Genesys, Incoming};
use crate::journal::{Journal, Reader};
use crate::lifecycle::{Backoff, Lifecycle};
use crate::observation::Observation;
use crate::secret::Secrets;
use crate::sequence::{Arbiter, Ledger};
use crate::sink::Sink;
use crate::sink::cloudevents::Encoder;
use crate::telemetry::Telemetry;
use crate::telemetry::metrics::Metrics;
use anyhow::Context;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
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
    driver: JoinHandle<Ending>,
    publishers: JoinSet<Result<u64, bridge::PublishError>>,
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
        let listener = admin::bind(&self.config.admin).await?;
        let address = listener.local_addr().context("admin.listen")?;
        let (metrics, clock) = (Arc::clone(&self.metrics), self.clock);
        let doors = Doors { metrics, status, clock };
        self.tracker.spawn(admin::serve(listener, doors, self.tokens.end.clone()));
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
        reader: Reader,
        observations: mpsc::Sender<Observation>,
    ) -> anyhow::Result<Publisher> {
        let metrics = self.metrics.sink(reader.sink()).cloned();
        Ok(Publisher::new(Setup {
            sink,
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
        for ((_, sink), reader) in sinks.into_iter().zip(readers) {
            publishers.spawn(workshop.publisher(sink, reader, observe.clone())?.run());
        }
        let seed = workshop.rng.random();
        let Workshop { config, clock, metrics, telemetry, tracker, tokens, .. } = workshop;
        let arbiter = Arbiter::new(&config.arbitration);
        let driver = Driver {
            clock,
            lifecycle: Lifecycle::new(config.lifecycle, seed),
            genesys,
            incoming,
            observed,
            stream: Stream::new(clock, arbiter, journal, Ledger::new(GAPS), metrics),
            report: Report::new(telemetry.clone(), first),
            status: show,
            fail_fast,
        };
        let driver = tracker.spawn(driver.run(tokens.stop.clone(), tokens.end.clone()));
        let drain_timeout = config.process.drain_timeout;
        Ok(Self { status, telemetry, admin, drain_timeout, driver, publishers, tracker, tokens })
    }

    /// What the bridge says of itself, at least each second.
    pub fn status(&self) -> watch::Receiver<Arc<Status>> {
        self.status.clone()
    }

    /// Where the doors for operators are.
    pub const fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Waits until the program must end by itself, and says why on the log. Cancel-safe.
    pub async fn failed(&mut self) -> Exit {
        let mut ended = std::pin::pin!(async {
            while let Some(ended) = self.publishers.join_next().await {
                match ended {
                    // The driver has closed the journal: it says why.
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => return misconfigured(error),
                    Err(panic) => return bug(&panic),
                }
            }
            std::future::pending().await
        });
        tokio::select! {
            biased;
            ending = &mut self.driver => match ending {
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
            },
            exit = &mut ended => exit,
        }
    }

    /// Closes the sockets, delivers what is in hand for at most `process.drain_timeout`, and ends every part.
    pub async fn stop(mut self, reason: &'static str) -> Exit {
        let deadline = self.drain_timeout;
        self.telemetry.record(&Observation::Draining { reason, deadline });
        self.tokens.stop.cancel();
        let drained = tokio::time::timeout(deadline, self.drain()).await;
        let (unacknowledged, exit) = match drained {
            Ok(drained) => drained,
            Err(_) => {
                self.tokens.deadline.cancel();
                self.drain().await
            }
        };
        self.telemetry.record(&Observation::Drained { unacknowledged });
        self.tokens.end.cancel();
        self.tracker.close();
        // What is still at work then has nothing to deliver.
        if tokio::time::timeout(EPILOGUE, self.tracker.wait()).await.is_err() {
            tracing::warn!("some tasks did not end within {EPILOGUE:?}");
        }
        exit
    }

    /// Waits for the publishers to end. Returns how many events are without acknowledgement.
    async fn drain(&mut self) -> (u64, Exit) {
        let (mut unacknowledged, mut exit) = (0, Exit::Success);
        while let Some(ended) = self.publishers.join_next().await {
            match ended {
                Ok(Ok(left)) => unacknowledged += left,
                Ok(Err(error)) => exit = misconfigured(error),
                Err(panic) => exit = bug(&panic),
            }
        }
        (unacknowledged, exit)
    }
}

fn misconfigured(error: bridge::PublishError) -> Exit {
    let error = anyhow::Error::from(error);
    tracing::error!("the configuration cannot work: {error:#}");
    Exit::Configuration
}

fn bug(panic: &tokio::task::JoinError) -> Exit {
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
