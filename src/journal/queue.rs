//! One sink's unacknowledged records, oldest first, with the cursor up to which they have been sent.
//!
//! One lock, held for moves only; it is taken by two parties, the writer and the sink's publisher.

use super::Stats;
use crate::sink::Record;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What an event costs besides its body: the record, the event, its frame's head. Generous, so that the bound is one on memory.
const OVERHEAD: u64 = 256;

/// What is kept above the bound for events of our own: a gap's records, and the like.
const RESERVE: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Queue {
    sink: &'static str,
    bytes_max: u64,
    /// Bodies and overhead of all records; apart from the lock, so that asking for room needs none.
    bytes: AtomicU64,
    closed: AtomicBool,
    records: Mutex<Records>,
    changed: Notify,
}

#[derive(Debug, Default)]
pub(super) struct Records {
    /// All unacknowledged records.
    pub(super) waiting: VecDeque<Record>,
    /// How many of them have been sent.
    pub(super) sent: usize,
}

impl Queue {
    pub(super) fn new(sink: &'static str, bytes_max: u64) -> Self {
        Self {
            sink,
            bytes_max,
            bytes: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            records: Mutex::default(),
            changed: Notify::new(),
        }
    }

    pub(super) fn sink(&self) -> &'static str {
        self.sink
    }

    /// Whether a body of that length fits. One always fits into an empty queue, so that no event is too large for ever.
    pub(super) fn has_room(&self, length: usize, is_own: bool) -> bool {
        let bytes = self.bytes.load(Ordering::Acquire);
        let most = self.bytes_max.saturating_add(if is_own { RESERVE } else { 0 });
        bytes == 0 || bytes + length as u64 + OVERHEAD <= most
    }

    pub(super) fn push(&self, record: Record) {
        self.bytes.fetch_add(cost(&record), Ordering::AcqRel);
        self.lock().waiting.push_back(record);
        self.changed.notify_one();
    }

    /// Removes the first `count` records. The caller has them settled.
    pub(super) fn remove(&self, count: usize) {
        let freed: u64 = {
            let mut records = self.lock();
            let count = count.min(records.waiting.len());
            records.sent = records.sent.saturating_sub(count);
            records.waiting.drain(..count).map(|r| cost(&r)).sum()
        };
        self.bytes.fetch_sub(freed, Ordering::AcqRel);
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Waits for a push or the close since this was last awaited.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// A panic elsewhere cannot leave the records half changed: each change is one move.
    pub(super) fn lock(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stats(&self) -> Stats {
        let records = self.lock();
        Stats {
            sink: self.sink,
            unacknowledged: records.waiting.len() as u64,
            bytes: self.bytes.load(Ordering::Acquire),
            bytes_max: self.bytes_max,
            oldest_unsent: records.waiting.get(records.sent).map(received),
            oldest_unacknowledged: records.waiting.front().map(received),
        }
    }
}

fn received(record: &Record) -> crate::time::Timestamp {
    record.event.received
}

fn cost(record: &Record) -> u64 {
    record.event.body.len() as u64 + OVERHEAD
}
