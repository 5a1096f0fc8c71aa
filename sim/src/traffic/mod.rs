//! Traffic: a contact centre in virtual time, and the clock that lets it out into real time.
//!
//! The world is asked for one notification after the other and decides what each is; this file
//! only says when. No request and no subscription ever reaches the world, so that one seed always
//! means the same notifications.

mod bodies;
mod world;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::RngExt;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use self::world::World;
use crate::chance::{self, Chance};
use crate::clock::{self, Millis};
use crate::options::Options;
use crate::platform::Platform;

/// A queue of the organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// A UUID made from the seed.
    pub id: String,
    /// `Queue 01`, `Queue 02` and so on.
    pub name: String,
}

/// One notification before it is numbered.
#[derive(Debug, Clone)]
pub(crate) struct Notification {
    pub(crate) topic: String,
    pub(crate) body: String,
}

/// The traffic of one simulator.
#[derive(Debug)]
pub(crate) struct Traffic {
    queues: Vec<Queue>,
    division: String,
    users: Vec<String>,
    running: watch::Sender<bool>,
    /// Taken by the task that drives it.
    schedule: Mutex<Schedule>,
}

/// Which notification comes next, and at what distance from the first moment.
#[derive(Debug)]
struct Schedule {
    world: World,
    chance: Chance,
    /// The mean pause between two notifications in microseconds; none means no traffic.
    pause: Option<u64>,
    /// When the next one is due, in microseconds of traffic time.
    due: u64,
    /// The wall time of traffic time 0.
    start: Millis,
    /// Whether `start` was asked for, and so must not follow the wall clock over pauses.
    fixed: bool,
}

impl Traffic {
    pub(crate) fn new(options: &Options) -> Self {
        let world = World::new(options.seed, options.queues);
        let start = options.start.map(clock::millis);
        Self {
            queues: world.queues(),
            division: world.division().to_owned(),
            users: world.users(),
            running: watch::Sender::new(!options.paused),
            schedule: Mutex::new(Schedule {
                world,
                chance: chance::stream(options.seed, "schedule"),
                pause: pause(options.rate).filter(|_| options.queues > 0),
                due: 0,
                start: start.unwrap_or_default(),
                fixed: start.is_some(),
            }),
        }
    }

    pub(crate) fn queues(&self) -> &[Queue] {
        &self.queues
    }

    pub(crate) fn division(&self) -> &str {
        &self.division
    }

    pub(crate) fn has_queue(&self, id: &str) -> bool {
        self.queues.iter().any(|queue| queue.id == id)
    }

    pub(crate) fn has_user(&self, id: &str) -> bool {
        self.users.iter().any(|user| user == id)
    }

    pub(crate) fn is_running(&self) -> bool {
        *self.running.borrow()
    }

    pub(crate) fn set_running(&self, running: bool) {
        self.running.send_replace(running);
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Schedule {
    /// The next notification if it is due at `elapsed` microseconds, with its scheduled time.
    fn next(&mut self, elapsed: u64) -> Option<(Millis, Notification)> {
        let pause = self.pause?;
        if self.due > elapsed {
            return None;
        }
        let time = self.start + self.due / 1000;
        let notification = self.world.next(time);
        // From half the mean to one and a half of it: lively, and the rate still holds.
        self.due += self.chance.random_range(pause / 2..=pause + pause / 2).max(1);
        Some((time, notification))
    }
}

/// Lets the traffic out until the simulator stops.
pub(crate) async fn drive(platform: Arc<Platform>) {
    let mut running = platform.traffic.running.subscribe();
    // Traffic time that had passed when the traffic was paused last, in microseconds.
    let mut passed = 0;
    let stopped = platform.stopped.clone();
    while stopped.run_until_cancelled(running.wait_for(|running| *running)).await.is_some() {
        let since = Instant::now();
        platform.traffic.begin(passed);
        let mut paused = platform.traffic.running.subscribe();
        tokio::select! {
            _ = paused.wait_for(|running| !running) => {}
            () = stopped.cancelled() => return,
            () = release(&platform, since, passed) => return,
        }
        passed += micros(since.elapsed());
    }
}

impl Traffic {
    /// Moves the first moment so that traffic time `passed` is now, unless it was asked for.
    fn begin(&self, passed: u64) {
        let mut schedule = self.schedule();
        if !schedule.fixed {
            schedule.start = clock::now().saturating_sub(passed / 1000);
        }
    }
}

/// Emits what is due, again and again; returns only when there is no traffic at all.
async fn release(platform: &Platform, since: Instant, passed: u64) {
    loop {
        let elapsed = passed + micros(since.elapsed());
        let due = {
            let mut schedule = platform.traffic.schedule();
            if schedule.pause.is_none() {
                return;
            }
            while let Some((time, notification)) = schedule.next(elapsed) {
                let mut state = platform.state();
                let id = state.correlation_id();
                state.emit(&notification.topic, &notification.body, time, id);
            }
            schedule.due
        };
        tokio::time::sleep_until(since + Duration::from_micros(due.saturating_sub(passed))).await;
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is positive here, and a pause beyond the range of u64 is for ever"
)]
fn pause(rate: f64) -> Option<u64> {
    (rate > 0.0).then(|| (1_000_000.0 / rate) as u64)
}
