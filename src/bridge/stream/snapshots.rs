//! What REST shows after a gap, on its way to the journal: published only where no live event has overtaken it. A sink whose journal is too
//! full for it lacks it like any event: that is a gap of its own, after which REST is asked again.
//!
//! Asks for nothing; the lifecycle does.

use super::Stream;
use crate::bridge::gaps::{JOURNAL_DISK, JOURNAL_FULL, Missed};
use crate::event::{Entry, Kind, Topic};
use crate::genesys::Snapshot;
use crate::lifecycle;
use crate::route::Wanted;
use crate::sequence::Rebased;
use crate::time::Timestamp;

impl Stream {
    /// Snapshots of these topics are being read.
    pub fn await_snapshots(&mut self, topics: &[Topic]) {
        self.awaited = topics.iter().map(|topic| (topic.clone(), false)).collect();
    }

    /// Publishes snapshots, but none that a live event has overtaken since it was asked for. Answers the topics of those.
    pub fn publish_snapshots(
        &mut self,
        what: lifecycle::Snapshot,
        shown: Vec<Snapshot>,
        received: Timestamp,
    ) -> Vec<Topic> {
        let kind = match what {
            lifecycle::Snapshot::Observations => Kind::ObservationsSnapshot,
            lifecycle::Snapshot::Members => Kind::MembersSnapshot,
        };
        let mut stale = Vec::new();
        for Snapshot { topic, bodies } in shown {
            let overtaken = self.awaited.remove(&topic).unwrap_or(true);
            if overtaken || self.arbiter.holds(topic.key_fingerprint()) {
                stale.push(topic);
                continue;
            }
            // A sink that cannot be told what it lacks of the topic has no use for what follows that.
            let untold = self.gaps.untold(&topic);
            let mut wanted = Wanted::ALL;
            for (place, sink) in self.journal.sinks().into_iter().enumerate() {
                if untold.contains(&sink) {
                    wanted = wanted.without(place);
                }
            }
            for body in bodies {
                let body = self.privacy.apply(&topic, body);
                let entry = Entry::own(kind, topic.clone(), body, received);
                let watched = self.tap.is_watched().then(|| entry.clone());
                let mut appended = self.journal.append_for(wanted, entry);
                if appended.is_accepted {
                    self.metrics.stream.snapshot();
                    if let Some(entry) = watched {
                        self.tap.show(entry.into());
                    }
                }
                appended.refused_by.extend(&untold);
                let cause = if appended.by_disk { JOURNAL_DISK } else { JOURNAL_FULL };
                for sink in appended.refused_by {
                    let (since, until) = (received, received);
                    self.note_refusal(sink, &topic, Missed { cause, count: 1, since, until });
                }
            }
        }
        stale
    }

    /// Re-basing after a gap is over.
    pub fn rebased(&mut self, gap: u64, rebased: Rebased) {
        self.gaps.rebased(gap, rebased, self.clock.timestamp(), &mut self.journal);
    }
}
