//! What a publisher counts: plain atomics that telemetry reads when it is asked. Knows no metric names.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the latency's buckets, in microseconds: dense around the budget of 1 ms, and up to a broker's restart.
pub const LATENCY_BOUNDS_MICROS: [u64; 15] = [
    100, 250, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 5_000_000, 30_000_000,
];

/// One sink's counters, shared between its publisher and telemetry.
#[derive(Debug, Default)]
pub struct Counters {
    /// Events that the sink acknowledged, or was found to hold already.
    delivered: AtomicU64,
    parked: AtomicU64,
    failures: AtomicU64,
    observations_dropped: AtomicU64,
    is_ready: AtomicBool,
    /// One more than there are bounds: the last is for what lies above them all.
    latency: [AtomicU64; LATENCY_BOUNDS_MICROS.len() + 1],
    latency_micros: AtomicU64,
}

/// A copy of the counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Events that the sink acknowledged, or was found to hold already.
    pub delivered: u64,
    /// Events that the sink can never take, written to the dead-letter file.
    pub parked: u64,
    /// How often the sink failed as a whole.
    pub failures: u64,
    /// Observations that nobody had room for.
    pub observations_dropped: u64,
    /// Whether the sink is open and has not failed since.
    pub is_ready: bool,
    /// Acknowledgements by the time since their frame was read, one for each bound and one for the rest; not cumulative.
    pub latency: Vec<u64>,
    /// The sum of those times.
    pub latency_sum: Duration,
}

impl Counters {
    /// A copy of the counters as they stand. Not one moment's: each is read by itself.
    pub fn read(&self) -> Counted {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counted {
            delivered: get(&self.delivered),
            parked: get(&self.parked),
            failures: get(&self.failures),
            observations_dropped: get(&self.observations_dropped),
            is_ready: self.is_ready.load(Ordering::Relaxed),
            latency: self.latency.iter().map(get).collect(),
            latency_sum: Duration::from_micros(get(&self.latency_micros)),
        }
    }

    pub(super) fn count_delivered(&self, count: usize) {
        self.delivered.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(super) fn count_latency(&self, micros: u64) {
        let bucket = LATENCY_BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        self.latency[bucket].fetch_add(1, Ordering::Relaxed);
        self.latency_micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(super) fn count_parked(&self) {
        self.parked.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_observation_dropped(&self) {
        self.observations_dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set_ready(&self, is_ready: bool) {
        self.is_ready.store(is_ready, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let counters = Counters::default();
        for micros in [0, 100, 101, 30_000_000, 30_000_001] {
            counters.count_latency(micros);
        }
        let counted = counters.read();
        assert_eq!(counted.latency[..2], [2, 1]);
        assert_eq!(counted.latency[14..], [1, 1]);
        assert_eq!(counted.latency_sum, Duration::from_micros(60_000_202));
    }
}
