//! Arbitration within one shard: who leads, what is held, what has been seen.

use super::entry::{Entry, Forgotten, Legs, Paired, State};
use super::place::{Held, Kept, Place};
use super::recent::{Recent, Sight};
use super::{Desk, Leg};
use crate::event::{Family, Marks, Notification};
use crate::time::Time;
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
    expiry: VecDeque<(Time, u128)>,
    /// Sights of followers that wait, by their number: the order in which they came.
    pub(super) held: BTreeMap<u64, Held>,
    /// The numbers of held sights by key.
    held_by_key: HashMap<u64, Vec<u64>>,
    /// Sights of followers that were dropped although they may be of occurrences that nobody else has shown; oldest first.
    pub(super) kept: VecDeque<Kept>,
    /// The number of the last sight that was held, joined one or was kept.
    sights: u64,
    /// The number of the last occurrence that went out.
    outs: u64,
    /// Until then a follower's sight may be one whose pair was forgotten for want of room.
    follower_doubt: Time,
    /// Until then a leader's sight may be one whose pair was forgotten for want of room.
    leader_doubt: Time,
}

impl Shard {
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
        let ahead = !leads && self.is_ahead(at, notification.topic.key_fingerprint());
        let entry = self.entries.get_mut(&identity);
        let (paired, unclear) = entry.map_or((None, false), |entry| {
            let beyond = ahead && entry.has_unseen(bit);
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

    /// Whether the leg, while it is not counted exactly, has shown something of that key that the leader has still to show: what
    /// it shows now is younger than all that has gone out.
    fn is_ahead(&self, at: usize, key: u64) -> bool {
        let place = &self.legs[at];
        let held = || self.held_by_key.get(&key).into_iter().flatten();
        let is_own = |held: &Held| held.sight_of(place.bit).is_some();
        place.is_unsure() && held().any(|number| self.held.get(number).is_some_and(is_own))
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
    fn note_early(&mut self, at: usize, identity: u128, now: Time, hold: Duration) {
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

    /// Keeps a follower's sight until the leader shows it, or long enough.
    fn hold(
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
    fn release(&mut self, number: u64, notification: Notification, now: Time, desk: &mut Desk) {
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
    fn keep(
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
    fn orphan(&mut self, bit: Legs, desk: &mut Desk) {
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
    fn take_orphans(&mut self, desk: &mut Desk) -> VecDeque<Kept> {
        let kept = std::mem::take(&mut self.kept);
        let (orphans, others): (VecDeque<_>, _) =
            kept.into_iter().partition(|kept| kept.bit == NOBODY);
        self.kept = others;
        desk.held_bytes -= orphans.iter().map(|kept| kept.notification.body.len()).sum::<usize>();
        orphans
    }

    /// The leader has shown an occurrence that may be a follower's that has ended.
    fn adopt(&mut self, identity: u128, now: Time, desk: &mut Desk) {
        let is_it = |kept: &Kept| {
            kept.bit == NOBODY && kept.identity == identity && now >= kept.early_until
        };
        let at = self.kept.iter().position(is_it);
        if let Some(kept) = at.and_then(|at| self.kept.remove(at)) {
            desk.held_bytes -= kept.notification.body.len();
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
    fn forget_oldest(&mut self, until: Time) -> Option<Legs> {
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

    /// Keeps what is remembered within its bounds; what that may double is marked.
    fn bound(&mut self, now: Time, desk: &mut Desk) {
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

/// The bit of no leg.
const NOBODY: Legs = 0;

/// What sights that wait may weigh, over all shards: a quarter of the program's memory budget.
const HELD_BYTES_MAX: usize = 16 << 20;

/// The leg has passed over what went out before `number` on that key.
fn pass(place: &mut Place, entries: &mut BTreeMap<u128, Entry>, key: u64, number: u64) {
    for (number, identity) in place.pass(key, number) {
        if let Some(entry) = entries.get_mut(&identity) {
            entry.pass(place.bit, number);
        }
    }
}

/// The leg is right at an occurrence of that body. Where the body is counted exactly, everything before on the key is settled.
fn trust(place: &mut Place, entries: &mut BTreeMap<u128, Entry>, key: u64, identity: u128) {
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

fn doubtful() -> Marks {
    Marks { possible_duplicate: true, ..Marks::default() }
}

/// Keeps the identity of what went out, if its family names occurrences.
fn remember(identity: u128, notification: &Notification, now: Time, desk: &mut Desk) {
    if notification.topic.family() == Family::Keyed {
        desk.window.insert(identity, now);
    }
}
