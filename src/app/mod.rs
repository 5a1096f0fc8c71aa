//! Assembly: every part made once from the configuration, and one way to stop them all.
//!
//! ```text
//!  workshop   what each part is made from, and the making of each
//!  joining    the same where another process runs, and is taken over from
//!  mod        one of each, joined and set going
//!  stop       why they end, and in which order
//! ```

mod joining;
mod stop;
mod workshop;

pub use crate::bridge::Declined;

use crate::bridge::{self, Door, Doubts, Driver, Ending, Stall, Status, Stream, Successor, Taking};
use crate::config::{Config, Loaded, Text};
use crate::genesys;
use crate::observation::Observation;
use crate::privacy::Privacy;
use crate::reload::Desk;
use crate::route::Routes;
use crate::sequence::Arbiter;
use crate::telemetry::Telemetry;
use crate::telemetry::logging::Knob;
use anyhow::Context;
use joining::{Joined, Offer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use workshop::{Parts, Workshop};

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
    /// The process that goes on in this one's place, once one does.
    handed: watch::Receiver<Option<Successor>>,
    /// Where another process may ask to take over. Its end tells that one that this process is gone.
    _door: Option<Door>,
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
        Self::begin(config, fail_fast, false).await
    }

    /// The same, but takes over from the process that runs in the same folder, if there is one.
    ///
    /// # Errors
    /// As `start`; [`bridge::Declined`] when that process goes on.
    pub async fn take_over(config: Config, fail_fast: bool) -> anyhow::Result<Self> {
        Self::begin(config, fail_fast, true).await
    }

    async fn begin(config: Config, fail_fast: bool, handover: bool) -> anyhow::Result<Self> {
        genesys::tls::install_provider();
        std::fs::create_dir_all(&config.data_dir)
            .with_context(|| format!("data_dir: cannot make {}", config.data_dir.display()))?;
        let privacy_key = config.privacy.read_key()?;
        let terms = config.sinks.terms();
        let sinks = workshop::sinks(&config)?;
        let names: Vec<&'static str> = sinks.iter().map(|(name, _)| *name).collect();
        let mut workshop = Workshop::new(config, &names);
        let joined = if handover { workshop.join(&names, fail_fast).await? } else { None };
        let (mut journal, readers, found) = workshop.claim_journal(&names, joined.as_ref()).await?;
        let (version, epoch) = (env!("CARGO_PKG_VERSION"), journal.epoch().to_string());
        let first = workshop.first_status(&epoch, &names);
        workshop.telemetry.record(&Observation::Started { version, epoch });
        let (show, status) = watch::channel(Arc::new(first.clone()));
        let admin = workshop.open_doors(status.clone(), joined.is_some()).await?;
        let (Parts { taking, observe }, heir) = match joined {
            Some(Joined { parts, heir }) => (parts, Some(heir)),
            None => (workshop.parts(first, fail_fast)?, None),
        };
        let gaps = workshop.gaps(&mut journal, &found, observe.clone(), heir.as_ref());
        let Offer { giving, door, handed } = workshop.giving(&taking);
        let (publishers, filters) = workshop.publishers(sinks, readers, terms, &observe)?;
        let (desk, renewals) = Desk::new(workshop.clock, privacy_key.as_ref());
        let Workshop { config, clock, metrics, telemetry, tracker, servants, tokens, tap, .. } =
            workshop;
        let rotate: Arc<Notify> = Arc::default();
        let privacy = Privacy::new(&config.privacy, privacy_key);
        let stream = Stream::new(clock, Arbiter::new(&config.arbitration), journal, gaps, metrics);
        let mut stream = stream.guarded(privacy).routed(Routes::new(filters)).tapped(tap);
        stream.note_found(&found);
        let Taking { lifecycle, mut genesys, incoming, observed, report, fail_fast, .. } = taking;
        genesys.keep_channels(&config.data_dir);
        let mut driver = Driver {
            clock,
            lifecycle,
            genesys,
            incoming,
            observed,
            stream,
            report,
            stall: Stall::default(),
            doubts: Doubts::default(),
            status: show,
            rebase: config.gaps.rebase,
            rotate: Arc::clone(&rotate),
            giving,
            renewals,
            // After a handover there is no other process any more that would go on.
            fail_fast: fail_fast && heir.is_none(),
        };
        heir.into_iter().for_each(|heir| driver.inherit(heir));
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
            handed,
            _door: door,
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
}
