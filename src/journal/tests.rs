//! What the journal promises to the sequencer and to the sinks.

use super::{Appended, Config, Journal, Reader};
use crate::event::{Epoch, Marks, Notification, Topic};
use crate::sink::Record;
use crate::size::Size;
use crate::time::Timestamp;

fn journal(max_bytes: u64, sinks: &[&'static str]) -> (Journal, Vec<Reader>) {
    let config = Config {
        max_bytes: Size(max_bytes),
    };
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
        journal.append(notification(key, 1), Marks::default());
    }
    assert_eq!(peeked(&readers[0], 10), [(1, 1), (2, 1), (3, 2)]);
}

#[test]
fn a_full_sink_is_refused_alone_and_its_numbers_keep_without_a_hole() {
    let (mut journal, mut readers) = journal(1_000, &["kafka", "nats"]);
    let append = |journal: &mut Journal| journal.append(notification("a", 300), Marks::default());
    append(&mut journal);
    readers[0].advance(1);
    readers[0].acknowledge(1);
    let second = append(&mut journal);
    assert_eq!(
        second,
        Appended {
            position: Some(2),
            refused_by: vec!["nats"]
        }
    );
    let third = append(&mut journal);
    assert_eq!(
        third,
        Appended {
            position: None,
            refused_by: vec!["kafka", "nats"]
        }
    );
    readers[1].acknowledge(1);
    append(&mut journal);
    assert_eq!(peeked(&readers[0], 9), [(2, 2)]);
    assert_eq!(peeked(&readers[1], 9), [(3, 2)]);
}

#[test]
fn an_event_larger_than_the_bound_passes_an_empty_queue() {
    let (mut journal, _readers) = journal(100, &["jsonl"]);
    let appended = journal.append(notification("a", 5_000), Marks::default());
    assert_eq!(appended.position, Some(1));
}

#[test]
fn the_cursor_moves_rewinds_and_skips() {
    let (mut journal, mut readers) = journal(1 << 20, &["jsonl"]);
    for _ in 0..5 {
        journal.append(notification("a", 1), Marks::default());
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
    journal.append(notification("a", 44), Marks::default());
    let stats = journal.stats()[0];
    assert_eq!((stats.unacknowledged, stats.bytes), (1, 300));
    assert_eq!(stats.oldest_unsent, Some(Timestamp::from_micros(7)));
    readers[0].advance(1);
    assert_eq!(readers[0].stats().oldest_unsent, None);
    readers[0].acknowledge(1);
    assert_eq!(
        (readers[0].stats().bytes, readers[0].unacknowledged()),
        (0, 0)
    );
}

#[tokio::test]
async fn an_append_and_the_close_wake_the_reader() {
    let (mut journal, readers) = journal(1 << 20, &["jsonl"]);
    journal.append(notification("a", 1), Marks::default());
    readers[0].changed().await;
    drop(journal);
    readers[0].changed().await;
    assert!(readers[0].is_closed());
    assert_eq!(peeked(&readers[0], 9), [(1, 1)]);
}
