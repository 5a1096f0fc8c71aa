//! How the program ends: which part's end ends it, and what is waited for before the process does.
//!
//! Parts stop in the order of an event's way: sockets, journal, sinks, and last the doors for operators.

use super::App;
use crate::bridge::{self, Ending, Successor};
use crate::exit::Exit;
use crate::observation::Observation;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinError;

/// How long parts may take to end that have nothing more to deliver.
const EPILOGUE: Duration = Duration::from_secs(5);

impl App {
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
                true = is_handed(&mut self.handed) => {
                    // Where perhaps nobody goes on, a service manager must begin anew.
                    let is_told = self.successor().is_some_and(|successor| successor.is_told);
                    return if is_told { Exit::Success } else { Exit::Unreachable };
                }
                else => return Exit::Success,
            }
        }
    }

    /// The process that goes on in this one's place, once one does.
    pub fn successor(&self) -> Option<Successor> {
        *self.handed.borrow()
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

/// Waits until another process goes on; false where none ever will.
async fn is_handed(handed: &mut watch::Receiver<Option<Successor>>) -> bool {
    handed.wait_for(Option::is_some).await.is_ok()
}

/// What the driver's end means, said on the log.
fn exit_of(ended: Result<Ending, JoinError>) -> Exit {
    match ended {
        Ok(Ending::Stopped | Ending::HandedOver) => Exit::Success,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Tokens;
    use crate::bridge::Status;
    use crate::clock::Clock;
    use crate::reload::Desk;
    use crate::telemetry::Telemetry;
    use crate::telemetry::metrics::Metrics;
    use std::sync::Arc;
    use tokio::task::JoinSet;
    use tokio_util::task::TaskTracker;

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
            handed: watch::channel(None).1,
            _door: None,
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
    async fn a_process_that_ends_for_another_which_may_be_gone_does_not_end_well() {
        for (is_told, exit) in [(true, Exit::Success), (false, Exit::Unreachable)] {
            let mut app = app();
            app.driver.spawn(std::future::pending());
            app.handed = watch::channel(Some(Successor { pid: None, is_told })).1;
            assert_eq!(app.failed().await, exit);
        }
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
