//! Where notifications may be missing: opens and closes the ledger's gaps, keeps them on disk, and tells consumers.
//!
//! Told twice: to the whole sink by control events, when a gap opens and when it closes, and in the order of each topic by a
//! record that stands where its events are missing. Finds no gap itself.

mod body;
mod causes;
mod keeper;
mod lacking;
mod owed;
mod telling;

pub use keeper::{Keeper, Kept};
pub use lacking::Missed;

use super::tap::Tap;
use crate::event::{Notification, Topic};
use crate::journal::Journal;
use crate::observation::Observation;
use crate::sequence::{Cover, Gap, Interval, Ledger, Rebased};
use crate::time::Timestamp;
use body::Told;
pub(super) use causes::{FEED_SILENT, HANDOVER, JOURNAL_DISK, JOURNAL_FULL, RESTART, UNREADABLE};
use causes::{JOURNAL_DAMAGED, certainty_of, class};
use lacking::{Damage, Inherited};
use owed::Owed;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::Duration;

/// A gap that has ended, and the topics that it concerned.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed {
    /// Its number.
    pub number: u64,
    /// Its topics.
    pub topics: Vec<Topic>,
}

/// The last process's word of what it heard is no older than this.
const LAG: Duration = Duration::from_secs(3);

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
    /// What was told as damaged: a sink that is sent something again reads it again, and so does the next process.
    damage: Vec<Damage>,
    /// What each sink could not be told yet.
    owed: BTreeMap<&'static str, Owed>,
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
            refused: HashSet::new(),
            full: BTreeMap::new(),
            inherited: Vec::new(),
            damage: Vec::new(),
            owed: BTreeMap::new(),
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

    /// The process did not run: what each shard heard last, by the last process's own word, and what the journal has of a later
    /// time. That word lags; where there is no other shard, the last notification in the journal was this one's.
    pub fn restarted(
        &mut self,
        mut heard: BTreeMap<u16, Timestamp>,
        journalled: Option<Timestamp>,
        now: Timestamp,
        journal: &mut Journal,
    ) {
        let count = heard.len();
        if let (Some(mut only), 1, true) = (heard.first_entry(), count, self.covers.is_empty()) {
            let word = *only.get();
            let later = journalled.filter(|at| *at > word && at.since(word) <= LAG && *at <= now);
            only.insert(later.unwrap_or(word));
        }
        for (shard, from) in heard {
            // A gap that was open when the process ended goes on, and says all that this one would.
            if self.cover(shard, RESTART).is_none() {
                self.open(shard, RESTART, from, Vec::new(), now, journal);
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
        // A topic that left and joins again is asked for anew.
        let planned: HashSet<&Topic> = self.topics.values().flatten().collect();
        self.refused.retain(|topic| planned.contains(topic));
        // Topics of a shard that is no more may be on any other now. What is missing since then lies in those shards' own gaps.
        let (gone, covers) = std::mem::take(&mut self.covers)
            .into_iter()
            .partition::<Vec<_>, _>(|cover| !self.topics.contains_key(&cover.shard()));
        self.covers = covers;
        for cover in gone {
            let gap = self.ledger.open_gaps().find(|gap| gap.number == cover.number());
            self.inherited.extend(gap.map(|gap| Inherited { to: now, ..Inherited::left(gap) }));
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
        self.save();
        closed
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

    /// The same at an orderly end: nothing more will be heard, and all of it is in the journal.
    pub fn mark_last(&self, heard: &BTreeMap<u16, Timestamp>) {
        if let Some(keeper) = &self.keeper {
            keeper.mark_last(heard);
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

    fn save(&self) {
        if let Some(keeper) = &self.keeper {
            let of_all = self.damage.iter().filter(|told| told.sink.is_none());
            keeper.save(&self.ledger, of_all.map(|told| (told.first, told.last)).collect());
        }
    }
}
