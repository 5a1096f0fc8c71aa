//! Everything that a run needs, started in order: folder, log, simulator, server, bridge.

use super::control::Control;
use super::folder::Folder;
use super::screen::{self, Audience};
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
        let server = server(args.sink, &folder, audience).await?;
        let address = server.as_ref().and_then(Server::address);
        let target = target(args.sink, &folder, address)?;

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
async fn server(
    sink: DemoSink,
    folder: &Folder,
    audience: Audience,
) -> anyhow::Result<Option<Server>> {
    let name = match sink {
        DemoSink::Jsonl => None,
        #[cfg(feature = "nats")]
        DemoSink::Nats => Some("nats"),
        #[cfg(feature = "kafka")]
        DemoSink::Kafka => Some("kafka"),
    };
    let Some(name) = name else {
        return Ok(None);
    };
    audience.say(&format!("starting a real server for --sink {name} …"));
    let server = Server::start(name, folder, |line| audience.say(line)).await?;
    Ok(Some(server))
}

fn target(sink: DemoSink, folder: &Folder, address: Option<String>) -> anyhow::Result<Target> {
    match (sink, address) {
        (DemoSink::Jsonl, _) => Ok(Target::Jsonl(folder.events())),
        #[cfg(feature = "nats")]
        (DemoSink::Nats, Some(url)) => Ok(Target::nats(url)),
        #[cfg(feature = "kafka")]
        (DemoSink::Kafka, Some(brokers)) => Ok(Target::kafka(brokers)),
        #[cfg(any(feature = "kafka", feature = "nats"))]
        (_, None) => anyhow::bail!("the server's script does not say where its server is"),
    }
}

/// The plan, worked out from the configuration and the simulator's own list of queues.
fn topics(config: &Config, sim: &Sim) -> BTreeSet<String> {
    let templates = config.genesys.topics.iter();
    templates
        .flat_map(|template| sim.queues().iter().map(|queue| template.replace(QUEUE, &queue.id)))
        .collect()
}
