//! The one writer: places and numbers what was handed over, writes it, lets the sinks see it, and has the disk keep it.
//!
//! One `round` does what is due and never waits but for the disk. It runs on a thread of its own; tests call it.

use super::config::Sync;
use super::frame;
use super::opening::reason;
use super::record;
use super::renumber::Renumbering;
use super::segment::Segment;
use super::shared::{Shared, Trouble, Waiting, Written, cost};
use super::storage::{Page, Storage};
use super::syncer::{Done, Job, Syncer};
use super::tail::Tail;
use crate::clock::Clock;
use crate::event::{Entry, Epoch, Event};
use crate::sequence::Sequencer;
use crate::time::Time;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// About how much is written at once.
const BATCH: u64 = 1 << 20;

/// More than this is not written while the disk is waited for: memory holds it until the disk has it.
const UNSYNCED_MAX: u64 = 8 << 20;

/// How often cursors are kept where the disk is waited for at once, and how long the writer sleeps at most.
pub(super) const BEAT: Duration = Duration::from_millis(100);

/// How long after a failure the disk is tried again.
pub(super) const RETRY: Duration = Duration::from_millis(250);

/// Chance for the names of epochs.
pub(super) type Salt = Box<dyn FnMut() -> u32 + Send>;

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) storage: Arc<dyn Storage>,
    pub(super) clock: Clock,
    pub(super) salt: Salt,
    pub(super) boot: String,
    pub(super) epoch: Epoch,
    /// The last position that was given.
    pub(super) position: u64,
    pub(super) sequencer: Sequencer,
    /// Why the next segment begins a new epoch, if it does.
    pub(super) renew: Option<&'static str>,
    /// A sink whose events are being placed anew.
    pub(super) renumbering: Option<Renumbering>,
    /// The number of the next segment.
    pub(super) next: u64,
    /// What is written to; none before the first, and after one that failed.
    pub(super) segment: Option<Arc<Segment>>,
    /// Another process goes on with this journal: nothing is written any more.
    pub(super) fenced: bool,
    pub(super) buffer: Vec<u8>,
    pub(super) dirt: Dirt,
    /// The thread that waits for the disk; without it the writer waits itself.
    pub(super) syncer: Option<Syncer>,
    /// The cursors as they were written last.
    pub(super) cursors: Vec<u64>,
    pub(super) cursors_at: Time,
    /// `BEAT` and `RETRY`, save in tests.
    pub(super) beat: Duration,
    pub(super) retry: Duration,
    pub(super) retry_at: Time,
}

/// A batch that was not written, as it was before, and why.
pub(super) struct Unwritten {
    pub(super) operation: &'static str,
    pub(super) error: io::Error,
    pub(super) batch: Vec<Waiting>,
}

/// What the disk may not have yet.
#[derive(Debug, Default)]
pub(super) struct Dirt {
    pub(super) pages: Vec<Arc<dyn Page>>,
    pub(super) folder: bool,
    pub(super) since: Option<Time>,
    pub(super) bytes: u64,
    /// Up to which position the disk is being waited for, beside this.
    pub(super) under_way: Option<u64>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("position", &self.position).finish_non_exhaustive()
    }
}

impl Writer {
    /// Works until the journal ends.
    pub(super) fn run(mut self) {
        while self.round() {
            let most = match self.shared.config.sync {
                Sync::Within(interval) => interval.min(self.beat),
                Sync::Always => self.beat,
            };
            self.shared.sleep(most);
        }
    }

    /// Does what is due. False when the journal has ended.
    pub(super) fn round(&mut self) -> bool {
        while let Some(done) = self.syncer.as_ref().and_then(|syncer| syncer.done.try_recv().ok()) {
            self.done(done);
        }
        let (closing, ending) = {
            let pending = self.shared.pending();
            (pending.closing, pending.ending)
        };
        self.retry();
        let is_placed = self.renumber();
        let mut batch = if is_placed { self.take() } else { Vec::new() };
        while !batch.is_empty() {
            self.write(batch);
            self.relieve();
            batch = self.take();
        }
        self.keep_cursors();
        if self.is_sync_due() {
            self.sync();
        }
        self.remove_settled();
        if closing {
            self.shared.tails.iter().for_each(Tail::close);
        }
        if ending {
            self.end();
        }
        !ending
    }

    /// What is to be written next; nothing while the disk takes nothing.
    fn take(&self) -> Vec<Waiting> {
        let mut pending = self.shared.pending();
        if pending.trouble.as_ref().is_some_and(|trouble| !trouble.mended) {
            return Vec::new();
        }
        let (mut count, mut bytes) = (0, 0);
        for waiting in &pending.entries {
            if bytes >= BATCH {
                break;
            }
            bytes += cost(waiting.entry.body.len());
            count += 1;
        }
        pending.bytes -= bytes;
        pending.entries.drain(..count).collect()
    }

    fn write(&mut self, batch: Vec<Waiting>) {
        if let Err(Unwritten { operation, error, batch }) = self.try_write(batch) {
            self.fail(operation, &error, batch);
        }
    }

    /// Places, numbers and writes a batch, and shows it to the sinks; or none of it.
    pub(super) fn try_write(&mut self, batch: Vec<Waiting>) -> Result<(), Unwritten> {
        if self.sequencer.keys() >= self.shared.config.keys_max {
            self.renew.get_or_insert(reason::KEYS);
        }
        let segment = match self.ready_segment() {
            Ok(segment) => segment,
            Err(error) => return Err(Unwritten { operation: "open", error, batch }),
        };
        let offset = segment.end();
        let (mut written, mut places) = (Vec::with_capacity(batch.len()), Vec::new());
        self.buffer.clear();
        for waiting in batch {
            let key = waiting.entry.topic.key();
            let numbers = self.sequencer.next(key, |sink| waiting.is_taken_by(sink));
            self.position += 1;
            let event = Event::placed(self.epoch.clone(), self.position, waiting.entry);
            places.push((self.position, offset + self.buffer.len() as u64));
            frame::write(segment.number, &mut self.buffer, |out| {
                record::write_event(out, &event, &numbers);
            });
            written.push(Written { event: Arc::new(event), numbers });
        }
        if let Err(error) = self.put(&segment) {
            let batch = self.take_back(written);
            return Err(Unwritten { operation: "write", error, batch });
        }
        for (position, offset) in places {
            segment.remember(position, offset);
        }
        if self.shared.config.sync == Sync::Always {
            let done = self.job().run(&*self.storage, &self.clock);
            if let Err(error) = done.result {
                // No sink has seen it, and none will: what follows takes its place.
                let batch = self.take_back(written);
                self.abandon();
                return Err(Unwritten { operation: "sync", error, batch });
            }
            self.shared.facts().synced(done.took);
        }
        self.shared.publish(&mut written);
        if self.shared.config.sync == Sync::Always {
            self.shared.synced(self.position);
        }
        Ok(())
    }

    /// Writes the buffer behind what the segment has. After an error nothing of it counts.
    pub(super) fn put(&mut self, segment: &Arc<Segment>) -> io::Result<()> {
        let offset = segment.end();
        if let Err(error) = segment.page.write_at(&self.buffer, offset) {
            // What a full disk took of it is cut off; where that fails too, the segment ends before it.
            if segment.page.cut(offset).is_err() {
                self.segment = None;
            }
            return Err(error);
        }
        segment.lengthen(offset + self.buffer.len() as u64);
        self.soil(&segment.page, self.buffer.len() as u64);
        Ok(())
    }

    /// The disk may not have this yet.
    pub(super) fn soil(&mut self, page: &Arc<dyn Page>, bytes: u64) {
        let now = self.clock.now();
        self.dirt.since.get_or_insert(now);
        self.dirt.bytes += bytes;
        if !self.dirt.pages.iter().any(|known| Arc::ptr_eq(known, page)) {
            self.dirt.pages.push(Arc::clone(page));
        }
        self.shared.facts().bytes += bytes;
    }

    /// Undoes the placing of what was not written.
    fn take_back(&mut self, written: Vec<Written>) -> Vec<Waiting> {
        let mut batch: Vec<Waiting> = Vec::with_capacity(written.len());
        for one in written.into_iter().rev() {
            let Written { event, numbers } = one;
            self.sequencer.take_back(event.topic.key(), &numbers);
            self.position = event.position - 1;
            let takers = numbers.iter().enumerate();
            let takers = takers.fold(0, |bits, (at, number)| bits | u8::from(*number > 0) << at);
            batch.push(Waiting { entry: unplaced(Arc::unwrap_or_clone(event)), takers });
        }
        batch.reverse();
        batch
    }

    /// The disk takes nothing: what waits is refused, but for what tells of gaps and epochs.
    pub(super) fn fail(&mut self, operation: &'static str, error: &io::Error, batch: Vec<Waiting>) {
        let tails = &self.shared.tails;
        self.retry_at = self.clock.now() + self.retry;
        self.shared.facts().failed(operation, error.to_string());
        let mut pending = self.shared.pending();
        let detail = format!("{operation}: {error}");
        let fresh = || Trouble {
            detail: String::new(),
            mended: false,
            refused: vec![HashMap::new(); tails.len()],
        };
        let mut trouble = pending.trouble.take().unwrap_or_else(fresh);
        (trouble.detail, trouble.mended) = (detail, false);
        let queued = std::mem::take(&mut pending.entries);
        let mut kept = VecDeque::new();
        for waiting in batch.into_iter().chain(queued) {
            if waiting.is_word() {
                kept.push_back(waiting);
                continue;
            }
            let length = cost(waiting.entry.body.len());
            for (sink, tail) in
                tails.iter().enumerate().filter(|(sink, _)| waiting.is_taken_by(*sink))
            {
                tail.take_back(1, length);
                trouble.refuse(sink, &waiting.entry);
            }
        }
        pending.bytes = kept.iter().map(|waiting| cost(waiting.entry.body.len())).sum();
        pending.entries = kept;
        pending.trouble = Some(trouble);
    }

    /// Tries the disk again, now and then.
    fn retry(&mut self) {
        let is_due = {
            let pending = self.shared.pending();
            pending
                .trouble
                .as_ref()
                .is_some_and(|trouble| !trouble.mended || self.segment.is_none())
        };
        if !is_due || self.fenced || self.clock.now() < self.retry_at {
            return;
        }
        self.retry_at = self.clock.now() + self.retry;
        let tried = self.roll(true);
        let mut pending = self.shared.pending();
        if let Some(trouble) = &mut pending.trouble {
            match tried {
                Ok(()) => trouble.mended = true,
                Err(error) => trouble.detail = error.to_string(),
            }
        }
    }

    /// Keeps memory bounded where the disk is slow: waits for it.
    fn relieve(&mut self) {
        while self.dirt.bytes > UNSYNCED_MAX {
            self.hear();
            self.sync();
        }
    }

    fn is_sync_due(&self) -> bool {
        let Some(since) = self.dirt.since else {
            return false;
        };
        match self.shared.config.sync {
            Sync::Always => true,
            Sync::Within(interval) => {
                self.clock.now().since(since) >= interval
                    || self.dirt.bytes >= self.shared.config.sync_bytes.0
            }
        }
    }

    /// Has the disk waited for. False when that has failed already.
    pub(super) fn sync(&mut self) -> bool {
        if self.dirt.under_way.is_some() {
            return true;
        }
        let mut job = self.job();
        if let (Some(syncer), Sync::Within(_)) = (&self.syncer, self.shared.config.sync) {
            let position = job.position;
            match syncer.give(job) {
                None => {
                    self.dirt.under_way = Some(position);
                    return true;
                }
                // Its thread is gone.
                Some(back) => job = back,
            }
        }
        self.syncer = None;
        let done = job.run(&*self.storage, &self.clock);
        self.done(done)
    }

    /// Waits until the disk has all, so that no epoch's end and another's beginning can be in doubt together.
    pub(super) fn wait_for_disk(&mut self) {
        self.hear();
        if self.dirt.since.is_some() {
            let done = self.job().run(&*self.storage, &self.clock);
            self.done(done);
        }
    }

    /// Waits for what the disk is being waited for.
    fn hear(&mut self) {
        while let (Some(syncer), Some(_)) = (&self.syncer, self.dirt.under_way) {
            match syncer.done.recv() {
                Ok(done) => {
                    self.done(done);
                }
                Err(_) => self.syncer = None,
            }
        }
    }

    /// All that the disk may lack.
    fn job(&mut self) -> Job {
        let Dirt { pages, folder, .. } = std::mem::take(&mut self.dirt);
        Job { pages, folder, position: self.position }
    }

    fn done(&mut self, done: Done) -> bool {
        self.dirt.under_way = None;
        match done.result {
            Ok(()) => {
                self.shared.facts().synced(done.took);
                if self.shared.config.sync != Sync::Always {
                    self.shared.synced(done.position);
                }
                true
            }
            Err(error) => {
                self.distrust(&error);
                false
            }
        }
    }

    /// A failed wait for the disk: the system may have forgotten what it was to keep, and a second wait may say that all is well. So
    /// what the disk may lack is written anew, from memory, to another file. Where the disk does not keep that one either, nothing new is
    /// accepted until it keeps one: memory must hold what it lacks.
    fn distrust(&mut self, error: &io::Error) {
        self.shared.facts().failed("sync", error.to_string());
        self.abandon();
        if let Err(error) = self.roll(false) {
            self.fail("open", &error, Vec::new());
        }
    }

    /// Writes to the segment no more, and waits for nothing of it.
    fn abandon(&mut self) {
        self.segment = None;
        self.dirt = Dirt::default();
    }

    /// Writes the cursors when they have moved and were not written for a while.
    fn keep_cursors(&mut self) {
        let now = self.clock.now();
        if now < self.cursors_at {
            return;
        }
        self.cursors_at = now + self.beat;
        let cursors: Vec<u64> = self.shared.tails.iter().map(Tail::acknowledged).collect();
        if cursors == self.cursors {
            return;
        }
        if let Err(error) = self.write_cursors(cursors) {
            self.fail("write", &error, Vec::new());
        }
    }

    fn write_cursors(&mut self, cursors: Vec<u64>) -> io::Result<()> {
        let Some(segment) = self.segment.clone() else {
            return Ok(());
        };
        self.buffer.clear();
        frame::write(segment.number, &mut self.buffer, |out| record::write_cursors(out, &cursors));
        self.put(&segment)?;
        self.cursors = cursors;
        Ok(())
    }

    /// Removes the segments that every sink has settled.
    fn remove_settled(&mut self) {
        let settled = self.shared.tails.iter().map(Tail::acknowledged).min().unwrap_or(0);
        loop {
            let oldest = {
                let segments = self.shared.segments();
                match segments.as_slice() {
                    [oldest, next, ..] if next.first <= settled + 1 => Arc::clone(oldest),
                    _ => return,
                }
            };
            if let Err(error) = self.storage.remove(&Segment::name(oldest.number)) {
                // It is tried again in the next round; told now and then only.
                if self.clock.now() >= self.retry_at {
                    self.retry_at = self.clock.now() + self.retry;
                    self.shared.facts().failed("remove", error.to_string());
                }
                return;
            }
            self.dirt.pages.retain(|page| !Arc::ptr_eq(page, &oldest.page));
            self.shared.segments().remove(0);
            let mut facts = self.shared.facts();
            facts.bytes = facts.bytes.saturating_sub(oldest.end());
            facts.segments = facts.segments.saturating_sub(1);
        }
    }

    /// The last words: every cursor, and that nothing follows.
    fn end(&mut self) {
        self.hear();
        let cursors: Vec<u64> = self.shared.tails.iter().map(Tail::acknowledged).collect();
        let Some(segment) = self.segment.clone() else {
            return;
        };
        self.syncer = None;
        self.buffer.clear();
        frame::write(segment.number, &mut self.buffer, |out| record::write_cursors(out, &cursors));
        // All that comes before is kept first, so that these words are never truer than the disk.
        if self.put(&segment).is_ok() && self.sync() && self.segment.is_some() {
            self.buffer.clear();
            frame::write(segment.number, &mut self.buffer, record::write_closed);
            if self.put(&segment).is_ok() {
                self.sync();
            }
        }
    }
}

/// The entry that an event was.
pub(super) fn unplaced(event: Event) -> Entry {
    Entry {
        kind: event.kind,
        topic: event.topic,
        body: event.body,
        correlation_id: event.correlation_id,
        received: event.received,
        marks: event.marks,
        sink: None,
    }
}
