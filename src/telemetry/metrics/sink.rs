//! Sinks: what each has acknowledged, what waits for it, and what it could not have.

use super::broker::{self, Broker};
use super::labels::FAILURES;
use super::shelf::{Shelf, whole};
use prometheus::{Gauge, Histogram, IntCounter, IntGauge};
use std::collections::BTreeMap;
use std::time::Duration;

/// From the acknowledgement of a JetStream on loopback (half a millisecond) to a broker's restart (minutes).
const DELIVERY_BUCKETS: [f64; 16] = [
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0,
    300.0,
];

/// Metrics of one sink; a handle that is cheap to clone.
#[derive(Clone, Debug)]
pub struct Sink {
    delivered: IntCounter,
    delivery: Histogram,
    acknowledgement: Histogram,
    parked: IntCounter,
    refused: IntCounter,
    filtered: IntCounter,
    filter_errors: IntCounter,
    failures: [IntCounter; FAILURES.len()],
    connected: IntGauge,
    journal_events: IntGauge,
    journal_bytes: IntGauge,
    oldest_age: Gauge,
    /// What lies behind the sink.
    pub broker: Broker,
}

/// What waits for a sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many events it has not acknowledged.
    pub events: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// How long ago the oldest was received; zero when none waits.
    pub oldest: Duration,
}

pub(super) fn all(shelf: &Shelf, names: &[&'static str]) -> BTreeMap<&'static str, Sink> {
    let counters = |name, help| shelf.counters(name, help, &["sink"]);
    let gauges = |name, help| shelf.gauges(name, help, &["sink"]);
    let delivered =
        counters("tieline_events_delivered_total", "Events that the sink has acknowledged.");
    let delivery = shelf.histograms(
        "tieline_delivery_seconds",
        "Time from reading the frame to the sink's acknowledgement.",
        &["sink"],
        &DELIVERY_BUCKETS,
    );
    let acknowledgement = shelf.histograms(
        "tieline_acknowledgement_seconds",
        "Time from the sink's taking an event out of the journal to its acknowledgement.",
        &["sink"],
        &DELIVERY_BUCKETS,
    );
    let parked = counters(
        "tieline_events_parked_total",
        "Events that the sink can never take, set aside with their reason.",
    );
    let refused = counters(
        "tieline_events_refused_total",
        "Events lost to the sink because its journal was full; each lies in a named gap.",
    );
    let filtered = counters(
        "tieline_events_filtered_total",
        "Events that the sink's filter kept from it, as it was told to.",
    );
    let filter_errors = counters(
        "tieline_filter_errors_total",
        "Events for which the sink's filter had no answer; they were passed.",
    );
    let failures = shelf.counters(
        "tieline_sink_failures_total",
        "Times the sink failed as a whole, by what it did then; what it had not acknowledged was sent again.",
        &["sink", "kind"],
    );
    let connected =
        gauges("tieline_sink_connected", "1 while the sink is connected and takes events.");
    let events = gauges("tieline_journal_events", "Events that the sink has not acknowledged.");
    let bytes =
        gauges("tieline_journal_bytes", "Size of the events that the sink has not acknowledged.");
    let oldest = shelf.seconds_by(
        "tieline_journal_oldest_age_seconds",
        "How long ago the oldest event that the sink has not acknowledged was received; 0 when none waits.",
        &["sink"],
    );
    let broker = broker::all(shelf);
    let sink = |name: &&'static str| Sink {
        broker: broker(name),
        delivered: delivered.with_label_values(&[name]),
        delivery: delivery.with_label_values(&[name]),
        acknowledgement: acknowledgement.with_label_values(&[name]),
        parked: parked.with_label_values(&[name]),
        refused: refused.with_label_values(&[name]),
        filtered: filtered.with_label_values(&[name]),
        filter_errors: filter_errors.with_label_values(&[name]),
        failures: FAILURES.map(|kind| failures.with_label_values(&[name, kind])),
        connected: connected.with_label_values(&[name]),
        journal_events: events.with_label_values(&[name]),
        journal_bytes: bytes.with_label_values(&[name]),
        oldest_age: oldest.with_label_values(&[name]),
    };
    names.iter().map(|name| (*name, sink(name))).collect()
}

impl Sink {
    /// An event was acknowledged `latency` after its frame was read.
    pub fn delivered(&self, latency: Duration) {
        self.delivered.inc();
        self.delivery.observe(latency.as_secs_f64());
    }

    /// An event was acknowledged so long after it was taken out of the journal.
    pub fn acknowledged_after(&self, latency: Duration) {
        self.acknowledgement.observe(latency.as_secs_f64());
    }

    /// So many events turned out to be held by the broker already.
    pub fn known(&self, events: u64) {
        self.delivered.inc_by(events);
    }

    /// How many events the sink has acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.delivered.get()
    }

    /// How many events were parked.
    pub fn set_aside(&self) -> u64 {
        self.parked.get()
    }

    /// How many events the full journal refused.
    pub fn lost(&self) -> u64 {
        self.refused.get()
    }

    /// The full journal refused so many events.
    pub fn refused(&self, events: u64) {
        self.refused.inc_by(events);
    }

    /// The sink's filter kept an event from it.
    pub fn filtered(&self) {
        self.filtered.inc();
    }

    /// The sink's filter had no answer for an event; answers how many that makes.
    pub fn filter_erred(&self) -> u64 {
        self.filter_errors.inc();
        self.filter_errors.get()
    }

    /// An event was parked; answers how many that makes.
    pub fn parked(&self) -> u64 {
        self.parked.inc();
        self.parked.get()
    }

    /// The sink failed as a whole; `kind` is one of `FAILURES`.
    pub fn failed(&self, kind: &'static str) {
        let place = FAILURES.iter().position(|known| *known == kind);
        if let Some(failures) = place.and_then(|place| self.failures.get(place)) {
            failures.inc();
        }
    }

    /// Shows whether the sink takes events, and what waits for it.
    pub fn show(&self, connected: bool, backlog: Backlog) {
        self.connected.set(i64::from(connected));
        self.journal_events.set(whole(backlog.events));
        self.journal_bytes.set(whole(backlog.bytes));
        self.oldest_age.set(backlog.oldest.as_secs_f64());
    }
}
