//! What every part is made from, and the making of each; nothing here runs by itself.

use super::Tokens;
use crate::admin::{self, Doors};
use crate::bridge::{
    self, Gaps, Heir, Keeper, Kept, Publisher, Report, Setup, Status, Taking, Tap,
};
use crate::clock::Clock;
use crate::config::Config;
use crate::genesys::{Genesys, Incoming};
use crate::handover::Outcome;
use crate::journal::{self, Found, Journal, Opening, Reader};
use crate::lifecycle::{Backoff, Lifecycle};
use crate::observation::{BrokerFigures, Observation};
use crate::route::Filter;
use crate::secret::Secrets;
use crate::sequence::Feed;
use crate::sink::cloudevents::Encoder;
use crate::sink::guarantee::Level;
use crate::sink::{Sink, Terms};
use crate::telemetry::Telemetry;
use crate::telemetry::metrics::Metrics;
use anyhow::Context;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

/// Room for what comes from the platform while the driver works; no sink is behind it.
const INCOMING: usize = 4_096;

/// Room for what secret sources and publishers observe.
const OBSERVED: usize = 1_024;

/// Publishers at work, and the filter of each.
type Publishing = (JoinSet<Result<u64, bridge::PublishError>>, Vec<Option<Filter>>);

/// What can be made before there is a journal, and where secret sources and publishers tell what they observe.
pub(super) struct Parts {
    pub(super) taking: Taking,
    pub(super) observe: mpsc::Sender<Observation>,
}

/// What every part is made from.
pub(super) struct Workshop {
    pub(super) config: Config,
    pub(super) clock: Clock,
    pub(super) rng: StdRng,
    /// The platform's address: the `source` of every event.
    pub(super) source: String,
    pub(super) metrics: Arc<Metrics>,
    pub(super) telemetry: Telemetry,
    pub(super) tracker: TaskTracker,
    pub(super) servants: JoinSet<&'static str>,
    pub(super) tokens: Tokens,
    pub(super) tap: Tap,
}

impl Workshop {
    pub(super) fn new(config: Config, sinks: &[&'static str]) -> Self {
        let clock = Clock::start();
        let rng = match config.process.seed {
            0 => StdRng::from_rng(&mut rand::rng()),
            seed => StdRng::seed_from_u64(seed),
        };
        let metrics = Metrics::new(env!("CARGO_PKG_VERSION"), sinks);
        let metrics = if config.telemetry.per_queue { metrics.per_queue() } else { metrics };
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
    pub(super) fn open_journal(
        &mut self,
        sinks: &[&'static str],
    ) -> Result<(Journal, Vec<Reader>, Found), journal::Error> {
        let mut chance = StdRng::from_rng(&mut self.rng);
        let opening = Opening {
            config: self.config.journal.clone(),
            data_dir: &self.config.data_dir,
            sinks,
            clock: self.clock,
            salt: Box::new(move || chance.random()),
        };
        opening.open()
    }

    /// The status before anything has happened.
    pub(super) fn first_status(&self, epoch: &str, sinks: &[&'static str]) -> Status {
        let dead_after = self.config.lifecycle.dead_after;
        let version = env!("CARGO_PKG_VERSION");
        let mut status = Status::new(version, epoch, self.clock.timestamp(), dead_after);
        status.sinks = sinks.iter().copied().map(bridge::status::Sink::new).collect();
        status.login.client_id = self.config.genesys.client_id.clone();
        status.login.source = self.config.secret.name();
        status.redundancy = self.config.lifecycle.redundancy;
        status
    }

    /// Opens the doors for operators, and says where they are.
    pub(super) async fn open_doors(
        &mut self,
        status: watch::Receiver<Arc<Status>>,
        has_joined: bool,
    ) -> anyhow::Result<SocketAddr> {
        let entrance = match has_joined {
            true => self.claim_doors().await?,
            false => admin::open(&self.config.admin).await?,
        };
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

    /// What speaks to the platform, and what it is told of it; `status` is what is known so far.
    pub(super) fn parts(&mut self, status: Status, fail_fast: bool) -> anyhow::Result<Parts> {
        let ((observe, observed), (heard, incoming)) =
            (mpsc::channel(OBSERVED), mpsc::channel(INCOMING));
        let genesys = self.genesys(observe.clone(), heard)?;
        let lifecycle = Lifecycle::new(self.config.lifecycle.clone(), self.rng.random());
        let report = Report::new(self.telemetry.clone(), status, self.clock);
        let (clock, folder) = (self.clock, self.config.data_dir.clone());
        let taking =
            Taking { clock, lifecycle, genesys, incoming, observed, report, fail_fast, folder };
        Ok(Parts { taking, observe })
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
        Ok(Genesys::new(config, secrets, clock, heard, tracker.clone())?)
    }

    /// The gap ledger as the last process left it, and what suspects silent feeds; after a restart the time since then is a gap.
    pub(super) fn gaps(
        &self,
        journal: &mut Journal,
        found: &Found,
        observe: mpsc::Sender<Observation>,
        heir: Option<&Heir>,
    ) -> (Gaps, Feed) {
        let (folder, config) = (&self.config.data_dir, &self.config.gaps);
        let mut kept = Kept::load(folder);
        if let Some(detail) = kept.trouble.take() {
            self.telemetry.record(&Observation::LedgerFailed { detail });
        }
        let margin = heir.map_or(Duration::ZERO, |heir| heir.margin(self.config.arbitration.hold));
        let mut heard = std::mem::take(&mut kept.heard);
        for mark in heard.values_mut() {
            mark.at = mark.at.before(margin);
        }
        let (keeper, writing) = Keeper::new(folder, observe);
        self.tracker.spawn(writing);
        let mut gaps = Gaps::new(kept, config.keep, config.rebase, Some(keeper));
        if heir.is_none_or(|heir| heir.outcome != Outcome::TakeOver) {
            let journalled = found.last_heard.map(|at| at.before(margin));
            gaps.restarted(heard, journalled, self.clock.timestamp(), journal);
        } else {
            gaps.continued(&heard);
        }
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

    /// A publisher for each sink, at work, and the filter of each.
    pub(super) fn publishers(
        &mut self,
        sinks: Vec<(&'static str, Box<dyn Sink>)>,
        readers: Vec<Reader>,
        terms: Vec<Terms>,
        observe: &mpsc::Sender<Observation>,
    ) -> anyhow::Result<Publishing> {
        let (mut publishers, mut filters) = (JoinSet::new(), Vec::new());
        for (((_, sink), reader), terms) in sinks.into_iter().zip(readers).zip(terms) {
            self.show_figures(reader.sink(), sink.figures());
            filters.push(terms.filter);
            let publisher = self.publisher(sink, terms.required, reader, observe.clone())?;
            publishers.spawn(publisher.run());
        }
        Ok((publishers, filters))
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
pub(super) fn sinks(config: &Config) -> anyhow::Result<Vec<(&'static str, Box<dyn Sink>)>> {
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
