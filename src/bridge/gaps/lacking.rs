//! What the journal lacks: events that it did not take for a sink, what of it is damaged, and gaps that a process left behind.
//!
//! Each is told topic by topic, as far as the topics are known.

use super::causes::{ENDED, JOURNAL_DAMAGED, WHOLE};
use super::owed::TOPICS_MAX;
use super::{Closed, Gaps, body};
use crate::event::Topic;
use crate::journal::Journal;
use crate::observation::Observation;
use crate::sequence::{Certainty, Cover, Gap, Interval};
use crate::time::Timestamp;
use std::collections::BTreeMap;

/// Events that the journal did not take for a sink.
#[derive(Clone, Copy, Debug)]
pub struct Missed {
    /// Why.
    pub cause: &'static str,
    /// How many.
    pub count: u64,
    /// When the first of them was received.
    pub since: Timestamp,
    /// And the last.
    pub until: Timestamp,
}

/// The open gap of a sink that the journal refuses events.
#[derive(Clone, Debug)]
pub(super) struct Refusals {
    pub(super) number: u64,
    /// When the oldest of them was received.
    pub(super) from: Timestamp,
    /// How many they are.
    pub(super) count: u64,
    /// Of which topics, those included that the sink has been told of.
    pub(super) topics: BTreeMap<Box<str>, Topic>,
}

/// Part of the journal that cannot be read, as it was told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Damage {
    /// The one sink that lacks it; none where all do.
    pub(super) sink: Option<&'static str>,
    pub(super) first: u64,
    pub(super) last: u64,
}

/// More than these are not kept apart: then some may be told again.
const DAMAGE_MAX: usize = 1_000;

/// A gap that is over before the topics are known that it concerns.
#[derive(Debug)]
pub(super) struct Inherited {
    pub(super) number: u64,
    /// The one sink that lacks something; none where all do.
    pub(super) sink: Option<&'static str>,
    pub(super) cause: &'static str,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    pub(super) action: &'static str,
    /// How many events are known to be missing.
    pub(super) missed: u64,
}

impl Inherited {
    /// A gap that was open when the last process ended, as it must end now.
    pub(super) fn left(gap: &Gap) -> Self {
        let (number, sink, cause, from) = (gap.number, gap.sink, gap.cause, gap.from);
        let to = Timestamp::default();
        Self { number, sink, cause, from, to, action: ENDED, missed: 0 }
    }
}

impl Gaps {
    /// What is over, and of which the topics were not known, is told of all of them.
    pub(super) fn inherit(
        &mut self,
        gap: Inherited,
        now: Timestamp,
        journal: &mut Journal,
    ) -> Closed {
        let topics: Vec<Topic> = self.topics.values().flatten().cloned().collect();
        let cause = (gap.cause, Certainty::Certain);
        let cover = Cover::new((gap.number, 0), cause, gap.from, topics.iter().cloned());
        for (topic, interval) in cover.close(gap.to) {
            self.tell(topic, &interval, gap.sink, now, journal);
        }
        let closed = Closed { number: gap.number, topics };
        self.end(&closed, gap.to, gap.action, gap.missed, now, journal);
        closed
    }

    /// These stretches of the journal are damaged still; what was told of others is forgotten.
    pub fn still_damaged(&mut self, stretches: &[(u64, u64)]) {
        self.damage.retain(|told| {
            stretches.iter().any(|(first, last)| *first <= told.last && told.first <= *last)
        });
    }

    /// Part of the journal cannot be read: events from the `first` position to the `last` are missing, of one sink or of all. Which
    /// topics were theirs nobody knows. What was told before is not told again.
    pub fn damaged(
        &mut self,
        sink: Option<&'static str>,
        (mut first, last): (u64, u64),
        from: Timestamp,
        now: Timestamp,
        journal: &mut Journal,
    ) -> Option<Closed> {
        let is_told = |told: &&Damage, first| (told.first..=told.last).contains(&first);
        let mut counted = first;
        while let Some(told) = self.damage.iter().find(|told| is_told(told, counted)) {
            counted = told.last + 1;
        }
        let concerns = |told: &&Damage| told.sink.is_none() || told.sink == sink;
        let known = |first| {
            self.damage
                .iter()
                .find(|told| concerns(told) && is_told(told, first))
                .map(|told| told.last)
        };
        while let Some(told) = known(first) {
            first = told + 1;
        }
        if first > last {
            return None;
        }
        if self.damage.len() == DAMAGE_MAX {
            self.damage.remove(0);
        }
        self.damage.push(Damage { sink, first, last });
        if counted <= last {
            let (events, first) = (last - counted + 1, counted);
            self.observations.push_back(Observation::JournalDamaged { events, first });
        }
        let missed = last - first + 1;
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

    /// The journal did not take events of that topic for a sink.
    pub fn refused(
        &mut self,
        sink: &'static str,
        topic: &Topic,
        missed: Missed,
        journal: &mut Journal,
    ) {
        let Missed { cause, count, since, until } = missed;
        if !self.full.contains_key(sink) {
            let number = self.ledger.open(0, cause, Certainty::Certain, since, 0);
            self.ledger.concern(number, sink);
            let topics = BTreeMap::new();
            self.full.insert(sink, Refusals { number, from: since, count: 0, topics });
            self.announce(number, &[], since, journal);
            self.observations.push_back(Observation::JournalFull { sink, count });
        }
        let Some(full) = self.full.get_mut(sink) else {
            return;
        };
        full.count += count;
        if !full.topics.contains_key(topic.name()) && full.topics.len() < TOPICS_MAX {
            full.topics.insert(topic.name().into(), topic.clone());
        }
        if since < full.from {
            // What was held for a second sight, or waited for the disk, is told of later than what came after it. Kept with the next mark.
            full.from = since;
            self.ledger.extend(full.number, since, 0);
            self.is_unkept = true;
        }
        let interval = Interval {
            gaps: vec![full.number],
            shard: 0,
            cause,
            certainty: Certainty::Certain,
            from: since,
            to: until,
            missed: count,
        };
        self.owed.entry(sink).or_default().add(topic, &interval);
    }

    /// The sinks that are still to be told what they lack of a topic.
    pub fn untold(&self, topic: &Topic) -> Vec<&'static str> {
        let owed = self.owed.iter().filter(|(_, owed)| owed.has(topic));
        owed.map(|(sink, _)| *sink).collect()
    }

    /// The sinks that the journal refuses events.
    pub fn full(&self) -> Vec<&'static str> {
        self.full.keys().copied().collect()
    }

    /// A sink has room again, or the process ends: it is told what it lacks. While it cannot be told all of that, the gap stays open.
    pub fn end_refusals(
        &mut self,
        sink: &'static str,
        action: &'static str,
        now: Timestamp,
        journal: &mut Journal,
    ) -> Option<Closed> {
        let owed = self.owed.remove(sink).unwrap_or_default();
        for (topic, interval) in owed {
            self.tell(topic, &interval, Some(sink), now, journal);
        }
        if self.owed.contains_key(sink) {
            return None;
        }
        let Refusals { number, count, topics, .. } = self.full.remove(sink)?;
        let topics = topics.into_values().collect();
        self.observations.push_back(Observation::JournalFull { sink, count });
        let closed = Closed { number, topics };
        self.end(&closed, now, action, count, now, journal);
        Some(closed)
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
}
