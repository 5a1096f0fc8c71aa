//! What leaves the lifecycle: commands for the shell and notes for people.

use super::{Command, Reason, ShardId};
use crate::observation::Observation;
use crate::time::Time;
use std::collections::VecDeque;

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
}

impl Output {
    pub(super) fn command(&mut self, command: Command) {
        self.commands.push_back(command);
    }

    pub(super) fn observe(&mut self, observation: Observation) {
        self.notes.push_back(Note::Observed(observation));
    }
}
