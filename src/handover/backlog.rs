//! What the new process hears before it takes over: said to the old one in order, and kept until it is known who publishes it.

use super::message::Message;
use crate::event::Notification;
use crate::time::{Time, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How many things are kept at most: a minute and a half of the greatest load that the program is built for, 10,000 a second.
pub const ITEMS_MAX: usize = 1_000_000;

/// What they may weigh, in bytes of their bodies; as much as the journal keeps by default.
pub const BYTES_MAX: usize = 256 << 20;

/// One thing that is relayed, and when it happened.
#[derive(Clone, Debug)]
pub struct Item {
    /// On the new process's clock.
    pub at: Time,
    /// What.
    pub what: Relayed,
}

/// What is relayed; `Message` has the same words.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each is the message of the same name")]
pub enum Relayed {
    Began { leg: u64, shard: u16, place: u8 },
    Sight { leg: u64, notification: Notification },
    Ended { leg: u64 },
    Heard(BTreeMap<u16, Timestamp>),
    Settled(bool),
}

impl Relayed {
    fn weight(&self) -> usize {
        if let Self::Sight { notification, .. } = self { notification.body.len() } else { 0 }
    }

    fn message(&self) -> Message {
        match self.clone() {
            Self::Began { leg, shard, place } => Message::Began { leg, shard, place },
            Self::Sight { leg, notification } => Message::Sight { leg, notification },
            Self::Ended { leg } => Message::Ended { leg },
            Self::Heard(heard) => Message::Heard(heard),
            Self::Settled(settled) => Message::Settled(settled),
        }
    }
}

/// A leg that had begun before the oldest thing that is kept: its number, shard, place in that, and when it began.
pub type Earlier = (u64, u16, u8, Time);

/// What was heard, numbered from 1.
#[derive(Debug, Default)]
pub struct Backlog {
    items: VecDeque<Item>,
    /// How many there were before the oldest that is kept.
    gone: u64,
    /// The number of the last that was said.
    said: u64,
    bytes: usize,
    earlier: Vec<Earlier>,
}

impl Backlog {
    /// Keeps one more, unless there is no room. Says whether it did.
    pub fn push(&mut self, at: Time, what: Relayed) -> bool {
        let weight = what.weight();
        // Legs begin and end as seldom as sessions do, and what follows makes no sense without them.
        let is_bounded = matches!(what, Relayed::Sight { .. } | Relayed::Heard(_));
        if is_bounded && (self.items.len() >= ITEMS_MAX || self.bytes + weight > BYTES_MAX) {
            return false;
        }
        self.bytes += weight;
        self.items.push_back(Item { at, what });
        true
    }

    /// The number of the last.
    pub fn last(&self) -> u64 {
        self.gone + self.items.len() as u64
    }

    /// The next that is to be said.
    pub fn next_unsaid(&mut self) -> Option<Message> {
        let at = usize::try_from(self.said - self.gone).ok()?;
        let message = self.items.get(at)?.what.message();
        self.said += 1;
        Some(message)
    }

    /// The old process has taken in all up to that number: of that only what happened after `since` can still matter.
    pub fn forget(&mut self, taken: u64, since: Time) {
        let taken = taken.min(self.said);
        while self.gone < taken
            && self.items.front().is_some_and(|oldest| oldest.at < since)
            && let Some(oldest) = self.items.pop_front()
        {
            self.gone += 1;
            self.bytes -= oldest.what.weight();
            match oldest.what {
                Relayed::Began { leg, shard, place } => {
                    self.earlier.push((leg, shard, place, oldest.at));
                }
                Relayed::Ended { leg } => self.earlier.retain(|(known, ..)| *known != leg),
                Relayed::Sight { .. } | Relayed::Heard(_) | Relayed::Settled(_) => {}
            }
        }
    }

    /// All that is kept, divided behind that number; and the legs that had begun before all of it.
    pub fn divide(mut self, number: u64) -> (Vec<Earlier>, VecDeque<Item>, VecDeque<Item>) {
        let at = usize::try_from(number.saturating_sub(self.gone)).unwrap_or(usize::MAX);
        let behind = self.items.split_off(at.min(self.items.len()));
        (self.earlier, self.items, behind)
    }
}

/// How long ago what a leg showed can still matter to another: a sight is held for `hold` and remembered for as long again.
pub fn memory(hold: Duration) -> Duration {
    hold + hold
}
