//! What the lifecycle tells: gaps, and a transcript that a person can read.

use super::world::World;
use crate::event::Topic;
use crate::lifecycle::{Note, Reason, ShardId, TOPICS_PER_CHANNEL};
use crate::observation::Observation;
use crate::time::Time;

/// No step asks for more than this, or tells more.
const OUTPUT_MAX: usize = 4 * TOPICS_PER_CHANNEL;

/// A closed gap, as the notes told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    pub shard: ShardId,
    pub cause: Reason,
    pub from: Time,
    pub to: Option<Time>,
}

impl World {
    /// Takes what the lifecycle has to say.
    pub(super) fn collect(&mut self) {
        let output = &self.lifecycle.output;
        assert!(output.commands.len().max(output.notes.len()) <= OUTPUT_MAX);
        while let Some(note) = self.lifecycle.poll_note() {
            match note {
                Note::GapOpened { shard, cause, from, only, .. } => {
                    let of = |gap: &&mut Gap| gap.shard == shard && gap.to.is_none();
                    match self.gaps.iter_mut().find(of) {
                        Some(wider) => wider.from = from.min(wider.from),
                        None => self.gaps.push(Gap { shard, cause, from, to: None }),
                    }
                    let only =
                        if only.is_empty() { String::new() } else { format!(" of {only:?}") };
                    self.tell(&format!("gap opened{only}: {cause}, from {:.3}", seconds(from)));
                }
                Note::GapClosed { shard, to, action } => {
                    let mut gaps = self.gaps.iter_mut().rev();
                    let gap = gaps.find(|gap| gap.shard == shard).expect("a gap was opened");
                    assert!(gap.to.is_none() && gap.from <= to, "{gap:?} ends at {to:?}");
                    gap.to = Some(to);
                    self.tell(&format!("gap closed: {action}"));
                    self.rebase(shard);
                }
                Note::Observed(Observation::PlanChanged { joined, left, .. }) => {
                    self.tell(&format!("plan: {} joined, {} left", joined.len(), left.len()));
                }
                Note::Observed(Observation::PlanRefused { detail, .. }) => {
                    self.tell(&format!("plan refused: {detail}"));
                }
                Note::Observed(Observation::TopicRejected { topic, .. }) => {
                    self.tell(&format!("rejected {topic}"));
                }
                Note::Observed(Observation::TopicPermitted { topic }) => {
                    self.tell(&format!("permitted {topic}"));
                }
                Note::Observed(Observation::RotationStarted { trigger, .. }) => {
                    self.tell(&format!("rotation: {trigger}"))
                }
                Note::Observed(Observation::RotationFinished { trigger, overlap, .. }) => self
                    .tell(&format!(
                        "rotation over: {trigger}, after {:.3} s of both",
                        overlap.as_secs_f64()
                    )),
                Note::Observed(Observation::SessionEntered { session, from, to, .. }) => {
                    self.hold_to_the_picture(session, from, to);
                }
                Note::Rebased { snapshots, .. } => {
                    self.rebased = (self.rebased.0 + 1, self.rebased.1 + snapshots);
                }
                Note::Observed(_) | Note::Misplanned(_) | Note::Covered { .. } => {}
            }
        }
        while let Some(command) = self.lifecycle.poll_command() {
            self.asked.push((self.now, command.clone()));
            self.answer(command);
        }
    }

    /// As the driver does it, for whose gaps the numbers are.
    fn rebase(&mut self, shard: ShardId) {
        if self.pages > 0 {
            let topics = self.lifecycle.topics().each_of(shard).take(self.rebased_most);
            let topics: Vec<Topic> = topics.cloned().collect();
            self.gaps_closed += 1;
            self.lifecycle.rebase(self.gaps_closed, &topics, self.now);
        }
    }

    /// How often something was told.
    pub fn told(&self, what: &str) -> usize {
        self.transcript.matches(what).count()
    }

    pub(super) fn tell(&mut self, line: &str) {
        let at = seconds(self.now);
        self.transcript.push_str(&format!("{at:>10.3} {line}\n"));
    }
}

fn seconds(time: Time) -> f64 {
    time.since(Time::START).as_secs_f64()
}
