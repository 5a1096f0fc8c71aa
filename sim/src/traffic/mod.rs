//! Traffic: a contact centre in virtual time, and the clock that lets it out into real time.
//!
//! The world is asked for one notification after the other and decides what each is; this file
//! only says when. No request and no subscription ever reaches the world, so that one seed always
//! means the same notifications.

mod bodies;
mod conversation;
mod families;
mod snapshot;
mod world;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::RngExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

pub(crate) use self::snapshot::Details;
use self::world::World;
use crate::chance::{self, Chance};
use crate::clock::{self, Millis};
use crate::journal::Emission;
use crate::options::Options;
use crate::platform::Platform;
use crate::scenario::{self, Scenario};

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

/// An emission that a scenario asks for.
#[derive(Debug, Clone)]
pub(crate) struct Scripted {
    /// In traffic time.
    pub(crate) at: Duration,
    pub(crate) topic: String,
    pub(crate) body: String,
    pub(crate) correlation_id: Option<String>,
}

/// The traffic of one simulator.
#[derive(Debug)]
pub(crate) struct Traffic {
    queues: Vec<Queue>,
    organization: String,
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
    /// When the world is asked next, in microseconds of traffic time.
    next: u64,
    /// The wall time of traffic time 0.
    start: Millis,
    /// Emissions of a scenario, by time.
    scripted: VecDeque<Scripted>,
    /// Whether `start` was asked for, and so must not follow the wall clock over pauses.
    fixed: bool,
}

impl Traffic {
    pub(crate) fn new(options: &Options, scripted: Vec<Scripted>) -> Self {
        let world = World::new(options);
        let start = options.start.map(clock::millis);
        Self {
            queues: world.queues(),
            organization: chance::uuid(&mut chance::stream(options.seed, "organization")),
            division: world.division().to_owned(),
            users: world.users(),
            running: watch::Sender::new(!options.paused),
            schedule: Mutex::new(Schedule {
                world,
                chance: chance::stream(options.seed, "schedule"),
                pause: pause(options.rate).filter(|_| options.queues > 0),
                next: 0,
                start: start.unwrap_or_default(),
                scripted: scripted.into(),
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

    pub(crate) fn organization(&self) -> &str {
        &self.organization
    }

    /// What an observation query is answered: the queues, media types, metrics and detailed metrics
    /// that are asked for.
    pub(crate) fn observations(
        &self,
        queue: impl Fn(&str) -> bool,
        media: impl Fn(&str) -> bool,
        metric: impl Fn(&str) -> bool,
        detailed: impl Fn(&str) -> bool,
    ) -> Vec<Value> {
        let schedule = self.schedule();
        let asked = snapshot::Asked { media: &media, metric: &metric, detailed: &detailed };
        let desks = schedule.world.desks.iter().filter(|desk| queue(&desk.queue.id));
        desks.flat_map(|desk| snapshot::observations(desk, &asked)).collect()
    }

    /// Every conversation, living or remembered.
    pub(crate) fn details(&self) -> Vec<Details> {
        snapshot::details(&self.schedule().world)
    }

    /// The members of a queue, if there is such a queue.
    pub(crate) fn members(&self, queue_id: &str) -> Option<Vec<Value>> {
        let schedule = self.schedule();
        let desk = schedule.world.desks.iter().find(|desk| desk.queue.id == queue_id)?;
        Some(snapshot::members(desk))
    }

    pub(crate) fn member_count(&self, queue_id: &str) -> usize {
        let schedule = self.schedule();
        let desk = schedule.world.desks.iter().find(|desk| desk.queue.id == queue_id);
        desk.map_or(0, |desk| desk.agents.len())
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
    /// When the next notification is due, in microseconds of traffic time; never, if there is none
    /// and will be none.
    fn due(&self) -> Option<u64> {
        let scripted = self.scripted.front().map(|emission| micros(emission.at));
        match (self.pause, scripted) {
            (Some(_), Some(scripted)) => Some(scripted.min(self.next)),
            (Some(_), None) => Some(self.next),
            (None, scripted) => scripted,
        }
    }

    /// Emits all that is due at `elapsed` microseconds of traffic time. The state is locked anew
    /// for each, so that nobody waits long.
    fn release(&mut self, platform: &Platform, elapsed: u64) {
        while let Some(due) = self.due().filter(|due| *due <= elapsed) {
            let time = self.start + due / 1000;
            let is_scripted = self.scripted.front().is_some_and(|next| micros(next.at) <= due);
            if is_scripted && let Some(emission) = self.scripted.pop_front() {
                let mut state = platform.state();
                let id = emission.correlation_id.unwrap_or_else(|| state.correlation_id());
                state.emit(&emission.topic, &emission.body, time, id);
                continue;
            }
            let notification = self.world.next(time);
            let mut state = platform.state();
            let id = state.correlation_id();
            state.emit(&notification.topic, &notification.body, time, id);
            // From half the mean to one and a half of it: lively, and the rate still holds.
            let pause = self.pause.unwrap_or(u64::MAX / 4);
            self.next += self.chance.random_range(pause / 2..=pause + pause / 2).max(1);
        }
    }
}

/// What a simulator with these options would emit in the first `length` of its traffic, without a
/// socket and without waiting: the same numbers, times, bodies and CorrelationIds to the byte, as
/// long as nobody emits by hand.
///
/// # Errors
/// When the scenario cannot be read.
pub fn rehearse(options: &Options, length: Duration) -> Result<Vec<Emission>, scenario::Error> {
    let mut scenario = options.scenario.as_deref().map(Scenario::load).transpose()?;
    let scripted = scenario.as_mut().map(Scenario::take_emissions).unwrap_or_default();
    let platform = Platform::new(options.clone(), String::new(), scripted);
    platform.traffic.begin(0);
    platform.traffic.schedule().release(&platform, micros(length));
    Ok(platform.state().log.read(1).emissions)
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

/// Emits what is due, again and again; returns when there will be nothing more.
async fn release(platform: &Platform, since: Instant, passed: u64) {
    loop {
        let elapsed = passed + micros(since.elapsed());
        let due = {
            let mut schedule = platform.traffic.schedule();
            schedule.release(platform, elapsed);
            schedule.due()
        };
        let Some(due) = due else { return };
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
