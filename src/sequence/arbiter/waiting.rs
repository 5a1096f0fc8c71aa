//! Sights of followers that wait for their leader: what is held, what is kept in doubt, and how each goes out or is dropped.
//!
//! What a sight is paired with is decided before, in `shard`.

use super::Desk;
use super::entry::{Entry, Legs, State};
use super::place::{Held, Kept, Place};
use super::shard::{Shard, doubtful, pass, remember, trust};
use crate::event::{Family, Marks, Notification};
use crate::time::Time;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// The bit of no leg.
const NOBODY: Legs = 0;

/// What sights that wait may weigh, over all shards: a quarter of the program's memory budget.
const HELD_BYTES_MAX: usize = 16 << 20;

impl Shard {
    /// Keeps a follower's sight until the leader shows it, or long enough.
    pub(super) fn hold(
        &mut self,
        at: usize,
        identity: u128,
        notification: Notification,
        doubtful: bool,
        now: Time,
        desk: &mut Desk,
    ) {
        let place = &self.legs[at];
        let key = notification.topic.key_fingerprint();
        self.sights += 1;
        let number = self.sights;
        let entry = self.entries.entry(identity).or_insert_with(|| Entry::new(now, key));
        entry.push(now, place.bit, State::Held(number), 0, false);
        self.held_by_key.entry(key).or_default().push(number);
        desk.held_bytes += notification.body.len();
        let held = Held {
            identity,
            notification,
            leg: place.leg,
            since: now,
            sights: vec![(place.bit, number)],
            overtaken: place.is_behind(key),
            doubtful,
        };
        self.held.insert(number, held);
        self.note_early(at, identity, now, desk.hold);
    }

    /// The leader shows what a follower has shown before: the leader's sight goes out. What the same follower showed before
    /// it on that key the leader has passed over, and it goes out first, in order, where the counting is exact.
    pub(super) fn release(
        &mut self,
        number: u64,
        notification: Notification,
        now: Time,
        desk: &mut Desk,
    ) {
        let Some(held) = self.take_held(number, desk) else {
            return;
        };
        let key = notification.topic.key_fingerprint();
        for other in self.held_by_key.get(&key).cloned().unwrap_or_default() {
            if self.is_skipped(other, &held, desk.hold) {
                self.publish_held(other, now, desk);
            }
        }
        self.overtake(key, &held.sights);
        let marks = Marks { late: self.is_leader_late(key, now, desk.hold), ..Marks::default() };
        self.went_out(number, held.identity, now, marks == Marks::default(), desk);
        for at in 1..self.legs.len() {
            let place = &self.legs[at];
            if held.sight_of(place.bit).is_some() && now < place.began + desk.hold {
                // The leader may have shown an older one, which this leg began too late for.
                self.count_early(at, held.identity);
            }
        }
        if marks == Marks::default() {
            for place in self.legs.iter_mut().filter(|own| held.sight_of(own.bit).is_some()) {
                pass(place, &mut self.entries, key, self.outs);
                let Some(sight) = held.sight_of(place.bit).filter(|_| place.is_unsure()) else {
                    continue;
                };
                let rest = self.held_by_key.get(&key).into_iter().flatten();
                let mut rest = rest.filter_map(|number| self.held.get(number));
                if rest.any(|other| other.sight_of(place.bit).is_some_and(|own| own < sight)) {
                    place.suspect(key, sight);
                } else if !place.is_suspect(key, sight) {
                    trust(place, &mut self.entries, key, held.identity);
                }
            }
        }
        remember(held.identity, &notification, now, desk);
        desk.publish(notification, marks);
        desk.duplicate(held.notification.topic, held.leg);
    }

    /// Whether the leader took over lately and has not shown yet what its predecessor showed last on that key: what it shows now
    /// is older than that.
    pub(super) fn is_leader_late(&self, key: u64, now: Time, hold: Duration) -> bool {
        self.legs.first().is_some_and(|leader| {
            leader.is_behind(key) && leader.promoted.is_some_and(|since| now < since + hold)
        })
    }

    /// Whether the leader, by showing `shown`, has certainly passed over the held sight `number`.
    fn is_skipped(&self, number: u64, shown: &Held, hold: Duration) -> bool {
        let Some(held) = self.held.get(&number) else {
            return false;
        };
        let is_certain = |identity: &u128| {
            let entry = self.entries.get(identity);
            entry.is_some_and(|entry| {
                let mut common = self.legs.iter().filter(|place| {
                    held.sights.iter().any(|(bit, _)| *bit == place.bit)
                        && shown.sights.iter().any(|(bit, _)| *bit == place.bit)
                });
                common.all(|place| entry.is_certain(place.began, hold))
            })
        };
        held.is_before(&shown.sights) == Some(true)
            && is_certain(&held.identity)
            && is_certain(&shown.identity)
    }

    /// Something of that key goes out: held sights of the key that are not known to be younger are late from now on.
    pub(super) fn overtake(&mut self, key: u64, sights: &[(Legs, u64)]) {
        for number in self.held_by_key.get(&key).into_iter().flatten() {
            if let Some(held) = self.held.get_mut(number) {
                held.overtaken |= held.is_before(sights) != Some(false);
            }
        }
    }

    /// Publishes a held sight without its leader.
    pub(super) fn publish_held(&mut self, number: u64, now: Time, desk: &mut Desk) {
        let Some(held) = self.take_held(number, desk) else {
            return;
        };
        let marks = Marks {
            late: held.overtaken,
            possible_duplicate: held.doubtful || now < self.follower_doubt,
        };
        let key = held.notification.topic.key_fingerprint();
        self.overtake(key, &held.sights);
        self.went_out(number, held.identity, now, marks == Marks::default(), desk);
        let keyed = held.notification.topic.family() == Family::Keyed;
        if keyed && desk.window.contains(held.identity, now) {
            // The same leg has shown it twice while it was held.
            return desk.duplicate(held.notification.topic, held.leg);
        }
        remember(held.identity, &held.notification, now, desk);
        desk.publish(held.notification, marks);
    }

    fn take_held(&mut self, number: u64, desk: &mut Desk) -> Option<Held> {
        let held = self.held.remove(&number)?;
        desk.held_bytes -= held.notification.body.len();
        let key = held.notification.topic.key_fingerprint();
        if let Some(numbers) = self.held_by_key.get_mut(&key) {
            numbers.retain(|known| *known != number);
            if numbers.is_empty() {
                self.held_by_key.remove(&key);
            }
        }
        Some(held)
    }

    /// From now on sights of that occurrence on other legs are duplicates.
    fn went_out(&mut self, number: u64, identity: u128, now: Time, in_order: bool, desk: &Desk) {
        let Some(entry) = self.entries.get_mut(&identity) else {
            return;
        };
        self.outs += 1;
        let seen = entry.publish(number, now, self.outs, in_order);
        self.expiry.push_back((now + desk.hold, identity));
        for place in self.legs.iter_mut().filter(|place| place.bit & seen == 0) {
            place.fall_behind(entry.key, self.outs, identity);
        }
    }

    /// Keeps a follower's sight that was dropped, if its pair is not certain.
    pub(super) fn keep(
        &mut self,
        at: usize,
        identity: u128,
        notification: &Notification,
        now: Time,
        desk: &mut Desk,
    ) {
        let Place { bit, began, .. } = self.legs[at];
        let unsure = self.entries.get(&identity).is_some_and(|entry| entry.early(bit) > 0);
        if unsure && notification.topic.family() == Family::Keyless {
            self.sights += 1;
            desk.held_bytes += notification.body.len();
            self.kept.push_back(Kept {
                number: self.sights,
                since: now,
                bit,
                early_until: began + desk.hold,
                identity,
                notification: notification.clone(),
            });
        }
    }

    /// Of a leg's sights that were dropped, those stay kept that may have been of occurrences that nobody else has shown.
    /// They are nobody's from now on.
    pub(super) fn orphan(&mut self, bit: Legs, desk: &mut Desk) {
        let mut spare: HashMap<u128, usize> = HashMap::new();
        let entries = &self.entries;
        let mut stay = Vec::new();
        for mut kept in std::mem::take(&mut self.kept).into_iter().rev() {
            if kept.bit == bit {
                let unaccounted =
                    || entries.get(&kept.identity).map_or(0, |entry| entry.unaccounted(bit));
                let spare = spare.entry(kept.identity).or_insert_with(unaccounted);
                if *spare == 0 {
                    desk.held_bytes -= kept.notification.body.len();
                    continue;
                }
                *spare -= 1;
                kept.bit = NOBODY;
            }
            stay.push(kept);
        }
        self.kept = stay.into_iter().rev().collect();
    }

    /// The leader has ended, and with it the hope that it would show what is nobody's.
    pub(super) fn take_orphans(&mut self, desk: &mut Desk) -> VecDeque<Kept> {
        let kept = std::mem::take(&mut self.kept);
        let (orphans, others): (VecDeque<_>, _) =
            kept.into_iter().partition(|kept| kept.bit == NOBODY);
        self.kept = others;
        desk.held_bytes -= orphans.iter().map(|kept| kept.notification.body.len()).sum::<usize>();
        orphans
    }

    /// The leader has shown an occurrence that may be a follower's that has ended.
    pub(super) fn adopt(&mut self, identity: u128, now: Time, desk: &mut Desk) {
        let is_it = |kept: &Kept| {
            kept.bit == NOBODY && kept.identity == identity && now >= kept.early_until
        };
        let at = self.kept.iter().position(is_it);
        if let Some(kept) = at.and_then(|at| self.kept.remove(at)) {
            desk.held_bytes -= kept.notification.body.len();
        }
    }

    /// Keeps what is remembered within its bounds; what that may double is marked.
    pub(super) fn bound(&mut self, now: Time, desk: &mut Desk) {
        while desk.held_bytes > HELD_BYTES_MAX && self.let_go(now, desk) {}
        while self.expiry.len() + self.held.len() + self.kept.len() > desk.occurrences_max {
            self.let_go(now, desk);
            let seen = self.forget_oldest(now).unwrap_or(Legs::MAX);
            self.follower_doubt = now + desk.hold + desk.hold;
            if self.legs.first().is_some_and(|leader| leader.bit & seen == 0) {
                self.leader_doubt = self.follower_doubt;
            }
        }
    }

    /// Publishes the oldest sight that waits, before its time. Says whether there was one.
    fn let_go(&mut self, now: Time, desk: &mut Desk) -> bool {
        if let Some(kept) = self.kept.pop_front() {
            desk.held_bytes -= kept.notification.body.len();
            desk.publish(kept.notification, doubtful());
            return true;
        }
        let oldest = self.held.first_key_value().map(|(number, _)| *number);
        oldest.inspect(|number| self.publish_held(*number, now, desk)).is_some()
    }
}
