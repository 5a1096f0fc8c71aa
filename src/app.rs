//! Assembly: every part made once from the configuration, and one way to stop them all.
//!
//! They stop in the order of an event's way: sockets, journal, sinks, and last the doors for operators.

use crate::admin::{self, Doors};
use crate::bridge::{self, Driver, Ending, Publisher, Report, Setup, Status, Stream};
use crate::clock::Clock;
use crate::config::Config;
use crate::event::Epoch;
use crate::exit::Exit;
use crate::genesys::{self, Genesys};
use crate::journal::Journal;
use crate::lifecycle::{Backoff, Lifecycle};
use crate::observation::Observation;
use crate::secret::Secrets;
use crate::sequence::{Arbiter, Ledger};
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

impl App {
    /// Makes every part and sets it going. What cannot be reached is waited for; with `fail_fast` it ends the process.
    ///
    /// # Errors
    /// What cannot work: no data directory, the admin port is taken, an authority file is unreadable.
    pub async fn start(config: Config, fail_fast: bool) -> anyhow::Result<Self> {
        genesys::tls::install_provider();
        std::fs::create_dir_all(&config.data_dir)
            .with_context(|| format!("data_dir: cannot make {}", config.data_dir.display()))?;
        let clock = Clock::start();
        let mut rng = match config.process.seed {
            0 => StdRng::from_rng(&mut rand::rng()),
            seed => StdRng::seed_from_u64(seed),
        };
        let tokens = Tokens::default();
        let tracker = TaskTracker::new();
        let (observe, observed) = mpsc::channel(OBSERVED);
        let (heard, incoming) = mpsc::channel(INCOMING);
        let source = config.genesys.api_url();
        let sinks = config.sinks.clone().build(&source);
        let names: Vec<&'static str> = sinks.iter().map(|(name, _)| *name).collect();
        let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), &names));
        let telemetry = Telemetry::new(Arc::clone(&metrics));
        let epoch = Epoch::new(clock.timestamp(), rng.random());
        let first = first_status(&config, &epoch, &names, clock);
        let (show, status) = watch::channel(Arc::new(first.clone()));

        let listener = admin::bind(&config.admin).await?;
        let admin = listener.local_addr().context("admin.listen")?;
        telemetry.record(&Observation::Started {
            version: env!("CARGO_PKG_VERSION"),
            epoch: epoch.to_string(),
        });
        telemetry.record(&Observation::Listening { address: admin });
        let doors = Doors {
            metrics: Arc::clone(&metrics),
            status: status.clone(),
            clock,
        };
        tracker.spawn(admin::serve(listener, doors, tokens.end.clone()));

        let end = tokens.end.clone();
        let secrets = Secrets::start(&config.secret, clock, observe.clone(), &tracker, end)?;
        let genesys = Genesys::new(
            config.genesys.clone(),
            secrets,
            clock,
            heard,
            tracker.clone(),
        )?;
        let (journal, readers) = Journal::new(&config.journal, epoch.clone(), &names);
        let mut publishers = JoinSet::new();
        for ((_, sink), reader) in sinks.into_iter().zip(readers) {
            let metrics = metrics.sink(reader.sink()).cloned();
            let metrics = metrics.context("a sink has no metrics")?;
            let setup = Setup {
                sink,
                reader,
                epoch: epoch.clone(),
                delay: delay(&config, StdRng::from_rng(&mut rng)),
                encode: encode(&source),
                data_dir: config.data_dir.clone(),
                observations: observe.clone(),
                metrics,
                deadline: tokens.deadline.clone(),
                clock,
            };
            publishers.spawn(Publisher::new(setup).run());
        }
        let arbiter = Arbiter::new(&config.arbitration);
        let driver = Driver {
            clock,
            lifecycle: Lifecycle::new(config.lifecycle.clone(), rng.random()),
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
        Ok(Self {
            status,
            telemetry,
            admin,
            drain_timeout,
            driver,
            publishers,
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

    /// Waits until the program must end by itself, and says why on the log. Cancel-safe.
    pub async fn failed(&mut self) -> Exit {
        tokio::select! {
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
            Some(ended) = self.publishers.join_next() => match ended {
                Ok(Ok(_)) => Exit::Success,
                Ok(Err(error)) => {
                    let error = anyhow::Error::from(error);
                    tracing::error!("the configuration cannot work: {error:#}");
                    Exit::Configuration
                }
                Err(panic) => bug(&panic),
            },
        }
    }

    /// Closes the sockets, delivers what is in hand for at most `process.drain_timeout`, and ends every part.
    pub async fn stop(mut self, reason: &'static str) -> Exit {
        let deadline = self.drain_timeout;
        self.telemetry
            .record(&Observation::Draining { reason, deadline });
        self.tokens.stop.cancel();
        let drained = tokio::time::timeout(deadline, self.drain()).await;
        let (unacknowledged, exit) = match drained {
            Ok(drained) => drained,
            Err(_) => {
                self.tokens.deadline.cancel();
                self.drain().await
            }
        };
        self.telemetry
            .record(&Observation::Drained { unacknowledged });
        self.tokens.end.cancel();
        self.tracker.close();
        // What is still at work then has nothing to deliver.
        if tokio::time::timeout(EPILOGUE, self.tracker.wait())
            .await
            .is_err()
        {
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
                Ok(Err(error)) => {
                    let error = anyhow::Error::from(error);
                    tracing::error!("the configuration cannot work: {error:#}");
                    exit = Exit::Configuration;
                }
                Err(panic) => exit = bug(&panic),
            }
        }
        (unacknowledged, exit)
    }
}

fn bug(panic: &tokio::task::JoinError) -> Exit {
    tracing::error!("a bug ended the process: {panic}; please report it with this log");
    Exit::Bug
}

fn first_status(config: &Config, epoch: &Epoch, sinks: &[&'static str], clock: Clock) -> Status {
    let dead_after = config.lifecycle.dead_after;
    let version = env!("CARGO_PKG_VERSION");
    let mut status = Status::new(version, epoch.as_str(), clock.timestamp(), dead_after);
    status.sinks = sinks
        .iter()
        .copied()
        .map(bridge::status::Sink::new)
        .collect();
    status.login.client_id = config.genesys.client_id.clone();
    status.login.source = config.secret.name();
    status
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
