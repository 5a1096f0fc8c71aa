//! What writer, readers and the driver share: what waits to be written, what was written last, each sink's tail, the segments.
//!
//! Each lock is held for moves only, never for IO. Decides nothing but whether there is room.

use super::segment::Segment;
use super::tail::Tail;
use super::{Config, Numbers};
use crate::event::{Entry, Epoch, Event, Kind, Topic};
use crate::sink::Record;
use crate::time::Timestamp;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What may wait for the writer: a disk that hangs for two seconds at 10,000 events a second is not noticed.
const PENDING_MAX: u64 = 16 << 20;

/// What may wait of our own above that: records of gaps.
const RESERVE: u64 = 1 << 20;

/// What is kept of what was written, so that sinks that keep up never read the disk.
const WINDOW: u64 = 8 << 20;

/// What an event costs besides its body.
const OVERHEAD: u64 = 256;

/// The room that an event takes, in memory and, generously, on the disk.
pub(super) fn cost(body: usize) -> u64 {
    body as u64 + OVERHEAD
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) tails: Vec<Tail>,
    /// The last position of before it was opened.
    pub(super) began: u64,
    pending: Mutex<Pending>,
    /// Wakes the writer.
    wake: Condvar,
    window: Mutex<Window>,
    segments: Mutex<Vec<Arc<Segment>>>,
    pub(super) facts: Mutex<Facts>,
}

/// What was handed over and is not written yet.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) entries: VecDeque<Waiting>,
    pub(super) bytes: u64,
    /// Nothing more will be appended.
    pub(super) closing: bool,
    /// Cursors need not be kept any more either: the writer ends.
    pub(super) ending: bool,
    /// Why nothing can be written, while that is so.
    pub(super) trouble: Option<Trouble>,
    /// A bit for each sink that holds more of the epoch than the journal.
    pub(super) behind: u8,
    /// An epoch of another life of this journal that a sink knows: the next one is younger.
    pub(super) younger: Option<Epoch>,
    /// Somebody waits for nothing but a word.
    asleep: bool,
}

/// An entry and who takes it.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) entry: Entry,
    /// A bit for each sink.
    pub(super) takers: u8,
}

impl Waiting {
    pub(super) const fn is_taken_by(&self, sink: usize) -> bool {
        self.takers & 1 << sink != 0
    }

    /// Whether it is never refused for the disk's sake: it tells of what was. A snapshot is: it must not stand where an older event of
    /// its topic is missing and nobody has said so.
    pub(super) fn is_word(&self) -> bool {
        is_word(self.entry.kind)
    }
}

/// Whether it tells of what was: of gaps, of epochs. Room is kept for that.
pub(super) fn is_word(kind: Kind) -> bool {
    kind != Kind::Notification && !kind.is_snapshot()
}

/// Events of one topic that one sink does not get.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lacking {
    pub(super) count: u64,
    /// Those of them that Genesys pushed.
    pub(super) pushed: u64,
    /// When the oldest of them was received: of two sessions the later one's may be the older.
    pub(super) since: Timestamp,
    /// And the youngest.
    pub(super) until: Timestamp,
}

/// The disk takes nothing.
#[derive(Debug)]
pub(super) struct Trouble {
    /// What it said.
    pub(super) detail: String,
    /// What it takes again; new events are accepted once the driver has heard of the old ones.
    pub(super) mended: bool,
    /// Events that were waiting when it began, by sink and topic.
    pub(super) refused: Vec<HashMap<Topic, Lacking>>,
}

impl Trouble {
    /// The sink at that place does not get this.
    pub(super) fn refuse(&mut self, sink: usize, entry: &Entry) {
        let received = entry.received;
        let none = Lacking { count: 0, pushed: 0, since: received, until: received };
        let lacking = self.refused[sink].entry(entry.topic.clone()).or_insert(none);
        lacking.count += 1;
        lacking.pushed += u64::from(!entry.kind.is_snapshot());
        lacking.since = received.min(lacking.since);
        lacking.until = received.max(lacking.until);
    }
}

/// What was written last.
#[derive(Debug, Default)]
struct Window {
    items: VecDeque<Written>,
    bytes: u64,
    /// The last position that sinks may see.
    end: u64,
    /// The last position that the disk has for sure.
    synced: u64,
}

/// An event that sinks may see.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) event: Arc<Event>,
    pub(super) numbers: Numbers,
}

/// What is told of the journal.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// The epoch of new events.
    pub(super) epoch: Option<Epoch>,
    /// Waits for the disk since the last look, in order.
    pub(super) syncs: Vec<Duration>,
    /// Failed operations since the last look.
    pub(super) failures: Vec<(&'static str, String)>,
    /// Epochs that began since the last look, and why.
    pub(super) epochs: Vec<(Epoch, &'static str)>,
    /// Events that were found damaged while reading, since the last look: whose, how many, the first one's position.
    pub(super) lost: Vec<(usize, u64, u64)>,
    /// Bytes in all segments.
    pub(super) bytes: u64,
    /// How many segments there are.
    pub(super) segments: u64,
    /// Keys that have numbers.
    pub(super) keys: u64,
}

impl Facts {
    /// What nobody looks at for long is not kept.
    const KEPT: usize = 1_000;

    pub(super) fn failed(&mut self, operation: &'static str, detail: String) {
        if self.failures.len() < Self::KEPT {
            self.failures.push((operation, detail));
        }
    }

    pub(super) fn synced(&mut self, took: Duration) {
        if self.syncs.len() < Self::KEPT {
            self.syncs.push(took);
        }
    }
}

/// What a reader finds in memory.
pub(super) enum Seen {
    /// It has read up to here; there is no more before this position.
    Upto(u64),
    /// The disk must be asked: memory begins with this position only.
    OnDisk(u64),
}

impl Shared {
    pub(super) fn new(
        config: Config,
        tails: Vec<Tail>,
        segments: Vec<Arc<Segment>>,
        position: u64,
    ) -> Self {
        let window = Window { end: position, synced: position, ..Window::default() };
        Self {
            config,
            tails,
            began: position,
            pending: Mutex::default(),
            wake: Condvar::new(),
            window: Mutex::new(window),
            segments: Mutex::new(segments),
            facts: Mutex::default(),
        }
    }

    /// A panic elsewhere cannot leave this half changed: each change is one move.
    pub(super) fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands an entry over. The error says that the disk is the reason for a refusal.
    pub(super) fn push(&self, waiting: Waiting) -> Result<(), Waiting> {
        let length = cost(waiting.entry.body.len());
        let mut pending = self.pending();
        let reserve = if waiting.is_word() { RESERVE } else { 0 };
        let is_full = pending.bytes > 0 && pending.bytes + length > PENDING_MAX + reserve;
        if is_full || (pending.trouble.is_some() && !waiting.is_word()) {
            return Err(waiting);
        }
        for (sink, tail) in self.tails.iter().enumerate() {
            if waiting.is_taken_by(sink) {
                tail.add(length);
            }
        }
        pending.bytes += length;
        pending.entries.push_back(waiting);
        Ok(())
    }

    /// Wakes the writer if it sleeps.
    pub(super) fn wake(&self) {
        if std::mem::take(&mut self.pending().asleep) {
            self.wake.notify_one();
        }
    }

    /// Lets the writer sleep until it is woken, but no longer than `most`.
    pub(super) fn sleep(&self, most: Duration) {
        let mut pending = self.pending();
        let is_idle =
            (pending.entries.is_empty() && pending.behind == 0) || pending.trouble.is_some();
        if !is_idle || pending.ending {
            return;
        }
        pending.asleep = true;
        // Waking for no reason is harmless.
        drop(self.wake.wait_timeout(pending, most).unwrap_or_else(PoisonError::into_inner));
    }

    /// Shows the sinks what was written.
    pub(super) fn publish(&self, written: &mut Vec<Written>) {
        let Some(last) = written.last() else {
            return;
        };
        let settled = self.tails.iter().map(Tail::acknowledged).min().unwrap_or(u64::MAX);
        {
            let mut window = self.window();
            for (sink, tail) in self.tails.iter().enumerate() {
                let taken = written.iter().filter(|one| one.numbers[sink] > 0);
                let taken = taken.map(|one| cost(one.event.body.len()));
                let (events, bytes) = taken.fold((0, 0), |sum, cost| (sum.0 + 1, sum.1 + cost));
                tail.reveal(events, bytes);
            }
            window.end = last.event.position;
            window.bytes += written.iter().map(|one| cost(one.event.body.len())).sum::<u64>();
            window.items.extend(written.drain(..));
            window.trim(settled);
        }
        self.notify();
    }

    pub(super) fn notify(&self) {
        for tail in &self.tails {
            tail.changed.notify_one();
        }
    }

    /// The disk has everything up to this position.
    pub(super) fn synced(&self, position: u64) {
        let settled = self.tails.iter().map(Tail::acknowledged).min().unwrap_or(u64::MAX);
        let mut window = self.window();
        window.synced = window.synced.max(position);
        window.trim(settled);
    }

    /// How much was written that the disk may not have.
    pub(super) fn unsynced(&self) -> Vec<Written> {
        let window = self.window();
        window.items.iter().filter(|one| one.event.position > window.synced).cloned().collect()
    }

    /// A sink's reader holds nothing, has read up to `next`, and has found less than was counted. True when there is no more to find.
    pub(super) fn forget_lost(&self, sink: usize, next: u64) -> bool {
        let window = self.window();
        let is_all = next > window.end;
        if is_all {
            self.tails[sink].forget();
        }
        is_all
    }

    /// Appends to `ahead` up to `count` records for a sink from position `next` on.
    pub(super) fn recent(
        &self,
        sink: usize,
        next: u64,
        count: usize,
        ahead: &mut VecDeque<Record>,
    ) -> Seen {
        let window = self.window();
        let Some(first) = window.items.front().map(|one| one.event.position) else {
            return if next > window.end { Seen::Upto(next) } else { Seen::OnDisk(window.end + 1) };
        };
        if next < first {
            return Seen::OnDisk(first);
        }
        let skipped = window.items.partition_point(|one| one.event.position < next);
        let mut upto = window.end + 1;
        let mut taken = 0;
        for one in window.items.range(skipped..) {
            if taken == count {
                upto = one.event.position;
                break;
            }
            if one.numbers[sink] > 0 {
                ahead
                    .push_back(Record { event: Arc::clone(&one.event), number: one.numbers[sink] });
                taken += 1;
            }
        }
        Seen::Upto(upto.max(next))
    }

    /// When the oldest event after `position` for that sink was received, as far as memory tells.
    pub(super) fn received_after(&self, sink: usize, position: u64) -> Option<Timestamp> {
        let window = self.window();
        let skipped = window.items.partition_point(|one| one.event.position <= position);
        let mut rest = window.items.range(skipped..);
        rest.find(|one| one.numbers[sink] > 0).map(|one| one.event.received)
    }

    /// The segment that holds `position`, and where its successor begins.
    pub(super) fn segment_of(&self, position: u64) -> Option<(Arc<Segment>, u64)> {
        let segments = self.segments();
        let at = segments.iter().rposition(|segment| segment.first <= position).unwrap_or(0);
        let until = segments.get(at + 1).map_or(u64::MAX, |next| next.first);
        segments.get(at).map(|segment| (Arc::clone(segment), until))
    }

    /// The epochs of what comes after `position`, oldest first; the last is that of new events.
    pub(super) fn epochs_after(&self, position: u64) -> Vec<Epoch> {
        let segments = self.segments();
        let mut epochs: Vec<Epoch> = Vec::new();
        for (at, segment) in segments.iter().enumerate() {
            let is_past = segments.get(at + 1).is_some_and(|next| next.first <= position + 1);
            if !is_past && epochs.last() != Some(&segment.epoch) {
                epochs.push(segment.epoch.clone());
            }
        }
        epochs
    }

    pub(super) fn segments(&self) -> MutexGuard<'_, Vec<Arc<Segment>>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    /// Forgets what the disk has and either all sinks have settled or there is no room for.
    fn trim(&mut self, settled: u64) {
        while let Some(first) = self.items.front() {
            let (position, length) = (first.event.position, cost(first.event.body.len()));
            if position > self.synced || (position > settled && self.bytes <= WINDOW) {
                return;
            }
            self.bytes -= length;
            self.items.pop_front();
        }
    }
}
