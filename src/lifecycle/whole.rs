//! Whether one leg carries its slice of the topics, all of them: a session may deliver, and lack topics that joined while it could not
//! be told of them. What another session or leg has delivered is missed once that is lost.
//!
//! A topic that nobody has carried yet is missed by nobody. Asks for nothing: that is `amend`'s.

use super::Reason;
use super::output::Output;
use super::session::Session;
use super::shard::Shard;
use super::state::State;
use crate::event::Topic;
use crate::time::Time;

impl Shard {
    /// Finds out what each session lacks of what the shard has delivered.
    pub(super) fn compare(&mut self, output: &mut Output) {
        let delivering = || self.sessions.iter().filter(|session| session.delivers());
        if delivering().any(|session| session.carries(&self.topics)) {
            output.delivered.insert(self.place.shard, self.topics.clone());
        }
        let Some(delivered) = output.delivered.get(&self.place.shard) else { return };
        for session in self.sessions.iter_mut().filter(|session| session.delivers()) {
            session.find_lacking(delivered, &self.topics);
        }
    }

    /// Until when it is known to have delivered everything, while it does.
    pub fn alive_at(&self) -> Option<Time> {
        let newest = self.sessions.iter().rev().find(|session| session.is_whole())?;
        // A predecessor that is in doubt may turn out to have been dead since its last frame.
        let doubted = self.sessions.iter().filter(|session| session.doubt.is_some());
        let doubted = doubted.filter_map(|session| session.heard_at).min();
        newest.heard_at.min(doubted.or(newest.heard_at))
    }

    pub(super) fn judge_coverage(&mut self, now: Time, output: &mut Output) {
        let place = self.place;
        let mut delivering = self.sessions.iter().rev().filter(|session| session.delivers());
        let whole = delivering.clone().find(|session| session.is_whole());
        let in_part = delivering.next().filter(|_| whole.is_none());
        let lacking = in_part.map(|session| session.lacking().to_vec());
        let was_in_part = output.note_lacking(place, lacking);
        match (self.covered, whole) {
            (true, None) => {
                let (last, cause) = self.last_lost();
                let from = if in_part.is_some() { self.covered_until } else { last };
                self.covered = false;
                output.lost(place, from.unwrap_or(now), cause);
            }
            (false, Some(session)) => {
                let action = if session.resumed { "resumed" } else { "resubscribed" };
                self.covered = true;
                output.back(place, now, action);
            }
            (true, Some(_)) => {
                self.covered_until = self.alive_at();
                if let Some(until) = self.covered_until {
                    output.proven(place, until);
                }
            }
            (false, None) if was_in_part && in_part.is_none() => {
                let (last, cause) = self.last_lost();
                output.widen(place, last.unwrap_or(now), cause);
            }
            (false, None) => {}
        }
    }

    /// The last frame of the sessions that delivered and were lost, and why that was.
    fn last_lost(&self) -> (Option<Time>, Reason) {
        let delivered = self.sessions.iter().filter(|session| session.loss.is_some());
        let lost = delivered.max_by_key(|session| session.heard_at);
        let cause = lost.and_then(|session| session.loss).unwrap_or(Reason::Cut);
        (lost.and_then(|session| session.heard_at), cause)
    }
}

impl Session {
    /// Since when it delivers for certain, at the latest.
    pub const fn certain_since(&self) -> Option<Time> {
        match self.state {
            State::Live { .. } => Some(self.entered),
            // It was certain long before its successor's socket was opened.
            State::Draining { since, .. } => Some(since),
            State::Waiting { .. }
            | State::Authenticating
            | State::Opening { .. }
            | State::Subscribing { .. }
            | State::Connecting { .. }
            | State::Settling { .. } => None,
        }
    }

    /// Whether it delivers, and lacks nothing of what its shard has delivered.
    pub fn is_whole(&self) -> bool {
        self.delivers() && self.lacking().is_empty()
    }

    /// What it lacks of that.
    pub fn lacking(&self) -> &[Topic] {
        self.carried.lacking()
    }
}
