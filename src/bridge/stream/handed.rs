//! A stream that goes on where another process was cut off.
//!
//! What the sessions showed before the cut is shown to the arbiter again, so that it knows what others have published; what came
//! after is published as if it came now, in order and at its own time.

use super::super::gaps::HANDOVER;
use super::{Place, Stream};
use crate::handover::{Item, Past, Relayed};
use crate::lifecycle::SessionId;
use crate::sequence::Leg;
use crate::time::{Time, Timestamp};
#[cfg(test)]
use std::collections::BTreeMap;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

impl Stream {
    /// The identities that keyed families have published, and how long ago.
    pub fn published(&self, now: Time) -> Vec<(u128, Duration)> {
        self.arbiter.published(now)
    }

    /// Knows what another process has published. What is to be published by this one follows, item by item.
    pub fn take_over(&mut self, legacy: Past) {
        let Past { earlier, known, window, at } = legacy;
        self.arbiter.know(window, at);
        for (leg, shard, place, began) in earlier {
            self.join(leg, shard, place, began);
        }
        self.rehearse(known);
        self.arbiter.hand_over(at);
    }

    /// Another process published until now, and died: what is heard at first it may have published too.
    pub fn orphan(&mut self, now: Time) {
        self.arbiter.orphan(now);
    }

    /// Publishes what was heard meanwhile. Answers whether it was a notification.
    pub fn go_on(&mut self, Item { at, what }: Item) -> bool {
        let is_sight = matches!(what, Relayed::Sight { .. });
        match what {
            Relayed::Began { leg, shard, place } => {
                self.begin(SessionId(leg), shard, usize::from(place), at);
            }
            Relayed::Sight { leg, notification } => self.take(SessionId(leg), notification, at),
            Relayed::Ended { leg } => self.end(SessionId(leg), at),
            Relayed::Heard(_) | Relayed::Settled(_) => {}
        }
        is_sight
    }

    fn join(&mut self, leg: u64, shard: u16, place: u8, at: Time) {
        let leg_of_shard = usize::from(place);
        self.legs.insert(SessionId(leg), Place { shard, leg: leg_of_shard });
        self.arbiter.begin(Leg(leg), shard, at);
    }

    /// Shows the arbiter what others have published.
    fn rehearse(&mut self, known: VecDeque<Item>) {
        for Item { at, what } in known {
            match what {
                Relayed::Began { leg, shard, place } => self.join(leg, shard, place, at),
                Relayed::Sight { leg, notification } => {
                    self.arbiter.admit(Leg(leg), notification, at);
                }
                Relayed::Ended { leg } => {
                    self.legs.remove(&SessionId(leg));
                    self.arbiter.end(Leg(leg), at);
                }
                Relayed::Heard(_) | Relayed::Settled(_) => {}
            }
            while self.arbiter.poll().is_some() {}
        }
    }

    /// There was no room for what came from then on.
    pub fn miss(&mut self, from: Timestamp, now: Time) {
        let shards: BTreeSet<u16> = self.legs.values().map(|place| place.shard).collect();
        for shard in shards {
            self.open_gap(shard, HANDOVER, from, Vec::new());
            self.close_gap(shard, self.clock.timestamp_of(now), "there is room again", now);
        }
    }

    /// What is kept for the next process.
    #[cfg(test)]
    pub fn marked(&self) -> BTreeMap<u16, Timestamp> {
        self.gaps.marked().iter().map(|(shard, mark)| (*shard, mark.at)).collect()
    }
}
