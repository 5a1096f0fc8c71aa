//! The journal: its size, its disk, and what went wrong with either.

use super::labels::{EPOCH_REASONS, JOURNAL_OPERATIONS};
use super::shelf::{Shelf, whole};
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};
use std::time::Duration;

/// From a write cache (a tenth of a millisecond) to a disk that hangs.
const SYNC_BUCKETS: [f64; 12] =
    [0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 10.0];

/// Metrics of the journal; a handle that is cheap to clone.
#[derive(Clone, Debug)]
pub struct Journal {
    size: IntGauge,
    segments: IntGauge,
    keys: IntGauge,
    sync: Histogram,
    failures: IntCounterVec,
    torn: IntCounter,
    damaged: IntCounter,
    epochs: IntCounterVec,
}

impl Journal {
    pub(super) fn new(shelf: &Shelf) -> Self {
        let metrics = Self {
            size: shelf.gauge("tieline_journal_size_bytes", "Size of the journal on the disk."),
            segments: shelf.gauge("tieline_journal_segments", "Files of the journal."),
            keys: shelf.gauge(
                "tieline_journal_keys",
                "Keys that have numbers in this epoch, as of the last segment's beginning.",
            ),
            sync: shelf.histogram(
                "tieline_journal_sync_seconds",
                "Time that the disk took to keep what was written.",
                &SYNC_BUCKETS,
            ),
            failures: shelf.counters(
                "tieline_journal_failures_total",
                "Operations of the journal's disk that failed.",
                &["operation"],
            ),
            torn: shelf.counter(
                "tieline_journal_torn_bytes_total",
                "Bytes of torn writes that were cut off when the journal was opened.",
            ),
            damaged: shelf.counter(
                "tieline_journal_damaged_events_total",
                "Events that could not be read from the journal any more; each lies in a named gap.",
            ),
            epochs: shelf.counters(
                "tieline_epochs_total",
                "Epochs that began in place of another, by reason.",
                &["reason"],
            ),
        };
        for operation in JOURNAL_OPERATIONS {
            metrics.failures.with_label_values(&[operation]);
        }
        for reason in EPOCH_REASONS {
            metrics.epochs.with_label_values(&[reason]);
        }
        metrics
    }

    /// The disk took so long.
    pub fn synced(&self, took: Duration) {
        self.sync.observe(took.as_secs_f64());
    }

    /// How large it is.
    pub fn show(&self, bytes: u64, segments: u64, keys: u64) {
        self.size.set(whole(bytes));
        self.segments.set(whole(segments));
        self.keys.set(whole(keys));
    }

    /// An operation failed.
    pub fn failed(&self, operation: &'static str) {
        self.failures.with_label_values(&[operation]).inc();
    }

    /// So much was cut off.
    pub fn torn(&self, bytes: u64) {
        self.torn.inc_by(bytes);
    }

    /// So many events cannot be read.
    pub fn damaged(&self, events: u64) {
        self.damaged.inc_by(events);
    }

    /// An epoch began in place of another.
    pub fn epoch(&self, reason: &'static str) {
        self.epochs.with_label_values(&[reason]).inc();
    }
}
