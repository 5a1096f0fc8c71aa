//! What a journal's folder holds when a process starts: read whole, every frame checked, torn ends cut, damage told.
//!
//! Decides nothing about epochs; says what is known.

use super::frame::{self, Found};
use super::record::{self, Head, Placed, Said};
use super::segment::Segment;
use super::shared::cost;
use super::storage::{self, Page, Storage};
use super::{Error, Numbers};
use crate::event::{Epoch, Kind};
use crate::sequence::Sequencer;
use crate::time::Timestamp;
use std::io;
use std::sync::Arc;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    /// Oldest first.
    pub(super) segments: Vec<Arc<Segment>>,
    /// Bytes in them.
    pub(super) bytes: u64,
    /// The number of the next segment.
    pub(super) next: u64,
    /// The head of the youngest segment.
    pub(super) last: Option<Head>,
    /// The last position that was given, as far as is known.
    pub(super) position: u64,
    /// Every sink that was ever heard of here, and what it has not settled.
    pub(super) sinks: Vec<Unsettled>,
    /// Whether nothing was to follow.
    pub(super) is_clean: bool,
    /// Bytes of torn ends that were cut.
    pub(super) torn: u64,
    /// Positions that are damaged or missing: the first and the last.
    pub(super) lost: Vec<(u64, u64)>,
    /// A segment that others follow had no head.
    is_headless: bool,
    /// Something damaged was passed over, and nothing that followed told whether events are missing there.
    is_in_doubt: bool,
    /// When the last event was received.
    pub(super) received: Option<Timestamp>,
    /// When the last notification was.
    pub(super) heard: Option<Timestamp>,
}

/// What a sink has not settled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Unsettled {
    pub(super) name: String,
    pub(super) cursor: u64,
    pub(super) events: u64,
    pub(super) bytes: u64,
}

/// What one segment holds for each sink. Events are not remembered one by one: a backlog may have any number of them.
#[derive(Debug)]
struct Tally {
    segment: Arc<Segment>,
    /// Where the frames behind its first one begin.
    behind_head: usize,
    /// The places in `Recovered::sinks` of its sinks.
    places: Vec<usize>,
    /// What a successor follows holds none of its own above that.
    follows: u64,
    /// The positions of its first event and of its last.
    range: Option<(u64, u64)>,
    /// Events and what they cost, by the places in `Recovered::sinks`.
    sums: [(u64, u64); NAMES_MAX],
}

impl Tally {
    fn note(&mut self, placed: &Placed<'_>) {
        let (first, last) = self.range.unwrap_or((placed.position, placed.position));
        self.range = Some((first.min(placed.position), last.max(placed.position)));
        let taken = takers(&self.places, placed);
        for (place, (events, bytes)) in self.sums.iter_mut().enumerate() {
            if taken & 1 << place != 0 {
                *events += 1;
                *bytes += cost(placed.body.len());
            }
        }
    }

    /// Reads it again, for what some sinks have not settled of it: events above each one's cursor, none above `most`.
    fn count(&self, sinks: &mut [Unsettled], wanted: u32, most: u64) -> io::Result<()> {
        let block = read_all(&*self.segment.page)?;
        each_frame(self.segment.number, &block, self.behind_head, |payload| {
            let Some(Said::Event(placed)) = record::read(payload, self.places.len()) else {
                return;
            };
            let taken = takers(&self.places, &placed) & wanted;
            for (place, sink) in sinks.iter_mut().enumerate() {
                if taken & 1 << place != 0 && (sink.cursor + 1..=most).contains(&placed.position) {
                    sink.events += 1;
                    sink.bytes += cost(placed.body.len());
                }
            }
        });
        Ok(())
    }
}

/// A bit for each of `Recovered::sinks` that takes the event. A head that names a sink twice says the same of it twice.
fn takers(places: &[usize], placed: &Placed<'_>) -> u32 {
    let taken = |(place, number): (&usize, &u64)| if *number > 0 { 1 << place } else { 0 };
    places.iter().zip(&placed.numbers).map(taken).fold(0, |all, one| all | one)
}

/// More names of sinks than this are not kept apart: so many were never configured in one folder.
const NAMES_MAX: usize = 32;

/// What is behind the name of a segment that cannot be understood and is kept for people.
const DAMAGED: &str = ".damaged";

/// Reads the folder, and cuts what is torn. `boot` is the system's, empty where it is not known.
pub(super) fn recover(storage: &dyn Storage, boot: &str) -> Result<Recovered, Error> {
    let mut numbers: Vec<u64> = Vec::new();
    numbers.extend(storage.list()?.iter().filter_map(|name| Segment::number(name)));
    numbers.sort_unstable();
    let mut recovered =
        Recovered { next: numbers.last().map_or(1, |last| last + 1), ..Recovered::default() };
    let mut tallies: Vec<Tally> = Vec::new();
    for (at, number) in numbers.iter().enumerate() {
        let name = Segment::name(*number);
        let page = storage.open(&name)?;
        let block = read_all(&*page)?;
        let is_last = at + 1 == numbers.len();
        let scan = Scan { number: *number, block: &block, is_last, boot };
        if scan.run(&page, &mut recovered, &mut tallies)? {
            continue;
        }
        // Without its head nothing in it can be understood.
        drop(page);
        match scan.last_behind_damage() {
            // It was never finished, so that nothing was ever written behind it.
            None => storage.remove(&name)?,
            Some(last) => {
                storage.rename(&name, &format!("{name}{DAMAGED}"))?;
                if is_last {
                    recovered.expect(last);
                    recovered.is_clean = false;
                }
            }
        }
        recovered.is_headless |= !is_last;
    }
    recovered.settle(&tallies)?;
    Ok(recovered)
}

/// Every whole frame from there on.
fn each_frame(number: u64, block: &[u8], mut at: usize, mut each: impl FnMut(&[u8])) {
    loop {
        match frame::read(number, block, at) {
            Found::Frame { payload, next } => {
                each(payload);
                at = next;
            }
            Found::Damage | Found::More { .. } => match frame::resume(number, block, at) {
                Some(next) => at = next,
                None => return,
            },
            Found::End => return,
        }
    }
}

fn read_all(page: &dyn Page) -> io::Result<Vec<u8>> {
    let length = usize::try_from(page.length()?).unwrap_or(usize::MAX);
    let mut block = vec![0; length];
    let read = storage::read_around(page, &mut block, 0)?;
    block.truncate(read);
    Ok(block)
}

/// The numbers known at the end of the youngest segment, for `sinks` in their order.
pub(super) fn numbers(segment: &Segment, sinks: &[&str]) -> Result<Sequencer, Error> {
    let block = read_all(&*segment.page)?;
    let places: Vec<Option<usize>> =
        segment.sinks.iter().map(|name| sinks.iter().position(|sink| sink == name)).collect();
    let moved = |old: &Numbers| {
        let mut new = Numbers::default();
        for (number, place) in old.iter().zip(&places) {
            if let Some(place) = place {
                new[*place] = *number;
            }
        }
        new
    };
    let mut sequencer = Sequencer::default();
    each_frame(segment.number, &block, 0, |payload| {
        match record::read(payload, segment.sinks.len()) {
            Some(Said::Numbers(list)) => {
                list.iter().for_each(|(key, numbers)| sequencer.learn(key, &moved(numbers)));
            }
            Some(Said::Event(placed)) => {
                let topic = crate::event::Topic::new(placed.topic);
                sequencer.learn(topic.key(), &moved(&placed.numbers));
            }
            Some(Said::Head(_) | Said::Cursors(_) | Said::Closed) | None => {}
        }
    });
    Ok(sequencer)
}

/// One file being read.
struct Scan<'a> {
    number: u64,
    block: &'a [u8],
    is_last: bool,
    /// The system's, as it is now.
    boot: &'a str,
}

impl Scan<'_> {
    /// False where it has no head.
    fn run(
        &self,
        page: &Arc<dyn Page>,
        into: &mut Recovered,
        tallies: &mut Vec<Tally>,
    ) -> Result<bool, Error> {
        let Some((head, mut at)) = self.head(into)? else {
            return Ok(false);
        };
        if into.segments.is_empty() {
            into.begin(&head);
        }
        into.follow(head.position);
        let sinks: Vec<String> = head.sinks.iter().map(|(name, _)| name.clone()).collect();
        let places: Vec<usize> =
            head.sinks.iter().map(|(name, cursor)| into.sink(name, *cursor)).collect();
        let (epoch, first) = (Epoch::named(&head.epoch), head.position + 1);
        let segment = Segment::new(self.number, epoch, sinks, first, Arc::clone(page), at as u64);
        let (segment, follows) = (Arc::new(segment), head.position);
        let (sums, range) = ([(0, 0); NAMES_MAX], None);
        let behind_head = at;
        let mut tally =
            Tally { segment: Arc::clone(&segment), behind_head, places, follows, range, sums };
        into.is_clean = false;
        let is_same_boot = !self.boot.is_empty() && head.boot == self.boot;
        into.last = Some(head);
        let end = loop {
            match frame::read(self.number, self.block, at) {
                Found::Frame { payload, next } => {
                    self.note(record::read(payload, tally.places.len()), at, &mut tally, into);
                    at = next;
                }
                Found::End => break at,
                found @ (Found::More { .. } | Found::Damage) => {
                    let is_damage = found == Found::Damage;
                    let Some(next) = frame::resume(self.number, self.block, at) else {
                        // What a process that was killed leaves of a write is its beginning. Anything else at the end of what the
                        // system was given since its boot was something whole.
                        let is_blank = self.block[at..].iter().all(|byte| *byte == 0);
                        into.is_in_doubt |= is_damage && !is_blank && self.is_last && is_same_boot;
                        break at;
                    };
                    into.is_in_doubt = true;
                    at = next;
                }
            }
        };
        segment.lengthen(end as u64);
        if end < self.block.len() && self.is_last {
            into.torn += (self.block.len() - end) as u64;
            into.is_clean = false;
            page.cut(end as u64)?;
        }
        into.bytes += end as u64;
        into.segments.push(segment);
        tallies.push(tally);
        Ok(true)
    }

    /// The last position among events that follow something unreadable; none where nothing follows it.
    fn last_behind_damage(&self) -> Option<u64> {
        let (mut at, mut is_behind, mut last) = (0, false, None);
        loop {
            match frame::read(self.number, self.block, at) {
                Found::Frame { payload, next } => {
                    if let (true, Some(Said::Event(placed))) = (is_behind, record::read(payload, 0))
                    {
                        last = last.max(Some(placed.position));
                    }
                    at = next;
                }
                Found::End => return last,
                Found::More { .. } | Found::Damage => {
                    is_behind = true;
                    let Some(next) = frame::resume(self.number, self.block, at) else {
                        return last;
                    };
                    at = next;
                }
            }
        }
    }

    /// The head and where it ends; none where it is not whole.
    fn head(&self, into: &mut Recovered) -> Result<Option<(Head, usize)>, Error> {
        let mut head: Option<Head> = None;
        let (mut at, mut opening) = (0, 1);
        while opening > 0 {
            let Found::Frame { payload, next } = frame::read(self.number, self.block, at) else {
                into.torn += if self.is_last { self.block.len() as u64 } else { 0 };
                return Ok(None);
            };
            if let Some(version) = record::version(payload)
                && version != record::VERSION
            {
                return Err(Error::Version { file: Segment::name(self.number), version });
            }
            if let (None, Some(Said::Head(said))) = (&head, record::read(payload, 0)) {
                opening = said.opening.saturating_add(1);
                head = Some(said);
            }
            if head.is_none() {
                return Ok(None);
            }
            opening -= 1;
            // The events among them are read with all others.
            at = next;
        }
        // The first frame alone is passed over: what the others say is noted.
        let after = match frame::read(self.number, self.block, 0) {
            Found::Frame { next, .. } => next,
            Found::End | Found::More { .. } | Found::Damage => at,
        };
        Ok(head.map(|head| (head, after)))
    }

    fn note(&self, said: Option<Said<'_>>, at: usize, tally: &mut Tally, into: &mut Recovered) {
        into.is_clean = false;
        match said {
            Some(Said::Event(placed)) => {
                into.expect(placed.position.saturating_sub(1));
                into.position = into.position.max(placed.position);
                let received = Some(Timestamp::from_micros(placed.received));
                into.received = into.received.max(received);
                if placed.kind == Kind::Notification {
                    into.heard = into.heard.max(received);
                }
                tally.segment.remember(placed.position, at as u64);
                tally.note(&placed);
            }
            Some(Said::Cursors(cursors)) => {
                for (place, cursor) in tally.places.iter().zip(cursors) {
                    let known = &mut into.sinks[*place].cursor;
                    *known = (*known).max(cursor);
                }
            }
            Some(Said::Closed) => into.is_clean = true,
            Some(Said::Head(_) | Said::Numbers(_)) | None => {}
        }
    }
}

impl Recovered {
    /// What lies before the oldest segment was settled, unless there was another that could not be read.
    fn begin(&mut self, head: &Head) {
        let settled = head.sinks.iter().map(|(_, cursor)| *cursor).min().unwrap_or(0);
        self.position = if self.is_headless { settled.min(head.position) } else { head.position };
    }

    /// A segment follows `position`. It holds what comes then, also where an older one, which the disk may not have kept, has it
    /// too or has it damaged.
    fn follow(&mut self, position: u64) {
        self.lost.retain_mut(|(first, last)| {
            *last = position.min(*last);
            first <= last
        });
        self.position = self.position.min(position);
        self.expect(position);
    }

    /// What comes next follows `position`: what lies between is lost.
    fn expect(&mut self, position: u64) {
        self.is_in_doubt = false;
        if position > self.position {
            self.lost.push((self.position + 1, position));
            self.position = position;
        }
    }

    /// The place of a sink in the list.
    fn sink(&mut self, name: &str, cursor: u64) -> usize {
        let found = self.sinks.iter().position(|sink| sink.name == name);
        let place = found.unwrap_or_else(|| {
            let known = Unsettled { name: name.to_owned(), ..Unsettled::default() };
            if self.sinks.len() < NAMES_MAX {
                self.sinks.push(known);
            }
            self.sinks.len() - 1
        });
        self.sinks[place].cursor = self.sinks[place].cursor.max(cursor);
        place
    }

    /// Counts what each sink has not settled, once its last cursor is known. A segment is read again only where a cursor lies within it, or
    /// where it holds what its successor holds again: that counts once, as the successor has it.
    fn settle(&mut self, tallies: &[Tally]) -> io::Result<()> {
        let mut most = u64::MAX;
        for tally in tallies.iter().rev() {
            if let Some((first, last)) = tally.range {
                let mut in_part = 0;
                for (place, sink) in self.sinks.iter_mut().enumerate() {
                    let (events, bytes) = tally.sums[place];
                    if events == 0 || last <= sink.cursor || most < first {
                        continue;
                    }
                    if sink.cursor < first && last <= most {
                        sink.events += events;
                        sink.bytes += bytes;
                    } else {
                        in_part |= 1 << place;
                    }
                }
                if in_part != 0 {
                    tally.count(&mut self.sinks, in_part, most)?;
                }
            }
            most = most.min(tally.follows);
        }
        // A sink may have settled what the disk had not yet.
        let settled = self.sinks.iter().map(|sink| sink.cursor).max().unwrap_or(0);
        if self.is_in_doubt {
            // One at least: a gap that is not there is better than one that nobody sees.
            self.expect(settled.max(self.position + 1));
        }
        self.position = self.position.max(settled);
        Ok(())
    }
}
