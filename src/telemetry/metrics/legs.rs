//! Metrics of the legs of redundant shards: which of them is first, which lags, which misses.
//!
//! Does not compare them; arbitration does.

use super::labels::{LEGS, SIGHTS};
use super::shelf::Shelf;
use prometheus::{Counter, IntCounter};
use std::time::Duration;

/// Metrics of the legs; a handle that is cheap to clone.
#[derive(Clone, Debug)]
pub struct Legs {
    sights: [[IntCounter; SIGHTS.len()]; LEGS.len()],
    lag: [Counter; LEGS.len()],
}

impl Legs {
    pub(super) fn new(shelf: &Shelf) -> Self {
        let sights = shelf.counters(
            "tieline_leg_sights_total",
            "What a leg showed while another carried the same topics: first (won), after it (followed), or never (missed).",
            &["leg", "outcome"],
        );
        let lag = shelf.fractions(
            "tieline_leg_lag_seconds_total",
            "How much later than another leg a leg showed what it followed with, all together.",
            &["leg"],
        );
        Self {
            sights: LEGS.map(|leg| SIGHTS.map(|sight| sights.with_label_values(&[leg, sight]))),
            lag: LEGS.map(|leg| lag.with_label_values(&[leg])),
        }
    }

    /// How a leg, counted from 0, did beside the others.
    pub fn compared(&self, leg: usize, won: u64, followed: u64, missed: u64, lag: Duration) {
        if let (Some(sights), Some(seconds)) = (self.sights.get(leg), self.lag.get(leg)) {
            for (counter, count) in sights.iter().zip([won, followed, missed]) {
                counter.inc_by(count);
            }
            seconds.inc_by(lag.as_secs_f64());
        }
    }
}
