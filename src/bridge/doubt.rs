//! Frames that could not be read, until it is known what they mean: nothing where another session carried the same topics and is known to
//! have been alive then, and nothing where their own session has ended with them, as that is a gap anyway. Any other is a gap.
//!
//! Opens no gap itself.

use crate::lifecycle::{Session, SessionId};
use crate::time::Time;
use std::collections::BTreeMap;

/// A frame that could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// Whose topics it may have been of.
    pub shard: u16,
    /// When the frame before it came.
    pub complete: Time,
    /// When it came.
    pub at: Time,
    /// Whether its session went on.
    outlived: bool,
}

/// A session that delivers.
#[derive(Clone, Copy, Debug)]
pub struct Carrier {
    id: SessionId,
    shard: u16,
    /// Since when it does for certain.
    since: Time,
    /// Its last frame.
    heard: Time,
}

impl Carrier {
    /// The session, if it delivers.
    pub fn of(session: &Session) -> Option<Self> {
        let (since, heard) = session.certain_since().zip(session.heard_at)?;
        Some(Self { id: session.id, shard: session.shard.0, since, heard })
    }
}

/// The frames that wait, one for each session: of several the stretch of all.
#[derive(Debug, Default)]
pub struct Doubts(BTreeMap<SessionId, Doubt>);

impl Doubts {
    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A frame of the session could not be read; `complete` is when the one before it came.
    pub fn add(&mut self, session: SessionId, shard: u16, complete: Time, at: Time) {
        let new = Doubt { shard, complete, at, outlived: false };
        let doubt = self.0.entry(session).or_insert(new);
        (doubt.at, doubt.outlived) = (at, false);
    }

    /// The session was heard after its frame.
    pub fn outlived(&mut self, session: SessionId) {
        if let Some(doubt) = self.0.get_mut(&session) {
            doubt.outlived = true;
        }
    }

    /// The session has ended. What it did not outlive lies in the gap that follows.
    pub fn ended(&mut self, session: SessionId) {
        if self.0.get(&session).is_some_and(|doubt| !doubt.outlived) {
            self.0.remove(&session);
        }
    }

    /// Since when something of a shard may be missing that nobody was told of.
    pub fn since(&self, shard: u16) -> Option<Time> {
        self.0.values().filter(|doubt| doubt.shard == shard).map(|doubt| doubt.complete).min()
    }

    /// Takes out what can be judged now, given all sessions that deliver. Answers what is a gap.
    pub fn judge(&mut self, carriers: &[Carrier]) -> Vec<Doubt> {
        let mut gaps = Vec::new();
        self.0.retain(|id, doubt| {
            let mut others = carriers.iter().filter(|other| {
                other.shard == doubt.shard && other.id != *id && other.since <= doubt.complete
            });
            let is_awaited = others.clone().next().is_some();
            let is_carried = others.any(|other| doubt.at <= other.heard);
            if doubt.outlived && !is_awaited {
                gaps.push(*doubt);
            }
            !is_carried && (is_awaited || !doubt.outlived)
        });
        gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Time {
        Time::from_micros(second * 1_000_000)
    }

    /// A session of shard 0 that is live since then, and was last heard then.
    fn live(id: u64, since: u64, heard: u64) -> Carrier {
        Carrier { id: SessionId(id), shard: 0, since: at(since), heard: at(heard) }
    }

    fn doubted() -> Doubts {
        let mut doubts = Doubts::default();
        doubts.add(SessionId(1), 0, at(10), at(11));
        doubts.outlived(SessionId(1));
        doubts
    }

    fn judge(doubts: &mut Doubts, sessions: &[Carrier]) -> Vec<(u64, u64)> {
        let seconds = |time: Time| time.as_micros() / 1_000_000;
        let gaps = doubts.judge(sessions).into_iter();
        gaps.map(|gap| (seconds(gap.complete), seconds(gap.at))).collect()
    }

    #[test]
    fn a_frame_of_the_only_session_is_a_gap_once_the_session_has_outlived_it() {
        let (mut doubts, own) = (Doubts::default(), [live(1, 1, 11)]);
        doubts.add(SessionId(1), 0, at(10), at(11));
        assert_eq!((judge(&mut doubts, &own), doubts.is_empty()), (vec![], false));
        doubts.outlived(SessionId(1));
        assert_eq!((judge(&mut doubts, &own), doubts.is_empty()), (vec![(10, 11)], true));
        doubts.add(SessionId(1), 0, at(12), at(13));
        doubts.ended(SessionId(1));
        assert!(doubts.is_empty(), "the session's own gap begins before that");
    }

    #[test]
    fn frames_of_two_sessions_at_once_are_two_doubts() {
        let mut doubts = doubted();
        doubts.add(SessionId(2), 1, at(5), at(11));
        doubts.outlived(SessionId(2));
        assert_eq!(judge(&mut doubts, &[live(1, 1, 11)]), [(10, 11), (5, 11)]);
    }

    #[test]
    fn what_another_session_carried_is_no_gap_once_that_was_heard_again() {
        let mut doubts = doubted();
        let sessions = |heard| [live(1, 1, 11), live(2, 9, heard)];
        assert_eq!(judge(&mut doubts, &sessions(10)), []);
        assert_eq!(doubts.since(0), Some(at(10)), "it may be dead, and the process may be killed");
        assert_eq!((judge(&mut doubts, &sessions(11)), doubts.is_empty()), (vec![], true));
    }

    #[test]
    fn what_another_session_should_have_carried_is_a_gap_when_that_is_lost_or_came_too_late() {
        let mut doubts = doubted();
        assert_eq!(judge(&mut doubts, &[live(1, 1, 11), live(2, 9, 10)]), []);
        doubts.ended(SessionId(1));
        assert_eq!(judge(&mut doubts, &[]), [(10, 11)]);
        assert_eq!(judge(&mut doubted(), &[live(1, 1, 11), live(2, 11, 12)]), [(10, 11)]);
    }
}
