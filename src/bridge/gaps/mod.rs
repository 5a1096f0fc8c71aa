//! Where notifications may be missing: opens and closes the ledger's gaps, keeps them on disk, and tells consumers.
//!
//! Told twice: to the whole sink by control events, when a gap opens and when it closes, and in the order of each topic by a
//! record that stands where its events are missing. Finds no gap itself.

mod body;
mod causes;
mod keeper;
mod owed;

pub use keeper::{Keeper, Kept};

use crate::event::{Entry, Kind, Notification, Topic};
use crate::journal::Journal;
use crate::observation::Observation;
use crate::sequence::{Certainty, Cover, Gap, Interval, Ledger, Rebased};
use crate::time::Timestamp;
use body::Told;
use causes::{ENDED, JOURNAL_DAMAGED, WHOLE, certainty_of, class};
pub(super) use causes::{FEED_SILENT, JOURNAL_DISK, JOURNAL_FULL, RESTART, UNREADABLE};
use owed::Owed;
use std::collections::{BTreeMap, HashSet, VecDeque};

/// A gap that has ended, and the topics that it concerned.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed {
    /// Its number.
    pub number: u64,
    /// Its topics.
    pub topics: Vec<Topic>,
}

/// Events that the journal did not take for a sink.
#[derive(Clone, Copy, Debug)]
pub struct Missed {
    /// Why.
    pub cause: &'static str,
    /// How many.
    pub count: u64,
    /// When the first of them was received.
    pub since: Timestamp,
}

/// A gap that is over before the topics are known that it concerns.
#[derive(Debug)]
struct Inherited {
    number: u64,
    /// The one sink that lacks something; none where all do.
    sink: Option<&'static str>,
    cause: &'static str,
    from: Timestamp,
    to: Timestamp,
    action: &'static str,
    /// How many events are known to be missing.
    missed: u64,
}

/// All gaps, and who is still to be told of them.
#[derive(Debug)]
pub struct Gaps {
    ledger: Ledger,
    /// Open gaps of shards: at most one of no delivery, one of frames and one of the feed for each.
    covers: Vec<Cover>,
    /// All topics of each shard, once they are known, but for those that the platform refused.
    topics: BTreeMap<u16, Vec<Topic>>,
    refused: HashSet<Topic>,
    /// The open gap of each sink that the journal refuses events, and how many.
    full: BTreeMap<&'static str, (u64, u64)>,
    /// Gaps of sinks that were open when the last process ended, and what was found damaged then.
    inherited: Vec<Inherited>,
    /// What each sink could not be told yet.
    owed: BTreeMap<&'static str, Owed>,
    rebase: bool,
    keeper: Option<Keeper>,
    observations: VecDeque<Observation>,
}

impl Inherited {
    /// A gap that was open when the last process ended, as it must end now.
    fn left(gap: &Gap) -> Self {
        let (number, sink, cause, from) = (gap.number, gap.sink, gap.cause, gap.from);
        let to = Timestamp::default();
        Self { number, sink, cause, from, to, action: ENDED, missed: 0 }
    }
}

impl Gaps {
    /// No gap but those that were `kept`; with `rebase` REST is asked after each, and its records say so.
    pub fn new(kept: Kept, keep: usize, rebase: bool, keeper: Option<Keeper>) -> Self {
        let mut gaps = Self {
            ledger: Ledger::restored(kept.gaps, kept.opened, keep),
            covers: Vec::new(),
            topics: BTreeMap::new(),
            refused: HashSet::new(),
            full: BTreeMap::new(),
            inherited: Vec::new(),
            owed: BTreeMap::new(),
            rebase,
            keeper,
            observations: VecDeque::new(),
        };
        let open: Vec<Gap> = gaps.ledger.open_gaps().cloned().collect();
        for gap in open {
            match gap.sink {
                Some(_) => gaps.inherited.push(Inherited::left(&gap)),
                // Found by a process that did not live to tell it.
                None if gap.cause == JOURNAL_DAMAGED => gaps.inherited.push(Inherited::left(&gap)),
                None => {
                    let cause = (gap.cause, gap.certainty);
                    let name = (gap.number, gap.shard);
                    gaps.covers.push(Cover::new(name, cause, gap.from, []));
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

    /// The process did not run: what each shard heard last, by the last process's own word.
    pub fn restarted(
        &mut self,
        heard: &BTreeMap<u16, Timestamp>,
        now: Timestamp,
        journal: &mut Journal,
    ) {
        for (shard, from) in heard {
            // A gap that was open when the process ended goes on, and says all that this one would.
            if self.cover(*shard, RESTART).is_none() {
                self.open(*shard, RESTART, *from, Vec::new(), now, journal);
            }
        }
    }

    /// The topics of each shard are known.
    pub fn plan(
        &mut self,
        topics: BTreeMap<u16, Vec<Topic>>,
        now: Timestamp,
        journal: &mut Journal,
    ) -> Vec<Closed> {
        self.topics = topics;
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
        self.save();
        closed
    }

    /// What is over, and of which the topics were not known, is told of all of them.
    fn inherit(&mut self, gap: Inherited, now: Timestamp, journal: &mut Journal) -> Closed {
        let topics: Vec<Topic> = self.topics.values().flatten().cloned().collect();
        let cause = (gap.cause, Certainty::Certain);
        let cover = Cover::new((gap.number, 0), cause, gap.from, topics.iter().cloned());
        for (topic, interval) in cover.close(gap.to) {
            self.tell(topic, &interval, gap.sink, now, journal);
        }
        self.end(gap.number, gap.to, gap.action, gap.missed, now, journal);
        Closed { number: gap.number, topics }
    }

    /// Part of the journal cannot be read: so many events are missing, of one sink or of all. Which topics were theirs nobody knows.
    pub fn damaged(
        &mut self,
        sink: Option<&'static str>,
        missed: u64,
        from: Timestamp,
        now: Timestamp,
        journal: &mut Journal,
    ) -> Option<Closed> {
        let number = self.ledger.open(0, JOURNAL_DAMAGED, Certainty::Certain, from, 0);
        if let Some(sink) = sink {
            self.ledger.concern(number, sink);
        }
        self.announce(number, &[], now, journal);
        let (cause, to, action) = (JOURNAL_DAMAGED, now, WHOLE);
        let gap = Inherited { number, sink, cause, from, to, action, missed };
        if self.topics.is_empty() {
            self.inherited.push(gap);
            return None;
        }
        Some(self.inherit(gap, now, journal))
    }

    /// The platform refused a topic: nothing of it can be missing.
    pub fn refuse(&mut self, topic: &Topic) {
        self.refused.insert(topic.clone());
    }

    /// The platform takes a topic that it refused before.
    pub fn permit(&mut self, topic: &Topic) {
        self.refused.remove(topic);
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
        let topics = self.topics_of(shard);
        for (topic, interval) in cover.close(to) {
            self.tell(topic, &interval, None, now, journal);
        }
        self.end(number, to, action, 0, now, journal);
        Some(Closed { number, topics })
    }

    /// Whether a gap of that kind is open.
    pub fn is_open(&self, shard: u16, cause: &'static str) -> bool {
        self.cover(shard, cause).is_some()
    }

    /// What was shown while a gap of that kind was open has ended nothing: the session that showed it was lost.
    pub fn distrust(&mut self, shard: u16, cause: &'static str) {
        if let Some(at) = self.cover(shard, cause) {
            self.covers[at].distrust();
        }
    }

    /// The topics of one key that a shard has.
    pub fn topics_of_key(&self, shard: u16, key_fingerprint: u64) -> Vec<Topic> {
        let topics = self.topics_of(shard).into_iter();
        topics.filter(|topic| topic.key_fingerprint() == key_fingerprint).collect()
    }

    /// Data is about to be published: tells first what is missing before it.
    pub fn before(&mut self, data: &Notification, now: Timestamp, journal: &mut Journal) {
        let told: Vec<Interval> = self
            .covers
            .iter_mut()
            .filter_map(|cover| cover.heard(&data.topic, data.received))
            .collect();
        for interval in told {
            self.tell(data.topic.clone(), &interval, None, now, journal);
        }
        for sink in self.owed.keys().copied().collect::<Vec<_>>() {
            // Told in one breath with the data, or not at all: a sink at its bound has no use for the one without the other.
            if journal.has_room(sink, data.body.len() + body::RECORD_MAX) {
                let interval = self.owed.get_mut(sink).and_then(|owed| owed.take(&data.topic));
                if let Some(interval) = interval {
                    self.tell(data.topic.clone(), &interval, Some(sink), now, journal);
                }
            }
        }
        self.owed.retain(|_, owed| !owed.is_empty());
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

    /// The journal did not take events for a sink, of that topic where it is known.
    pub fn refused(
        &mut self,
        sink: &'static str,
        topic: Option<&Topic>,
        missed: Missed,
        journal: &mut Journal,
    ) {
        let Missed { cause, count, since } = missed;
        if !self.full.contains_key(sink) {
            let number = self.ledger.open(0, cause, Certainty::Certain, since, 0);
            self.ledger.concern(number, sink);
            self.full.insert(sink, (number, 0));
            self.announce(number, &[], since, journal);
            self.observations.push_back(Observation::JournalFull { sink, count });
        }
        let Some((number, counted)) = self.full.get_mut(sink) else {
            return;
        };
        *counted += count;
        let interval = Interval {
            gaps: vec![*number],
            shard: 0,
            cause,
            certainty: Certainty::Certain,
            from: since,
            to: since,
            missed: count,
        };
        if let Some(topic) = topic {
            self.owed.entry(sink).or_default().add(topic, &interval);
        }
    }

    /// The sinks that the journal refuses events.
    pub fn full(&self) -> Vec<&'static str> {
        self.full.keys().copied().collect()
    }

    /// A sink has room again, or the process ends: it is told what it lacks.
    pub fn end_refusals(
        &mut self,
        sink: &'static str,
        action: &'static str,
        now: Timestamp,
        journal: &mut Journal,
    ) -> Option<Closed> {
        let owed = self.owed.remove(sink).unwrap_or_default();
        let topics = owed.topics();
        for (topic, interval) in owed {
            self.tell(topic, &interval, Some(sink), now, journal);
        }
        let (number, count) = self.full.remove(sink)?;
        self.observations.push_back(Observation::JournalFull { sink, count });
        self.end(number, now, action, count, now, journal);
        Some(Closed { number, topics })
    }

    /// What could not be told yet is tried again.
    pub fn retry(&mut self, now: Timestamp, journal: &mut Journal) {
        for sink in self.owed.keys().copied().collect::<Vec<_>>() {
            if !self.full.contains_key(sink) && journal.has_room(sink, body::RECORD_MAX) {
                let owed = self.owed.remove(sink).unwrap_or_default();
                for (topic, interval) in owed {
                    self.tell(topic, &interval, Some(sink), now, journal);
                }
            }
        }
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

    /// What each shard with certain delivery has heard last, for the next process.
    pub fn mark(&self, heard: &BTreeMap<u16, Timestamp>) {
        if let Some(keeper) = &self.keeper {
            keeper.mark(heard);
        }
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
        number: u64,
        to: Timestamp,
        action: &'static str,
        missed: u64,
        now: Timestamp,
        journal: &mut Journal,
    ) {
        let Some(gap) = self.ledger.close(number, to, action) else {
            return;
        };
        let told = Told::of(&gap, self.rebase);
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

    /// Puts a topic's record into its order, for all sinks or one. A sink that cannot take it is owed it.
    fn tell(
        &mut self,
        topic: Topic,
        interval: &Interval,
        only: Option<&'static str>,
        now: Timestamp,
        journal: &mut Journal,
    ) {
        let mut entry = body::record(&topic, interval, self.rebase, now);
        entry.sink = only;
        for sink in journal.append(entry).refused_by {
            self.owed.entry(sink).or_default().add(&topic, interval);
        }
    }

    /// Appends a control event. A sink that has not even room for that will be told by its next gap, and the ledger has it all.
    fn put(&self, entry: Entry, journal: &mut Journal) {
        debug_assert!(entry.kind.is_control() && entry.kind != Kind::Epoch);
        journal.append(entry);
    }

    fn save(&self) {
        if let Some(keeper) = &self.keeper {
            keeper.save(&self.ledger);
        }
    }
}
