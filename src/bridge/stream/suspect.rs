//! Gaps that are only possible: frames that could not be read, and keys that have fallen silent.
//!
//! Each topic is told of them before its next data, like of any other gap.

use super::Stream;
use crate::bridge::gaps::{FEED_SILENT, UNREADABLE};
use crate::event::Topic;
use crate::observation::Observation;
use crate::time::{Time, Timestamp};
use std::time::Duration;

/// Unreadable frames closer than this are one gap, so that a flood of them does not become a flood of gaps.
const BURST: Duration = Duration::from_secs(10);

/// Unreadable frames of one shard that make one gap.
#[derive(Clone, Copy, Debug)]
pub(super) struct Burst {
    /// The last of them.
    last: Timestamp,
    quiet_at: Time,
}

impl Stream {
    /// A frame of a shard that came then could not be read; `complete` is when the one before it came.
    pub fn unreadable(&mut self, shard: u16, complete: Timestamp, at: Timestamp, now: Time) {
        let told_at = self.clock.timestamp();
        let last = self.unreadable.get(&shard).map(|burst| burst.last);
        // Another session's frame before may be older than that.
        let from = last.map_or(complete, |last| last.min(complete));
        // Each topic that was told of an earlier one is told of this one before its next data too.
        self.gaps.distrust(shard, UNREADABLE, |_, last| Some(last));
        self.gaps.open(shard, UNREADABLE, from, Vec::new(), told_at, &mut self.journal);
        if last.is_none() {
            // Told at once, where the frame should have been. Of the others of a burst, each topic is told before its next data.
            self.gaps.settle((shard, UNREADABLE), |_| true, at, told_at, &mut self.journal);
        }
        let last = last.map_or(at, |last| last.max(at));
        self.unreadable.insert(shard, Burst { last, quiet_at: now + BURST });
    }

    /// Looks at what nobody tells. Called now and then, not for each event.
    pub fn look(&mut self, now: Time) {
        self.look_for_room();
        let all = self.unreadable.iter().map(|(shard, burst)| (*shard, *burst));
        for (shard, burst) in all.filter(|(_, burst)| burst.quiet_at <= now).collect::<Vec<_>>() {
            self.unreadable.remove(&shard);
            self.close(shard, UNREADABLE, burst.last, "frames are read again");
        }
        let at = self.clock.timestamp();
        for suspicion in self.feed.check(now) {
            let topics = self.gaps.topics_of_key(suspicion.shard, suspicion.key);
            if !topics.is_empty() {
                let from = self.clock.timestamp_of(suspicion.since);
                self.gaps.open(suspicion.shard, FEED_SILENT, from, topics, at, &mut self.journal);
                let (shard, keys) = (suspicion.shard, self.feed.suspected());
                self.observations.push_back(Observation::FeedSuspected { shard, keys });
            }
        }
        self.metrics.stream.show_suspected(self.feed.suspected() as u64);
    }

    pub(super) fn end_suspicion(
        &mut self,
        shard: u16,
        matches: impl Fn(&Topic) -> bool,
        to: Timestamp,
        action: &'static str,
    ) {
        let at = self.clock.timestamp();
        let kind = (shard, FEED_SILENT);
        if self.gaps.settle(kind, matches, to, at, &mut self.journal) {
            self.close(shard, FEED_SILENT, to, action);
        }
    }
}
