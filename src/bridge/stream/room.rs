//! What the journal says of itself: what it found, what it refused, what of it is damaged, and whether there is room again.
//!
//! Each of these becomes a gap where something is missing; what the gap tells whom is `gaps`' matter.

use super::Stream;
use crate::bridge::gaps::{Closed, JOURNAL_DISK, Missed};
use crate::journal::Found;
use crate::observation::Observation;
use crate::time::Timestamp;

impl Stream {
    /// Tells what was found of an earlier life of the journal: what of it is damaged is a gap.
    pub fn note_found(&mut self, found: &Found) {
        let waiting = found.waiting.iter().map(|(_, events)| *events).max().unwrap_or(0);
        if let Some(last_epoch) = found.last_epoch.clone() {
            let (was_closed, torn_bytes) = (found.was_closed, found.torn_bytes);
            let found = Observation::JournalFound { last_epoch, was_closed, waiting, torn_bytes };
            self.observations.push_back(found);
        }
        for (sink, events) in found.released.iter().cloned() {
            self.observations.push_back(Observation::SinkReleased { sink, events });
        }
        for sink in found.added.iter().copied() {
            self.observations.push_back(Observation::SinkAdded { sink });
        }
        for (first, last) in &found.lost {
            self.note_damage(None, last - first + 1, *first, found.last_received);
        }
    }

    /// Ends the gaps of sinks that have room again: a sink at its bound takes one event and refuses the next.
    pub(super) fn look_for_room(&mut self) -> Vec<Closed> {
        let mut closed = self.note_journal();
        let refused = self.journal.take_refused();
        // An event that was for several sinks was published once.
        let events = refused.iter().map(|refused| refused.count).max().unwrap_or(0);
        self.counts.published = self.counts.published.saturating_sub(events);
        for refused in refused {
            let missed = Missed { cause: JOURNAL_DISK, count: refused.count, since: refused.since };
            self.note_refusal(refused.sink, None, missed);
        }
        let now = self.clock.timestamp();
        if !self.gaps.full().is_empty() {
            for stats in self.journal.stats().iter().filter(|stats| stats.has_room()) {
                let action = "there is room again";
                closed.extend(self.gaps.end_refusals(stats.sink, action, now, &mut self.journal));
            }
        }
        self.gaps.retry(now, &mut self.journal);
        closed
    }

    /// Tells what happened in the journal. Answers the gaps that were found, and are over.
    fn note_journal(&mut self) -> Vec<Closed> {
        let news = self.journal.news();
        self.metrics.journal.show(news.bytes, news.segments, news.keys);
        news.syncs.iter().for_each(|took| self.metrics.journal.synced(*took));
        for (epoch, reason) in news.epochs {
            let epoch = epoch.to_string();
            self.observations.push_back(Observation::EpochBegan { epoch, reason });
        }
        for (operation, detail) in news.failures {
            self.observations.push_back(Observation::JournalFailed { operation, detail });
        }
        let lost = news.lost.into_iter();
        lost.filter_map(|(sink, events, first)| self.note_damage(Some(sink), events, first, None))
            .collect()
    }

    /// Names what of the journal is damaged: a gap of its own that is over when it is found.
    fn note_damage(
        &mut self,
        sink: Option<&'static str>,
        events: u64,
        first: u64,
        from: Option<Timestamp>,
    ) -> Option<Closed> {
        let now = self.clock.timestamp();
        self.observations.push_back(Observation::JournalDamaged { events, first });
        self.gaps.damaged(sink, events, from.unwrap_or(now), now, &mut self.journal)
    }
}
