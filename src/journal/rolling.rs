//! A new segment: its head holds all that is known, so that older segments can go; and with it, now and then, a new epoch.

use super::Numbers;
use super::frame;
use super::opening::{self, Ended};
use super::record::{self, Head, VERSION};
use super::segment::Segment;
use super::shared::{Written, cost};
use super::tail::Tail;
use super::writer::Writer;
use crate::event::{Entry, Epoch, Event, Kind, Topic};
use crate::sequence::Sequencer;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

/// About how many bytes of numbers one frame holds.
const CHUNK: usize = 64 << 10;

/// A disk that takes no more than this is not taken for well again.
const TRIAL: usize = 256 << 10;

/// How far a calendar may have been set back, about.
const AGE: Duration = Duration::from_secs(1 << 32);

/// How a segment is begun.
#[derive(Clone, Copy)]
struct Care {
    is_trial: bool,
    /// Whether the disk has it before anything else is done.
    is_kept: bool,
}

/// What a new epoch begins with.
struct Renewal {
    epoch: Epoch,
    reason: &'static str,
    sequencer: Sequencer,
    notices: Vec<Written>,
}

impl Writer {
    /// The segment for what comes next: the same, unless it is long enough or an epoch ends.
    pub(super) fn ready_segment(&mut self) -> io::Result<Arc<Segment>> {
        let most = self.shared.config.segment_bytes.0;
        match &self.segment {
            Some(segment) if segment.end() < most && self.renew.is_none() => {
                Ok(Arc::clone(segment))
            }
            Some(_) | None => {
                if self.renew.is_some() {
                    self.wait_for_disk();
                }
                self.roll(false)?;
                self.segment.clone().ok_or_else(|| io::Error::other("no segment"))
            }
        }
    }

    /// Begins a segment. What the disk may lack of an abandoned one is written here anew. With `is_trial` it is made sure that the disk
    /// takes more than a few bytes.
    ///
    /// The first of a process, and one that follows another which failed, is waited for. Else a power cut could leave no trace of it, and
    /// behind a clean end nobody would know that numbers were given since; and a disk that writes but never keeps would be written to
    /// for ever.
    pub(super) fn roll(&mut self, is_trial: bool) -> io::Result<()> {
        let is_first = self.segment.is_none();
        let care = Care { is_trial, is_kept: is_first };
        let mut again = if is_first { self.shared.unsynced() } else { Vec::new() };
        // What is of an older epoch was kept by the disk, or is past helping.
        again.retain(|one| one.event.epoch == self.epoch);
        let renewal = self.renew.filter(|_| again.is_empty()).map(|reason| self.renewal(reason));
        let position = again.first().map_or(self.position, |first| first.event.position - 1);
        let epoch = renewal.as_ref().map_or(&self.epoch, |renewal| &renewal.epoch).clone();
        let number = self.next;
        let head = Head {
            version: VERSION,
            boot: self.boot.clone(),
            epoch: epoch.as_str().to_owned(),
            position,
            sinks: self.sinks(),
            opening: 0,
        };
        let known = renewal.as_ref().map_or(&self.sequencer, |renewal| &renewal.sequencer);
        let notices = renewal.as_ref().map_or(&[][..], |renewal| &renewal.notices);
        let (bytes, places) = laid_out(number, head, known, notices, &again);
        let segment = self.begin(number, &epoch, position, &bytes, care)?;
        for (position, offset) in places {
            segment.remember(position, offset);
        }
        self.segment = Some(segment);
        if is_first {
            self.shared.synced(self.position);
        }
        if let Some(renewal) = renewal {
            self.take_up(renewal);
        }
        Ok(())
    }

    /// Makes the file and writes its head. What fails leaves nothing behind but a number that is not used again.
    fn begin(
        &mut self,
        number: u64,
        epoch: &Epoch,
        position: u64,
        bytes: &[u8],
        care: Care,
    ) -> io::Result<Arc<Segment>> {
        let name = Segment::name(number);
        let page = self.storage.create(&name).inspect_err(|error| {
            self.fenced |= error.kind() == ErrorKind::AlreadyExists;
        })?;
        self.next += 1;
        let tried = page.write_at(bytes, 0).and_then(|()| {
            if care.is_trial {
                page.write_at(&[0; TRIAL], bytes.len() as u64)?;
                page.cut(bytes.len() as u64)?;
            }
            if care.is_kept {
                page.sync()?;
                self.storage.sync_folder()?;
            }
            Ok(())
        });
        if let Err(error) = tried {
            // A head that is not whole counts for nothing; what cannot be removed now is removed at the next start.
            drop(self.storage.remove(&name));
            return Err(error);
        }
        let sinks = self.shared.tails.iter().map(|tail| tail.sink.to_owned()).collect();
        let segment = Segment::new(
            number,
            epoch.clone(),
            sinks,
            position + 1,
            Arc::clone(&page),
            bytes.len() as u64,
        );
        let segment = Arc::new(segment);
        if care.is_kept {
            self.shared.facts().bytes += bytes.len() as u64;
        } else {
            self.soil(&page, bytes.len() as u64);
            self.dirt.folder = true;
        }
        self.cursors = self.shared.tails.iter().map(Tail::acknowledged).collect();
        self.shared.segments().push(Arc::clone(&segment));
        let mut facts = self.shared.facts();
        facts.segments += 1;
        facts.keys = self.sequencer.keys() as u64;
        Ok(segment)
    }

    fn sinks(&self) -> Vec<(String, u64)> {
        let tails = self.shared.tails.iter();
        tails.map(|tail| (tail.sink.to_owned(), tail.acknowledged())).collect()
    }

    /// The epoch that begins now: its name, and what it opens with.
    fn renewal(&mut self, reason: &'static str) -> Renewal {
        let epoch = self.next_epoch();
        let mut sequencer = Sequencer::default();
        let mut notices = Vec::new();
        let ended =
            Ended { epoch: &self.epoch, position: self.position, sequencer: &self.sequencer };
        let mut position = self.position;
        for sink in 0..self.shared.tails.len() {
            for body in opening::bodies(&ended, &epoch, reason, sink) {
                position += 1;
                let (topic, now) = (Topic::control(), self.clock.timestamp());
                let numbers: Numbers = sequencer.next(topic.key(), |taker| taker == sink);
                let entry = Entry::own(Kind::Epoch, topic, body.into(), now);
                let event = Arc::new(Event::placed(epoch.clone(), position, entry));
                notices.push(Written { event, numbers });
            }
        }
        Renewal { epoch, reason, sequencer, notices }
    }

    /// A name behind that of the last epoch, and of any that a sink knows, even where the calendar was set back.
    fn next_epoch(&mut self) -> Epoch {
        let known = self.shared.pending().younger.clone();
        let last = known.as_ref().map_or("", Epoch::as_str).max(self.epoch.as_str()).to_owned();
        let (mut began, mut step) = (self.clock.timestamp(), Duration::from_secs(1));
        loop {
            let epoch = Epoch::new(began, (self.salt)());
            // What claims to be of another age of the world was not written by us.
            if epoch.as_str() > last.as_str() || step > AGE {
                return epoch;
            }
            began = began.after(step);
            step *= 2;
        }
    }

    fn take_up(&mut self, renewal: Renewal) {
        let Renewal { epoch, reason, sequencer, mut notices } = renewal;
        for notice in &notices {
            let takers =
                self.shared.tails.iter().zip(&notice.numbers).filter(|(_, number)| **number > 0);
            takers.for_each(|(tail, _)| tail.add(cost(notice.event.body.len())));
        }
        self.position = notices.last().map_or(self.position, |last| last.event.position);
        (self.epoch, self.sequencer, self.renew) = (epoch.clone(), sequencer, None);
        {
            let mut facts = self.shared.facts();
            facts.epoch = Some(epoch.clone());
            facts.epochs.push((epoch, reason));
        }
        self.shared.publish(&mut notices);
    }
}

/// Positions and where their frames begin.
type Places = Vec<(u64, u64)>;

/// A segment's beginning: the head and what belongs to it, and behind it what is written again.
fn laid_out(
    number: u64,
    mut head: Head,
    known: &Sequencer,
    notices: &[Written],
    again: &[Written],
) -> (Vec<u8>, Places) {
    let mut chunks: Vec<Vec<u8>> = Vec::new();
    let sinks = head.sinks.len();
    // The notices' own numbers are theirs to tell.
    for (key, numbers) in known.list().filter(|_| notices.is_empty()) {
        if chunks.last().is_none_or(|chunk| chunk.len() > CHUNK) {
            let mut chunk = Vec::new();
            record::write_numbers(&mut chunk);
            chunks.push(chunk);
        }
        if let Some(chunk) = chunks.last_mut() {
            record::write_number(chunk, key, numbers, sinks);
        }
    }
    head.opening = u32::try_from(chunks.len() + notices.len()).unwrap_or(u32::MAX);
    let (mut out, mut places) = (Vec::new(), Vec::new());
    frame::write(number, &mut out, |out| record::write_head(out, &head));
    for chunk in &chunks {
        frame::write(number, &mut out, |out| out.extend_from_slice(chunk));
    }
    for one in notices.iter().chain(again) {
        places.push((one.event.position, out.len() as u64));
        frame::write(number, &mut out, |out| record::write_event(out, &one.event, &one.numbers));
    }
    (out, places)
}
