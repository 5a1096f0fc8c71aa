//! Gaps whose records say that snapshots follow: remembered until it is known what came of that, so that the next process asks where
//! this one ended, and what one announced the next one keeps.
//!
//! Asks nothing itself.

use super::causes::JOURNAL_DAMAGED;
use super::{Closed, Gaps};
use crate::event::Topic;
use crate::sequence::Gap;
use std::collections::{BTreeMap, BTreeSet};

/// A gap of more topics is kept without their names, and then concerns all of its shard's.
const NAMES_MAX: usize = 100;

/// The topics of each such gap, where they are few.
pub(super) type Topics = BTreeMap<u64, Vec<Topic>>;

/// What was announced.
#[derive(Debug, Default)]
pub(super) struct Promised {
    pub(super) gaps: Topics,
    /// Those of them that an earlier process has left, and this one has not asked about.
    left: BTreeSet<u64>,
    /// Shards that have been heard for certain since.
    begun: BTreeSet<u16>,
}

impl Promised {
    /// What an earlier process has left.
    pub(super) fn left(gaps: Topics) -> Self {
        Self { left: gaps.keys().copied().collect(), gaps, begun: BTreeSet::new() }
    }

    /// It was announced that snapshots follow.
    pub(super) fn add(&mut self, Closed { number, topics }: &Closed) {
        let few = topics.len() <= NAMES_MAX;
        self.gaps.insert(*number, if few { topics.clone() } else { Vec::new() });
    }

    /// It is known what came of it.
    pub(super) fn end(&mut self, number: u64) {
        self.gaps.remove(&number);
    }
}

impl Gaps {
    /// A shard delivers for certain. Answers the gaps after which an earlier process still had to ask, as soon as all their topics do:
    /// what REST shows before that may be older than what is missed next.
    pub fn ask_again(&mut self, shard: u16) -> Vec<Closed> {
        if self.promised.left.is_empty() || self.topics.is_empty() {
            return Vec::new();
        }
        self.promised.begun.insert(shard);
        let mut again = Vec::new();
        for number in self.promised.left.clone() {
            let gap = self.ledger.list().find(|gap| gap.number == number);
            let topics = gap.map_or_else(BTreeMap::new, |gap| self.concerned(gap));
            if !topics.keys().all(|shard| self.promised.begun.contains(shard)) {
                continue;
            }
            self.promised.left.remove(&number);
            let topics: Vec<Topic> = topics.into_values().flatten().collect();
            match topics.is_empty() {
                // The gap is not kept any more, or nothing of it is wanted.
                true => self.promised.end(number),
                false => again.push(Closed { number, topics }),
            }
        }
        again
    }

    /// The topics of a gap that has ended, by the shards that they are in now.
    fn concerned(&self, gap: &Gap) -> BTreeMap<u16, Vec<Topic>> {
        let named = self.promised.gaps.get(&gap.number).filter(|named| !named.is_empty());
        // One of a sink may concern whichever topic, and so may one of a shard that is no more.
        let of_shard = gap.sink.is_none()
            && gap.cause != JOURNAL_DAMAGED
            && self.topics.contains_key(&gap.shard);
        let is_of = |shard: u16, topic: &Topic| match named {
            Some(named) => named.contains(topic),
            None => !of_shard || shard == gap.shard,
        };
        let mut concerned = BTreeMap::new();
        for shard in self.topics.keys().copied() {
            let mut topics = self.topics_of(shard);
            topics.retain(|topic| is_of(shard, topic));
            if !topics.is_empty() {
                concerned.insert(shard, topics);
            }
        }
        concerned
    }
}
