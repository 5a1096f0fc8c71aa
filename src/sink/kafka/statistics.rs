//! librdkafka's statistics, brought down to the few figures that an operator asks for.
//!
//! Summed over brokers, because their names and numbers are the cluster's affair and would make series without bound.

use crate::observation::BrokerFigures;
use rdkafka::Statistics;
use rdkafka::statistics::Broker;
use std::time::Duration;

/// The figures of a client whose totals go on from `before`.
pub(super) fn figures(statistics: &Statistics, before: &BrokerFigures) -> BrokerFigures {
    let mut figures = BrokerFigures {
        queued_events: statistics.msg_cnt,
        queued_bytes: statistics.msg_size,
        sent_bytes: before.sent_bytes + u64::try_from(statistics.tx_bytes).unwrap_or(0),
        retries: before.retries,
        ..BrokerFigures::default()
    };
    for broker in statistics.brokers.values() {
        figures.retries += broker.txretries;
        figures.requests += u64::try_from(broker.waitresp_cnt).unwrap_or(0);
        let slowest = broker.rtt.as_ref().map_or(0, |rtt| u64::try_from(rtt.p99).unwrap_or(0));
        figures.round_trip = figures.round_trip.max(Duration::from_micros(slowest));
        if !is_member(broker) {
            continue;
        }
        match broker.state.as_str() {
            "UP" => figures.brokers_up += 1,
            // Nothing was wanted of it yet.
            "INIT" => figures.brokers_idle += 1,
            _ => figures.brokers_down += 1,
        }
    }
    figures
}

/// Whether this is a broker of the cluster, not an address to start from or a role that one of them plays.
fn is_member(broker: &Broker) -> bool {
    broker.nodeid >= 0 && broker.source != "logical"
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::statistics::Window;

    #[test]
    fn brokers_are_summed_and_totals_go_on() {
        let broker = |nodeid, source: &str, state: &str, p99| Broker {
            nodeid,
            source: source.into(),
            state: state.into(),
            txretries: 2,
            waitresp_cnt: 1,
            rtt: Some(Window { p99, ..Window::default() }),
            ..Broker::default()
        };
        let statistics = Statistics {
            msg_cnt: 7,
            msg_size: 700,
            tx_bytes: 1_000,
            brokers: [
                broker(1, "learned", "UP", 900),
                broker(2, "learned", "TRY_CONNECT", 1_500),
                broker(3, "learned", "INIT", 0),
                broker(-1, "configured", "DOWN", 0),
                broker(1, "logical", "UP", 0),
            ]
            .into_iter()
            .enumerate()
            .map(|(at, broker)| (at.to_string(), broker))
            .collect(),
            ..Statistics::default()
        };
        let before = BrokerFigures { sent_bytes: 5, retries: 1, ..BrokerFigures::default() };
        let expected = BrokerFigures {
            queued_events: 7,
            queued_bytes: 700,
            requests: 5,
            sent_bytes: 1_005,
            retries: 11,
            round_trip: Duration::from_micros(1_500),
            brokers_up: 1,
            brokers_idle: 1,
            brokers_down: 1,
        };
        assert_eq!(figures(&statistics, &before), expected);
    }
}
