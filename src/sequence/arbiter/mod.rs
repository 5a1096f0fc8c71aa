//! Decides which sights of a notification are one occurrence, and publishes each occurrence once.
//!
//! A *leg* is a session while its socket is connected; a *sight* is one notification on one leg. While a shard has one leg,
//! keyless notifications pass untouched. While it has several, sights of one body are paired by counting: the n-th on one leg
//! is the n-th on the other. The leg that began first leads: its sights go out at once. A follower's sight is held until the
//! leader shows it too, until `hold` has passed, or until the follower has become the leader. docs/decisions/0003-arbitration-counts-sights.md
//! has the reasoning, case by case.
//!
//! What follows from the construction, whatever is lost: a leg's sight is paired with at most one occurrence that this leg has
//! not shown yet, and each occurrence is published once; so per body never fewer are published than the best leg showed while
//! the legs overlapped, and never more than all legs together.
//!
//! Memory: an occurrence is remembered for `hold` after it was published and held for `hold` before, so that at most two holds'
//! worth of sights are in memory, and at most `window_events` of them; beyond that the oldest is settled early and what may be
//! doubled by it is marked. Bodies that wait, held or kept, weigh 16 MiB at most over all shards; beyond that the oldest goes out early.
//! The count is per shard, the traffic of two holds bounds all of them together. A shard with one leg remembers the last `hold`, at most 65,536 sights and 16 MiB. The window of keyed
//! families holds at most `window_events` identities of 32 bytes. What an ended overlap leaves is gone after `hold`.
//!
//! Does not number, filter or name gaps, and knows nothing of channels.

mod entry;
mod handed;
mod place;
mod recent;
mod shard;
mod waiting;
mod window;

#[cfg(test)]
mod tests;

use super::Config;
use crate::event::{Digester, Marks, Notification, Topic};
use crate::time::{Time, Timestamp};
use shard::Shard;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use window::Window;

pub use place::Score;

/// A session while its socket is connected, by the session's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Leg(pub u64);

/// What became of a sight.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It goes on to the journal.
    Publish {
        /// What was seen.
        notification: Notification,
        /// What a consumer should know about it.
        marks: Marks,
    },
    /// Its occurrence is published already, by another sight.
    Duplicate {
        /// The topic it came on.
        topic: Topic,
        /// The leg it came on.
        leg: Leg,
    },
}

/// Arbitrates among the legs of every shard.
#[derive(Debug)]
pub struct Arbiter {
    shards: BTreeMap<u16, Shard>,
    /// The shard of each leg that has begun and not ended.
    places: BTreeMap<Leg, u16>,
    desk: Desk,
}

/// What all shards share.
#[derive(Debug)]
struct Desk {
    hold: Duration,
    occurrences_max: usize,
    digester: Digester,
    /// What keyed families have published.
    window: Window,
    verdicts: VecDeque<Verdict>,
    /// What all sights that wait weigh, in bytes of their bodies.
    held_bytes: usize,
    /// How legs did that have ended since the scores were last asked for.
    scores: Vec<(Leg, Score)>,
    /// Until then whatever goes out may have been published by a process that is gone.
    orphaned_until: Option<Time>,
}

impl Desk {
    fn publish(&mut self, notification: Notification, mut marks: Marks) {
        marks.possible_duplicate |= self.orphaned_until.is_some();
        self.verdicts.push_back(Verdict::Publish { notification, marks });
    }

    fn duplicate(&mut self, topic: Topic, leg: Leg) {
        self.verdicts.push_back(Verdict::Duplicate { topic, leg });
    }
}

impl Arbiter {
    /// An arbiter without legs.
    pub fn new(config: &Config) -> Self {
        Self {
            shards: BTreeMap::new(),
            places: BTreeMap::new(),
            desk: Desk {
                hold: config.hold,
                occurrences_max: config.window_events.max(1),
                digester: Digester::default(),
                window: Window::new(config.window, config.window_events),
                verdicts: VecDeque::new(),
                held_bytes: 0,
                scores: Vec::new(),
                orphaned_until: None,
            },
        }
    }

    /// The leg's socket is connected: from now on it may carry the topics of its shard. Legs lead in the order in which they
    /// began. A leg that has begun already is left as it is.
    pub fn begin(&mut self, leg: Leg, shard: u16, now: Time) {
        if self.places.contains_key(&leg) {
            return;
        }
        self.places.insert(leg, shard);
        let shard = self.shards.entry(shard).or_default();
        shard.begin(leg, now, &mut self.desk);
    }

    /// Nothing more comes from the leg. When it led, the next leg's held sights go out in their order, and that leg leads.
    pub fn end(&mut self, leg: Leg, now: Time) {
        let Some(place) = self.places.remove(&leg) else {
            return;
        };
        if let Some(shard) = self.shards.get_mut(&place) {
            shard.end(leg, now, &mut self.desk);
            if shard.is_idle() {
                self.shards.remove(&place);
            }
        }
    }

    /// Takes one sight. Its verdict, and those of others that it settles, are then to be polled.
    ///
    /// A sight of a leg that has not begun or has ended cannot be paired: it is published as a possible duplicate.
    pub fn admit(&mut self, leg: Leg, notification: Notification, now: Time) {
        self.outlive(now);
        let shard = self.places.get(&leg).and_then(|place| self.shards.get_mut(place));
        match shard {
            Some(shard) => shard.admit(leg, notification, now, &mut self.desk),
            None => self
                .desk
                .publish(notification, Marks { possible_duplicate: true, ..Marks::default() }),
        }
    }

    /// The next verdict, in the order in which events are to be published.
    pub fn poll(&mut self) -> Option<Verdict> {
        self.desk.verdicts.pop_front()
    }

    /// Whether something of that key was heard and waits to be published.
    pub fn holds(&self, key_fingerprint: u64) -> bool {
        self.shards.values().any(|shard| shard.holds(key_fingerprint))
    }

    /// When the oldest sight of a shard was received that waits, if any does: it is nowhere but here.
    pub fn waits_since(&self, shard: u16) -> Option<Timestamp> {
        self.shards.get(&shard)?.waits_since()
    }

    /// How each leg did beside the others of its shard since this was last asked, in no order.
    pub fn take_scores(&mut self) -> Vec<(Leg, Score)> {
        let mut scores = std::mem::take(&mut self.desk.scores);
        let places = self.shards.values_mut().flat_map(|shard| shard.legs.iter_mut());
        scores.extend(places.map(|place| (place.leg, std::mem::take(&mut place.score))));
        scores.retain(|(_, score)| *score != Score::default());
        scores
    }

    /// When `handle_timeout` is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.shards.values().filter_map(|shard| shard.poll_timeout(self.desk.hold)).min()
    }

    /// Publishes what has been held long enough and forgets what is settled.
    pub fn handle_timeout(&mut self, now: Time) {
        self.outlive(now);
        let desk = &mut self.desk;
        self.shards.retain(|_, shard| {
            shard.handle_timeout(now, desk);
            !shard.is_idle()
        });
    }
}
