//! Every metric: its name, its labels, its buckets. `docs/metrics.md` says which question each answers, and a test keeps the two
//! equal.
//!
//! Counters are moved where things happen; gauges are set from the bridge's status when somebody scrapes (`admin::scrape`), so that
//! the metrics, `/readyz` and the status page cannot disagree.

mod broker;
mod configuration;
mod disk;
mod journal;
mod labels;
mod legs;
mod login;
mod process;
mod queues;
mod session;
mod shelf;
mod sink;
mod stream;

use prometheus::{Encoder, TextEncoder};
use shelf::Shelf;
use std::collections::BTreeMap;

pub use broker::Broker;
pub use configuration::Configuration;
pub use journal::Journal;
pub use labels::{
    BROKER_STATES, BUDGETS, CERTAINTIES, EPOCH_REASONS, FAILURES, FAMILIES, JOURNAL_OPERATIONS,
    LEGS, OTHER_GAP_CAUSES, OUTCOMES, POSSIBLE_GAP_CAUSES, REBASED, RELOADS, SIGHTS, STATES,
    TOPIC_STATES, TRIGGERS,
};
pub use legs::Legs;
pub use login::{Login, Shown};
pub use queues::{OTHER_QUEUES, QUEUES_MAX, Queues};
pub use session::Sessions;
pub use sink::{Backlog, Sink};
pub use stream::Stream;

/// The type of what `Metrics::encode` writes.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// All metrics of one process, in a registry of their own.
#[derive(Debug)]
pub struct Metrics {
    shelf: Shelf,
    process: process::Process,
    disk: disk::Disk,
    ready: prometheus::IntGauge,
    door_panics: prometheus::IntCounter,
    /// The configuration and its reloads.
    pub configuration: Configuration,
    /// Credentials and tokens.
    pub login: Login,
    /// Sessions, rotations, topics.
    pub sessions: Sessions,
    /// What was heard, and what of it was doubled or missed.
    pub stream: Stream,
    /// The journal and its disk.
    pub journal: Journal,
    sinks: BTreeMap<&'static str, Sink>,
    queues: Option<queues::Board>,
}

impl Metrics {
    /// All metrics at their start, with a series for each of `sinks`.
    ///
    /// # Panics
    /// When two metrics have one name; a test constructs them all.
    pub fn new(version: &str, sinks: &[&'static str]) -> Self {
        let shelf = Shelf::default();
        shelf
            .gauges(
                "tieline_build_info",
                "Always 1; the label names the version that runs.",
                &["version"],
            )
            .with_label_values(&[version])
            .set(1);
        Self {
            process: process::Process::new(&shelf),
            disk: disk::Disk::new(&shelf),
            ready: shelf.gauge(
                "tieline_ready",
                "1 while subscribed, hearing frames, and every sink acknowledges.",
            ),
            door_panics: shelf.counter(
                "tieline_door_panics_total",
                "Connections of the doors for operators that a bug has ended.",
            ),
            configuration: Configuration::new(&shelf),
            login: Login::new(&shelf),
            sessions: Sessions::new(&shelf),
            stream: Stream::new(&shelf),
            journal: Journal::new(&shelf),
            sinks: sink::all(&shelf, sinks),
            queues: None,
            shelf,
        }
    }

    /// The same metrics, which show the disk of `data_dir` and the journal's bound in bytes too.
    #[must_use]
    pub fn on_disk(mut self, data_dir: &std::path::Path, journal_max: u64) -> Self {
        self.disk.watch(data_dir, journal_max);
        self
    }

    /// The same metrics, with those of each queue.
    #[must_use]
    pub fn per_queue(mut self) -> Self {
        self.queues = Some(queues::Board::new(&self.shelf));
        self
    }

    /// What counts each queue's events, where that is asked for.
    pub fn queues(&self) -> Option<Queues> {
        self.queues.clone().map(Queues::new)
    }

    /// The metrics of one sink; a handle that is cheap to clone. `None` for a sink that was not named at the start.
    pub fn sink(&self, name: &str) -> Option<&Sink> {
        self.sinks.get(name)
    }

    /// Shows whether the process is ready.
    pub fn show_ready(&self, ready: bool) {
        self.ready.set(i64::from(ready));
    }

    /// A bug has ended a connection of the doors.
    pub fn door_panicked(&self) {
        self.door_panics.inc();
    }

    /// Everything in Prometheus's text format, of type `CONTENT_TYPE`.
    ///
    /// # Errors
    /// When the encoder refuses a metric, which no metric of ours gives it a reason for.
    pub fn encode(&self) -> Result<Vec<u8>, prometheus::Error> {
        self.process.refresh();
        self.disk.refresh();
        let mut text = Vec::with_capacity(32 * 1024);
        TextEncoder::new().encode(&self.shelf.gather(), &mut text)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Topic;
    use std::time::Duration;

    fn text(metrics: &Metrics) -> String {
        String::from_utf8(metrics.encode().unwrap()).unwrap()
    }

    #[test]
    fn every_series_of_a_closed_set_is_there_from_the_start() {
        let text = text(&Metrics::new("1.2.3", &["jsonl", "kafka"]));
        for series in [
            "tieline_build_info{version=\"1.2.3\"} 1",
            "tieline_sessions{state=\"waiting\"} 0",
            "tieline_reconnects_total{reason=\"throttled\"} 0",
            "tieline_rotations_total{outcome=\"failed\",trigger=\"secret\"} 0",
            "tieline_gaps_total{cause=\"journal_full\",certainty=\"certain\"} 0",
            "tieline_notifications_total{family=\"other\"} 0",
            "tieline_events_delivered_total{sink=\"kafka\"} 0",
            "tieline_delivery_seconds_count{sink=\"jsonl\"} 0",
            "tieline_topics{state=\"rejected\"} 0",
            "tieline_sink_failures_total{kind=\"park\",sink=\"kafka\"} 0",
            "tieline_overlap_seconds_count{trigger=\"secret\"} 0",
            "tieline_budget_left{budget=\"rest\"} 0",
            "tieline_config_reloads_total{outcome=\"refused\"} 0",
        ] {
            assert!(text.contains(series), "{series} is missing from\n{text}");
        }
    }

    #[test]
    fn what_happens_on_the_hot_path_is_counted() {
        let metrics = Metrics::new("1.2.3", &["jsonl"]);
        metrics.stream.received(&Topic::new("v2.users.presence"));
        metrics.stream.duplicate();
        let sink = metrics.sink("jsonl").unwrap().clone();
        sink.delivered(Duration::from_millis(3));
        sink.refused(7);
        let text = text(&metrics);
        for series in [
            "tieline_notifications_total{family=\"v2.users.presence\"} 1",
            "tieline_duplicates_total 1",
            "tieline_events_delivered_total{sink=\"jsonl\"} 1",
            "tieline_events_refused_total{sink=\"jsonl\"} 7",
            "tieline_delivery_seconds_bucket{sink=\"jsonl\",le=\"0.005\"} 1",
            "tieline_delivery_seconds_bucket{sink=\"jsonl\",le=\"0.002\"} 0",
        ] {
            assert!(text.contains(series), "{series} is missing from\n{text}");
        }
    }
}
