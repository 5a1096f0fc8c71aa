//! Turns observations into log lines and metrics; nothing else in the crate knows prometheus or writes logs.

mod config;
pub mod logging;
pub mod metrics;
mod story;
#[cfg(test)]
mod tests;

use crate::observation::Observation;
pub use config::Config;
use metrics::Metrics;
use std::sync::Arc;
pub use story::{Level, Told};

/// The one place where what happened is counted and told; cheap to clone.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// The counters and gauges; the hot path moves some of them directly.
    pub metrics: Arc<Metrics>,
}

impl Telemetry {
    /// Telemetry over `metrics`.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics }
    }

    /// Counts what happened, tells it in the log, and answers what was said there.
    pub fn record(&self, observation: &Observation) -> Told {
        let nth = self.count(observation);
        story::tell(observation, nth)
    }

    /// Moves the counters; answers how many of its kind this is where a flood is thinkable, else 1.
    ///
    /// What is counted on the hot path (received, doubled, delivered, refused) is not counted here again.
    #[expect(clippy::too_many_lines, reason = "one exhaustive match, most of which moves nothing")]
    fn count(&self, observation: &Observation) -> u64 {
        let metrics = &self.metrics;
        match observation {
            Observation::TokenRefused { reason, retry_in, .. }
            | Observation::PlanRefused { reason, retry_in, .. }
            | Observation::SnapshotRefused { reason, retry_in, .. }
            | Observation::AmendRefused { reason, retry_in, .. } => {
                self.throttled(reason, *retry_in);
            }
            Observation::ChannelsRefused { reason, retry_in, .. } => {
                self.throttled(reason, retry_in.unwrap_or_default());
            }
            Observation::RetryScheduled { reason, retry_in, .. } => {
                metrics.sessions.reconnect(reason);
                self.throttled(reason, *retry_in);
            }
            Observation::RotationFinished { trigger, overlap, .. } => {
                self.rotated(trigger, *overlap)
            }
            Observation::RotationFailed { trigger, .. } => {
                metrics.sessions.rotation(trigger, metrics::OUTCOMES[1]);
            }
            Observation::GapOpened { cause, certainty, .. } => {
                metrics.stream.gap_opened(cause, certainty);
            }
            Observation::Rebased { snapshots, superseded, failed, without, .. } => {
                metrics.stream.rebased([*snapshots, *superseded, *failed, *without]);
            }
            Observation::FeedSuspected { .. } => metrics.stream.suspected(),
            Observation::GapClosed { certainty, from, to, .. } => {
                metrics.stream.gap_closed(certainty, to.since(*from));
            }
            Observation::FrameUnreadable { .. } => return metrics.stream.unreadable(),
            Observation::EventParked { sink, .. } => return self.parked(sink),
            Observation::JournalFailed { operation, .. } => metrics.journal.failed(operation),
            Observation::JournalFound { torn_bytes, .. } => metrics.journal.torn(*torn_bytes),
            Observation::JournalDamaged { events, .. } => metrics.journal.damaged(*events),
            Observation::EpochBegan { reason, .. } => metrics.journal.epoch(reason),
            Observation::DoorPanicked { .. } => metrics.door_panicked(),
            Observation::ConfigRead { outcome, .. } => metrics.configuration.read(outcome),
            Observation::SinkFailed { sink, kind, .. } => self.sink_failed(sink, kind),
            // States are shown from the status when somebody scrapes.
            Observation::SecretSeen { .. }
            | Observation::SecretSourceFailed { .. }
            | Observation::SecretSourceAtRisk { .. }
            | Observation::SecretSourceRecovered { .. }
            | Observation::TokenGranted { .. }
            | Observation::CredentialsRejected { .. }
            | Observation::CredentialsAccepted { .. }
            | Observation::ChannelsFound { .. }
            | Observation::ChannelsUnkept { .. }
            | Observation::SessionEntered { .. }
            | Observation::SessionLost { .. }
            | Observation::QueueUnknown { .. }
            | Observation::TopicRejected { .. }
            | Observation::TopicPermitted { .. }
            | Observation::RotationStarted { .. }
            | Observation::PlanMade { .. }
            | Observation::PlanChanged { .. }
            | Observation::TopicsAmended { .. }
            | Observation::ChannelAwaited { .. }
            | Observation::SinkReady { .. }
            | Observation::GuaranteeWeakened { .. }
            | Observation::JournalFull { .. }
            | Observation::LedgerFailed { .. }
            | Observation::SinkReleased { .. }
            | Observation::SinkAdded { .. }
            | Observation::FilterErred { .. }
            | Observation::MarkerRefused { .. }
            | Observation::ConfigApplied { .. }
            | Observation::ConfigPending { .. }
            | Observation::ConfigOverridden { .. }
            | Observation::ConfigMistaken { .. }
            | Observation::Started { .. }
            | Observation::Listening { .. }
            | Observation::DoorsUnguarded { .. }
            | Observation::DoorKeyUnusable { .. }
            | Observation::Ready
            | Observation::Unready { .. }
            | Observation::Handover(_)
            | Observation::Draining { .. }
            | Observation::Drained { .. } => {}
        }
        1
    }

    fn rotated(&self, trigger: &'static str, overlap: std::time::Duration) {
        self.metrics.sessions.rotated(trigger, overlap);
    }

    fn parked(&self, sink: &str) -> u64 {
        self.metrics.sink(sink).map_or(1, metrics::Sink::parked)
    }

    fn sink_failed(&self, sink: &str, kind: &'static str) {
        if let Some(sink) = self.metrics.sink(sink) {
            sink.failed(kind);
        }
    }

    fn throttled(&self, reason: &'static str, wait: std::time::Duration) {
        if reason == crate::lifecycle::Reason::Throttled.as_str() {
            self.metrics.login.throttled();
            self.metrics.login.throttled_for(wait);
        }
    }
}
