//! What the frames of a segment say: its head, the numbers known when it began, events, cursors, a clean end.
//!
//! Reading is total: what is not as it should be is `None`, never a panic, and never more memory than the payload has. Strings are a length
//! of four bytes and UTF-8; all numbers are little endian.

use super::{Numbers, SINKS_MAX};
use crate::event::{Event, Kind, Marks};

/// The format. Another version is not read, and not touched.
pub(super) const VERSION: u8 = 1;

/// No position, number, cursor or time is greater: the year 6536 in microseconds, to which a count does not get. So no sum of a few
/// overflows.
const NUMBER_MAX: u64 = 1 << 57;

const HEAD: u8 = 1;
const NUMBERS: u8 = 2;
const EVENT: u8 = 3;
const CURSORS: u8 = 4;
const CLOSED: u8 = 5;

/// The first frame of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) version: u8,
    /// The system's boot in which it was written; empty where that is not known.
    pub(super) boot: String,
    /// Every event in it is of this epoch.
    pub(super) epoch: String,
    /// The last position before it.
    pub(super) position: u64,
    /// The sinks that its events and numbers speak of, in their order, and each one's cursor.
    pub(super) sinks: Vec<(String, u64)>,
    /// How many frames belong to the head: without them all the segment does not count.
    pub(super) opening: u32,
}

/// One frame's meaning, borrowed from it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    Head(Head),
    /// Keys and their last numbers; part of the head.
    Numbers(Vec<(&'a str, Numbers)>),
    Event(Placed<'a>),
    /// A cursor for each sink of the head.
    Cursors(Vec<u64>),
    /// Nothing follows: every cursor was written, and the disk has it all.
    Closed,
}

/// An event as it lies in a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Placed<'a> {
    pub(super) position: u64,
    /// In the order of the head's sinks; 0 for one that did not get it.
    pub(super) numbers: Numbers,
    pub(super) kind: Kind,
    pub(super) marks: Marks,
    pub(super) received: u64,
    pub(super) topic: &'a str,
    pub(super) correlation_id: Option<&'a str>,
    pub(super) body: &'a [u8],
}

pub(super) fn write_head(out: &mut Vec<u8>, head: &Head) {
    out.push(HEAD);
    out.push(head.version);
    write_text(out, &head.boot);
    write_text(out, &head.epoch);
    out.extend_from_slice(&head.position.to_le_bytes());
    out.push(u8::try_from(head.sinks.len()).unwrap_or(u8::MAX));
    for (name, cursor) in &head.sinks {
        write_text(out, name);
        out.extend_from_slice(&cursor.to_le_bytes());
    }
    out.extend_from_slice(&head.opening.to_le_bytes());
}

/// Begins a frame of numbers; `write_number` adds to it.
pub(super) fn write_numbers(out: &mut Vec<u8>) {
    out.push(NUMBERS);
}

pub(super) fn write_number(out: &mut Vec<u8>, key: &str, numbers: &Numbers, sinks: usize) {
    write_text(out, key);
    for number in &numbers[..sinks] {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

pub(super) fn write_event(out: &mut Vec<u8>, event: &Event, numbers: &Numbers) {
    out.push(EVENT);
    out.push(code(event.kind));
    let (marks, correlated) = (event.marks, event.correlation_id.is_some());
    let flags = [marks.late, marks.possible_duplicate, correlated];
    out.push(flags.iter().rev().fold(0, |bits, flag| bits << 1 | u8::from(*flag)));
    let takers = numbers.iter().enumerate().filter(|(_, number)| **number > 0);
    out.push(takers.clone().fold(0, |bits, (sink, _)| bits | 1 << sink));
    out.extend_from_slice(&event.position.to_le_bytes());
    out.extend_from_slice(&event.received.as_micros().to_le_bytes());
    for (_, number) in takers {
        out.extend_from_slice(&number.to_le_bytes());
    }
    write_text(out, event.topic.name());
    if let Some(id) = &event.correlation_id {
        write_text(out, id);
    }
    out.extend_from_slice(&event.body);
}

pub(super) fn write_cursors(out: &mut Vec<u8>, cursors: &[u64]) {
    out.push(CURSORS);
    for cursor in cursors {
        out.extend_from_slice(&cursor.to_le_bytes());
    }
}

pub(super) fn write_closed(out: &mut Vec<u8>) {
    out.push(CLOSED);
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    // Nothing that comes here is longer than a frame of the socket.
    out.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// The version that a head names, whatever follows it.
pub(super) fn version(payload: &[u8]) -> Option<u8> {
    payload.strip_prefix(&[HEAD]).and_then(|rest| rest.first().copied())
}

/// Reads a frame's payload. `sinks` is how many its segment's head names.
pub(super) fn read(payload: &[u8], sinks: usize) -> Option<Said<'_>> {
    let mut rest = Rest(payload);
    let said = match rest.byte()? {
        HEAD => Said::Head(rest.head()?),
        NUMBERS => Said::Numbers(rest.numbers(sinks)?),
        EVENT => Said::Event(rest.event()?),
        CURSORS => {
            let cursors: Option<Vec<u64>> = (0..sinks).map(|_| rest.number()).collect();
            Said::Cursors(cursors?)
        }
        CLOSED => Said::Closed,
        _ => return None,
    };
    rest.0.is_empty().then_some(said)
}

/// What of a payload is not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*first)).filter(|number| *number <= NUMBER_MAX)
    }

    fn short(&mut self) -> Option<u32> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*first))
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.short()? as usize;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    fn head(&mut self) -> Option<Head> {
        let version = self.byte()?;
        let (boot, epoch) = (self.text()?.to_owned(), self.text()?.to_owned());
        let position = self.number()?;
        let count = usize::from(self.byte()?);
        if count > SINKS_MAX {
            return None;
        }
        let sink = |_| Some((self.text()?.to_owned(), self.number()?));
        let sinks: Option<Vec<(String, u64)>> = (0..count).map(sink).collect();
        Some(Head { version, boot, epoch, position, sinks: sinks?, opening: self.short()? })
    }

    fn numbers(&mut self, sinks: usize) -> Option<Vec<(&'a str, Numbers)>> {
        let mut list = Vec::new();
        while !self.0.is_empty() {
            let key = self.text()?;
            let mut numbers = Numbers::default();
            for number in numbers.iter_mut().take(sinks) {
                *number = self.number()?;
            }
            list.push((key, numbers));
        }
        Some(list)
    }

    fn event(&mut self) -> Option<Placed<'a>> {
        let kind = kind(self.byte()?)?;
        let flags = self.byte()?;
        let takers = self.byte()?;
        let (position, received) = (self.number()?, self.number()?);
        let mut numbers = Numbers::default();
        for (sink, number) in numbers.iter_mut().enumerate() {
            if takers & 1 << sink != 0 {
                *number = self.number()?;
            }
        }
        let topic = self.text()?;
        let correlation_id = if flags & 4 == 0 { None } else { Some(self.text()?) };
        let marks = Marks { late: flags & 1 != 0, possible_duplicate: flags & 2 != 0 };
        let body = std::mem::take(&mut self.0);
        Some(Placed { position, numbers, kind, marks, received, topic, correlation_id, body })
    }
}

/// The number of a kind on disk, which never changes.
const fn code(kind: Kind) -> u8 {
    match kind {
        Kind::Notification => 0,
        Kind::ObservationsSnapshot => 1,
        Kind::MembersSnapshot => 2,
        Kind::Gap => 3,
        Kind::GapOpened => 4,
        Kind::GapClosed => 5,
        Kind::Epoch => 6,
        Kind::Parked => 7,
        Kind::GapRebased => 8,
    }
}

fn kind(code: u8) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| self::code(*kind) == code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Epoch, Topic};
    use crate::time::Timestamp;
    use proptest::prelude::*;

    #[test]
    fn what_was_written_is_read_again() {
        let event = Event {
            epoch: Epoch::named("e"),
            position: 9,
            kind: Kind::MembersSnapshot,
            topic: Topic::new("v2.users.a.presence"),
            body: "{}".into(),
            correlation_id: Some("c".into()),
            received: Timestamp::from_micros(5),
            marks: Marks { late: true, possible_duplicate: false },
        };
        let mut numbers = Numbers::default();
        (numbers[1], numbers[7]) = (3, NUMBER_MAX);
        let mut out = Vec::new();
        write_event(&mut out, &event, &numbers);
        let placed = Placed {
            position: 9,
            numbers,
            kind: event.kind,
            marks: event.marks,
            received: 5,
            topic: event.topic.name(),
            correlation_id: Some("c"),
            body: b"{}",
        };
        assert_eq!(read(&out, 8), Some(Said::Event(placed)));

        let sinks = vec![("kafka".to_owned(), 4), ("nats".to_owned(), 0)];
        let (boot, epoch) = ("b".to_owned(), "e".to_owned());
        let head = Head { version: VERSION, boot, epoch, position: 8, sinks, opening: 2 };
        let mut out = Vec::new();
        write_head(&mut out, &head);
        assert_eq!(read(&out, 0), Some(Said::Head(head)));

        let mut out = Vec::new();
        write_cursors(&mut out, &[NUMBER_MAX + 1]);
        assert_eq!(read(&out, 1), None, "no cursor gets so far");

        let mut out = Vec::new();
        write_numbers(&mut out);
        write_number(&mut out, "key", &[1, 2, 0, 0, 0, 0, 0, 0], 2);
        let known = vec![("key", [1, 2, 0, 0, 0, 0, 0, 0])];
        assert_eq!(read(&out, 2), Some(Said::Numbers(known)));
        assert_eq!(read(&out, 3), None);
    }

    #[test]
    fn every_kind_has_a_number_of_its_own() {
        for one in Kind::ALL {
            assert_eq!(kind(code(one)), Some(one));
        }
        assert_eq!(kind(200), None);
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(payload: Vec<u8>, first in 0_u8..7, sinks in 0_usize..=SINKS_MAX) {
            let payload: Vec<u8> = std::iter::once(first).chain(payload).collect();
            let _: Option<Said<'_>> = read(&payload, sinks);
        }
    }
}
