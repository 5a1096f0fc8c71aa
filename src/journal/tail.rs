//! What of the journal one sink has not settled: counted by whoever appends, moved by its reader, read by the writer.

use crate::time::Timestamp;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::Notify;

#[derive(Debug)]
pub(super) struct Tail {
    pub(super) sink: &'static str,
    pub(super) bytes_max: u64,
    /// Everything up to here is settled.
    acknowledged: AtomicU64,
    events: AtomicU64,
    bytes: AtomicU64,
    /// Of these, what its reader may see: the rest is being written.
    shown_events: AtomicU64,
    shown_bytes: AtomicU64,
    /// Nothing more will be written for it.
    closed: AtomicBool,
    /// When what the reader holds unsent and unacknowledged was received, in microseconds; 0 for nothing.
    unsent: AtomicU64,
    oldest: AtomicU64,
    pub(super) changed: Notify,
}

impl Tail {
    pub(super) fn new(sink: &'static str, bytes_max: u64, acknowledged: u64) -> Self {
        Self {
            sink,
            bytes_max,
            acknowledged: AtomicU64::new(acknowledged),
            events: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            shown_events: AtomicU64::new(0),
            shown_bytes: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            unsent: AtomicU64::new(0),
            oldest: AtomicU64::new(0),
            changed: Notify::new(),
        }
    }

    /// Whether so much more fits below the bound and `reserve`. One event always fits where nothing waits, so that none is too
    /// large for ever.
    pub(super) fn has_room(&self, length: u64, reserve: u64) -> bool {
        let bytes = self.bytes.load(Ordering::Acquire);
        bytes == 0 || bytes + length <= self.bytes_max.saturating_add(reserve)
    }

    /// One more was accepted, and is to be written.
    pub(super) fn add(&self, length: u64) {
        self.bytes.fetch_add(length, Ordering::AcqRel);
        self.events.fetch_add(1, Ordering::AcqRel);
    }

    /// So much of what was accepted could not be written.
    pub(super) fn take_back(&self, events: u64, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.events.fetch_sub(events, Ordering::AcqRel);
    }

    /// So much of what was accepted is written.
    pub(super) fn reveal(&self, events: u64, bytes: u64) {
        self.shown_bytes.fetch_add(bytes, Ordering::AcqRel);
        self.shown_events.fetch_add(events, Ordering::AcqRel);
    }

    /// So much of it has another place now, and was counted there again.
    pub(super) fn hide(&self, events: u64, bytes: u64) {
        self.shown_bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.shown_events.fetch_sub(events, Ordering::AcqRel);
    }

    /// So much was found waiting.
    pub(super) fn restore(&self, events: u64, bytes: u64) {
        self.events.store(events, Ordering::Release);
        self.bytes.store(bytes, Ordering::Release);
        self.reveal(events, bytes);
    }

    /// So much is settled.
    pub(super) fn subtract(&self, events: u64, bytes: u64) {
        self.hide(events, bytes);
        self.take_back(events, bytes);
    }

    /// What the reader may see and does not find is damaged and will never come.
    pub(super) fn forget(&self) {
        let bytes = self.shown_bytes.swap(0, Ordering::AcqRel);
        let events = self.shown_events.swap(0, Ordering::AcqRel);
        self.take_back(events, bytes);
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Acquire)
    }

    pub(super) fn acknowledge(&self, position: u64) {
        self.acknowledged.fetch_max(position, Ordering::AcqRel);
    }

    pub(super) fn events(&self) -> u64 {
        self.events.load(Ordering::Acquire)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// What the reader holds.
    pub(super) fn show(&self, unsent: Option<Timestamp>, oldest: Option<Timestamp>) {
        let micros = |time: Option<Timestamp>| time.map_or(0, |time| time.as_micros().max(1));
        self.unsent.store(micros(unsent), Ordering::Relaxed);
        self.oldest.store(micros(oldest), Ordering::Relaxed);
    }

    /// As `show` was told: what is unsent, and what is oldest.
    pub(super) fn shown(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        let read = |micros: &AtomicU64| match micros.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Timestamp::from_micros(micros)),
        };
        (read(&self.unsent), read(&self.oldest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_being_written_is_not_forgotten_with_what_is_lost() {
        let tail = Tail::new("kafka", 1_000, 0);
        tail.restore(2, 200);
        // Accepted, and in the writer's hands.
        tail.add(300);
        tail.subtract(1, 100);
        tail.forget();
        assert_eq!((tail.events(), tail.bytes()), (1, 300));
        tail.reveal(1, 300);
        tail.subtract(1, 300);
        assert_eq!((tail.events(), tail.bytes()), (0, 0));
    }
}
