//! Arbitration within one shard: who leads, what is held, what has been seen.

use super::entry::{Entry, Legs, State};
use super::place::{Held, Place};
use super::recent::Recent;
use super::{Desk, Leg};
use crate::event::{Family, Marks, Notification};
use crate::time::Time;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Shard {
    /// In the order in which they began; the first leads.
    legs: Vec<Place>,
    /// What the only leg has shown; empty while there are several.
    recent: Recent,
    /// By topic and digest.
    entries: BTreeMap<u128, Entry>,
    /// When something published may be forgotten, in that order.
    expiry: VecDeque<(Time, u128)>,
    /// Sights of followers that wait, by their number: the order in which they came.
    held: BTreeMap<u64, Held>,
    /// The numbers of held sights by key.
    held_by_key: HashMap<u64, Vec<u64>>,
    /// The number of the last sight that was held or joined one.
    sights: u64,
    /// Until then a follower's sight may be one whose pair was forgotten for want of room.
    follower_doubt: Time,
    /// Until then a leader's sight may be one whose pair was forgotten for want of room.
    leader_doubt: Time,
}

impl Shard {
    /// Whether a sight of that key waits.
    pub(super) fn holds(&self, key: u64) -> bool {
        self.held_by_key.get(&key).is_some_and(|held| !held.is_empty())
    }

    /// Whether it has no leg and remembers nothing.
    pub(super) fn is_idle(&self) -> bool {
        self.legs.is_empty() && self.entries.is_empty()
    }

    pub(super) fn begin(&mut self, leg: Leg, now: Time, desk: &mut Desk) {
        self.settle(now, desk);
        let taken = self.legs.iter().fold(0, |bits, place| bits | place.bit);
        let free = !taken & taken.wrapping_add(1);
        if free == 0 {
            return; // 64 legs are far beyond a client's 20 channels; what the 65th shows is published as doubtful.
        }
        if let [only] = self.legs.as_slice() {
            let bit = only.bit;
            self.import(bit, now, desk);
        }
        let mut place =
            Place { leg, bit: free, began: now, promoted: None, behind: HashMap::new() };
        for entry in self.entries.values_mut() {
            let missed = entry.begin(free);
            place.fall_behind(entry.key, missed);
        }
        for held in self.held.values_mut() {
            held.sights.retain(|(known, _)| *known != free);
        }
        self.legs.push(place);
    }

    /// Makes entries of what the only leg has shown within the last `hold`: the new leg may be about to show it.
    fn import(&mut self, only: Legs, now: Time, desk: &mut Desk) {
        if self.recent.is_cut(now, desk.hold) {
            self.follower_doubt = now + desk.hold + desk.hold;
        }
        for (at, topic, body) in self.recent.take() {
            if now.since(at) >= desk.hold {
                continue;
            }
            let identity = identity(topic.fingerprint(), desk.digester.digest(&body));
            let entry = self
                .entries
                .entry(identity)
                .or_insert_with(|| Entry::new(at, topic.key_fingerprint()));
            entry.push(at, only, State::Published);
            self.expiry.push_back((at + desk.hold, identity));
        }
        // What an earlier overlap has left may be younger than the first of these.
        self.expiry.make_contiguous().sort_by_key(|(due, _)| *due);
    }

    pub(super) fn end(&mut self, leg: Leg, now: Time, desk: &mut Desk) {
        self.settle(now, desk);
        let Some(at) = self.legs.iter().position(|place| place.leg == leg) else {
            return;
        };
        self.legs.remove(at);
        let Some(leader) = self.legs.first_mut() else {
            return self.close(now, desk);
        };
        if at > 0 {
            return; // A follower: what it showed waits for the leader all the same.
        }
        leader.promoted = Some(now);
        let bit = leader.bit;
        let mut shown: Vec<(u64, u64)> = self
            .held
            .iter()
            .filter_map(|(number, held)| {
                let sight = held.sights.iter().find(|(known, _)| *known == bit)?;
                Some((sight.1, *number))
            })
            .collect();
        shown.sort_unstable();
        for (_, number) in shown {
            self.publish_held(number, now, desk);
        }
        for entry in self.entries.values_mut() {
            entry.doubt(bit);
        }
    }

    /// The last leg has ended. What it showed counts as shown by nobody: a leg that begins now and shows it again may be
    /// lagging or may show a repeat, and either goes out.
    fn close(&mut self, now: Time, desk: &mut Desk) {
        while let Some((number, _)) = self.held.first_key_value() {
            self.publish_held(*number, now, desk);
        }
        self.import(0, now, desk);
        for entry in self.entries.values_mut() {
            entry.doubt_all();
        }
    }

    pub(super) fn admit(
        &mut self,
        leg: Leg,
        notification: Notification,
        now: Time,
        desk: &mut Desk,
    ) {
        self.settle(now, desk);
        let Some(at) = self.legs.iter().position(|place| place.leg == leg) else {
            return desk.publish(notification, doubtful());
        };
        let alone = self.legs.len() == 1 && self.entries.is_empty();
        let keyed = notification.topic.family() == Family::Keyed;
        if alone && !keyed {
            self.recent.push(&notification, now, desk.hold);
            return desk.publish(notification, Marks::default());
        }
        let digest = desk.digester.digest(&notification.body);
        let identity = identity(notification.topic.fingerprint(), digest);
        if keyed && desk.window.contains(identity, now) {
            let place = &mut self.legs[at];
            let entry = self.entries.get_mut(&identity);
            if entry.is_some_and(|entry| entry.pair_published(place.bit)) {
                place.catch_up(notification.topic.key_fingerprint());
            }
            return desk.duplicate(notification.topic, leg);
        }
        if alone {
            self.recent.push(&notification, now, desk.hold);
            desk.window.insert(identity, now);
            return desk.publish(notification, Marks::default());
        }
        self.sight(at, identity, notification, now, desk);
        self.bound(now, desk);
    }

    /// Pairs a sight with an occurrence, or makes it a new one.
    fn sight(
        &mut self,
        at: usize,
        identity: u128,
        notification: Notification,
        now: Time,
        desk: &mut Desk,
    ) {
        let (leads, leg, bit) = (at == 0, self.legs[at].leg, self.legs[at].bit);
        let paired = self.entries.get_mut(&identity).and_then(|e| e.pair(bit));
        if let Some(State::Published | State::Doubted) = paired {
            self.legs[at].catch_up(notification.topic.key_fingerprint());
        }
        match paired {
            Some(State::Published) => desk.duplicate(notification.topic, leg),
            Some(State::Doubted) if leads => {
                if let Some(entry) = self.entries.get_mut(&identity) {
                    entry.clear_doubt(bit);
                }
                self.lead(identity, notification, doubtful(), now, desk);
            }
            Some(State::Doubted) => desk.duplicate(notification.topic, leg),
            Some(State::Held(number)) if leads => {
                self.release(number, notification, now, desk);
            }
            Some(State::Held(number)) => {
                self.sights += 1;
                if let Some(held) = self.held.get_mut(&number) {
                    held.sights.push((bit, self.sights));
                }
                desk.duplicate(notification.topic, leg);
            }
            None if leads => {
                let marks =
                    Marks { possible_duplicate: now < self.leader_doubt, ..Marks::default() };
                self.lead(identity, notification, marks, now, desk);
            }
            None => self.hold(at, identity, notification, now),
        }
        self.note_sight(at, identity, now, desk.hold);
    }

    /// Tells the entry of a sight, and for which later legs it may have come too early. The sight keeps the chain alive for
    /// `hold`, whatever it was paired with.
    fn note_sight(&mut self, at: usize, identity: u128, now: Time, hold: Duration) {
        let Some(entry) = self.entries.get_mut(&identity) else {
            return;
        };
        entry.touch(now);
        self.expiry.push_back((now + hold, identity));
        for later in &self.legs[at + 1..] {
            if now < later.began + hold {
                entry.count_early(later.bit);
            }
        }
    }

    /// Publishes a leader's sight that nothing was paired with.
    fn lead(
        &mut self,
        identity: u128,
        notification: Notification,
        mut marks: Marks,
        now: Time,
        desk: &mut Desk,
    ) {
        let key = notification.topic.key_fingerprint();
        self.overtake(key, &[]);
        match self.legs.as_mut_slice() {
            [_] => self.recent.push(&notification, now, desk.hold),
            [leader, followers @ ..] => {
                let entry = self.entries.entry(identity).or_insert_with(|| Entry::new(now, key));
                entry.push(now, leader.bit, State::Published);
                self.expiry.push_back((now + desk.hold, identity));
                for follower in followers {
                    follower.fall_behind(key, 1);
                }
            }
            [] => {}
        }
        marks.late = self.is_leader_late(key, now, desk.hold);
        remember(identity, &notification, now, desk);
        desk.publish(notification, marks);
    }

    /// Keeps a follower's sight until the leader shows it, or long enough.
    fn hold(&mut self, at: usize, identity: u128, notification: Notification, now: Time) {
        let place = &self.legs[at];
        let key = notification.topic.key_fingerprint();
        self.sights += 1;
        let number = self.sights;
        self.entries.entry(identity).or_insert_with(|| Entry::new(now, key)).push(
            now,
            place.bit,
            State::Held(number),
        );
        self.held_by_key.entry(key).or_default().push(number);
        let held = Held {
            identity,
            notification,
            leg: place.leg,
            since: now,
            sights: vec![(place.bit, number)],
            overtaken: place.is_behind(key),
        };
        self.held.insert(number, held);
    }

    /// The leader shows what a follower has shown before: the leader's sight goes out. What the same follower showed before
    /// it on that key the leader has passed over, and it goes out first, in order, where the counting is exact.
    fn release(&mut self, number: u64, notification: Notification, now: Time, desk: &mut Desk) {
        let Some(held) = self.take_held(number) else {
            return;
        };
        let key = notification.topic.key_fingerprint();
        for other in self.held_by_key.get(&key).cloned().unwrap_or_default() {
            if self.is_skipped(other, &held, desk.hold) {
                self.publish_held(other, now, desk);
            }
        }
        self.overtake(key, &held.sights);
        self.went_out(number, held.identity, now, desk);
        remember(held.identity, &notification, now, desk);
        let marks = Marks { late: self.is_leader_late(key, now, desk.hold), ..Marks::default() };
        desk.publish(notification, marks);
        desk.duplicate(held.notification.topic, held.leg);
    }

    /// Whether the leader took over lately and has not shown yet what its predecessor showed last on that key: what it shows now
    /// is older than that.
    fn is_leader_late(&self, key: u64, now: Time, hold: Duration) -> bool {
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
    fn overtake(&mut self, key: u64, sights: &[(Legs, u64)]) {
        for number in self.held_by_key.get(&key).into_iter().flatten() {
            if let Some(held) = self.held.get_mut(number) {
                held.overtaken |= held.is_before(sights) != Some(false);
            }
        }
    }

    /// Publishes a held sight without its leader.
    fn publish_held(&mut self, number: u64, now: Time, desk: &mut Desk) {
        let Some(held) = self.take_held(number) else {
            return;
        };
        let marks = Marks { late: held.overtaken, possible_duplicate: now < self.follower_doubt };
        let key = held.notification.topic.key_fingerprint();
        self.overtake(key, &held.sights);
        self.went_out(number, held.identity, now, desk);
        let keyed = held.notification.topic.family() == Family::Keyed;
        if keyed && desk.window.contains(held.identity, now) {
            // The same leg has shown it twice while it was held.
            return desk.duplicate(held.notification.topic, held.leg);
        }
        remember(held.identity, &held.notification, now, desk);
        desk.publish(held.notification, marks);
    }

    fn take_held(&mut self, number: u64) -> Option<Held> {
        let held = self.held.remove(&number)?;
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
    fn went_out(&mut self, number: u64, identity: u128, now: Time, desk: &Desk) {
        let Some(entry) = self.entries.get_mut(&identity) else {
            return;
        };
        let seen = entry.publish(number, now);
        self.expiry.push_back((now + desk.hold, identity));
        for place in self.legs.iter_mut().filter(|place| place.bit & seen == 0) {
            place.fall_behind(entry.key, 1);
        }
    }

    pub(super) fn poll_timeout(&self, hold: Duration) -> Option<Time> {
        let held = self.held.first_key_value();
        held.map(|(_, held)| held.since + hold).or_else(|| self.expiry.back().map(|(due, _)| *due))
    }

    pub(super) fn handle_timeout(&mut self, now: Time, desk: &mut Desk) {
        self.settle(now, desk);
    }

    /// Publishes what has been held long enough and forgets what went out long enough ago.
    fn settle(&mut self, now: Time, desk: &mut Desk) {
        while let Some((number, held)) = self.held.first_key_value()
            && now >= held.since + desk.hold
        {
            self.publish_held(*number, now, desk);
        }
        while let Some((due, _)) = self.expiry.front()
            && *due <= now
        {
            self.forget_oldest(now - desk.hold);
        }
    }

    /// Forgets the oldest occurrence that went out by `until`, and returns which legs had shown it.
    fn forget_oldest(&mut self, until: Time) -> Option<Legs> {
        let (_, identity) = self.expiry.pop_front()?;
        let entry = self.entries.get_mut(&identity)?;
        let seen = entry.forget(until);
        for place in &mut self.legs {
            if seen.is_some_and(|seen| place.bit & seen == 0) {
                place.catch_up(entry.key);
            }
        }
        if entry.is_over(until) {
            self.entries.remove(&identity);
        }
        seen
    }

    /// Keeps the count of what is remembered within its bound; what that may double is marked.
    fn bound(&mut self, now: Time, desk: &mut Desk) {
        while self.expiry.len() + self.held.len() > desk.occurrences_max {
            if let Some((number, _)) = self.held.first_key_value() {
                self.publish_held(*number, now, desk);
            }
            let seen = self.forget_oldest(now).unwrap_or(Legs::MAX);
            self.follower_doubt = now + desk.hold + desk.hold;
            if self.legs.first().is_some_and(|leader| leader.bit & seen == 0) {
                self.leader_doubt = self.follower_doubt;
            }
        }
    }
}

/// The identity of a body on a topic.
fn identity(topic: u128, digest: u128) -> u128 {
    topic.rotate_left(64) ^ digest
}

fn doubtful() -> Marks {
    Marks { possible_duplicate: true, ..Marks::default() }
}

/// Keeps the identity of what went out, if its family names occurrences.
fn remember(identity: u128, notification: &Notification, now: Time, desk: &mut Desk) {
    if notification.topic.family() == Family::Keyed {
        desk.window.insert(identity, now);
    }
}
