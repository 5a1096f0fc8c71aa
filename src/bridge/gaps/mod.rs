//! Where notifications may be missing: opens and closes the ledger's gaps, keeps them on disk, and tells consumers.
//!
//! Told twice: to the whole sink by control events, when a gap opens and when it closes, and in the order of each topic by a
//! record that stands where its events are missing. Finds no gap itself.

mod body;
mod causes;
mod keeper;
mod lacking;
mod marks;
mod owed;
mod promised;
mod restart;
mod telling;

pub use keeper::{Keeper, Kept};
pub use lacking::Missed;
use marks::Marks;
#[cfg(test)]
pub use marks::{Mark, Print};

use super::tap::Tap;
use crate::event::{Notification, Topic};
use crate::journal::Journal;
use crate::observation::Observation;
use crate::sequence::{Cover, Gap, Interval, Ledger, Rebased};
use crate::time::Timestamp;
use body::Told;
use causes::{Class, ENDED, JOURNAL_DAMAGED, UNWANTED, certainty_of, class};
pub(super) use causes::{
    FEED_SILENT, HANDOVER, JOURNAL_DISK, JOURNAL_FULL, LOST, RESTART, UNREADABLE,
};
use keeper::About;
use lacking::{Damage, Inherited, Refusals};
use owed::Owed;
use promised::Promised;
use std::collections::{BTreeMap, HashSet, VecDeque};

/// A gap that has ended, and the topics that it concerned.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed {
    /// Its number.
    pub number: u64,
    /// Its topics.
    pub topics: Vec<Topic>,
}

/// What a shard has heard last, and whether one session alone carried it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// What was heard up to then is in the journal or waits for nothing, or lies in a gap.
    pub at: Timestamp,
    /// Whether there was one session alone.
    pub alone: bool,
}

/// All gaps, and who is still to be told of them.
#[derive(Debug)]
pub struct Gaps {
    ledger: Ledger,
    /// Open gaps of shards: at most one of no delivery, one of frames and one of the feed for each.
    covers: Vec<Cover>,
    /// All topics of each shard, once they are known, but for those that the platform refused.
    topics: BTreeMap<u16, Vec<Topic>>,
    /// As the last process left them, until the topics are known: in the gap between the two they lack nothing.
    refused: HashSet<Topic>,
    /// Whether that has changed since it was last kept.
    is_unkept: bool,
    /// What the last process had heard of each of its shards, until it is known how the topics are packed now.
    left: Marks,
    /// Whether there was a time without a process before this one.
    is_restarted: bool,
    /// The open gap of each sink that the journal refuses events.
    full: BTreeMap<&'static str, Refusals>,
    /// Gaps of sinks that were open when the last process ended, and what was found damaged then.
    inherited: Vec<Inherited>,
    /// What was told as damaged: a sink that is sent something again reads it again, and so does the next process.
    damage: Vec<Damage>,
    /// What each sink could not be told yet.
    owed: BTreeMap<&'static str, Owed>,
    /// Gaps whose records say that snapshots follow, until it is known what came of that.
    promised: Promised,
    rebase: bool,
    keeper: Option<Keeper>,
    tap: Tap,
    observations: VecDeque<Observation>,
}

impl Gaps {
    /// No gap but those that were `kept`; with `rebase` REST is asked after each, and its records say so.
    pub fn new(kept: Kept, keep: usize, rebase: bool, keeper: Option<Keeper>) -> Self {
        let mut gaps = Self {
            ledger: Ledger::restored(kept.gaps, kept.opened, keep),
            covers: Vec::new(),
            topics: BTreeMap::new(),
            refused: kept.refused.into_iter().collect(),
            is_unkept: false,
            left: Marks::new(),
            is_restarted: false,
            full: BTreeMap::new(),
            inherited: Vec::new(),
            damage: Vec::new(),
            owed: BTreeMap::new(),
            // Where REST is not asked any more, nothing follows.
            promised: if rebase { Promised::left(kept.promised) } else { Promised::default() },
            rebase,
            keeper,
            tap: Tap::default(),
            observations: VecDeque::new(),
        };
        let told = |(first, last)| Damage { sink: None, first, last };
        gaps.damage = kept.damage.into_iter().map(told).collect();
        let open: Vec<Gap> = gaps.ledger.open_gaps().cloned().collect();
        for gap in open {
            match gap.sink {
                Some(_) => gaps.inherited.push(Inherited::left(&gap)),
                // Found by a process that did not live to tell it.
                None if gap.cause == JOURNAL_DAMAGED => gaps.inherited.push(Inherited::left(&gap)),
                None => {
                    let cause = (gap.cause, gap.certainty);
                    let name = (gap.number, gap.shard);
                    let topics = kept.named.get(&gap.number).cloned().unwrap_or_default();
                    gaps.covers.push(Cover::new(name, cause, gap.from, topics));
                }
            }
        }
        gaps
    }

    /// The ledger.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Something worth telling.
    pub fn poll_observation(&mut self) -> Option<Observation> {
        self.observations.pop_front()
    }

    /// Whether anything is still to be told where events are missing.
    pub fn is_busy(&self) -> bool {
        !self.covers.is_empty() || !self.owed.is_empty()
    }

    /// The topics of each shard are known. Answers the gaps that waited for that to end.
    pub fn plan(
        &mut self,
        topics: BTreeMap<u16, Vec<Topic>>,
        now: Timestamp,
        journal: &mut Journal,
    ) -> Vec<Closed> {
        let is_first = self.topics.is_empty();
        self.topics = topics;
        // A topic that left and joins again is asked for anew.
        let planned: HashSet<&Topic> = self.topics.values().flatten().collect();
        self.refused.retain(|topic| planned.contains(topic));
        let emptied = if is_first { Vec::new() } else { self.release(now, journal) };
        let gone = self.covers.extract_if(.., |cover| {
            !self.topics.contains_key(&cover.shard()) || emptied.contains(&cover.number())
        });
        let gone: Vec<Cover> = gone.collect();
        if is_first && self.is_restarted {
            self.unpack(&gone, now, journal);
        }
        let inherited = std::mem::take(&mut self.inherited).into_iter();
        let closed = inherited.map(|gap| self.inherit(gap, now, journal)).collect();
        for at in 0..self.covers.len() {
            let (number, shard) = (self.covers[at].number(), self.covers[at].shard());
            if self.covers[at].is_empty() {
                let from =
                    self.ledger.open_gaps().find(|gap| gap.number == number).map(|gap| gap.from);
                let from = from.unwrap_or(now);
                let topics = self.topics_of(shard);
                self.ledger.extend(number, from, topics.len());
                self.covers[at].add(topics, from);
            }
        }
        if is_first {
            // What the platform takes now it does not tell: only what it refuses again.
            self.refused.clear();
        }
        for cover in gone {
            let (number, action) = (cover.number(), if is_first { ENDED } else { UNWANTED });
            // What is still wanted is on other shards now, whose gaps name it.
            for (topic, interval) in cover.close(now) {
                self.tell(topic, &interval, None, now, journal);
            }
            // Nothing is asked of it here.
            let closed = Closed { number, topics: Vec::new() };
            self.end(&closed, now, action, 0, now, journal);
        }
        self.save();
        closed
    }

    /// Topics that are not wanted any more lack nothing from now on, also if they join again while the gap is open. Answers the gaps that
    /// concern nothing any more.
    fn release(&mut self, now: Timestamp, journal: &mut Journal) -> Vec<u64> {
        let wanted: HashSet<&Topic> = self.topics.values().flatten().collect();
        let (mut left, mut emptied) = (Vec::new(), Vec::new());
        for cover in self.covers.iter_mut().filter(|cover| !cover.is_empty()) {
            left.extend(cover.leave(|topic| !wanted.contains(topic), now));
            emptied.extend(Some(cover.number()).filter(|_| cover.is_empty()));
        }
        for (topic, interval) in left {
            self.tell(topic, &interval, None, now, journal);
        }
        emptied
    }

    /// The platform refused a topic: nothing of it can be missing from now on, nor after a restart. Kept with the next mark.
    pub fn refuse(&mut self, topic: &Topic) {
        self.is_unkept |= self.refused.insert(topic.clone());
    }

    /// The platform takes a topic that it refused before.
    pub fn permit(&mut self, topic: &Topic) {
        self.is_unkept |= self.refused.remove(topic);
    }

    /// Opens a gap of a shard; of all its topics where none are named.
    pub fn open(
        &mut self,
        shard: u16,
        cause: &'static str,
        from: Timestamp,
        topics: Vec<Topic>,
        now: Timestamp,
        journal: &mut Journal,
    ) {
        let topics = if topics.is_empty() { self.topics_of(shard) } else { topics };
        if let Some(at) = self.cover(shard, cause) {
            self.ledger.extend(self.covers[at].number(), from, topics.len());
            self.covers[at].add(topics, from);
            return self.save();
        }
        let certainty = certainty_of(cause);
        let number = self.ledger.open(shard, cause, certainty, from, topics.len());
        let cover = Cover::new((number, shard), (cause, certainty), from, topics.iter().cloned());
        self.covers.push(cover);
        self.announce(number, &topics, now, journal);
    }

    fn announce(&mut self, number: u64, topics: &[Topic], now: Timestamp, journal: &mut Journal) {
        let Some(gap) = self.ledger.open_gaps().find(|gap| gap.number == number).cloned() else {
            return;
        };
        self.observations.push_back(Observation::GapOpened {
            number,
            shard: gap.shard,
            cause: gap.cause,
            certainty: gap.certainty.as_str(),
            from: gap.from,
        });
        self.save();
        let mut entry = body::opened(&gap, topics, now);
        entry.sink = gap.sink;
        self.put(entry, journal);
    }

    /// Ends the gap of a shard that was of that kind. Answers which, and its topics.
    pub fn close(
        &mut self,
        shard: u16,
        cause: &'static str,
        to: Timestamp,
        action: &'static str,
        now: Timestamp,
        journal: &mut Journal,
    ) -> Option<Closed> {
        let at = self.cover(shard, cause)?;
        let cover = self.covers.remove(at);
        let number = cover.number();
        let topics = cover.topics().into_iter();
        let topics = topics.filter(|topic| !self.refused.contains(topic)).collect();
        for (topic, interval) in cover.close(to) {
            self.tell(topic, &interval, None, now, journal);
        }
        let closed = Closed { number, topics };
        self.end(&closed, to, action, 0, now, journal);
        Some(closed)
    }

    /// Whether a gap of that kind is open.
    pub fn is_open(&self, shard: u16, cause: &'static str) -> bool {
        self.cover(shard, cause).is_some()
    }

    /// What was shown while a gap of that kind was open may have ended nothing: `since` when a topic may lack something after all.
    pub fn distrust(
        &mut self,
        shard: u16,
        cause: &'static str,
        since: impl Fn(&Topic, Timestamp) -> Option<Timestamp>,
    ) {
        if let Some(at) = self.cover(shard, cause) {
            self.covers[at].distrust(since);
        }
    }

    /// The topics of one key that a shard has.
    pub fn topics_of_key(&self, shard: u16, key_fingerprint: u64) -> Vec<Topic> {
        let topics = self.topics_of(shard).into_iter();
        topics.filter(|topic| topic.key_fingerprint() == key_fingerprint).collect()
    }

    /// Data is about to be published: tells first what is missing before it. Answers the sinks that could not be told, and must not
    /// get it therefore.
    pub fn before(
        &mut self,
        data: &Notification,
        now: Timestamp,
        journal: &mut Journal,
    ) -> Vec<&'static str> {
        let told: Vec<Interval> = self
            .covers
            .iter_mut()
            .filter_map(|cover| cover.heard(&data.topic, data.received))
            .collect();
        for interval in told {
            self.tell(data.topic.clone(), &interval, None, now, journal);
        }
        let mut untold = Vec::new();
        for sink in self.owed.keys().copied().collect::<Vec<_>>() {
            // Told in one breath with the data, or not at all: a sink at its bound has no use for the one without the other.
            if journal.has_room(sink, data.body.len() + body::RECORD_MAX) {
                let interval = self.owed.get_mut(sink).and_then(|owed| owed.take(&data.topic));
                if let Some(interval) = interval {
                    self.tell(data.topic.clone(), &interval, Some(sink), now, journal);
                }
            }
            if self.owed.get(sink).is_some_and(|owed| owed.has(&data.topic)) {
                untold.push(sink);
            }
        }
        self.owed.retain(|_, owed| !owed.is_empty());
        untold
    }

    /// Data prove that topics are complete from `to` on. Tells it of a gap of that kind, and whether nothing is left of that.
    pub fn settle(
        &mut self,
        (shard, cause): (u16, &'static str),
        matches: impl Fn(&Topic) -> bool,
        to: Timestamp,
        now: Timestamp,
        journal: &mut Journal,
    ) -> bool {
        let Some(at) = self.cover(shard, cause) else {
            return false;
        };
        let told = self.covers[at].settle(matches, to);
        let is_told = self.covers[at].is_told();
        for (topic, interval) in told {
            self.tell(topic, &interval, None, now, journal);
        }
        is_told
    }

    /// Re-basing after a gap is over.
    pub fn rebased(
        &mut self,
        number: u64,
        rebased: Rebased,
        now: Timestamp,
        journal: &mut Journal,
    ) {
        self.ledger.rebase(number, rebased);
        self.promised.end(number);
        self.save();
        self.put(body::rebased(number, &rebased, now), journal);
        let Rebased { snapshots, superseded, failed, without } = rebased;
        let gap = number;
        self.observations.push_back(Observation::Rebased {
            gap,
            snapshots,
            superseded,
            failed,
            without,
        });
    }

    /// The topics of a shard that the platform took.
    fn topics_of(&self, shard: u16) -> Vec<Topic> {
        let topics = self.topics.get(&shard).into_iter().flatten();
        topics.filter(|topic| !self.refused.contains(topic)).cloned().collect()
    }

    /// The open gap of a shard of the same class.
    fn cover(&self, shard: u16, cause: &str) -> Option<usize> {
        let same = |cover: &Cover| cover.shard() == shard && class(cover.cause()) == class(cause);
        self.covers.iter().position(same)
    }

    fn end(
        &mut self,
        closed: &Closed,
        to: Timestamp,
        action: &'static str,
        missed: u64,
        now: Timestamp,
        journal: &mut Journal,
    ) {
        let number = closed.number;
        let Some(gap) = self.ledger.close(number, to, action) else {
            return;
        };
        let told = Told::of(&closed.topics, self.rebase);
        if told == Told::Follows {
            self.promised.add(closed);
        }
        self.put(body::closed(&gap, missed, told, now), journal);
        self.observations.push_back(Observation::GapClosed {
            number,
            shard: gap.shard,
            cause: gap.cause,
            certainty: gap.certainty.as_str(),
            from: gap.from,
            to: gap.to.unwrap_or(to),
            action,
        });
        self.save();
    }

    fn save(&mut self) {
        self.is_unkept = false;
        let Some(keeper) = &self.keeper else { return };
        let of_all = self.damage.iter().filter(|told| told.sink.is_none());
        let names = |topics: &[Topic]| topics.iter().map(|topic| topic.name().to_owned()).collect();
        let partial = self.covers.iter().filter(|cover| class(cover.cause()) == Class::Feed);
        let mut refused: Vec<String> = names(&self.refused.iter().cloned().collect::<Vec<_>>());
        refused.sort_unstable();
        let promised = self.promised.gaps.iter();
        keeper.save(
            &self.ledger,
            About {
                damage: of_all.map(|told| (told.first, told.last)).collect(),
                named: partial.map(|cover| (cover.number(), names(&cover.topics()))).collect(),
                refused,
                promised: promised.map(|(gap, topics)| (*gap, names(topics))).collect(),
            },
        );
    }
}
