//! What a shard knows of each leg, and of each sight that waits for its leader.

use super::Leg;
use super::entry::Legs;
use crate::event::Notification;
use crate::time::Time;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Place {
    pub(super) leg: Leg,
    pub(super) bit: Legs,
    pub(super) began: Time,
    /// When it took the lead over from another leg, if it did.
    pub(super) promoted: Option<Time>,
    /// For each key: what has gone out that this leg has not shown and may be about to show, by number, with its identity. None
    /// is left out.
    behind: HashMap<u64, VecDeque<(u64, u128)>>,
    /// For each key: the bodies of which this leg may have missed sights because it began too late.
    unsure: HashMap<u64, Vec<u128>>,
    /// For each key: the number of the last sight that the leader's was paired with although it had still to show what this leg
    /// showed before.
    suspects: HashMap<u64, u64>,
    pub(super) score: Score,
}

impl Place {
    pub(super) fn new(leg: Leg, bit: Legs, began: Time) -> Self {
        Self {
            leg,
            bit,
            began,
            promoted: None,
            behind: HashMap::new(),
            unsure: HashMap::new(),
            suspects: HashMap::new(),
            score: Score::default(),
        }
    }

    pub(super) fn is_behind(&self, key: u64) -> bool {
        self.behind.contains_key(&key)
    }

    /// Something went out that this leg has not shown. Numbers only grow.
    pub(super) fn fall_behind(&mut self, key: u64, number: u64, identity: u128) {
        self.behind.entry(key).or_default().push_back((number, identity));
    }

    /// The leg has shown what had that number, or never will.
    pub(super) fn catch_up(&mut self, key: u64, number: u64) {
        if let Some(all) = self.behind.get_mut(&key) {
            if let Ok(at) = all.binary_search_by_key(&number, |(known, _)| *known) {
                all.remove(at);
            }
            if all.is_empty() {
                self.behind.remove(&key);
            }
        }
    }

    /// The leg has shown what had that number: what went out before it on that key, it has passed over. Hands that out.
    pub(super) fn pass(&mut self, key: u64, number: u64) -> VecDeque<(u64, u128)> {
        let Some(all) = self.behind.get_mut(&key) else {
            return VecDeque::new();
        };
        let rest = all.split_off(all.partition_point(|(known, _)| *known < number));
        let passed = std::mem::replace(all, rest);
        if all.is_empty() {
            self.behind.remove(&key);
        }
        passed
    }

    /// The leg may have missed a sight of that body.
    pub(super) fn doubt(&mut self, key: u64, identity: u128) {
        let bodies = self.unsure.entry(key).or_default();
        if !bodies.contains(&identity) {
            bodies.push(identity);
        }
    }

    /// Whether the leg may have missed any sight.
    pub(super) fn is_unsure(&self) -> bool {
        !self.unsure.is_empty()
    }

    /// The leg is counted exactly on that key again. Hands out the bodies that were in doubt.
    pub(super) fn trust(&mut self, key: u64) -> Vec<u128> {
        self.suspects.remove(&key);
        self.unsure.remove(&key).unwrap_or_default()
    }

    /// The leader's sight was paired with this leg's sight of that number, past others that it has still to show.
    pub(super) fn suspect(&mut self, key: u64, sight: u64) {
        let last = self.suspects.entry(key).or_default();
        *last = sight.max(*last);
    }

    /// Whether a sight of the leg after that of that number is a suspect.
    pub(super) fn is_suspect(&self, key: u64, sight: u64) -> bool {
        self.suspects.get(&key).is_some_and(|last| *last > sight)
    }
}

/// How a leg did beside the others of its shard, since it was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// Occurrences that it showed first.
    pub won: u64,
    /// Occurrences that another leg had shown before.
    pub followed: u64,
    /// How much later it showed them, all together.
    pub lag: Duration,
    /// Occurrences that it never showed although it was there.
    pub missed: u64,
}

/// A follower's sight that was taken for one of the leader's, although it may be of an occurrence that the leader has not shown
/// yet. It goes out, marked, should the leader end before it could.
#[derive(Debug)]
pub(super) struct Kept {
    /// The number of its sight.
    pub(super) number: u64,
    pub(super) since: Time,
    pub(super) bit: Legs,
    /// What earlier legs show before that may have been emitted before its leg began.
    pub(super) early_until: Time,
    pub(super) identity: u128,
    pub(super) notification: Notification,
}

#[derive(Debug)]
pub(super) struct Held {
    pub(super) identity: u128,
    pub(super) notification: Notification,
    pub(super) leg: Leg,
    pub(super) since: Time,
    /// Which legs have shown it, each with the number of its sight.
    pub(super) sights: Vec<(Legs, u64)>,
    /// Whether something of its key has gone out that is not known to be older.
    pub(super) overtaken: bool,
    /// Whether it was held although an equal body had gone out that its leg had not shown.
    pub(super) doubtful: bool,
}

impl Held {
    /// The number of that leg's sight, if it has shown it.
    pub(super) fn sight_of(&self, leg: Legs) -> Option<u64> {
        self.sights.iter().find(|(known, _)| *known == leg).map(|(_, number)| *number)
    }

    /// Whether some leg showed `self` before `sights`, and none the other way round.
    pub(super) fn is_before(&self, sights: &[(Legs, u64)]) -> Option<bool> {
        let mut before = None;
        for (leg, number) in &self.sights {
            for (other, later) in sights {
                if leg == other {
                    before = Some(before.unwrap_or(true) && number < later);
                }
            }
        }
        before
    }
}
