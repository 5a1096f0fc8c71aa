//! Metrics of the configuration: what came of reading it again, and whether the file is what is in force.

use super::RELOADS;
use super::shelf::{Shelf, whole};
use crate::time::Timestamp;
use prometheus::{Gauge, IntCounterVec, IntGauge};

/// Metrics of the configuration.
#[derive(Debug)]
pub struct Configuration {
    reloads: IntCounterVec,
    failed: IntGauge,
    pending: IntGauge,
    in_force: Gauge,
}

impl Configuration {
    pub(super) fn new(shelf: &Shelf) -> Self {
        let reloads = shelf.counters(
            "tieline_config_reloads_total",
            "Times that the configuration was read again, by what came of it.",
            &["outcome"],
        );
        for outcome in RELOADS {
            reloads.with_label_values(&[outcome]);
        }
        Self {
            reloads,
            failed: shelf.gauge(
                "tieline_config_last_reload_failed",
                "1 while the configuration file has mistakes, so that an older one is in force.",
            ),
            pending: shelf.gauge(
                "tieline_config_pending_keys",
                "How many changed keys of the configuration wait for a restart.",
            ),
            in_force: shelf.seconds(
                "tieline_config_in_force_timestamp_seconds",
                "Since when the configuration is in force, in seconds since 1970.",
            ),
        }
    }

    /// The configuration was read again; `outcome` is one of `RELOADS`.
    pub fn read(&self, outcome: &str) {
        self.reloads.with_label_values(&[outcome]).inc();
    }

    /// Shows how the file and what is in force stand to each other.
    pub fn show(&self, failed: bool, pending: usize, in_force_since: Timestamp) {
        self.failed.set(i64::from(failed));
        self.pending.set(whole(pending as u64));
        self.in_force.set(in_force_since.as_micros() as f64 / 1e6);
    }
}
