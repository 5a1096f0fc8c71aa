//! Arbitration within one shard: who leads, what is held, what has been seen.

use super::entry::{Entry, Forgotten, Legs, Paired, State};
use super::place::{Held, Kept, Place};
use super::recent::{Recent, Sight};
use super::{Desk, Leg};
use crate::event::{Family, Marks, Notification};
use crate::time::{Time, Timestamp};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Shard {
    /// In the order in which they began; the first leads.
    pub(super) legs: Vec<Place>,
    /// What the only leg has shown; empty while there are several.
    recent: Recent,
    /// By topic and digest.
    pub(super) entries: BTreeMap<u128, Entry>,
    /// When something published may be forgotten, in that order.
    pub(super) expiry: VecDeque<(Time, u128)>,
    /// Sights of followers that wait, by their number: the order in which they came.
    pub(super) held: BTreeMap<u64, Held>,
    /// The numbers of held sights by key.
    pub(super) held_by_key: HashMap<u64, Vec<u64>>,
    /// Sights of followers that were dropped although they may be of occurrences that nobody else has shown; oldest first.
    pub(super) kept: VecDeque<Kept>,
    /// The number of the last sight that was held, joined one or was kept.
    pub(super) sights: u64,
    /// The number of the last occurrence that went out.
    pub(super) outs: u64,
    /// Until then a follower's sight may be one whose pair was forgotten for want of room.
    pub(super) follower_doubt: Time,
    /// Until then a leader's sight may be one whose pair was forgotten for want of room.
    pub(super) leader_doubt: Time,
}

impl Shard {
    /// Whether a sight of that key waits.
    pub(super) fn holds(&self, key: u64) -> bool {
        self.held_by_key.get(&key).is_some_and(|held| !held.is_empty())
    }

    /// When the oldest sight was received that may still have to go out.
    pub(super) fn waits_since(&self) -> Option<Timestamp> {
        let held = self.held.values().map(|held| held.notification.received);
        held.chain(self.kept.iter().map(|kept| kept.notification.received)).min()
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
        let mut place = Place::new(leg, free, now);
        let mut missed = Vec::new();
        for (identity, entry) in &mut self.entries {
            missed
                .extend(entry.begin(free).into_iter().map(|number| (number, entry.key, *identity)));
        }
        missed.sort_unstable();
        for (number, key, identity) in missed {
            place.fall_behind(key, number, identity);
            place.doubt(key, identity);
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
        for Sight { at, topic, body, in_order } in self.recent.take() {
            if now.since(at) >= desk.hold {
                continue;
            }
            self.outs += 1;
            let identity = identity(topic.fingerprint(), desk.digester.digest(&body));
            let entry = self
                .entries
                .entry(identity)
                .or_insert_with(|| Entry::new(at, topic.key_fingerprint()));
            entry.push(at, only, State::Published, self.outs, in_order);
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
        let ended = self.legs.remove(at);
        desk.scores.push((leg, ended.score));
        let Some(leader) = self.legs.first_mut() else {
            return self.close(now, desk);
        };
        if at > 0 {
            // What a follower showed waits for the leader all the same.
            return self.orphan(ended.bit, desk);
        }
        leader.promoted = Some(now);
        let bit = leader.bit;
        let held =
            self.held.iter().filter_map(|(number, held)| Some((held.sight_of(bit)?, *number)));
        let mut shown: Vec<(u64, u64)> = held.collect();
        shown.sort_unstable();
        self.orphan(bit, desk);
        let mut unaccounted = self.take_orphans(desk).into_iter().peekable();
        for (sight, number) in shown {
            while let Some(kept) = unaccounted.next_if(|kept| kept.number < sight) {
                desk.publish(kept.notification, doubtful());
            }
            self.publish_held(number, now, desk);
        }
        for kept in unaccounted {
            desk.publish(kept.notification, doubtful());
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
        for kept in self.take_orphans(desk) {
            desk.publish(kept.notification, doubtful());
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
            self.recent.push(&notification, true, now, desk.hold);
            return desk.publish(notification, Marks::default());
        }
        let digest = desk.digester.digest(&notification.body);
        let identity = identity(notification.topic.fingerprint(), digest);
        if keyed && desk.window.contains(identity, now) {
            let place = &mut self.legs[at];
            let entry = self.entries.get_mut(&identity);
            if let Some(number) = entry.and_then(|entry| entry.pair_published(place.bit)) {
                place.catch_up(notification.topic.key_fingerprint(), number);
            }
            return desk.duplicate(notification.topic, leg);
        }
        if alone {
            self.recent.push(&notification, true, now, desk.hold);
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
        let entry = self.entries.get(&identity);
        let is_early = entry.is_some_and(|entry| entry.early(bit) > 0 && entry.has_unseen(bit));
        let beyond = !leads && is_early && self.is_ahead(at, notification.topic.key_fingerprint());
        let entry = self.entries.get_mut(&identity);
        let (paired, unclear) = entry.map_or((None, false), |entry| {
            (entry.pair(bit, beyond), beyond || entry.has_passed(bit))
        });
        self.score(at, paired.as_ref(), now);
        let gone_out = |state| matches!(state, State::Published | State::Doubted);
        if let Some(paired) = paired.filter(|own| gone_out(own.state)) {
            self.catch_up(at, identity, paired, notification.topic.key_fingerprint());
        }
        match paired {
            Some(Paired { state: State::Held(number), .. }) if leads => {
                self.release(number, notification, now, desk);
            }
            Some(Paired { state: State::Held(number), .. }) => {
                self.sights += 1;
                if let Some(held) = self.held.get_mut(&number) {
                    held.sights.push((bit, self.sights));
                }
                desk.duplicate(notification.topic, leg);
            }
            // The leading leg's sight is of that occurrence, or of one that nobody has shown.
            Some(Paired { state: State::Doubted, .. }) if leads => {
                if let Some(entry) = self.entries.get_mut(&identity) {
                    entry.clear_doubt(bit);
                }
                self.lead(identity, notification, doubtful(), now, desk);
            }
            Some(Paired { state: State::Published | State::Doubted, .. }) => {
                if !leads {
                    self.keep(at, identity, &notification, now, desk);
                }
                desk.duplicate(notification.topic, leg);
            }
            None if leads => {
                let marks =
                    Marks { possible_duplicate: now < self.leader_doubt, ..Marks::default() };
                self.lead(identity, notification, marks, now, desk);
            }
            None => self.hold(at, identity, notification, unclear, now, desk),
        }
        if let Some(entry) = self.entries.get_mut(&identity) {
            // The sight keeps the chain alive for `hold`, whatever it was paired with.
            entry.touch(now);
            self.expiry.push_back((now + desk.hold, identity));
        }
    }

    /// Whether the leg has shown something of that key that the leader has still to show: what it shows now, of a body that is not
    /// counted exactly, is younger than all that has gone out.
    fn is_ahead(&self, at: usize, key: u64) -> bool {
        let place = &self.legs[at];
        let held = || self.held_by_key.get(&key).into_iter().flatten();
        let is_own = |held: &Held| held.sight_of(place.bit).is_some();
        held().any(|number| self.held.get(number).is_some_and(is_own))
    }

    /// The leg has shown something that went out before, and with it has passed over what went out before that on the key.
    fn catch_up(&mut self, at: usize, identity: u128, paired: Paired, key: u64) {
        let place = &mut self.legs[at];
        place.catch_up(key, paired.number);
        if paired.in_order {
            pass(place, &mut self.entries, key, paired.number);
            trust(place, &mut self.entries, key, identity);
        }
    }

    /// Tells the leg's score of a sight.
    fn score(&mut self, at: usize, paired: Option<&Paired>, now: Time) {
        let several = self.legs.len() > 1;
        let score = &mut self.legs[at].score;
        match paired {
            Some(paired) => {
                score.followed += 1;
                score.lag += now.since(paired.born);
            }
            None if several => score.won += 1,
            None => {}
        }
    }

    /// An occurrence came of the sight of a leg at a time when later legs may not have carried it yet.
    pub(super) fn note_early(&mut self, at: usize, identity: u128, now: Time, hold: Duration) {
        for later in at + 1..self.legs.len() {
            if now < self.legs[later].began + hold {
                self.count_early(later, identity);
            }
        }
    }

    /// A leg may not have shown one of the occurrences of a body.
    pub(super) fn count_early(&mut self, at: usize, identity: u128) {
        let place = &mut self.legs[at];
        if let Some(entry) = self.entries.get_mut(&identity) {
            entry.count_early(place.bit);
            place.doubt(entry.key, identity);
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
        self.adopt(identity, now, desk);
        self.overtake(key, &[]);
        marks.late = self.is_leader_late(key, now, desk.hold);
        let in_order = marks == Marks::default();
        if let [leader, followers @ ..] = self.legs.as_mut_slice()
            && !followers.is_empty()
        {
            self.outs += 1;
            let entry = self.entries.entry(identity).or_insert_with(|| Entry::new(now, key));
            entry.push(now, leader.bit, State::Published, self.outs, in_order);
            self.expiry.push_back((now + desk.hold, identity));
            for follower in followers {
                follower.fall_behind(key, self.outs, identity);
            }
            if marks.possible_duplicate {
                // It may be a second copy, which the followers will not show.
                (1..self.legs.len()).for_each(|at| self.count_early(at, identity));
            } else {
                self.note_early(0, identity, now, desk.hold);
            }
        } else {
            self.recent.push(&notification, in_order, now, desk.hold);
        }
        remember(identity, &notification, now, desk);
        desk.publish(notification, marks);
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
        while let Some(kept) = self.kept.front()
            && now >= kept.since + desk.hold
        {
            // A leader that lives has shown it by now.
            desk.held_bytes -= kept.notification.body.len();
            self.kept.pop_front();
        }
        while let Some((due, _)) = self.expiry.front()
            && *due <= now
        {
            self.forget_oldest(now - desk.hold);
        }
    }

    /// Forgets the oldest occurrence that went out by `until`, and returns which legs had shown it.
    pub(super) fn forget_oldest(&mut self, until: Time) -> Option<Legs> {
        let (_, identity) = self.expiry.pop_front()?;
        let entry = self.entries.get_mut(&identity)?;
        let forgotten = entry.forget(until);
        if let Some(Forgotten { seen, number, born }) = forgotten {
            for place in self.legs.iter_mut().filter(|place| place.bit & seen == 0) {
                place.catch_up(entry.key, number);
                place.score.missed += u64::from(place.began <= born);
            }
        }
        if entry.is_over(until) {
            self.entries.remove(&identity);
        }
        forgotten.map(|forgotten| forgotten.seen)
    }
}

/// The leg has passed over what went out before `number` on that key.
pub(super) fn pass(place: &mut Place, entries: &mut BTreeMap<u128, Entry>, key: u64, number: u64) {
    for (number, identity) in place.pass(key, number) {
        if let Some(entry) = entries.get_mut(&identity) {
            entry.pass(place.bit, number);
        }
    }
}

/// The leg is right at an occurrence of that body. Where the body is counted exactly, everything before on the key is settled.
pub(super) fn trust(
    place: &mut Place,
    entries: &mut BTreeMap<u128, Entry>,
    key: u64,
    identity: u128,
) {
    let bit = place.bit;
    if !place.is_unsure() || entries.get(&identity).is_none_or(|entry| entry.early(bit) > 0) {
        return;
    }
    for body in place.trust(key) {
        if let Some(entry) = entries.get_mut(&body) {
            entry.clear_early(bit);
        }
    }
}

/// The identity of a body on a topic.
fn identity(topic: u128, digest: u128) -> u128 {
    topic.rotate_left(64) ^ digest
}

pub(super) fn doubtful() -> Marks {
    Marks { possible_duplicate: true, ..Marks::default() }
}

/// Keeps the identity of what went out, if its family names occurrences.
pub(super) fn remember(identity: u128, notification: &Notification, now: Time, desk: &mut Desk) {
    if notification.topic.family() == Family::Keyed {
        desk.window.insert(identity, now);
    }
}
