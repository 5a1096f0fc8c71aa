//! Reads one sink's records from segments, for a sink that lags behind what memory holds. Runs where waiting for a disk holds nobody up.

use super::frame::{self, Found};
use super::record::{self, Placed, Said};
use super::segment::Segment;
use super::shared::Shared;
use super::storage;
use crate::event::{Event, Topics};
use crate::sink::Record;
use crate::time::Timestamp;
use bytes::Bytes;
use std::io;
use std::sync::Arc;

/// How much is read at once.
const BLOCK: usize = 256 << 10;

/// Where a sink reads, so that the next read goes on from there.
#[derive(Debug, Default)]
pub(super) struct Disk {
    /// A segment, a place in it, and the position of the event there.
    at: Option<(Arc<Segment>, u64, u64)>,
    topics: Topics,
    block: Vec<u8>,
    /// How often in a row it could not be read.
    failures: u32,
    /// The segment in which what cannot be read counts as damaged.
    spoilt: Option<u64>,
    /// Whether it does so everywhere, at once.
    is_impatient: bool,
}

/// So often the disk may fail before what it does not give counts as damaged: whoever reads pauses in between, since it may be away
/// for a moment only.
const FAILURES: u32 = 4;

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) records: Vec<Record>,
    /// Where to go on.
    pub(super) next: u64,
    /// Positions that could not be read: how many, and the first.
    pub(super) lost: u64,
    pub(super) lost_from: u64,
}

impl Batch {
    /// What lies between here and `position` cannot be read.
    fn lose(&mut self, position: u64) {
        if position > self.next {
            if self.lost == 0 {
                self.lost_from = self.next;
            }
            self.lost += position - self.next;
            self.next = position;
        }
    }
}

impl Disk {
    /// One that takes what cannot be read for damaged at once.
    pub(super) fn impatient() -> Self {
        Self { is_impatient: true, ..Self::default() }
    }

    /// Reads up to `count` records for a sink from position `from` on, below `until`: more are in memory.
    pub(super) fn read(
        &mut self,
        shared: &Shared,
        sink: &str,
        from: u64,
        until: u64,
        count: usize,
    ) -> io::Result<Batch> {
        let mut batch = Batch { next: from, ..Batch::default() };
        while batch.next < until && batch.records.len() < count {
            let Some((segment, successor)) = shared.segment_of(batch.next) else {
                batch.next = until;
                break;
            };
            if batch.next < segment.first {
                // Damaged, or removed since every sink had settled it.
                batch.lose(segment.first);
                continue;
            }
            let part = Part { sink, until: until.min(successor), count };
            self.read_block(&segment, &part, &mut batch)?;
        }
        Ok(batch)
    }

    /// Reads on in one segment, at most one block, unless a record is longer.
    fn read_block(
        &mut self,
        segment: &Arc<Segment>,
        part: &Part<'_>,
        batch: &mut Batch,
    ) -> io::Result<()> {
        let known = self
            .at
            .take()
            .filter(|(known, _, position)| Arc::ptr_eq(known, segment) && *position == batch.next);
        let mut offset = known.map_or_else(|| segment.place(batch.next), |(_, offset, _)| offset);
        let place = segment.sinks.iter().position(|sink| sink == part.sink);
        let mut wanted = BLOCK;
        loop {
            let rest = usize::try_from(segment.end().saturating_sub(offset)).unwrap_or(usize::MAX);
            self.block.resize(wanted.min(rest), 0);
            let is_spoilt = self.is_impatient || self.spoilt == Some(segment.number);
            let read = if is_spoilt {
                storage::read_around(&*segment.page, &mut self.block, offset)
            } else {
                segment.page.read_at(&mut self.block, offset)
            };
            let read = read.inspect_err(|_| {
                self.failures += 1;
                if self.failures >= FAILURES {
                    (self.spoilt, self.failures) = (Some(segment.number), 0);
                }
            })?;
            self.block.truncate(read);
            let is_all = read >= rest || read < wanted;
            self.failures = 0;
            let (at, missing) = self.parse(segment, place, part, is_all, batch);
            if let (0, Some(more)) = (at, missing) {
                wanted = more;
                continue;
            }
            let is_done = batch.next >= part.until || batch.records.len() >= part.count;
            if is_all && !is_done {
                // Nothing more is here, although a successor or memory begins only later.
                batch.lose(part.until);
                return Ok(());
            }
            offset += at as u64;
            if is_done || at > 0 {
                self.at = Some((Arc::clone(segment), offset, batch.next));
                return Ok(());
            }
        }
    }

    /// Takes what is whole in the block. Answers up to where, and how much more a record needs than there is.
    fn parse(
        &mut self,
        segment: &Segment,
        place: Option<usize>,
        part: &Part<'_>,
        is_all: bool,
        batch: &mut Batch,
    ) -> (usize, Option<usize>) {
        let mut at = 0;
        loop {
            if batch.next >= part.until || batch.records.len() >= part.count {
                return (at, None);
            }
            let (payload, next) = match frame::read(segment.number, &self.block, at) {
                Found::Frame { payload, next } => (payload, next),
                Found::End => return (at, None),
                Found::More { until } if !is_all => return (at, Some(until)),
                Found::More { .. } | Found::Damage => {
                    match frame::resume(segment.number, &self.block, at) {
                        Some(next) => {
                            at = next;
                            continue;
                        }
                        // The rest of the block is damaged; what follows may be whole.
                        None => return (self.block.len(), None),
                    }
                }
            };
            let said = record::read(payload, segment.sinks.len());
            if let Some(Said::Event(placed)) = &said
                && placed.position >= part.until
            {
                // It is somebody else's to show.
                batch.lose(part.until);
                return (at, None);
            }
            at = next;
            let Some(Said::Event(placed)) = said else {
                continue;
            };
            if placed.position < batch.next {
                continue;
            }
            batch.lose(placed.position);
            batch.next = placed.position + 1;
            let number = place.map_or(0, |place| placed.numbers[place]);
            if number > 0 {
                let event = Arc::new(event(segment, &placed, &mut self.topics));
                batch.records.push(Record { event, number });
            }
        }
    }
}

/// What of a segment is wanted.
struct Part<'a> {
    sink: &'a str,
    until: u64,
    count: usize,
}

fn event(segment: &Segment, placed: &Placed<'_>, topics: &mut Topics) -> Event {
    Event {
        epoch: segment.epoch.clone(),
        position: placed.position,
        kind: placed.kind,
        topic: topics.get(placed.topic),
        body: Bytes::copy_from_slice(placed.body),
        correlation_id: placed.correlation_id.map(Into::into),
        received: Timestamp::from_micros(placed.received),
        marks: placed.marks,
    }
}
