//! The contact centre: queues, agents and conversations, and what is said about them.
//!
//! It lives in virtual time: it is asked for one notification after the other, moves something to
//! make one, and never looks at a clock. What a notification looks like is in `bodies`.

use std::collections::VecDeque;

use rand::RngExt;

use super::bodies;
use super::{Notification, Queue};
use crate::chance::{self, Chance};
use crate::clock::Millis;

/// Conversations in one queue beyond which none arrives.
const LIVE_MAX: usize = 24;

/// Agents of one queue.
const AGENTS: usize = 8;

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
    /// Said but not yet asked for.
    pending: VecDeque<Notification>,
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

/// How far a conversation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Waiting,
    Alerting,
    Connected,
    WrappingUp,
    Finished,
    Abandoned,
}

/// What people talk through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Media {
    Voice,
    Callback,
    Chat,
    Email,
    Message,
}

/// One conversation.
#[derive(Debug, Clone)]
pub(super) struct Conversation {
    pub(super) id: String,
    pub(super) media: Media,
    pub(super) stage: Stage,
    pub(super) customer: Party,
    pub(super) acd: Party,
    /// The agent's place among the queue's agents, and the agent's part in the conversation.
    pub(super) agent: Option<(usize, Party)>,
    pub(super) priority: u64,
    pub(super) held: bool,
    pub(super) wrapup_code: String,
    pub(super) caller: u64,
    /// What was said about it last, to be said again.
    last: String,
}

/// One participant: its own id, that of its communication, and its times.
#[derive(Debug, Clone)]
pub(super) struct Party {
    pub(super) id: String,
    pub(super) communication: String,
    pub(super) began: Millis,
    pub(super) connected: Option<Millis>,
    pub(super) ended: Option<Millis>,
}

impl World {
    pub(super) fn new(seed: u64, queues: usize) -> Self {
        let mut ids = chance::stream(seed, "queues");
        let division = chance::uuid(&mut ids);
        let desks = (1..=queues)
            .map(|number| Desk {
                queue: Queue { id: chance::uuid(&mut ids), name: format!("Queue {number:02}") },
                agents: (0..AGENTS)
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
            })
            .collect();
        Self { chance: chance::stream(seed, "world"), division, desks, pending: VecDeque::new() }
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
        let notification = match self.chance.random_range(0..100) {
            0..8 => desk.shift(&mut self.chance),
            8..11 => desk.repeat(&mut self.chance),
            _ => desk.work(&mut self.chance, &self.division, now),
        };
        self.pending.extend(notification);
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
    fn work(&mut self, chance: &mut Chance, division: &str, now: Millis) -> Option<Notification> {
        self.activity.changed = true;
        self.observations.changed = true;
        let arrives = self.live.len() < LIVE_MAX
            && (self.live.is_empty() || chance.random_range(0..100) < 22);
        let place = if arrives {
            self.live.push(Conversation::arriving(chance, now));
            self.tally.offered += 1;
            self.live.len() - 1
        } else {
            let place = chance.random_range(0..self.live.len());
            self.proceed(place, chance, now);
            place
        };
        let conversation = self.live.get_mut(place)?;
        conversation.last =
            bodies::conversation(conversation, &self.agents, &self.queue.id, division);
        let said = conversation.last.clone();
        if matches!(conversation.stage, Stage::Finished | Stage::Abandoned) {
            self.live.swap_remove(place);
        }
        Some(self.said(said))
    }

    fn proceed(&mut self, place: usize, chance: &mut Chance, now: Millis) {
        let Some(conversation) = self.live.get_mut(place) else {
            return;
        };
        match conversation.stage {
            Stage::Waiting => {
                let idle = self.agents.iter().position(|agent| agent.joined && !agent.busy);
                match idle {
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
                }
            }
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

impl Conversation {
    fn arriving(chance: &mut Chance, now: Millis) -> Self {
        let media = match chance.random_range(0..100) {
            0..50 => Media::Voice,
            50..60 => Media::Callback,
            60..75 => Media::Chat,
            75..88 => Media::Email,
            _ => Media::Message,
        };
        Self {
            id: chance::uuid(chance),
            media,
            stage: Stage::Waiting,
            customer: Party { connected: Some(now), ..Party::new(chance, now) },
            acd: Party { connected: Some(now), ..Party::new(chance, now) },
            agent: None,
            priority: chance.random_range(0..5),
            held: false,
            wrapup_code: chance::uuid(chance),
            caller: chance.random_range(0..10_000_000),
            last: String::new(),
        }
    }

    fn alert(&mut self, agent: usize, chance: &mut Chance, now: Millis) {
        self.stage = Stage::Alerting;
        self.agent = Some((agent, Party::new(chance, now)));
    }

    /// Answers how long the customer has waited, in milliseconds.
    fn connect(&mut self, now: Millis) -> u64 {
        self.stage = Stage::Connected;
        self.acd.ended = Some(now);
        if let Some((_, party)) = &mut self.agent {
            party.connected = Some(now);
        }
        now.saturating_sub(self.acd.began)
    }

    fn hang_up(&mut self, now: Millis) {
        self.stage = Stage::WrappingUp;
        self.held = false;
        self.customer.ended = Some(now);
        if let Some((_, party)) = &mut self.agent {
            party.ended = Some(now);
        }
    }

    fn abandon(&mut self, now: Millis) {
        self.stage = Stage::Abandoned;
        self.customer.ended = Some(now);
        self.acd.ended = Some(now);
    }
}

impl Party {
    fn new(chance: &mut Chance, now: Millis) -> Self {
        Self {
            id: chance::uuid(chance),
            communication: chance::uuid(chance),
            began: now,
            connected: None,
            ended: None,
        }
    }
}

impl Media {
    pub(super) const ALL: [Self; 5] =
        [Self::Voice, Self::Callback, Self::Chat, Self::Email, Self::Message];

    /// Its name in this family of topics: lower case, unlike in detail events.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Voice => "voice",
            Self::Callback => "callback",
            Self::Chat => "chat",
            Self::Email => "email",
            Self::Message => "message",
        }
    }

    /// The array of a participant that holds its communications.
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::Voice => "calls",
            Self::Callback => "callbacks",
            Self::Chat => "chats",
            Self::Email => "emails",
            Self::Message => "messages",
        }
    }
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
