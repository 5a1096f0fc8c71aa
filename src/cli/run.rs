//! `tieline run`: configuration, log, the app, signals (SIGTERM and Ctrl-C drain, SIGUSR1 rotates, SIGHUP reads the configuration again).

use super::args::Run;
use super::{Exit, control, notify};
use crate::app::{App, Declined};
use crate::config::{self, Loaded, Text};
use crate::telemetry::logging::{self, Knob};
use std::io::Write;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long threads may take to come back from the system once everything else has ended.
const GOODBYE: Duration = Duration::from_secs(1);

/// Runs until SIGTERM, Ctrl-C or a failure that waiting cannot mend.
pub fn run(args: &Run) -> Exit {
    let text = args.file.as_deref().map(Text::read);
    let loaded = match Loaded::of(text.as_ref(), config::variables()) {
        Ok(loaded) => loaded,
        Err(mistakes) => return complain(&mistakes),
    };
    let knob = match logging::init(&loaded.config.log) {
        Ok(knob) => knob,
        Err(mistake) => {
            return complain(&format!("log.{} {}: {}", mistake.key, mistake.problem, mistake.fix));
        }
    };
    if args.handover && notify::is_beside_main() {
        return control::run(&loaded.config.data_dir);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("the system gives no threads: {error}");
            return Exit::Bug;
        }
    };
    let exit = runtime.block_on(live(loaded, text, knob, args));
    // A thread that hangs in the system (a pipe that nobody reads, a dead network disk) must not keep the process alive.
    runtime.shutdown_timeout(GOODBYE);
    exit
}

async fn live(loaded: Loaded, text: Option<Text>, knob: Knob, args: &Run) -> Exit {
    // Before anything is begun, so that no signal finds it half made.
    let mut signals = Signals::install();
    let started = match args.handover {
        true => {
            // It may take minutes until the process that runs is gone; whoever stops this one before that leaves it as it is.
            tokio::select! {
                started = App::take_over(loaded.config.clone(), args.fail_fast) => started,
                signal = signals.stop() => {
                    tracing::info!("{signal} ends the handover; the process that runs goes on");
                    return Exit::Success;
                }
            }
        }
        false => App::start(loaded.config.clone(), args.fail_fast).await,
    };
    let mut app = match started {
        Ok(app) => app,
        Err(error) => return refused(&error),
    };
    app.watch(loaded, text, knob);
    notify::ready();
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Order::Stop(reason) => {
                    notify::stopping();
                    return stop(app, reason, &mut signals).await;
                }
                Order::Rotate => app.rotate(),
                Order::Reload => app.reload(),
            },
            exit = app.failed() => {
                let reason = match app.successor() {
                    Some(successor) => {
                        successor.pid.inspect(|pid| notify::main_is(*pid));
                        "handover"
                    }
                    None => "failure",
                };
                let drained = stop(app, reason, &mut signals).await;
                return if exit == Exit::Success { drained } else { exit };
            }
        }
    }
}

/// Why the process does not run.
fn refused(error: &anyhow::Error) -> Exit {
    if let Some(Declined(refusal)) = error.downcast_ref::<Declined>() {
        tracing::error!("{error:#}");
        return if refusal.permanent { Exit::Configuration } else { Exit::Unreachable };
    }
    tracing::error!("cannot start: {error:#}");
    Exit::Configuration
}

/// Drains, for as long as configured or until one more signal.
async fn stop(app: App, reason: &'static str, signals: &mut Signals) -> Exit {
    let deadline = app.deadline();
    let mut stopped = std::pin::pin!(app.stop(reason));
    tokio::select! {
        exit = &mut stopped => exit,
        signal = signals.stop() => {
            tracing::warn!("{signal} cuts the drain short");
            deadline.cancel();
            stopped.await
        }
    }
}

/// Waits for an order to stop; answers which.
pub async fn signalled() -> &'static str {
    Signals::install().stop().await
}

/// What a signal asks for.
enum Order {
    /// SIGTERM or Ctrl-C; its name.
    Stop(&'static str),
    /// SIGUSR1: replace every session.
    Rotate,
    /// SIGHUP: read the configuration again.
    Reload,
}

/// The signals, heard from the moment that this is made.
struct Signals(Option<[Signal; 4]>);

impl Signals {
    fn install() -> Self {
        let kinds = [
            SignalKind::terminate(),
            SignalKind::interrupt(),
            SignalKind::user_defined1(),
            SignalKind::hangup(),
        ];
        if let [Ok(terminate), Ok(interrupt), Ok(user), Ok(hangup)] = kinds.map(signal) {
            return Self(Some([terminate, interrupt, user, hangup]));
        }
        tracing::error!("no signal can be heard; end the process with SIGKILL");
        Self(None)
    }

    async fn next(&mut self) -> Order {
        let Some([terminate, interrupt, user, hangup]) = &mut self.0 else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => Order::Stop("SIGTERM"),
            _ = interrupt.recv() => Order::Stop("Ctrl-C"),
            _ = user.recv() => Order::Rotate,
            _ = hangup.recv() => Order::Reload,
        }
    }

    /// The next order to stop; there is nothing to rotate or to change any more.
    async fn stop(&mut self) -> &'static str {
        loop {
            if let Order::Stop(signal) = self.next().await {
                return signal;
            }
        }
    }
}

fn complain(what: &impl std::fmt::Display) -> Exit {
    // Where nothing can be written, the code still says what happened.
    writeln!(std::io::stderr().lock(), "{what}").ok();
    Exit::Configuration
}
