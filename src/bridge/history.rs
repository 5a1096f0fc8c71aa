//! The last hours: how many sessions carried each shard, the planned changes, and what was told, so that a page opened later
//! shows the past.
//!
//! Bounded by age and by number, and gone with the process. The gaps are not here: the ledger keeps them.

use crate::observation::Observation;
use crate::telemetry::{Level, Told};
use crate::time::Timestamp;
use serde::Serialize;
use std::collections::VecDeque;
use std::time::Duration;

/// How far back a page can look.
pub const KEPT: Duration = Duration::from_secs(6 * 3600);

/// How many spans are kept at most: a shard that reconnects each ten seconds for six hours.
const SPANS_MAX: usize = 2_160;

/// How many planned changes are kept at most.
const ROTATIONS_MAX: usize = 500;

/// How many lines of the story are kept at most.
const LINES_MAX: usize = 100;

/// What has been, oldest first.
#[derive(Clone, Debug, Default, Serialize)]
pub struct History {
    /// Grows with each change, so that a reader sends on only what is new.
    pub revision: u64,
    /// How many sessions carried each shard.
    pub coverage: VecDeque<Span>,
    /// Planned changes.
    pub rotations: VecDeque<Rotation>,
    /// What was told, debug lines left out.
    pub told: VecDeque<Line>,
}

/// A time in which a shard was carried by the same number of sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    /// Whose topics.
    pub shard: u16,
    /// How many sessions had a socket on a channel with them: 0 is deaf, 1 live, 2 an overlap.
    pub sessions: usize,
    /// Since when.
    pub from: Timestamp,
    /// Until when; none while it lasts.
    pub to: Option<Timestamp>,
}

/// A planned change of session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rotation {
    /// Whose topics.
    pub shard: u16,
    /// Why, such as `secret`.
    pub trigger: &'static str,
    /// When it was begun.
    pub from: Timestamp,
    /// When the predecessor was closed; none while it lasts.
    pub to: Option<Timestamp>,
    /// How often a successor failed.
    pub failures: u32,
}

/// A line of the story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// When.
    pub at: Timestamp,
    /// Who gets woken by it.
    pub level: Level,
    /// What was said.
    pub words: String,
}

impl History {
    /// Takes note of an observation and of what was told of it.
    pub fn note(&mut self, observation: &Observation, told: Told, now: Timestamp) {
        if let Observation::RotationStarted { shard, trigger, .. } = observation {
            self.rotate(*shard, trigger, now);
        } else if let Observation::RotationFinished { shard, .. } = observation {
            self.rotating(*shard, |rotation| rotation.to = Some(now));
        } else if let Observation::RotationFailed { shard, .. } = observation {
            self.rotating(*shard, |rotation| rotation.failures += 1);
        }
        if told.level > Level::Debug && !told.words.is_empty() {
            self.revision += 1;
            push(&mut self.told, Line { at: now, level: told.level, words: told.words }, LINES_MAX);
        }
    }

    /// How many sessions carried a shard when it was last looked at.
    pub fn covers(&self, shard: u16) -> Option<usize> {
        let mut latest = self.coverage.iter().rev();
        latest.find(|span| span.shard == shard && span.to.is_none()).map(|span| span.sessions)
    }

    /// Takes note of how many sessions carry a shard.
    pub fn cover(&mut self, shard: u16, sessions: usize, now: Timestamp) {
        let mut latest = self.coverage.iter_mut().rev();
        if let Some(span) = latest.find(|span| span.shard == shard && span.to.is_none()) {
            if span.sessions == sessions {
                return;
            }
            // A calendar that was set back makes no span of negative length.
            span.to = Some(now.max(span.from));
        }
        self.revision += 1;
        push(&mut self.coverage, Span { shard, sessions, from: now, to: None }, SPANS_MAX);
        self.forget(now);
    }

    /// A shard that takes up a new change has given up the one before.
    fn rotate(&mut self, shard: u16, trigger: &'static str, now: Timestamp) {
        self.rotating(shard, |rotation| rotation.to = Some(now));
        self.revision += 1;
        let rotation = Rotation { shard, trigger, from: now, to: None, failures: 0 };
        push(&mut self.rotations, rotation, ROTATIONS_MAX);
    }

    fn rotating(&mut self, shard: u16, change: impl FnOnce(&mut Rotation)) {
        let mut latest = self.rotations.iter_mut().rev();
        if let Some(rotation) = latest.find(|one| one.shard == shard && one.to.is_none()) {
            change(rotation);
            self.revision += 1;
        }
    }

    /// Drops what ended before the time that is kept.
    fn forget(&mut self, now: Timestamp) {
        let oldest = now.before(KEPT);
        self.coverage.retain(|span| span.to.is_none_or(|to| to >= oldest));
        self.rotations.retain(|rotation| rotation.to.is_none_or(|to| to >= oldest));
    }
}

fn push<T>(list: &mut VecDeque<T>, item: T, most: usize) {
    if list.len() == most {
        list.pop_front();
    }
    list.push_back(item);
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(second: u64) -> Timestamp {
        Timestamp::from_micros((1_700_000_000 + second) * 1_000_000)
    }

    fn told(level: Level, words: &str) -> Told {
        Told { level, words: words.to_owned() }
    }

    fn started(shard: u16) -> Observation {
        let (predecessor, successor) = ("s1".to_owned(), "s2".to_owned());
        Observation::RotationStarted { shard, trigger: "secret", predecessor, successor }
    }

    #[test]
    fn a_shard_has_one_span_for_each_change_of_its_sessions() {
        let mut history = History::default();
        for (second, sessions) in [(0, 0), (1, 1), (2, 1), (5, 2), (9, 1)] {
            history.cover(0, sessions, at(second));
            history.cover(1, 1, at(second));
        }
        let spans = history.coverage.iter().filter(|span| span.shard == 0);
        let spans: Vec<_> = spans.map(|span| (span.sessions, span.from, span.to)).collect();
        assert_eq!(
            spans,
            [
                (0, at(0), Some(at(1))),
                (1, at(1), Some(at(5))),
                (2, at(5), Some(at(9))),
                (1, at(9), None)
            ]
        );
        assert_eq!(history.coverage.len(), 5, "shard 1 never changed");
    }

    #[test]
    fn what_is_older_than_a_page_shows_is_forgotten_and_what_lasts_is_kept() {
        let mut history = History::default();
        history.cover(0, 1, at(0));
        history.cover(1, 1, at(0));
        history.cover(0, 0, at(10));
        history.cover(0, 1, at(10 + KEPT.as_secs() + 1));
        let kept: Vec<_> = history.coverage.iter().map(|span| (span.shard, span.from)).collect();
        assert_eq!(kept, [(1, at(0)), (0, at(10)), (0, at(10 + KEPT.as_secs() + 1))]);
    }

    #[test]
    fn a_shard_that_flaps_for_days_takes_no_more_room() {
        let mut history = History::default();
        for second in 0..5_000 {
            history.cover(0, (second % 2) as usize, at(second));
            history.note(&Observation::Ready, told(Level::Info, "ready"), at(second));
            history.note(&started(0), told(Level::Debug, ""), at(second));
        }
        assert_eq!(history.coverage.len(), SPANS_MAX);
        assert_eq!(history.told.len(), LINES_MAX);
        assert_eq!(history.rotations.len(), ROTATIONS_MAX);
    }

    #[test]
    fn a_rotation_lasts_from_its_beginning_to_its_end_through_its_failures() {
        let mut history = History::default();
        let say = || told(Level::Info, "so it was");
        history.note(&started(0), say(), at(1));
        let failed = Observation::RotationFailed {
            shard: 0,
            trigger: "secret",
            detail: "429".to_owned(),
            retry_in: Duration::from_secs(1),
        };
        history.note(&failed, say(), at(2));
        let overlap = Duration::from_secs(2);
        let finished = Observation::RotationFinished { shard: 0, trigger: "secret", overlap };
        history.note(&finished, say(), at(5));
        let rotation = &history.rotations[0];
        assert_eq!((rotation.from, rotation.to, rotation.failures), (at(1), Some(at(5)), 1));
        assert_eq!(history.told.len(), 3);
    }
}
