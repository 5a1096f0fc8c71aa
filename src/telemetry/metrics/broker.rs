//! What the library behind a sink counts: its queue, its requests, its brokers.
//!
//! Sums over brokers: their names are the cluster's affair. 0 for a sink whose library counts nothing.

use super::labels::BROKER_STATES;
use super::shelf::{Shelf, whole};
use crate::observation::BrokerFigures;
use prometheus::{Gauge, IntCounter, IntGauge};

/// Metrics of one sink's brokers; a handle that is cheap to clone.
#[derive(Clone, Debug)]
pub struct Broker {
    queued_events: IntGauge,
    queued_bytes: IntGauge,
    requests: IntGauge,
    sent_bytes: IntCounter,
    retries: IntCounter,
    round_trip: Gauge,
    /// In the order of `BROKER_STATES`.
    brokers: [IntGauge; 3],
}

/// Makes the metrics of one sink at a time.
pub(super) fn all(shelf: &Shelf) -> impl Fn(&str) -> Broker {
    let gauges = |name, help| shelf.gauges(name, help, &["sink"]);
    let counters = |name, help| shelf.counters(name, help, &["sink"]);
    let queued_events =
        gauges("tieline_broker_queue_events", "Events in the queue of the sink's library.");
    let queued_bytes = gauges("tieline_broker_queue_bytes", "Size of the events in that queue.");
    let requests =
        gauges("tieline_broker_requests", "Requests to brokers that are not answered yet.");
    let sent_bytes =
        counters("tieline_broker_sent_bytes_total", "Bytes sent to brokers, protocol included.");
    let retries =
        counters("tieline_broker_retries_total", "Requests to brokers that were sent again.");
    let round_trip = shelf.seconds_by(
        "tieline_broker_round_trip_seconds",
        "What 99 of 100 requests to the slowest broker took at most, lately.",
        &["sink"],
    );
    let brokers = shelf.gauges(
        "tieline_brokers",
        "Brokers, by what can be said of them.",
        &["sink", "state"],
    );
    move |sink| Broker {
        queued_events: queued_events.with_label_values(&[sink]),
        queued_bytes: queued_bytes.with_label_values(&[sink]),
        requests: requests.with_label_values(&[sink]),
        sent_bytes: sent_bytes.with_label_values(&[sink]),
        retries: retries.with_label_values(&[sink]),
        round_trip: round_trip.with_label_values(&[sink]),
        brokers: BROKER_STATES.map(|state| brokers.with_label_values(&[sink, state])),
    }
}

impl Broker {
    /// Shows what the library has counted by now.
    pub fn show(&self, figures: &BrokerFigures) {
        self.queued_events.set(whole(figures.queued_events));
        self.queued_bytes.set(whole(figures.queued_bytes));
        self.requests.set(whole(figures.requests));
        self.sent_bytes.inc_by(figures.sent_bytes.saturating_sub(self.sent_bytes.get()));
        self.retries.inc_by(figures.retries.saturating_sub(self.retries.get()));
        self.round_trip.set(figures.round_trip.as_secs_f64());
        let counts = [figures.brokers_up, figures.brokers_idle, figures.brokers_down];
        for (gauge, count) in self.brokers.iter().zip(counts) {
            gauge.set(whole(count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_become_counters() {
        let broker = all(&Shelf::default())("kafka");
        for sent_bytes in [10, 10, 25] {
            broker.show(&BrokerFigures { sent_bytes, brokers_up: 2, ..Default::default() });
        }
        assert_eq!(broker.sent_bytes.get(), 25);
        assert_eq!(broker.brokers.each_ref().map(IntGauge::get), [2, 0, 0]);
    }
}
