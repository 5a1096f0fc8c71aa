//! One sink's view of the journal: a cursor for what was sent, and behind it what is not acknowledged yet.
//!
//! There is one reader per sink. What it is told to forget it forgets; it judges nothing.

use super::queue::Queue;
use crate::sink::Record;
use crate::time::Timestamp;
use std::sync::Arc;

/// What is in a sink's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Whose.
    pub sink: &'static str,
    /// Events without acknowledgement, sent or not.
    pub unacknowledged: u64,
    /// Their bodies and overhead.
    pub bytes: u64,
    /// The bound on `bytes`.
    pub bytes_max: u64,
    /// When the oldest event that was not sent yet was received.
    pub oldest_unsent: Option<Timestamp>,
    /// When the oldest event without acknowledgement was received.
    pub oldest_unacknowledged: Option<Timestamp>,
}

impl Stats {
    /// Whether there is room to speak of again: not just for one event, which would be taken at once.
    pub const fn has_room(&self) -> bool {
        self.bytes <= self.bytes_max - self.bytes_max / 8
    }
}

/// The reading end for one sink.
#[derive(Debug)]
pub struct Reader {
    queue: Arc<Queue>,
}

impl Reader {
    pub(super) fn new(queue: Arc<Queue>) -> Self {
        Self { queue }
    }

    /// Whose events these are.
    pub fn sink(&self) -> &'static str {
        self.queue.sink()
    }

    /// Appends to `batch` up to `count` records from the cursor on, without moving it.
    pub fn peek(&self, count: usize, batch: &mut Vec<Record>) {
        let records = self.queue.lock();
        let unsent = records.waiting.range(records.sent..);
        batch.extend(unsent.take(count).cloned());
    }

    /// Moves the cursor over `count` records: they have been sent.
    pub fn advance(&mut self, count: usize) {
        let mut records = self.queue.lock();
        records.sent = (records.sent + count).min(records.waiting.len());
    }

    /// Moves the cursor back to the first record without acknowledgement.
    pub fn rewind(&mut self) {
        self.queue.lock().sent = 0;
    }

    /// The oldest record without acknowledgement.
    pub fn first(&self) -> Option<Record> {
        self.queue.lock().waiting.front().cloned()
    }

    /// Forgets the oldest `count` records: they are stored or parked.
    pub fn acknowledge(&mut self, count: usize) {
        self.queue.remove(count);
    }

    /// Forgets all records up to that position: the broker has them already. Returns how many.
    pub fn skip_through(&mut self, position: u64) -> usize {
        let count = {
            let records = self.queue.lock();
            let known = |record: &Record| record.event.position <= position;
            records.waiting.partition_point(known)
        };
        self.queue.remove(count);
        count
    }

    /// How many records have no acknowledgement.
    pub fn unacknowledged(&self) -> usize {
        self.queue.lock().waiting.len()
    }

    /// Whether nothing more will be appended.
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// Whether everything that will ever be appended is settled.
    pub fn is_finished(&self) -> bool {
        // Asked first: what was appended before the close is then seen.
        self.is_closed() && self.unacknowledged() == 0
    }

    /// Waits until something was appended, or the journal closed, since the last wait. May return early; cancel-safe.
    pub async fn changed(&self) {
        self.queue.changed().await;
    }

    /// What is in the queue.
    pub fn stats(&self) -> Stats {
        self.queue.stats()
    }
}
