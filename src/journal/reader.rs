//! One sink's view of the journal: what it is offered, what was sent, and behind it what is settled.
//!
//! There is one reader per sink. It reads memory where the sink keeps up, and the disk where it lags. What it is told to forget it forgets;
//! it judges nothing.

use super::Stats;
use super::disk::Disk;
use super::shared::{Seen, Shared, cost};
use super::tail::Tail;
use crate::event::Epoch;
use crate::sink::Record;
use crate::time::Timestamp;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// The reading end for one sink.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    sink: usize,
    /// The next position to look at.
    next: u64,
    /// Read, and not sent.
    ahead: VecDeque<Record>,
    /// Sent, and not acknowledged.
    sent: VecDeque<Sent>,
    /// Lent to the thread that reads.
    disk: Option<Disk>,
    /// Positions were lost, so that the count of what waits may be too high.
    is_lossy: bool,
}

/// What is remembered of a record that was sent.
#[derive(Clone, Copy, Debug)]
struct Sent {
    position: u64,
    received: Timestamp,
    cost: u64,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, sink: usize) -> Self {
        let next = shared.tails[sink].acknowledged() + 1;
        let (ahead, sent) = (VecDeque::new(), VecDeque::new());
        Self { shared, sink, next, ahead, sent, disk: None, is_lossy: false }
    }

    fn tail(&self) -> &Tail {
        &self.shared.tails[self.sink]
    }

    /// Whose events these are.
    pub fn sink(&self) -> &'static str {
        self.tail().sink
    }

    /// The epochs of what is not acknowledged, oldest first; the last is that of new events.
    pub fn epochs(&self) -> Vec<Epoch> {
        self.shared.epochs_after(self.tail().acknowledged())
    }

    /// The last position that lay in the journal when it was opened.
    pub fn began(&self) -> u64 {
        self.shared.began
    }

    /// Appends to `batch` up to `count` records of one epoch that were not sent, without taking them for sent. Cancel-safe.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub async fn peek(&mut self, count: usize, batch: &mut Vec<Record>) -> io::Result<()> {
        while self.ahead.len() < count {
            let wanted = count - self.ahead.len();
            match self.shared.recent(self.sink, self.next, wanted, &mut self.ahead) {
                Seen::Upto(next) => {
                    self.next = next;
                    break;
                }
                Seen::OnDisk(until) => self.read_disk(until, wanted).await?,
            }
        }
        self.settle();
        let epoch = self.ahead.front().map(|first| &first.event.epoch);
        let same = |record: &&Record| Some(&record.event.epoch) == epoch;
        batch.extend(self.ahead.iter().take(count).take_while(same).cloned());
        Ok(())
    }

    async fn read_disk(&mut self, until: u64, count: usize) -> io::Result<()> {
        let mut disk = self.disk.take().unwrap_or_default();
        let (shared, sink, from) = (Arc::clone(&self.shared), self.sink(), self.next);
        let read = spawn_blocking(move || {
            let batch = disk.read(&shared, sink, from, until, count);
            (disk, batch)
        });
        let (disk, batch) = read.await.map_err(io::Error::other)?;
        self.disk = Some(disk);
        let batch = batch?;
        self.next = batch.next;
        self.ahead.extend(batch.records);
        if batch.lost > 0 {
            self.is_lossy = true;
            self.shared.facts().lost.push((self.sink, batch.lost, batch.lost_from));
        }
        Ok(())
    }

    /// Takes the first `count` of what was peeked for sent.
    pub fn advance(&mut self, count: usize) {
        let count = count.min(self.ahead.len());
        self.sent.extend(self.ahead.drain(..count).map(|record| Sent {
            position: record.event.position,
            received: record.event.received,
            cost: cost(record.event.body.len()),
        }));
        self.show();
    }

    /// Begins again at the first record without acknowledgement.
    pub fn rewind(&mut self) {
        self.next = self.tail().acknowledged() + 1;
        self.ahead.clear();
        self.sent.clear();
        self.show();
    }

    /// The record at that place among those that were sent and have no acknowledgement, oldest first.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub async fn sent(&self, place: usize) -> io::Result<Option<Record>> {
        let Some(position) = self.sent.get(place).map(|sent| sent.position) else {
            return Ok(None);
        };
        let mut again = Self::new(Arc::clone(&self.shared), self.sink);
        again.next = position;
        let mut found = Vec::new();
        again.peek_only(&mut found).await?;
        Ok(found.pop().filter(|record| record.event.position == position))
    }

    /// As `peek` of one, by a reader that must not move the cursor.
    async fn peek_only(&mut self, found: &mut Vec<Record>) -> io::Result<()> {
        while self.ahead.is_empty() {
            match self.shared.recent(self.sink, self.next, 1, &mut self.ahead) {
                Seen::Upto(_) => break,
                Seen::OnDisk(until) => self.read_disk(until, 1).await?,
            }
        }
        found.extend(self.ahead.pop_front());
        Ok(())
    }

    /// Forgets the oldest `count` records that were sent: they are stored or parked.
    pub fn acknowledge(&mut self, count: usize) {
        let count = count.min(self.sent.len());
        let bytes = self.sent.drain(..count).map(|sent| sent.cost).sum();
        self.tail().subtract(count as u64, bytes);
        self.settle();
    }

    /// Forgets all records of that epoch, and of older ones, up to that position: the broker has them already. Returns how many.
    ///
    /// A younger epoch's records stay whatever their positions: after a power cut the broker may hold more of an epoch than the
    /// disk kept, and the next epoch has given those positions to other events.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub async fn skip_through(&mut self, epoch: &Epoch, position: u64) -> io::Result<usize> {
        // Epochs sort by age.
        let is_known = |record: &&Record| {
            let event = &record.event;
            event.position <= position && event.epoch.as_str() <= epoch.as_str()
        };
        self.rewind();
        let (mut batch, mut skipped) = (Vec::new(), 0);
        loop {
            batch.clear();
            self.peek(SKIPPED, &mut batch).await?;
            let known = batch.iter().take_while(is_known).count();
            self.advance(known);
            self.acknowledge(known);
            skipped += known;
            if known < batch.len() || batch.is_empty() {
                return Ok(skipped);
            }
        }
    }

    /// The sink holds more of the newest epoch than the journal, or something of that younger one: the journal is an old copy. A new epoch
    /// begins, younger than either, and what came since the journal was opened is placed anew in it. Waits until that is done. What lay
    /// in the copy the sink has.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub async fn renew(&mut self, younger: Option<&Epoch>) -> io::Result<()> {
        if let Some(newest) = self.epochs().pop() {
            self.skip_through(&newest, self.shared.began).await?;
        }
        let bit = 1 << self.sink;
        {
            let mut pending = self.shared.pending();
            pending.behind |= bit;
            if let Some(younger) = younger {
                pending.younger = Some(younger.clone());
            }
        }
        self.shared.wake();
        while self.shared.pending().behind & bit != 0 {
            self.changed().await;
        }
        // Some of it may have been damaged.
        self.is_lossy = true;
        self.rewind();
        Ok(())
    }

    /// Moves the cursor over what is settled or not for this sink.
    fn settle(&mut self) {
        let first = self.sent.front().map(|sent| sent.position);
        let first = first.or_else(|| self.ahead.front().map(|record| record.event.position));
        let settled = first.unwrap_or(self.next) - 1;
        self.tail().acknowledge(settled);
        if self.is_lossy && first.is_none() {
            // What was counted and cannot be read will never be acknowledged.
            self.is_lossy = !self.shared.forget_lost(self.sink, self.next);
        }
        self.show();
    }

    fn show(&self) {
        let unsent = self.ahead.front().map(|record| record.event.received);
        let oldest = self.sent.front().map(|sent| sent.received).or(unsent);
        self.tail().show(unsent, oldest);
    }

    /// How many records have no acknowledgement.
    pub fn unacknowledged(&self) -> usize {
        usize::try_from(self.tail().events()).unwrap_or(usize::MAX)
    }

    /// Whether nothing more will be appended.
    pub fn is_closed(&self) -> bool {
        self.tail().is_closed()
    }

    /// Whether everything that will ever be appended is settled.
    pub fn is_finished(&self) -> bool {
        // Asked first: what was appended before the close is then seen.
        self.is_closed() && self.unacknowledged() == 0
    }

    /// Waits until something was appended, or the journal closed, since the last wait. May return early; cancel-safe.
    pub async fn changed(&self) {
        self.tail().changed.notified().await;
    }

    /// What waits for the sink.
    pub fn stats(&self) -> Stats {
        Stats::of(&self.shared, self.sink)
    }
}

/// How many records are skipped at once.
const SKIPPED: usize = 1024;
