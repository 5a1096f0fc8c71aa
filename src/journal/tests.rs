//! What the journal promises to the sequencer and to the sinks.

use super::{Appended, Config, Journal, Reader};
use crate::event::{Entry, Epoch, Marks, Notification, Topic};
use crate::sink::Record;
use crate::size::Size;
use crate::time::Timestamp;
use proptest::prelude::*;

fn journal(max_bytes: u64, sinks: &[&'static str]) -> (Journal, Vec<Reader>) {
    let config = Config { max_bytes: Size(max_bytes) };
    Journal::new(&config, Epoch::new(Timestamp::default(), 1), sinks)
}

fn notification(key: &str, length: usize) -> Notification {
    Notification {
        topic: Topic::new(key),
        body: vec![b'1'; length].into(),
        correlation_id: None,
        received: Timestamp::from_micros(7),
    }
}

fn peeked(reader: &Reader, count: usize) -> Vec<(u64, u64)> {
    let mut batch: Vec<Record> = Vec::new();
    reader.peek(count, &mut batch);
    batch.iter().map(|r| (r.event.position, r.number)).collect()
}

#[test]
fn positions_have_no_holes_and_numbers_count_per_key() {
    let (mut journal, readers) = journal(1 << 20, &["jsonl"]);
    for key in ["a", "b", "a"] {
        journal.append(Entry::pushed(notification(key, 1), Marks::default()));
    }
    assert_eq!(peeked(&readers[0], 10), [(1, 1), (2, 1), (3, 2)]);
}

#[test]
fn a_full_sink_is_refused_alone_and_its_numbers_keep_without_a_hole() {
    let (mut journal, mut readers) = journal(1_000, &["kafka", "nats"]);
    let append = |journal: &mut Journal| {
        journal.append(Entry::pushed(notification("a", 300), Marks::default()))
    };
    append(&mut journal);
    readers[0].advance(1);
    readers[0].acknowledge(1);
    let second = append(&mut journal);
    assert_eq!(second, Appended { position: Some(2), refused_by: vec!["nats"] });
    let third = append(&mut journal);
    assert_eq!(third, Appended { position: None, refused_by: vec!["kafka", "nats"] });
    readers[1].acknowledge(1);
    append(&mut journal);
    assert_eq!(peeked(&readers[0], 9), [(2, 2)]);
    assert_eq!(peeked(&readers[1], 9), [(3, 2)]);
}

#[test]
fn an_event_larger_than_the_bound_passes_an_empty_queue() {
    let (mut journal, _readers) = journal(100, &["jsonl"]);
    let appended = journal.append(Entry::pushed(notification("a", 5_000), Marks::default()));
    assert_eq!(appended.position, Some(1));
}

#[test]
fn the_cursor_moves_rewinds_and_skips() {
    let (mut journal, mut readers) = journal(1 << 20, &["jsonl"]);
    for _ in 0..5 {
        journal.append(Entry::pushed(notification("a", 1), Marks::default()));
    }
    let reader = &mut readers[0];
    reader.advance(3);
    assert_eq!(peeked(reader, 1), [(4, 4)]);
    reader.acknowledge(1);
    assert_eq!(peeked(reader, 1), [(4, 4)]);
    reader.rewind();
    assert_eq!(peeked(reader, 1), [(2, 2)]);
    assert_eq!(reader.skip_through(4), 3);
    assert_eq!(peeked(reader, 9), [(5, 5)]);
    assert_eq!(reader.unacknowledged(), 1);
}

#[test]
fn stats_tell_what_waits_and_since_when() {
    let (mut journal, mut readers) = journal(1 << 20, &["jsonl"]);
    journal.append(Entry::pushed(notification("a", 44), Marks::default()));
    let stats = journal.stats()[0];
    assert_eq!((stats.unacknowledged, stats.bytes), (1, 300));
    assert_eq!(stats.oldest_unsent, Some(Timestamp::from_micros(7)));
    readers[0].advance(1);
    assert_eq!(readers[0].stats().oldest_unsent, None);
    readers[0].acknowledge(1);
    assert_eq!((readers[0].stats().bytes, readers[0].unacknowledged()), (0, 0));
}

#[tokio::test]
async fn an_append_and_the_close_wake_the_reader() {
    let (mut journal, readers) = journal(1 << 20, &["jsonl"]);
    journal.append(Entry::pushed(notification("a", 1), Marks::default()));
    readers[0].changed().await;
    drop(journal);
    readers[0].changed().await;
    assert!(readers[0].is_closed());
    assert_eq!(peeked(&readers[0], 9), [(1, 1)]);
}

/// What may be done to a journal with two sinks; the number says to which reader, or how much.
#[derive(Clone, Debug)]
enum Move {
    Append(usize),
    Advance(usize, usize),
    Acknowledge(usize, usize),
    Rewind(usize),
    Skip(usize, u64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => (0..400usize).prop_map(Move::Append),
        2 => (0..2usize, 0..5usize).prop_map(|(sink, count)| Move::Advance(sink, count)),
        2 => (0..2usize, 0..4usize).prop_map(|(sink, count)| Move::Acknowledge(sink, count)),
        1 => (0..2usize).prop_map(Move::Rewind),
        1 => (0..2usize, 0..30u64).prop_map(|(sink, position)| Move::Skip(sink, position)),
    ];
    prop::collection::vec(one, 1..80)
}

/// One sink as a list that nobody could get wrong.
#[derive(Debug, Default)]
struct Model {
    waiting: Vec<(u64, u64, u64)>,
    sent: usize,
    number: u64,
}

impl Model {
    fn append(&mut self, position: u64, length: u64) -> bool {
        let bytes: u64 = self.waiting.iter().map(|waiting| waiting.2).sum();
        let fits = self.waiting.is_empty() || bytes + length + 256 <= 2_000;
        if fits {
            self.number += 1;
            self.waiting.push((position, self.number, length + 256));
        }
        fits
    }

    fn remove(&mut self, count: usize) {
        self.waiting.drain(..count);
        self.sent = self.sent.saturating_sub(count);
    }
}

proptest! {
    #[test]
    fn a_journal_does_what_its_model_does(moves in moves()) {
        let (mut journal, mut readers) = journal(2_000, &["kafka", "nats"]);
        let mut models = [Model::default(), Model::default()];
        let mut position = 0;
        for one in moves {
            match one {
                Move::Append(length) => {
                    let taken = models.each_mut().map(|model| model.append(position + 1, length as u64));
                    position += u64::from(taken.contains(&true));
                    let appended = journal.append(Entry::pushed(notification("a", length), Marks::default()));
                    prop_assert_eq!(appended.position, taken.contains(&true).then_some(position));
                    prop_assert_eq!(appended.refused_by.len(), taken.iter().filter(|taken| !**taken).count());
                }
                Move::Advance(sink, count) => {
                    readers[sink].advance(count);
                    models[sink].sent = (models[sink].sent + count).min(models[sink].waiting.len());
                }
                Move::Acknowledge(sink, count) => {
                    let count = count.min(models[sink].sent);
                    readers[sink].acknowledge(count);
                    models[sink].remove(count);
                }
                Move::Rewind(sink) => {
                    readers[sink].rewind();
                    models[sink].sent = 0;
                }
                Move::Skip(sink, through) => {
                    let count = models[sink].waiting.iter().filter(|waiting| waiting.0 <= through).count();
                    prop_assert_eq!(readers[sink].skip_through(through), count);
                    models[sink].remove(count);
                }
            }
            for (reader, model) in readers.iter().zip(&models) {
                let unsent: Vec<_> = model.waiting[model.sent..].iter().map(|w| (w.0, w.1)).collect();
                prop_assert_eq!(peeked(reader, usize::MAX), unsent);
                let bytes: u64 = model.waiting.iter().map(|waiting| waiting.2).sum();
                prop_assert_eq!(reader.stats().bytes, bytes);
                prop_assert_eq!(reader.unacknowledged(), model.waiting.len());
            }
        }
    }
}
