//! Everything that a run needs, started in order: folder, log, simulator, server, bridge.

use super::control::Control;
use super::folder::Folder;
use super::screen::{self, Audience};
#[cfg(any(feature = "kafka", feature = "nats"))]
use super::servers::Server;
use super::setting::{self, Facts};
use super::target::Target;
use crate::app::App;
use crate::cli::args::{Demo, DemoSink};
use crate::clock::Clock;
use crate::config::Config;
use crate::telemetry::logging;
use crate::time::Timestamp;
use anyhow::Context;
use rand::RngExt;
use secrecy::SecretString;
use std::collections::BTreeSet;
use std::fs::File;
use std::time::Duration;
use tieline_sim::{Options, Sim};

/// Queues of the simulated organisation.
const QUEUES: usize = 6;

/// Seeds that are easy to type again.
const SEEDS: std::ops::Range<u64> = 1..1_000_000;

/// What stands in for a queue's id in a configured topic.
const QUEUE: &str = "{id}";

/// A run's parts, all of them going.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) folder: Folder,
    pub(super) sim: Sim,
    #[cfg(any(feature = "kafka", feature = "nats"))]
    pub(super) server: Option<Server>,
    pub(super) target: Target,
    pub(super) app: App,
    pub(super) control: Control,
    pub(super) clock: Clock,
    pub(super) seed: u64,
    /// What the bridge is to subscribe to.
    pub(super) topics: BTreeSet<String>,
    /// Before anything was emitted.
    pub(super) since: Timestamp,
    /// After so long without a frame the bridge gives a socket up.
    pub(super) dead_after: Duration,
}

impl Scene {
    /// Starts all parts. The simulator's traffic waits.
    ///
    /// # Errors
    /// When a part cannot start; what ran until then ends with the process.
    pub(super) async fn set(args: &Demo, audience: Audience) -> anyhow::Result<Self> {
        let clock = Clock::start();
        let since = clock.timestamp();
        let seed = args.seed.unwrap_or_else(|| rand::rng().random_range(SEEDS));
        let folder = Folder::make()?;
        let sim = Sim::start(Options {
            seed,
            queues: QUEUES,
            rate: args.rate.into(),
            paused: true,
            ..Options::default()
        });
        let sim = sim.await.context("cannot start the simulator")?;
        folder.write_secret(&SecretString::from(sim.client_secret()))?;
        #[cfg(any(feature = "kafka", feature = "nats"))]
        let server = server(args.sink, &folder, audience).await?;
        #[cfg(any(feature = "kafka", feature = "nats"))]
        let target = target(args.sink, &folder, server.as_ref())?;
        #[cfg(not(any(feature = "kafka", feature = "nats")))]
        let target = Target::Jsonl(folder.events());

        let config = setting::write(&Facts {
            sim: &sim,
            target: &target,
            folder: &folder,
            seed,
            length: args.length,
        })?;
        let log = File::create(folder.log()).context("cannot make the log")?;
        logging::init_file(&config.log, log)
            .map_err(|mistake| anyhow::anyhow!("log.{} {}", mistake.key, mistake.problem))?;
        let topics = topics(&config, &sim);
        let dead_after = config.lifecycle.dead_after;
        let app = App::start(config, false).await?;
        Ok(Self {
            control: Control::new(sim.control_url(), app.admin())?,
            folder,
            sim,
            #[cfg(any(feature = "kafka", feature = "nats"))]
            server,
            target,
            app,
            clock,
            seed,
            topics,
            since,
            dead_after,
        })
    }

    /// What the screen shows of it.
    pub(super) fn facts(&self, args: &Demo) -> screen::Facts {
        screen::Facts {
            sink: self.target.name(),
            place: self.target.place(),
            seed: self.seed,
            rate: args.rate,
            length: args.length,
            admin: self.app.admin(),
            log: self.folder.log(),
        }
    }
}

/// Starts the server that the sink needs, if it needs one.
#[cfg(any(feature = "kafka", feature = "nats"))]
async fn server(
    sink: DemoSink,
    folder: &Folder,
    audience: Audience,
) -> anyhow::Result<Option<Server>> {
    let name = match sink {
        DemoSink::Jsonl => return Ok(None),
        #[cfg(feature = "nats")]
        DemoSink::Nats => "nats",
        #[cfg(feature = "kafka")]
        DemoSink::Kafka => "kafka",
    };
    audience.say(&format!("starting a real server for --sink {name} …"));
    let server = Server::start(name, folder, |line| audience.say(line)).await?;
    Ok(Some(server))
}

#[cfg(any(feature = "kafka", feature = "nats"))]
fn target(sink: DemoSink, folder: &Folder, server: Option<&Server>) -> anyhow::Result<Target> {
    let field = |name: &str| server.context("there is no server")?.field(name);
    Ok(match sink {
        DemoSink::Jsonl => Target::Jsonl(folder.events()),
        #[cfg(feature = "nats")]
        DemoSink::Nats => Target::nats(field("url")?),
        #[cfg(feature = "kafka")]
        DemoSink::Kafka => Target::kafka(field("brokers")?),
    })
}

/// The plan, worked out from the configuration and the simulator's own list of queues.
fn topics(config: &Config, sim: &Sim) -> BTreeSet<String> {
    let templates = config.genesys.topics.iter();
    templates
        .flat_map(|template| sim.queues().iter().map(|queue| template.replace(QUEUE, &queue.id)))
        .collect()
}
