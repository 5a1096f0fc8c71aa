//! `tieline run`: configuration, log, the app, signals, drain.

use super::Exit;
use super::args::Run;
use crate::app::App;
use crate::config::{self, Config};
use crate::telemetry::logging;
use std::io::Write;

/// Runs until SIGTERM, Ctrl-C or a failure that waiting cannot mend.
pub fn run(args: &Run) -> Exit {
    let config = match Config::load(args.file.as_deref(), config::variables()) {
        Ok(config) => config,
        Err(mistakes) => return complain(&mistakes),
    };
    if let Err(mistake) = logging::init(&config.log) {
        return complain(&format!("log.{} {}: {}", mistake.key, mistake.problem, mistake.fix));
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("the system gives no threads: {error}");
            return Exit::Bug;
        }
    };
    runtime.block_on(live(config, args.fail_fast))
}

async fn live(config: Config, fail_fast: bool) -> Exit {
    let mut app = match App::start(config, fail_fast).await {
        Ok(app) => app,
        Err(error) => {
            tracing::error!("cannot start: {error:#}");
            return Exit::Configuration;
        }
    };
    tokio::select! {
        reason = signalled() => app.stop(reason).await,
        exit = app.failed() => {
            let drained = app.stop("failure").await;
            if exit == Exit::Success { drained } else { exit }
        }
    }
}

/// Waits for an order to stop; answers which.
pub async fn signalled() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("no signal can be heard; end the process with SIGKILL");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "Ctrl-C",
    }
}

fn complain(what: &impl std::fmt::Display) -> Exit {
    // Where nothing can be written, the code still says what happened.
    writeln!(std::io::stderr().lock(), "{what}").ok();
    Exit::Configuration
}
