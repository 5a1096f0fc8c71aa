//! What may happen next, and how often it did.

use crate::soak::{Fault, Faults};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Something of the platform's: a socket, a secret, a refusal.
    Platform(Fault),
    /// `kill -9` of tieline.
    Kill,
    /// An orderly end of tieline, and a start.
    Restart,
    /// Tieline stands still.
    Freeze,
    /// A broker is killed, and comes back after a while in which something else may happen.
    KillBroker(Broker),
    /// A broker stands still.
    FreezeBroker(Broker),
    /// The disk of the journal fills up, and is emptied after a while.
    FillDisk,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broker {
    Nats,
    Kafka,
}

impl Step {
    const fn name(self) -> &'static str {
        match self {
            Self::Platform(_) => "of the platform",
            Self::Kill => "kill -9 of tieline",
            Self::Restart => "restarts of tieline",
            Self::Freeze => "SIGSTOP of tieline",
            Self::KillBroker(Broker::Nats) => "kill -9 of NATS",
            Self::KillBroker(Broker::Kafka) => "kill -9 of a Kafka node",
            Self::FreezeBroker(Broker::Nats) => "SIGSTOP of NATS",
            Self::FreezeBroker(Broker::Kafka) => "SIGSTOP of a Kafka node",
            Self::FillDisk => "a full disk",
        }
    }
}

/// Each first once in twenty, so that the short run has all of them; then by chance, in these proportions.
const DECK: [Step; 12] = [
    Step::Kill,
    Step::KillBroker(Broker::Nats),
    Step::Restart,
    Step::FreezeBroker(Broker::Kafka),
    Step::Freeze,
    Step::FillDisk,
    Step::KillBroker(Broker::Kafka),
    Step::Kill,
    Step::FreezeBroker(Broker::Nats),
    Step::Kill,
    Step::Restart,
    Step::KillBroker(Broker::Nats),
];

pub struct Steps {
    chance: StdRng,
    faults: Faults,
    /// What is left of the deck.
    deck: Vec<Step>,
    counts: BTreeMap<&'static str, usize>,
}

impl Steps {
    pub fn new(seed: u64) -> Self {
        let counts = BTreeMap::new();
        Self {
            chance: StdRng::seed_from_u64(seed),
            faults: Faults::new(seed),
            deck: Vec::new(),
            counts,
        }
    }

    /// The next one: of three, two from the deck and one of the platform.
    pub fn draw(&mut self) -> Step {
        if self.chance.random_range(0..3) == 0 {
            return self.platform();
        }
        if self.deck.is_empty() {
            self.deck.extend(DECK);
        }
        let drawn = self.chance.random_range(0..self.deck.len());
        let step = self.deck.swap_remove(drawn);
        self.count(step)
    }

    /// What happens while a broker is away, if anything: to tieline, or to its sockets.
    pub fn meanwhile(&mut self) -> Option<Step> {
        match self.chance.random_range(0..3) {
            0 => Some(self.count(Step::Kill)),
            1 => Some(self.platform()),
            _ => None,
        }
    }

    fn platform(&mut self) -> Step {
        let secret = self.chance.random_range(0..4) == 0;
        let fault = self.faults.draw(secret);
        self.count(Step::Platform(fault))
    }

    /// For how many notifications something lasts.
    pub fn lasts(&mut self) -> u64 {
        self.chance.random_range(20..200)
    }

    /// Which of so many.
    pub fn one_of(&mut self, count: usize) -> usize {
        self.chance.random_range(0..count)
    }

    fn count(&mut self, step: Step) -> Step {
        *self.counts.entry(step.name()).or_default() += 1;
        step
    }

    pub fn counted(&self) -> String {
        let counts = self.counts.iter().map(|(name, count)| format!("{count} {name}"));
        counts.collect::<Vec<_>>().join(", ")
    }
}
