//! The contact centre: queues, agents and conversations, and what is said about them.
//!
//! It lives in virtual time: it is asked for one notification after the other, moves something to
//! make one, and never looks at a clock. What a notification looks like is in `bodies`.

use std::collections::VecDeque;

use rand::RngExt;

use super::bodies;
use super::conversation::{Conversation, Party, Stage};
use super::families::{self, Change};
use super::{Notification, Queue};
use crate::chance::{self, Chance};
use crate::clock::Millis;
use crate::options::{Families, Options};

/// Seconds a conversation should last, over the steps it takes in that time.
const STEPS_PER_LIFE: f64 = 60.0 / 6.0;

/// Ended conversations that are remembered for queries.
const PAST_MAX: usize = 10_000;

/// The least pause between two statistics of one kind about one queue.
const STATISTICS_PAUSE: Millis = 1000;

/// Half an hour: the interval of growing statistics.
const INTERVAL: Millis = 1_800_000;

/// All that happens.
#[derive(Debug)]
pub(super) struct World {
    chance: Chance,
    division: String,
    pub(super) desks: Vec<Desk>,
    families: Families,
    /// Conversations that have ended, the oldest first.
    pub(super) past: VecDeque<Past>,
    /// Said but not yet asked for.
    pending: VecDeque<Notification>,
}

/// A conversation that has ended, and where.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) desk: usize,
    pub(super) conversation: Conversation,
    pub(super) ended: Millis,
}

/// One queue with its people and its work.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) queue: Queue,
    pub(super) agents: Vec<Agent>,
    pub(super) live: Vec<Conversation>,
    pub(super) tally: Tally,
    activity: Statistic,
    observations: Statistic,
    /// Whether the next observations are the growing kind.
    grows: bool,
    /// Conversations beyond which none arrives.
    live_max: usize,
}

/// What became of one conversation.
#[derive(Debug)]
struct Worked {
    before: Option<Conversation>,
    after: Conversation,
    /// Its place among the living, if it is one of them.
    live: Option<usize>,
}

/// A kind of statistic about a queue: whether it has changed, and when it was told last.
#[derive(Debug, Default)]
struct Statistic {
    changed: bool,
    told: Option<Millis>,
}

/// A member of a queue.
#[derive(Debug, Clone)]
pub(super) struct Agent {
    pub(super) id: String,
    pub(super) joined: bool,
    pub(super) busy: bool,
}

/// Counts of the current half hour.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) began: Millis,
    pub(super) offered: u64,
    pub(super) answered: u64,
    pub(super) abandoned: u64,
    pub(super) waited_ms: u64,
    pub(super) in_time: u64,
}

impl World {
    pub(super) fn new(options: &Options) -> Self {
        let (seed, queues) = (options.seed, options.queues);
        let live_max = live_max(options);
        let mut ids = chance::stream(seed, "queues");
        let division = chance::uuid(&mut ids);
        let desks = (1..=queues)
            .map(|number| Desk {
                queue: Queue { id: chance::uuid(&mut ids), name: format!("Queue {number:02}") },
                agents: (0..live_max / 2)
                    .map(|place| Agent {
                        id: chance::uuid(&mut ids),
                        joined: place % 4 != 3,
                        busy: false,
                    })
                    .collect(),
                live: Vec::new(),
                tally: Tally::default(),
                activity: Statistic::default(),
                observations: Statistic::default(),
                grows: false,
                live_max,
            })
            .collect();
        Self {
            chance: chance::stream(seed, "world"),
            division,
            desks,
            families: options.families,
            past: VecDeque::new(),
            pending: VecDeque::new(),
        }
    }

    pub(super) fn queues(&self) -> Vec<Queue> {
        self.desks.iter().map(|desk| desk.queue.clone()).collect()
    }

    pub(super) fn users(&self) -> Vec<String> {
        self.desks.iter().flat_map(|desk| &desk.agents).map(|agent| agent.id.clone()).collect()
    }

    pub(super) fn division(&self) -> &str {
        &self.division
    }

    /// What is said at `now`: something that waits to be said, a statistic that has become due, or
    /// else something new happens.
    pub(super) fn next(&mut self, now: Millis) -> Notification {
        loop {
            if let Some(notification) = self.pending.pop_front() {
                return notification;
            }
            if let Some(statistic) = self.desks.iter_mut().find_map(|desk| desk.statistic(now)) {
                return statistic;
            }
            self.step(now);
        }
    }

    /// Lets one thing happen in one queue.
    fn step(&mut self, now: Millis) {
        let place = self.chance.random_range(0..self.desks.len());
        let Some(desk) = self.desks.get_mut(place) else {
            return;
        };
        desk.tally.begin(now);
        match self.chance.random_range(0..100) {
            0..8 => {
                let agents = if self.families.users { desk.agents.clone() } else { Vec::new() };
                self.pending.extend(desk.shift(&mut self.chance));
                self.tell_of_agents(place, &agents, now);
            }
            8..11 => self.pending.extend(desk.repeat(&mut self.chance)),
            _ => self.work(place, now),
        }
    }

    /// Lets a conversation of one queue arrive or go on, and tells of it in every family.
    fn work(&mut self, place: usize, now: Millis) {
        let Some(desk) = self.desks.get_mut(place) else {
            return;
        };
        let agents = if self.families.users { desk.agents.clone() } else { Vec::new() };
        let Some(worked) = desk.work(&mut self.chance, now) else {
            return;
        };
        let Worked { before, mut after, live } = worked;
        let queue_id = desk.queue.id.as_str();
        let change = Change {
            before: before.as_ref(),
            after: &after,
            agents: &desk.agents,
            queue_id,
            division: &self.division,
            now,
        };
        let body = bodies::conversation(&after, &desk.agents, queue_id, &self.division);
        self.pending.push_back(desk.said(body.clone()));
        if self.families.details {
            self.pending.extend(change.details());
        }
        after.last = body;
        match live {
            Some(at) => desk.live[at] = after,
            None => {
                self.past.push_back(Past { desk: place, conversation: after, ended: now });
                if self.past.len() > PAST_MAX {
                    self.past.pop_front();
                }
            }
        }
        self.tell_of_agents(place, &agents, now);
    }

    /// Tells what differs between the agents of a queue and what they were.
    fn tell_of_agents(&mut self, place: usize, before: &[Agent], now: Millis) {
        if !self.families.users {
            return;
        }
        let Some(desk) = self.desks.get(place) else {
            return;
        };
        for (before, after) in before.iter().zip(&desk.agents) {
            self.pending.extend(families::agent(before, after, now));
        }
    }
}

impl Desk {
    /// An agent joins or leaves. Agents who toggle make notifications that repeat legally.
    fn shift(&mut self, chance: &mut Chance) -> Option<Notification> {
        let place = chance.random_range(0..self.agents.len());
        let agent = self.agents.get_mut(place).filter(|agent| !agent.busy)?;
        agent.joined = !agent.joined;
        self.activity.changed = true;
        self.observations.changed = true;
        Some(Notification {
            topic: format!("v2.routing.queues.{}.users", self.queue.id),
            body: bodies::member(&self.queue.id, agent),
        })
    }

    /// Something happens that the body does not show: it is sent again, equal to the byte.
    fn repeat(&self, chance: &mut Chance) -> Option<Notification> {
        let conversation = pick(&self.live, chance)?;
        Some(self.said(conversation.last.clone()))
    }

    /// A conversation arrives or goes on.
    fn work(&mut self, chance: &mut Chance, now: Millis) -> Option<Worked> {
        self.activity.changed = true;
        self.observations.changed = true;
        // More arrive while there is room, so that most of the room is in use.
        let arrives = match self.live.len() {
            0 => true,
            live if live < self.live_max / 2 => chance.random_range(0..100) < 40,
            live => live < self.live_max && chance.random_range(0..100) < 20,
        };
        if arrives {
            let after = Conversation::arriving(chance, now);
            self.tally.offered += 1;
            self.live.push(after.clone());
            return Some(Worked { before: None, after, live: Some(self.live.len() - 1) });
        }
        let place = chance.random_range(0..self.live.len());
        let before = self.live.get(place)?.clone();
        self.proceed(place, chance, now);
        let after = self.live.get(place)?.clone();
        if matches!(after.stage, Stage::Finished | Stage::Abandoned) {
            self.live.swap_remove(place);
            return Some(Worked { before: Some(before), after, live: None });
        }
        Some(Worked { before: Some(before), after, live: Some(place) })
    }

    fn proceed(&mut self, place: usize, chance: &mut Chance, now: Millis) {
        let Some(conversation) = self.live.get_mut(place) else {
            return;
        };
        match conversation.stage {
            Stage::Waiting => match idle(&self.agents, chance) {
                Some(agent) if chance.random_range(0..100) < 85 => {
                    if let Some(agent) = self.agents.get_mut(agent) {
                        agent.busy = true;
                    }
                    conversation.alert(agent, chance, now);
                }
                Some(_) | None => {
                    conversation.abandon(now);
                    self.tally.abandoned += 1;
                }
            },
            Stage::Alerting if chance.random_range(0..100) < 15 => {
                free(&mut self.agents, conversation.agent.take());
                conversation.stage = Stage::Waiting;
            }
            Stage::Alerting => {
                let waited = conversation.connect(now);
                self.tally.answered += 1;
                self.tally.waited_ms += waited;
                // The service level of this centre: answered within 20 seconds.
                self.tally.in_time += u64::from(waited <= 20_000);
            }
            Stage::Connected if chance.random_range(0..100) < 30 => {
                conversation.held = !conversation.held;
            }
            Stage::Connected => conversation.hang_up(now),
            Stage::WrappingUp | Stage::Finished | Stage::Abandoned => {
                let agent = conversation.agent.as_ref().map(|(agent, _)| *agent);
                conversation.stage = Stage::Finished;
                if let Some(agent) = agent.and_then(|agent| self.agents.get_mut(agent)) {
                    agent.busy = false;
                }
            }
        }
    }

    fn said(&self, body: String) -> Notification {
        Notification { topic: format!("v2.routing.queues.{}.conversations", self.queue.id), body }
    }

    /// A statistic that has changed and may be told again.
    fn statistic(&mut self, now: Millis) -> Option<Notification> {
        if self.activity.take(now) {
            return Some(Notification {
                topic: format!("v2.analytics.queues.{}.activity", self.queue.id),
                body: bodies::activity(self),
            });
        }
        if self.observations.take(now) {
            self.grows = !self.grows;
            let body = if self.grows { bodies::growing(self) } else { bodies::instant(self, now) };
            return Some(Notification {
                topic: format!("v2.analytics.queues.{}.observations", self.queue.id),
                body,
            });
        }
        None
    }
}

impl Agent {
    /// The routing status, in the platform's word.
    pub(super) fn status(&self) -> &'static str {
        match (self.joined, self.busy) {
            (_, true) => "INTERACTING",
            (true, false) => "IDLE",
            (false, false) => "OFF_QUEUE",
        }
    }
}

impl Statistic {
    fn take(&mut self, now: Millis) -> bool {
        let due = self.changed && self.told.is_none_or(|told| now >= told + STATISTICS_PAUSE);
        if due {
            *self = Self { changed: false, told: Some(now) };
        }
        due
    }
}

impl Tally {
    /// Starts anew when a new half hour has begun.
    fn begin(&mut self, now: Millis) {
        let began = now - now % INTERVAL;
        if began != self.began {
            *self = Self { began, ..Self::default() };
        }
    }

    /// The half hour the counts belong to, from and to.
    pub(super) fn interval(&self) -> (Millis, Millis) {
        (self.began, self.began + INTERVAL)
    }
}

/// An agent who is free, whoever comes first after a random one.
fn idle(agents: &[Agent], chance: &mut Chance) -> Option<usize> {
    let from = chance.random_range(0..agents.len());
    let places = (from..agents.len()).chain(0..from);
    places
        .into_iter()
        .find(|&place| agents.get(place).is_some_and(|agent| agent.joined && !agent.busy))
}

/// Conversations that a queue has at most, so that each lasts for some tens of seconds at this
/// rate, within bounds that keep the world small.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "clamped to a small positive number"
)]
fn live_max(options: &Options) -> usize {
    let per_queue = options.rate / options.queues.max(1) as f64;
    (per_queue * STEPS_PER_LIFE).clamp(16.0, 200.0) as usize
}

fn free(agents: &mut [Agent], taken: Option<(usize, Party)>) {
    if let Some(agent) = taken.and_then(|(agent, _)| agents.get_mut(agent)) {
        agent.busy = false;
    }
}

fn pick<'a, T>(from: &'a [T], chance: &mut Chance) -> Option<&'a T> {
    if from.is_empty() {
        return None;
    }
    from.get(chance.random_range(0..from.len()))
}
