//! The stream: what was heard, what of it was doubled or late, and where notifications may have been missed.

use super::labels::{
    CERTAINTIES, FAMILIES, OTHER_GAP_CAUSES, POSSIBLE_GAP_CAUSES, REBASED, family_of,
};
use super::legs::Legs;
use super::shelf::{Shelf, whole};
use crate::event::Topic;
use crate::lifecycle::Reason;
use prometheus::{CounterVec, Histogram, IntCounter, IntCounterVec, IntGauge};
use std::time::Duration;

/// From a frame that is read and appended at once (tens of microseconds) to one that arbitration holds.
const JOURNAL_BUCKETS: [f64; 14] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];

/// From the platform's best (tens of milliseconds) to a platform that catches up (minutes).
const AGE_BUCKETS: [f64; 12] =
    [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// Metrics of the stream; a handle that is cheap to clone.
#[derive(Clone, Debug)]
pub struct Stream {
    notifications: [IntCounter; FAMILIES.len()],
    duplicates: IntCounter,
    possible_duplicates: IntCounter,
    late: IntCounter,
    /// How the legs of redundant shards do beside each other.
    pub legs: Legs,
    unreadable: IntCounter,
    journalled: Histogram,
    event_age: Histogram,
    gaps: IntCounterVec,
    gap_seconds: CounterVec,
    gap_open: IntGauge,
    rebased: IntCounterVec,
    snapshots: IntCounter,
    suspicions: IntCounter,
    suspected: IntGauge,
}

impl Stream {
    pub(super) fn new(shelf: &Shelf) -> Self {
        let notifications = shelf.counters(
            "tieline_notifications_total",
            "Notifications heard on all sessions, before duplicates are dropped, by the topic's name without its ids.",
            &["family"],
        );
        let metrics = Self {
            legs: Legs::new(shelf),
            notifications: FAMILIES.map(|family| notifications.with_label_values(&[family])),
            duplicates: shelf.counter(
                "tieline_duplicates_total",
                "Notifications dropped because another sight of the same occurrence was published.",
            ),
            possible_duplicates: shelf.counter(
                "tieline_possible_duplicates_total",
                "Events published although they may double another; they carry a mark.",
            ),
            late: shelf.counter(
                "tieline_late_total",
                "Events published after a younger one of their key; they carry a mark.",
            ),
            journalled: shelf.histogram(
                "tieline_journal_latency_seconds",
                "Time from reading the frame to its hand-over to the journal; arbitration's hold included.",
                &JOURNAL_BUCKETS,
            ),
            event_age: shelf.histogram(
                "tieline_event_age_seconds",
                "Time from what the body says happened to reading the frame, of at most ten events a second.",
                &AGE_BUCKETS,
            ),
            unreadable: shelf.counter(
                "tieline_frames_unreadable_total",
                "Frames that could not be read and were not delivered.",
            ),
            gaps: shelf.counters(
                "tieline_gaps_total",
                "Intervals in which notifications may have been missed, by cause and by how sure that is.",
                &["cause", "certainty"],
            ),
            gap_seconds: shelf.fractions(
                "tieline_gap_seconds_total",
                "The length of all gaps that have ended, by how sure they are.",
                &["certainty"],
            ),
            gap_open: shelf.gauge(
                "tieline_gap_open",
                "Gaps that have begun and not ended: notifications may be missed now.",
            ),
            rebased: shelf.counters(
                "tieline_rebased_topics_total",
                "Topics that were in a gap, by what re-basing over REST made of them.",
                &["outcome"],
            ),
            snapshots: shelf.counter(
                "tieline_snapshots_total",
                "Events published that REST showed after a gap; they carry a mark.",
            ),
            suspicions: shelf.counter(
                "tieline_feed_suspicions_total",
                "Times that a lively key fell silent while its session was well.",
            ),
            suspected: shelf.gauge(
                "tieline_feed_suspected",
                "Keys that were lively and are silent while their session is well.",
            ),
        };
        metrics.begin();
        metrics
    }

    /// Every series of a closed set at 0.
    fn begin(&self) {
        for cause in Reason::ALL.map(Reason::as_str).iter().chain(&OTHER_GAP_CAUSES) {
            self.gaps.with_label_values(&[cause, CERTAINTIES[0]]);
        }
        for cause in POSSIBLE_GAP_CAUSES {
            self.gaps.with_label_values(&[cause, CERTAINTIES[1]]);
        }
        for certainty in CERTAINTIES {
            self.gap_seconds.with_label_values(&[certainty]);
        }
        for outcome in REBASED {
            self.rebased.with_label_values(&[outcome]);
        }
    }

    /// A notification was heard.
    pub fn received(&self, topic: &Topic) {
        self.notifications[family_of(topic)].inc();
    }

    /// The journal has an event so long after its frame was read.
    pub fn journalled(&self, latency: Duration) {
        self.journalled.observe(latency.as_secs_f64());
    }

    /// A frame was read so long after what it tells happened.
    pub fn aged(&self, age: Duration) {
        self.event_age.observe(age.as_secs_f64());
    }

    /// A notification was dropped as a duplicate.
    pub fn duplicate(&self) {
        self.duplicates.inc();
    }

    /// An event was marked as possibly doubled.
    pub fn possible_duplicate(&self) {
        self.possible_duplicates.inc();
    }

    /// An event was marked as late.
    pub fn late(&self) {
        self.late.inc();
    }

    /// A frame could not be read; answers how many that makes.
    pub fn unreadable(&self) -> u64 {
        self.unreadable.inc();
        self.unreadable.get()
    }

    /// A gap began.
    pub fn gap_opened(&self, cause: &'static str, certainty: &'static str) {
        self.gaps.with_label_values(&[cause, certainty]).inc();
    }

    /// A gap ended after so long.
    pub fn gap_closed(&self, certainty: &'static str, length: Duration) {
        self.gap_seconds.with_label_values(&[certainty]).inc_by(length.as_secs_f64());
    }

    /// Re-basing after a gap is over; counts in the order of `REBASED`.
    pub fn rebased(&self, counts: [u64; REBASED.len()]) {
        for (outcome, count) in REBASED.iter().zip(counts) {
            self.rebased.with_label_values(&[outcome]).inc_by(count);
        }
    }

    /// A snapshot was published as an event.
    pub fn snapshot(&self) {
        self.snapshots.inc();
    }

    /// A lively key has fallen silent.
    pub fn suspected(&self) {
        self.suspicions.inc();
    }

    /// Shows how many keys are suspected.
    pub fn show_suspected(&self, keys: u64) {
        self.suspected.set(whole(keys));
    }

    /// Shows how many gaps are open.
    pub fn show_open_gaps(&self, open: u64) {
        self.gap_open.set(whole(open));
    }
}
