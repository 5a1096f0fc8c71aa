//! Sessions: what they are doing, why they had to try again, which were replaced, and which topics they carry.

use super::labels::{OUTCOMES, STATES, TOPIC_STATES, TRIGGERS};
use super::shelf::{Shelf, whole};
use crate::lifecycle::Reason;
use crate::time::Timestamp;
use prometheus::{Gauge, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec};
use std::time::Duration;

/// An overlap is `lifecycle.settle` and `lifecycle.drain` where all goes well, and tens of seconds where a channel must be made first.
const OVERLAP_BUCKETS: [f64; 9] = [1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0];

/// Metrics of the sessions.
#[derive(Clone, Debug)]
pub struct Sessions {
    states: [IntGauge; STATES.len()],
    wanted: IntGauge,
    reconnects: IntCounterVec,
    rotations: IntCounterVec,
    overlap: HistogramVec,
    channels: Channels,
    last_frame_age: Gauge,
    last_event_age: Gauge,
    topics: IntGaugeVec,
}

/// Channels at the platform.
#[derive(Clone, Debug)]
struct Channels {
    used: IntGauge,
    most: IntGauge,
    oldest_age: Gauge,
    first_expires: Gauge,
}

impl Channels {
    fn new(shelf: &Shelf) -> Self {
        Self {
            used: shelf.gauge(
                "tieline_channels",
                "Channels that the platform holds for us, as far as we know.",
            ),
            most: shelf.gauge(
                "tieline_channels_max",
                "Channels that an OAuth client may have; one more silently ends another.",
            ),
            oldest_age: shelf.seconds(
                "tieline_channel_age_seconds",
                "How long ago the oldest channel in use was subscribed; 0 without one.",
            ),
            first_expires: shelf.seconds(
                "tieline_channel_expiry_timestamp_seconds",
                "When the first channel in use expires, in seconds since 1970; 0 without one.",
            ),
        }
    }
}

impl Sessions {
    pub(super) fn new(shelf: &Shelf) -> Self {
        let states =
            shelf.gauges("tieline_sessions", "Sessions by what they are doing.", &["state"]);
        let metrics = Self {
            states: STATES.map(|state| states.with_label_values(&[state])),
            wanted: shelf.gauge(
                "tieline_sessions_wanted",
                "Sessions that are live when all is well: shards times lifecycle.redundancy; 0 until the topics are known.",
            ),
            reconnects: shelf.counters(
                "tieline_reconnects_total",
                "Times a session had to try again, by why.",
                &["reason"],
            ),
            rotations: shelf.counters(
                "tieline_rotations_total",
                "Planned replacements of a session, by what asked for them and how they ended.",
                &["trigger", "outcome"],
            ),
            overlap: shelf.histograms(
                "tieline_overlap_seconds",
                "How long both sessions delivered in a planned replacement, by what asked for it.",
                &["trigger"],
                &OVERLAP_BUCKETS,
            ),
            channels: Channels::new(shelf),
            last_frame_age: shelf.seconds(
                "tieline_last_frame_age_seconds",
                "How long ago the last frame of any kind came, on the shard that has waited longest; from the start when none has.",
            ),
            last_event_age: shelf.seconds(
                "tieline_last_event_age_seconds",
                "How long ago the last notification came, on the shard that has waited longest; from the start when none has.",
            ),
            topics: shelf.gauges(
                "tieline_topics",
                "Topics asked for, by whether the platform took them.",
                &["state"],
            ),
        };
        metrics.begin();
        metrics
    }

    /// Every series of a closed set at 0.
    fn begin(&self) {
        for reason in Reason::ALL {
            self.reconnects.with_label_values(&[reason.as_str()]);
        }
        for trigger in TRIGGERS {
            self.overlap.with_label_values(&[trigger]);
            for outcome in OUTCOMES {
                self.rotations.with_label_values(&[trigger, outcome]);
            }
        }
        for state in TOPIC_STATES {
            self.topics.with_label_values(&[state]);
        }
    }

    /// A session has to try again.
    pub fn reconnect(&self, reason: &'static str) {
        self.reconnects.with_label_values(&[reason]).inc();
    }

    /// A planned replacement is over, in which both sessions delivered for so long.
    pub fn rotated(&self, trigger: &'static str, overlap: Duration) {
        self.rotation(trigger, OUTCOMES[0]);
        self.overlap.with_label_values(&[trigger]).observe(overlap.as_secs_f64());
    }

    /// Shows how many channels there are, may be, and since and until when those that deliver live.
    pub fn show_channels(
        &self,
        used: u64,
        most: u64,
        oldest_age: Duration,
        first_expires: Option<Timestamp>,
    ) {
        self.channels.used.set(whole(used));
        self.channels.most.set(whole(most));
        self.channels.oldest_age.set(oldest_age.as_secs_f64());
        self.channels.first_expires.set(first_expires.unwrap_or_default().as_seconds());
    }

    /// An attempt to replace a session ended; `outcome` is one of `OUTCOMES`.
    pub fn rotation(&self, trigger: &'static str, outcome: &'static str) {
        self.rotations.with_label_values(&[trigger, outcome]).inc();
    }

    /// Shows how many sessions are in each state; states outside `STATES` are not shown.
    pub fn show_states<'a>(&self, of_each: impl Iterator<Item = &'a str>) {
        let mut counts = [0; STATES.len()];
        for state in of_each {
            if let Some(at) = STATES.iter().position(|known| *known == state) {
                counts[at] += 1;
            }
        }
        for (gauge, count) in self.states.iter().zip(counts) {
            gauge.set(count);
        }
    }

    /// Shows how many sessions should be live.
    pub fn show_wanted(&self, sessions: u64) {
        self.wanted.set(whole(sessions));
    }

    /// Shows how long ago the last frame and the last notification came.
    pub fn show_ages(&self, frame: Duration, event: Duration) {
        self.last_frame_age.set(frame.as_secs_f64());
        self.last_event_age.set(event.as_secs_f64());
    }

    /// Shows how many topics the platform took and refused.
    pub fn show_topics(&self, permitted: u64, rejected: u64) {
        for (state, count) in TOPIC_STATES.iter().zip([permitted, rejected]) {
            self.topics.with_label_values(&[state]).set(whole(count));
        }
    }
}
