//! What a shard knows of each leg, and of each sight that waits for its leader.

use super::Leg;
use super::entry::Legs;
use crate::event::Notification;
use crate::time::Time;
use std::collections::HashMap;

#[derive(Debug)]
pub(super) struct Place {
    pub(super) leg: Leg,
    pub(super) bit: Legs,
    pub(super) began: Time,
    /// When it took the lead over from another leg, if it did.
    pub(super) promoted: Option<Time>,
    /// For each key: how many occurrences have gone out that this leg has not shown and may be about to show. None is left out.
    pub(super) behind: HashMap<u64, usize>,
}

impl Place {
    pub(super) fn is_behind(&self, key: u64) -> bool {
        self.behind.contains_key(&key)
    }

    pub(super) fn fall_behind(&mut self, key: u64, by: usize) {
        if by > 0 {
            *self.behind.entry(key).or_default() += by;
        }
    }

    pub(super) fn catch_up(&mut self, key: u64) {
        if let Some(count) = self.behind.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.behind.remove(&key);
            }
        }
    }
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
}

impl Held {
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
