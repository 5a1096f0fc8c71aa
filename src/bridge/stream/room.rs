//! What the journal says of itself: what it found, what it refused, what of it is damaged, and whether there is room again.
//!
//! Each of these becomes a gap where something is missing; what the gap tells whom is `gaps`' matter.

use super::Stream;
use crate::bridge::gaps::{JOURNAL_DISK, Missed};
use crate::journal::{Found, Refused};
use crate::observation::Observation;
use crate::time::Timestamp;
use std::collections::BTreeMap;

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
        self.gaps.still_damaged(&found.lost);
        for stretch in &found.lost {
            self.note_damage(None, *stretch, found.last_received);
        }
    }

    /// Takes what the journal refused of late, and ends the gaps of sinks that have room again: not at once, as a sink at its bound takes
    /// one event and refuses the next.
    pub fn look_for_room(&mut self) {
        self.note_journal();
        let refused = self.journal.take_refused();
        // An event that was for several sinks was published once.
        let mut events: BTreeMap<&str, u64> = BTreeMap::new();
        for Refused { sink, topic, count, pushed, since, until } in refused {
            *events.entry(sink).or_default() += pushed;
            let missed = Missed { cause: JOURNAL_DISK, count, since, until };
            self.note_refusal(sink, &topic, missed);
        }
        let events = events.into_values().max().unwrap_or(0);
        self.counts.published = self.counts.published.saturating_sub(events);
        let now = self.clock.timestamp();
        if !self.gaps.full().is_empty() {
            for stats in self.journal.stats().iter().filter(|stats| stats.has_room()) {
                let action = "there is room again";
                let closed = self.gaps.end_refusals(stats.sink, action, now, &mut self.journal);
                self.closed.extend(closed);
            }
        }
        self.gaps.retry(now, &mut self.journal);
    }

    /// Tells what happened in the journal.
    fn note_journal(&mut self) {
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
        for (sink, events, first) in news.lost {
            self.note_damage(Some(sink), (first, first + events - 1), None);
        }
    }

    /// Names what of the journal is damaged: a gap of its own that is over when it is found.
    fn note_damage(
        &mut self,
        sink: Option<&'static str>,
        stretch: (u64, u64),
        from: Option<Timestamp>,
    ) {
        let (now, journal) = (self.clock.timestamp(), &mut self.journal);
        self.closed.extend(self.gaps.damaged(sink, stretch, from.unwrap_or(now), now, journal));
    }
}
