//! Assembly: every part made once from the configuration, and one way to stop them all.
//!
//! They stop in the order of an event's way: sockets, journal, sinks, and last the doors for operators.

use crate::admin::{self, Doors};
use crate::bridge::{self, Driver, Ending, Gaps, Keeper, Kept, Publisher, Report, Setup, Stall};
use crate::bridge::{Status, Stream, Tap};
use crate::clock::Clock;
use crate::config::{Config, Loaded, Text};
use crate::exit::Exit;
use crate::genesys::{self, Genesys, Incoming};
use crate::journal::{Found, Journal, Opening, Reader};
use crate::lifecycle::{Backoff, Lifecycle};
use crate::observation::{BrokerFigures, Observation};
use crate::privacy::Privacy;
use crate::reload::Desk;
use crate::route::Routes;
use crate::secret::Secrets;
use crate::sequence::{Arbiter, Feed};
use crate::sink::Sink;
use crate::sink::cloudevents::Encoder;
use crate::sink::guarantee::Level;
use crate::telemetry::Telemetry;
use crate::telemetry::logging::Knob;
use crate::telemetry::metrics::Metrics;
use anyhow::Context;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Room for what comes from the platform while the driver works; no sink is behind it.
const INCOMING: usize = 4_096;

/// Room for what secret sources and publishers observe.
const OBSERVED: usize = 1_024;

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
    /// What serves the others; none of them ends before it is told to.
    servants: JoinSet<&'static str>,
    /// The order to replace every session.
    rotate: Arc<Notify>,
    /// What reading the configuration again needs.
    desk: Desk,
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
    /// The platform's address: the `source` of every event.
    source: String,
    metrics: Arc<Metrics>,
    telemetry: Telemetry,
    tracker: TaskTracker,
    servants: JoinSet<&'static str>,
    tokens: Tokens,
    tap: Tap,
}

impl Workshop {
    fn new(config: Config, sinks: &[&'static str]) -> Self {
        let clock = Clock::start();
        let rng = match config.process.seed {
            0 => StdRng::from_rng(&mut rand::rng()),
            seed => StdRng::seed_from_u64(seed),
        };
        let metrics = Metrics::new(env!("CARGO_PKG_VERSION"), sinks);
        let metrics = Arc::new(metrics.on_disk(&config.data_dir, config.journal.max_bytes.0));
        Self {
            source: config.genesys.api_url(),
            telemetry: Telemetry::new(Arc::clone(&metrics)),
            metrics,
            tracker: TaskTracker::new(),
            servants: JoinSet::new(),
            tokens: Tokens::default(),
            tap: Tap::default(),
            config,
            clock,
            rng,
        }
    }

    /// The journal, with all that an earlier process has left in it.
    fn open_journal(
        &mut self,
        sinks: &[&'static str],
    ) -> anyhow::Result<(Journal, Vec<Reader>, Found)> {
        let mut chance = StdRng::from_rng(&mut self.rng);
        let opening = Opening {
            config: self.config.journal.clone(),
            data_dir: &self.config.data_dir,
            sinks,
            clock: self.clock,
            salt: Box::new(move || chance.random()),
        };
        Ok(opening.open()?)
    }

    /// The status before anything has happened.
    fn first_status(&self, epoch: &str, sinks: &[&'static str]) -> Status {
        let dead_after = self.config.lifecycle.dead_after;
        let version = env!("CARGO_PKG_VERSION");
        let mut status = Status::new(version, epoch, self.clock.timestamp(), dead_after);
        status.sinks = sinks.iter().copied().map(bridge::status::Sink::new).collect();
        status.login.client_id = self.config.genesys.client_id.clone();
        status.login.source = self.config.secret.name();
        status
    }

    /// Opens the doors for operators, and says where they are.
    async fn open_doors(
        &mut self,
        status: watch::Receiver<Arc<Status>>,
    ) -> anyhow::Result<SocketAddr> {
        let entrance = admin::open(&self.config.admin).await?;
        let address = entrance.address().context("admin.listen")?;
        let (metrics, tap, clock) = (Arc::clone(&self.metrics), self.tap.clone(), self.clock);
        let doors = Doors { metrics, status, tap, clock };
        let serve = admin::serve(entrance, doors, self.tokens.end.clone());
        self.servants.spawn(self.tracker.track_future(async move {
            serve.await;
            "the doors for operators"
        }));
        self.telemetry.record(&Observation::Listening { address });
        Ok(address)
    }

    /// The platform, with the credentials that the secret's source shows.
    fn genesys(
        &mut self,
        observe: mpsc::Sender<Observation>,
        heard: mpsc::Sender<Incoming>,
    ) -> anyhow::Result<Genesys> {
        let (clock, tracker) = (self.clock, &self.tracker);
        let end = self.tokens.end.clone();
        let secrets = Secrets::start(&self.config.secret, clock, observe, tracker, end)?;
        // The keeper of secrets is a task of its own; its end shows at its handle.
        let mut kept = secrets.changes();
        self.servants.spawn(tracker.track_future(async move {
            while kept.changed().await.is_ok() {}
            "the keeper of secrets"
        }));
        let config = self.config.genesys.clone();
        let mut genesys = Genesys::new(config, secrets, clock, heard, tracker.clone())?;
        genesys.keep_channels(&self.config.data_dir);
        Ok(genesys)
    }

    /// The gap ledger as the last process left it, and what suspects silent feeds; the time since then is a gap.
    fn gaps(
        &self,
        journal: &mut Journal,
        found: &Found,
        observe: mpsc::Sender<Observation>,
    ) -> (Gaps, Feed) {
        let (folder, config) = (&self.config.data_dir, &self.config.gaps);
        let mut kept = Kept::load(folder);
        if let Some(detail) = kept.trouble.take() {
            self.telemetry.record(&Observation::LedgerFailed { detail });
        }
        let heard = std::mem::take(&mut kept.heard);
        let (keeper, writing) = Keeper::new(folder, observe);
        self.tracker.spawn(writing);
        let mut gaps = Gaps::new(kept, config.keep, config.rebase, Some(keeper));
        gaps.restarted(heard, found.last_heard, self.clock.timestamp(), journal);
        (gaps, Feed::new(config.feed_silence))
    }

    /// Keeps the metrics of a sink's brokers up to date, where it has figures.
    fn show_figures(&self, sink: &str, figures: Option<watch::Receiver<BrokerFigures>>) {
        if let (Some(mut figures), Some(metrics)) = (figures, self.metrics.sink(sink).cloned()) {
            let end = self.tokens.end.clone();
            self.tracker.spawn(end.run_until_cancelled_owned(async move {
                while figures.changed().await.is_ok() {
                    metrics.broker.show(&figures.borrow_and_update());
                }
            }));
        }
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
        let sinks = sinks(&config)?;
        let names: Vec<&'static str> = sinks.iter().map(|(name, _)| *name).collect();
        let mut workshop = Workshop::new(config, &names);
        let (mut journal, readers, found) = workshop.open_journal(&names)?;
        let (version, epoch) = (env!("CARGO_PKG_VERSION"), journal.epoch().to_string());
        let first = workshop.first_status(&epoch, &names);
        workshop.telemetry.record(&Observation::Started { version, epoch });
        let (show, status) = watch::channel(Arc::new(first.clone()));
        let admin = workshop.open_doors(status.clone()).await?;
        let ((observe, observed), (heard, incoming)) =
            (mpsc::channel(OBSERVED), mpsc::channel(INCOMING));
        let genesys = workshop.genesys(observe.clone(), heard)?;
        let gaps = workshop.gaps(&mut journal, &found, observe.clone());
        let mut publishers = JoinSet::new();
        let mut filters = Vec::new();
        for (((_, sink), reader), terms) in sinks.into_iter().zip(readers).zip(terms) {
            workshop.show_figures(reader.sink(), sink.figures());
            filters.push(terms.filter);
            let publisher = workshop.publisher(sink, terms.required, reader, observe.clone())?;
            publishers.spawn(publisher.run());
        }
        let seed = workshop.rng.random();
        let Workshop { config, clock, metrics, telemetry, tracker, servants, tokens, tap, .. } =
            workshop;
        let rotate: Arc<Notify> = Arc::default();
        let (desk, renewals) = Desk::new(clock, privacy_key.as_ref());
        let arbiter = Arbiter::new(&config.arbitration);
        let privacy = Privacy::new(&config.privacy, privacy_key);
        let stream = Stream::new(clock, arbiter, journal, gaps, metrics);
        let mut stream = stream.guarded(privacy).routed(Routes::new(filters)).tapped(tap);
        stream.note_found(&found);
        let driver = Driver {
            clock,
            lifecycle: Lifecycle::new(config.lifecycle, seed),
            genesys,
            incoming,
            observed,
            stream,
            report: Report::new(telemetry.clone(), first, clock),
            stall: Stall::default(),
            doubt: None,
            status: show,
            rebase: config.gaps.rebase,
            rotate: Arc::clone(&rotate),
            renewals,
            fail_fast,
        };
        let mut running = JoinSet::new();
        running.spawn(tracker.track_future(driver.run(tokens.stop.clone(), tokens.end.clone())));
        Ok(Self {
            status,
            telemetry,
            admin,
            drain_timeout: config.process.drain_timeout,
            driver: running,
            publishers,
            servants,
            rotate,
            desk,
            unacknowledged: 0,
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

    /// Replaces every session, each by a successor that has settled first.
    pub fn rotate(&self) {
        self.rotate.notify_one();
    }

    /// From now on the configuration's file is watched, and what changes is brought into force where that needs no new process. `loaded` is
    /// what this was started with, `text` the file that it came from, and `knob` turns the log's level.
    pub fn watch(&mut self, loaded: Loaded, text: Option<Text>, knob: Knob) {
        let reloader = self.desk.reloader(loaded, text, knob);
        let watching = self.tokens.stop.clone().run_until_cancelled_owned(reloader.run());
        self.servants.spawn(self.tracker.track_future(async move {
            watching.await;
            "the reader of the configuration"
        }));
    }

    /// Reads the configuration again now.
    pub fn reload(&self) {
        self.desk.ask();
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
                Some(ended) = self.servants.join_next() => {
                    // The keeper of secrets also ends with the driver that asks it, which then says why.
                    return match tokio::time::timeout(EPILOGUE, self.driver.join_next()).await {
                        Ok(Some(driver)) => exit_of(driver),
                        Ok(None) | Err(_) => gone(ended),
                    };
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

/// What serves the others has ended although nobody told it to: without it the process would go on blind.
fn gone(servant: Result<&'static str, JoinError>) -> Exit {
    match servant {
        Ok(what) => {
            tracing::error!(
                "a bug ended the process: {what} ended; please report it with this log"
            );
            Exit::Bug
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

/// The sinks, not yet open.
fn sinks(config: &Config) -> anyhow::Result<Vec<(&'static str, Box<dyn Sink>)>> {
    #[cfg_attr(not(feature = "kafka"), expect(unused_mut, reason = "only Kafka asks for a name"))]
    let mut tables = config.sinks.clone();
    #[cfg(feature = "kafka")]
    if let Some(kafka) = &mut tables.kafka {
        let data_dir = &config.data_dir;
        let named = kafka.identify(data_dir);
        named.with_context(|| format!("data_dir: cannot keep a name in {}", data_dir.display()))?;
    }
    Ok(tables.build(&config.genesys.api_url()))
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
            servants: JoinSet::new(),
            rotate: Arc::default(),
            desk: Desk::new(Clock::start(), None).0,
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
    async fn a_keeper_that_ends_with_the_driver_does_not_hide_why_it_ends() {
        let mut app = app();
        app.servants.spawn(async { "the keeper of secrets" });
        app.driver.spawn(async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ending::Unreachable("nobody answers".into())
        });
        assert_eq!(app.failed().await, Exit::Unreachable);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_what_serves_the_others_is_a_bug() {
        let mut app = app();
        app.driver.spawn(std::future::pending());
        app.servants.spawn(async { "the keeper of secrets" });
        assert_eq!(app.failed().await, Exit::Bug);
        app.servants.spawn(async { panic!("as the test wants it") });
        assert_eq!(app.failed().await, Exit::Bug);
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
