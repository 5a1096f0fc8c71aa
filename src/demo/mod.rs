//! `tieline demo`: a simulated Genesys Cloud and the bridge in one process, a story of faults, and the books balanced at the end.
//!
//! The bridge runs as it does for a user: from a configuration file, over HTTP and sockets, into a real sink. Nothing here reaches
//! into it. `oracle` says whether it kept its promises, from the simulator's journal and the sink's content alone.

mod control;
mod folder;
pub mod oracle;
pub mod read_back;
mod report;
mod scene;
mod screen;
#[cfg(any(feature = "kafka", feature = "nats"))]
mod servers;
mod setting;
mod story;
mod target;

use crate::app::App;
use crate::cli::Exit;
use crate::cli::args::Demo;
use crate::cli::run::signalled;
use anyhow::bail;
use oracle::Books;
use report::Report;
use scene::Scene;
use screen::Audience;
use std::time::Duration;
use story::{Player, Stage};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Runs a demo from beginning to end and says what came of it.
///
/// Ends with `Exit::PromiseBroken` when an event was lost outside a named gap, doubled or out of order, or when a gap was named that
/// no fault bears out; with `Exit::Unreachable` when the demo could not be carried out.
pub fn run(args: &Demo) -> Exit {
    let audience = match args.json {
        true => Audience::Script,
        false => Audience::Person,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let exit = match runtime {
        Ok(runtime) => runtime.block_on(perform(args, audience)),
        Err(error) => Err(error.into()),
    };
    exit.unwrap_or_else(|error| {
        Audience::Script.say(&format!("demo: {error:#}"));
        Exit::Unreachable
    })
}

async fn perform(args: &Demo, audience: Audience) -> anyhow::Result<Exit> {
    let mut scene = tokio::select! {
        scene = Scene::set(args, audience) => scene?,
        signal = signalled() => bail!("ended by {signal}"),
    };
    let early = CancellationToken::new();
    let (board, shown) = watch::channel(Player::board(args.length));
    let mut player = Player {
        control: &scene.control,
        folder: &scene.folder,
        clock: scene.clock,
        status: scene.app.status(),
        board,
        length: args.length,
        dead_after: scene.dead_after,
        early: early.clone(),
    };
    let facts = scene.facts(args);
    let sources = screen::Sources {
        clock: scene.clock,
        control: scene.control.clone(),
        status: scene.app.status(),
        board: shown,
        early: early.clone(),
    };
    let log = scene.folder.log();
    tokio::select! {
        biased;
        played = player.play() => played?,
        exit = scene.app.failed() => {
            Audience::Script.say(&format!("demo: the bridge ended by itself; see {}", log.display()));
            return Ok(exit);
        }
        () = interrupted(&early) => bail!("ended early, the books were not compared; see {}", log.display()),
        never = screen::show(audience, &facts, &sources) => match never {},
    }
    let began = sources.board.borrow().began.unwrap_or_default();
    drop(player);
    audience.say(Stage::Closing.words());
    tokio::select! {
        report = close(scene, args, began) => report?.tell(args.json),
        signal = signalled() => bail!("ended by {signal}, the books were not compared"),
    }
}

/// The first wish to end takes the story to its end; the second is this future's end.
async fn interrupted(early: &CancellationToken) {
    signalled().await;
    early.cancel();
    signalled().await;
}

/// Drains the bridge, reads both sides, and compares.
async fn close(scene: Scene, args: &Demo, began: crate::time::Time) -> anyhow::Result<Report> {
    let gaps = scene.control.gaps().await?;
    let exit = App::stop(scene.app, "the story is over").await;
    let seconds = scene.clock.now().since(began);
    let held = scene.target.read().await?;
    let journal = scene.control.journal().await?;
    let mut findings = oracle::judge(&Books {
        journal: &journal,
        topics: &scene.topics,
        since: scene.since,
        gaps: &gaps,
        held: &held,
    })?;
    if exit != Exit::Success {
        findings.complaints.push(format!("the bridge ended with {}", exit.code()));
    }
    scene.sim.stop().await;
    #[cfg(any(feature = "kafka", feature = "nats"))]
    if let Some(server) = scene.server {
        server.stop().await?;
    }
    Ok(Report {
        findings,
        sink: scene.target.name(),
        place: scene.target.place(),
        seed: scene.seed,
        seconds: round(seconds),
        log: scene.folder.log(),
        length: args.length,
    })
}

/// Seconds with one digit.
fn round(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10.0).round() / 10.0
}
