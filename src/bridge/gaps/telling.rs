//! Hands the journal what consumers are told of gaps, and shows it to whoever watches.
//!
//! What it says is `body`'s, when it is said the parent's.

use super::{Gaps, body};
use crate::bridge::tap::Tap;
use crate::event::{Entry, Kind, Topic};
use crate::journal::{Appended, Journal};
use crate::sequence::Interval;
use crate::time::Timestamp;

impl Gaps {
    /// Shows what consumers are told at `tap` too.
    pub fn show_at(&mut self, tap: Tap) {
        self.tap = tap;
    }

    /// Puts a topic's record into its order, for all sinks or one. A sink that cannot take it is owed it.
    pub(super) fn tell(
        &mut self,
        topic: Topic,
        interval: &Interval,
        only: Option<&'static str>,
        now: Timestamp,
        journal: &mut Journal,
    ) {
        let mut entry = body::record(&topic, interval, self.rebase, now);
        entry.sink = only;
        for sink in self.append(entry, journal).refused_by {
            self.owed.entry(sink).or_default().add(&topic, interval);
        }
    }

    /// Appends a control event. A sink that has not even room for that will be told by its next gap, and the ledger has it all.
    pub(super) fn put(&self, entry: Entry, journal: &mut Journal) {
        debug_assert!(entry.kind.is_control() && entry.kind != Kind::Epoch);
        self.append(entry, journal);
    }

    fn append(&self, entry: Entry, journal: &mut Journal) -> Appended {
        let watched = self.tap.is_watched().then(|| entry.clone());
        let appended = journal.append(entry);
        if let Some(entry) = watched.filter(|_| appended.is_accepted) {
            self.tap.show(entry.into());
        }
        appended
    }
}
