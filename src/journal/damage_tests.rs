//! A disk that gives back something else than it was given, or nothing: what is missing is named, and no number is used twice.

use super::rehearsal::{Model, config, open};
use super::{Config, Found, Journal, Reader};
use crate::event::{Entry, Kind, Marks, Notification, Topic};
use crate::size::Size;
use crate::time::Timestamp;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;

const FIRST: &str = "000000000001.log";

fn entry(key: &str, body: &str) -> Entry {
    let notification = Notification {
        topic: Topic::new(key),
        body: body.to_owned().into(),
        correlation_id: None,
        received: Timestamp::from_micros(7),
    };
    Entry::pushed(notification, Marks::default())
}

/// A body that fills a page of the disk, wherever it begins.
fn long(word: &str) -> String {
    word.repeat(9_000 / word.len())
}

/// Bytes of such a second event, in a page that holds nothing else.
const WITHIN: std::ops::Range<usize> = 13_000..13_100;

/// A disk into which a process wrote these, each of its own key, before it ended or was killed.
fn disk_with(bodies: &[&str], is_killed: bool) -> Arc<Model> {
    let disk: Arc<Model> = Arc::default();
    let (mut journal, readers, _) = open(&config(), &disk, "boot", &["kafka"]);
    for (number, body) in bodies.iter().enumerate() {
        journal.append(entry(&format!("key {number}"), body));
    }
    let left = disk.after_kill();
    drop((journal, readers));
    if is_killed { left } else { disk }
}

/// Changes a byte of that word where it was written first.
fn spoil(disk: &Model, file: &str, word: &str) {
    disk.damage(file, |bytes| {
        let at = bytes.windows(word.len()).position(|some| some == word.as_bytes());
        bytes[at.expect("it is there")] ^= 1;
    });
}

fn reopen(disk: &Arc<Model>) -> (Journal, Vec<Reader>, Found) {
    open(&config(), disk, "boot", &["kafka"])
}

/// What the platform pushed of all that waits, acknowledged: bodies, and numbers by epoch and key.
async fn delivered(reader: &mut Reader) -> (Vec<String>, BTreeMap<(String, String), Vec<u64>>) {
    let (mut bodies, mut numbers) = (Vec::new(), BTreeMap::<_, Vec<u64>>::new());
    loop {
        let mut batch = Vec::new();
        reader.peek(2, &mut batch).await.expect("a disk that can be read");
        if batch.is_empty() {
            return (bodies, numbers);
        }
        reader.advance(batch.len());
        reader.acknowledge(batch.len());
        for record in batch {
            let event = &record.event;
            let place = (event.epoch.to_string(), event.topic.key().to_owned());
            numbers.entry(place).or_default().push(record.number);
            if event.kind == Kind::Notification {
                bodies.push(String::from_utf8_lossy(&event.body).into_owned());
            }
        }
    }
}

#[tokio::test]
async fn damage_that_no_event_follows_is_named_after_a_clean_end_and_after_a_kill() {
    for is_killed in [false, true] {
        let disk = disk_with(&["one", "two", "three"], is_killed);
        spoil(&disk, FIRST, "three");
        let (mut journal, mut readers, found) = reopen(&disk);
        assert_eq!((found.lost.clone(), found.renewed), (vec![(3, 3)], Some("damaged")));
        journal.append(entry("key 2", "four"));
        let (bodies, numbers) = delivered(&mut readers[0]).await;
        assert_eq!(bodies, ["one", "two", "four"]);
        let place = (journal.epoch().to_string(), "key 2".to_owned());
        assert_eq!(numbers[&place], [1], "its number in the old epoch is not given again");
    }
}

#[tokio::test]
async fn a_write_that_was_cut_short_is_no_damage() {
    for torn in [&[0; 700][..], b"\xF1tl\x1A\x90\x00\x00\x00and so on"] {
        let disk = disk_with(&["one", "two"], true);
        disk.damage(FIRST, |bytes| bytes.extend_from_slice(torn));
        let (_journal, mut readers, found) = reopen(&disk);
        assert_eq!((found.renewed, found.lost), (None, vec![]));
        assert_eq!(delivered(&mut readers[0]).await.0, ["one", "two"]);
    }
}

#[tokio::test]
async fn numbers_behind_a_length_that_is_damaged_are_known() {
    let disk = disk_with(&["one", "two", "three"], false);
    disk.damage(FIRST, |bytes| {
        let body = bytes.windows(3).position(|three| three == b"two").expect("it is there");
        let magic = bytes[..body].windows(4).rposition(|four| four == b"\xF1tl\x1A");
        bytes[magic.expect("a frame") + 6] = 1;
    });
    let (_journal, readers, found) = reopen(&disk);
    assert_eq!((found.lost, found.renewed), (vec![(2, 2)], Some("damaged")));
    let mut all = Vec::new();
    let mut reader = readers.into_iter().next().expect("one");
    while reader.unacknowledged() > 0 {
        let mut batch = Vec::new();
        reader.peek(9, &mut batch).await.expect("a disk that can be read");
        reader.advance(batch.len());
        reader.acknowledge(batch.len());
        all.extend(batch);
    }
    let told = all.iter().find(|one| one.event.kind == Kind::Epoch).expect("a notice");
    let told: serde_json::Value = serde_json::from_slice(&told.event.body).expect("JSON");
    assert_eq!(told["numbers"], serde_json::json!({"key 0": 1, "key 2": 1}));
}

#[tokio::test]
async fn the_youngest_segment_is_kept_and_named_when_only_its_head_is_damaged() {
    let disk: Arc<Model> = Arc::default();
    let small = Config { segment_bytes: Size(700), ..config() };
    let (mut journal, readers, _) = open(&small, &disk, "boot", &["kafka"]);
    for _ in 0..6 {
        journal.append(entry("a", &"1".repeat(300)));
    }
    let left = disk.after_kill();
    drop((journal, readers));
    let youngest = left.files().pop().expect("segments");
    let mut held = Vec::new();
    left.damage(&youngest, |bytes| {
        bytes[20] ^= 1;
        held.clone_from(bytes);
    });
    let (mut journal, mut readers, found) = open(&small, &left, "boot", &["kafka"]);
    assert!(left.files().contains(&format!("{youngest}.damaged")), "{:?}", left.files());
    assert_eq!(found.renewed, Some("damaged"));
    let lost: u64 = found.lost.iter().map(|(first, last)| last - first + 1).sum();
    assert_eq!(found.lost.last().map(|stretch| stretch.1), Some(6), "{:?}", found.lost);
    journal.append(entry("a", "seven"));
    let (bodies, _) = delivered(&mut readers[0]).await;
    assert_eq!(bodies.len() as u64 + lost, 7);

    // One that was never finished is nobody's loss.
    let disk = disk_with(&["one"], true);
    disk.damage(FIRST, |bytes| bytes.truncate(40));
    let (_, _, found) = reopen(&disk);
    assert_eq!((found.last_epoch, found.lost), (None, vec![]));
}

#[tokio::test]
async fn what_was_written_anew_after_a_failed_sync_is_not_missed_where_it_was_written_first() {
    let disk: Arc<Model> = Arc::default();
    let eager = Config { sync_bytes: Size(1_000), ..config() };
    let (mut journal, readers, _) = open(&eager, &disk, "boot", &["kafka"]);
    let bodies = ["zero".repeat(300), "one".repeat(100), "two".repeat(100), "three".repeat(100)];
    // The first is long enough to be waited for alone.
    bodies[..3].iter().for_each(|body| drop(journal.append(entry("a", body))));
    // A write, and then the wait for the disk.
    disk.fail_at(disk.operations() + 1, ErrorKind::Other);
    journal.append(entry("a", &bodies[3]));
    assert_eq!(journal.news().failures.len(), 1);
    let left = disk.after_kill();
    drop((journal, readers));
    assert_eq!(left.files().len(), 2);
    spoil(&left, FIRST, &bodies[1]);
    let (_journal, mut readers, found) = open(&eager, &left, "boot", &["kafka"]);
    assert_eq!((found.lost, found.renewed), (vec![], None), "the copies are whole");
    assert_eq!(delivered(&mut readers[0]).await.0, bodies);
}

#[tokio::test]
async fn what_the_disk_cannot_read_counts_as_damaged_after_a_few_attempts() {
    let bodies = ["one", "two", "three", "four"].map(long);
    let disk = disk_with(&bodies.each_ref().map(|body| &**body), false);
    let (mut journal, mut readers, _) = reopen(&disk);
    disk.spoil(FIRST, WITHIN);
    let mut failures = 0;
    while readers[0].peek(9, &mut Vec::new()).await.is_err() {
        failures += 1;
        assert!(failures < 10, "it may be tried for ever");
    }
    assert!(failures > 2, "the disk may be away for a moment only");
    let (got, _) = delivered(&mut readers[0]).await;
    assert_eq!(got, [&*bodies[0], &bodies[2], &bodies[3]]);
    assert_eq!(journal.news().lost, [("kafka", 1, 2)]);
    assert_eq!(readers[0].unacknowledged(), 0);
}

#[tokio::test]
async fn a_journal_that_cannot_be_read_whole_is_opened_and_what_is_missing_is_named() {
    let bodies = ["one", "two", "three", "four"].map(long);
    let disk = disk_with(&bodies.each_ref().map(|body| &**body), false);
    disk.spoil(FIRST, WITHIN);
    let (mut journal, mut readers, found) = reopen(&disk);
    assert_eq!((found.lost, found.renewed), (vec![(2, 2)], Some("damaged")));
    journal.append(entry("a", "five"));
    // The reader fails first, as it does at any time.
    while readers[0].peek(1, &mut Vec::new()).await.is_err() {}
    let (got, _) = delivered(&mut readers[0]).await;
    assert_eq!(got, [&*bodies[0], &bodies[2], &bodies[3], "five"]);
}

#[tokio::test]
async fn a_disk_that_is_away_as_a_whole_loses_nothing() {
    let disk = disk_with(&["one", "two"], false);
    let (_journal, mut readers, _) = reopen(&disk);
    disk.spoil(FIRST, 0..usize::MAX);
    for _ in 0..20 {
        assert!(readers[0].peek(9, &mut Vec::new()).await.is_err());
    }
    disk.spoil(FIRST, 0..0);
    assert_eq!(delivered(&mut readers[0]).await.0, ["one", "two"]);
}
