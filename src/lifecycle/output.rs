//! What leaves the lifecycle: commands for the shell and notes for people.

use super::coverage::{Coverage, Finding};
use super::plan::ShardTopics;
use super::{Command, Reason, ShardId};
use crate::event::Topic;
use crate::observation::Observation;
use crate::time::Time;
use std::collections::{BTreeMap, VecDeque};

/// Something to be told.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    /// To the operator.
    Observed(Observation),
    /// No session of the shard delivers any more: from `from` on notifications may be missed.
    GapOpened {
        /// Which slice of the topics.
        shard: ShardId,
        /// Why.
        cause: Reason,
        /// The last frame received.
        from: Time,
        /// How many topics are affected.
        topics: usize,
        /// Which, where some session carries the others; else it is all of the shard's.
        only: Vec<Topic>,
    },
    /// The shard delivers again.
    GapClosed {
        /// Which slice of the topics.
        shard: ShardId,
        /// The first certain delivery.
        to: Time,
        /// What was done about it.
        action: &'static str,
    },
    /// The shard delivers for the first time.
    Covered {
        /// Which slice of the topics.
        shard: ShardId,
        /// The first certain delivery.
        at: Time,
    },
    /// Re-basing after a gap is over. Counted in topics.
    Rebased {
        /// The gap's number.
        gap: u64,
        /// Snapshots that were published.
        snapshots: u64,
        /// Live events kept overtaking the answer, or another gap asked again.
        superseded: u64,
        /// REST did not show it.
        failed: u64,
        /// There is no snapshot of such a topic.
        without: u64,
    },
    /// The topics can never be taken as configured.
    Misplanned(super::plan::TooMany),
}

/// Where the machines leave what they have to say, in order.
#[derive(Clone, Debug, Default)]
pub struct Output {
    pub(super) commands: VecDeque<Command>,
    pub(super) notes: VecDeque<Note>,
    /// What the legs of each shard missed: what all of them did is a gap, and told.
    pub(super) coverage: BTreeMap<ShardId, Coverage>,
    /// The last list of each shard that some session carried whole.
    pub(super) delivered: BTreeMap<ShardId, ShardTopics>,
    /// What each leg lacks of that which delivers, but not everything.
    lacking: BTreeMap<(ShardId, usize), Vec<Topic>>,
}

/// One of a shard's legs: its shard, its place among them, and how many topics it carries.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub shard: ShardId,
    pub leg: usize,
    pub topics: usize,
}

impl Output {
    pub(super) fn command(&mut self, command: Command) {
        self.commands.push_back(command);
    }

    pub(super) fn observe(&mut self, observation: Observation) {
        self.notes.push_back(Note::Observed(observation));
    }

    /// A leg that delivered does so no more; `from` is its last frame.
    pub(super) fn lost(&mut self, place: Place, from: Time, cause: Reason) {
        if let Some(coverage) = self.coverage.get_mut(&place.shard) {
            let findings = coverage.lost(place.leg, from, cause);
            self.tell(place, findings);
        }
    }

    /// A leg delivers and lacks these; none where it lacks nothing, or does not deliver. Says whether it lacked something before.
    pub(super) fn note_lacking(&mut self, place: Place, lacking: Option<Vec<Topic>>) -> bool {
        let leg = (place.shard, place.leg);
        match lacking {
            Some(lacking) => self.lacking.insert(leg, lacking).is_some(),
            None => self.lacking.remove(&leg).is_some(),
        }
    }

    /// A leg that carried part of the topics is lost as well.
    pub(super) fn widen(&mut self, place: Place, from: Time, cause: Reason) {
        let has_gap = self.coverage.get(&place.shard).is_some_and(Coverage::has_gap);
        if has_gap && self.missing(place.shard).is_empty() {
            let Place { shard, topics, .. } = place;
            self.notes.push_back(Note::GapOpened { shard, cause, from, topics, only: Vec::new() });
        }
    }

    /// A shard is no more.
    pub(super) fn forget(&mut self, shard: ShardId) {
        self.delivered.remove(&shard);
        self.lacking.retain(|(of, _), _| *of != shard);
    }

    /// What is missing while no leg carries everything: what each of those lacks that deliver. None is everything.
    fn missing(&self, shard: ShardId) -> Vec<Topic> {
        let mut legs = self.lacking.iter().filter(|((of, _), _)| *of == shard).map(|(_, own)| own);
        let mut missing = legs.next().cloned().unwrap_or_default();
        for other in legs {
            // Where they lack nothing in common, the gap says too much rather than nothing.
            if missing.iter().any(|topic| other.contains(topic)) {
                missing.retain(|topic| other.contains(topic));
            }
        }
        missing
    }

    /// A leg missed something, as is found out now.
    pub(super) fn missed(&mut self, place: Place, from: Time, to: Time, cause: Reason) {
        if let Some(coverage) = self.coverage.get_mut(&place.shard) {
            let findings = coverage.missed(place.leg, from, to, cause);
            self.tell(place, findings);
        }
    }

    /// A leg delivers.
    pub(super) fn back(&mut self, place: Place, to: Time, action: &'static str) {
        let Some(coverage) = self.coverage.get_mut(&place.shard) else { return };
        let was_covered = coverage.is_covered();
        let shard = place.shard;
        if coverage.back(place.leg, to).is_some() {
            self.notes.push_back(Note::GapClosed { shard, to, action });
        } else if !was_covered {
            self.notes.push_back(Note::Covered { shard, at: to });
        }
    }

    /// A leg that delivers was alive then.
    pub(super) fn proven(&mut self, place: Place, until: Time) {
        if let Some(coverage) = self.coverage.get_mut(&place.shard) {
            coverage.proven(place.leg, until);
        }
    }

    fn tell(&mut self, place: Place, findings: Vec<Finding>) {
        let Place { shard, topics, .. } = place;
        for finding in findings {
            match finding {
                Finding::Opened { from, cause } => {
                    let only = self.missing(shard);
                    let topics = if only.is_empty() { topics } else { only.len() };
                    self.notes.push_back(Note::GapOpened { shard, cause, from, topics, only });
                }
                Finding::Missed { from, to, cause } => {
                    let only = Vec::new();
                    self.notes.push_back(Note::GapOpened { shard, cause, from, topics, only });
                    let action = "resubscribed";
                    self.notes.push_back(Note::GapClosed { shard, to, action });
                }
                Finding::Closed => {}
            }
        }
    }
}
