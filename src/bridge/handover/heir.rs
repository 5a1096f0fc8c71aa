//! The new process's driver goes on where the old one was cut off, or names what is missing where it was not.

use super::super::driver::Driver;
use crate::event::Topic;
use crate::handover::{Legacy, Outcome};
use crate::lifecycle::Note;
use crate::observation::{Handover, Observation};
use crate::time::{Time, Timestamp};
use std::collections::BTreeSet;
use std::time::Duration;

/// A frame that could not be read.
#[derive(Clone, Copy, Debug)]
pub struct Unread {
    /// Whose topics it may have been of.
    pub shard: u16,
    /// When the frame before it came.
    pub complete: Timestamp,
    /// When it came.
    pub at: Timestamp,
}

/// What the new process has beside its parts when it goes on.
#[derive(Debug)]
pub struct Heir {
    /// Whether the old process handed over, or died.
    pub outcome: Outcome,
    /// What the stream begins with.
    pub legacy: Legacy,
    /// What the lifecycle noted of gaps that are ours, each before the thing of that number.
    pub notes: Vec<(u64, Note)>,
    /// Frames that could not be read since we alone are heard, in the same way.
    pub doubts: Vec<(u64, Unread)>,
    /// Topics that the platform refuses.
    pub refused: BTreeSet<Box<str>>,
}

impl Heir {
    /// How much earlier than the old process's last frame the gap begins: what was on its way to that may have reached our own sessions
    /// before, where it counted for nothing. Sockets differ by less than a hold.
    pub fn margin(&self, hold: Duration) -> Duration {
        let heard = !self.legacy.past.known.is_empty() || !self.legacy.past.earlier.is_empty();
        if self.outcome == Outcome::Restart && heard { hold } else { Duration::ZERO }
    }
}

impl Driver {
    /// Takes over what an heir brings. Its parts are the driver's already.
    pub fn inherit(&mut self, heir: Heir) {
        let Heir { outcome, legacy, notes, doubts, refused } = heir;
        let now = self.clock.now();
        let at = self.clock.timestamp_of(legacy.past.at);
        self.take_channels(now);
        if !self.lifecycle.topics().is_empty() {
            self.plan();
        }
        for topic in &refused {
            self.stream.refuse(&Topic::new(topic));
        }
        // What the old process had still open, or the gap of a restart, ends where this one is certain.
        for shard in self.covered() {
            // What the old process had heard is what the next one must know, until all of ours is written.
            match outcome {
                Outcome::TakeOver => self.stream.end_gap(shard, at, "resubscribed", now),
                Outcome::Restart | Outcome::GiveUp(_) => {
                    self.stream.close_gap(shard, at, "resubscribed", now);
                }
            }
        }
        if outcome != Outcome::TakeOver {
            self.stream.orphan(now);
        }
        let waited = self.go_on(legacy, notes, doubts, now);
        let came = match outcome {
            Outcome::TakeOver => Handover::TookOver { waited },
            Outcome::Restart | Outcome::GiveUp(_) => Handover::Orphaned,
        };
        self.report.record(&Observation::Handover(came));
    }

    /// Publishes what waited, and tells of what was missing meanwhile where it is missing. Answers how many notifications had waited.
    fn go_on(
        &mut self,
        legacy: Legacy,
        notes: Vec<(u64, Note)>,
        doubts: Vec<(u64, Unread)>,
        now: Time,
    ) -> u64 {
        let Legacy { past, number, rest, full_since } = legacy;
        let (mut notes, mut doubts) = (notes.into_iter().peekable(), doubts.into_iter().peekable());
        self.stream.take_over(past);
        let mut waited = 0;
        let rest = rest.into_iter().map(Some).chain([None]);
        for (number, item) in (number + 1..).zip(rest) {
            let is_due = |of: u64| item.is_none() || of <= number;
            while let Some((_, note)) = notes.next_if(|(of, _)| is_due(*of)) {
                self.recall(note, now);
            }
            while let Some((_, unread)) = doubts.next_if(|(of, _)| is_due(*of)) {
                let Unread { shard, complete, at } = unread;
                self.stream.unreadable(shard, complete, at, now);
            }
            waited += item.map_or(0, |item| u64::from(self.stream.go_on(item)));
        }
        if let Some(from) = full_since {
            self.stream.miss(from, now);
        }
        waited
    }

    /// Tells of a gap that is ours and lies before what is still to be published.
    fn recall(&mut self, note: Note, now: Time) {
        if let Note::GapClosed { shard, to, action } = note {
            // What was heard before it waits to be written: how far that has got is not known better for this.
            self.stream.end_gap(shard.0, self.clock.timestamp_of(to), action, now);
        } else {
            self.note_down(note, now);
        }
    }

    /// The channels that the old process used are free. Which those are can be told once there is a token; that it uses none any more,
    /// at once.
    fn take_channels(&mut self, now: Time) {
        let token = self.lifecycle.login().token(now);
        let mut kept = token.map_or_else(Vec::new, |token| self.genesys.recall_channels(token.id));
        kept.retain(|kept| kept.in_use);
        self.lifecycle.inherit(&kept, now);
        self.genesys.note_channels(self.lifecycle.kept());
    }

    /// The shards that a session delivers for certain, all of their topics.
    fn covered(&self) -> BTreeSet<u16> {
        let whole = self.lifecycle.sessions().filter(|session| session.is_whole());
        whole.map(|session| session.shard.0).collect()
    }
}
