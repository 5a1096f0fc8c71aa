//! One conversation: who takes part, through what, and how far it has come.

use rand::RngExt;

use crate::chance::{self, Chance};
use crate::clock::Millis;

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
    pub(super) last: String,
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

impl Conversation {
    pub(super) fn arriving(chance: &mut Chance, now: Millis) -> Self {
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

    pub(super) fn alert(&mut self, agent: usize, chance: &mut Chance, now: Millis) {
        self.stage = Stage::Alerting;
        self.agent = Some((agent, Party::new(chance, now)));
    }

    /// Answers how long the customer has waited, in milliseconds.
    pub(super) fn connect(&mut self, now: Millis) -> u64 {
        self.stage = Stage::Connected;
        self.acd.ended = Some(now);
        if let Some((_, party)) = &mut self.agent {
            party.connected = Some(now);
        }
        now.saturating_sub(self.acd.began)
    }

    pub(super) fn hang_up(&mut self, now: Millis) {
        self.stage = Stage::WrappingUp;
        self.held = false;
        self.customer.ended = Some(now);
        if let Some((_, party)) = &mut self.agent {
            party.ended = Some(now);
        }
    }

    pub(super) fn abandon(&mut self, now: Millis) {
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
