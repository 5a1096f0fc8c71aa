//! What the journal promises to the driver and to the sinks, while all goes well and from one process to the next.

use super::rehearsal::{self, Model, config, open};
use super::{Appended, Config, Reader};
use crate::event::{Entry, Epoch, Kind, Marks, Notification, Topic};
use crate::sink::Record;
use crate::size::Size;
use crate::time::Timestamp;
use std::sync::Arc;

fn entry(key: &str, body: &str) -> Entry {
    let notification = Notification {
        topic: Topic::new(key),
        body: body.to_owned().into(),
        correlation_id: None,
        received: Timestamp::from_micros(7),
    };
    Entry::pushed(notification, Marks::default())
}

fn sized(key: &str, length: usize) -> Entry {
    entry(key, &"1".repeat(length))
}

async fn peeked(reader: &mut Reader, count: usize) -> Vec<Record> {
    let mut batch = Vec::new();
    reader.peek(count, &mut batch).await.expect("a disk that can be read");
    batch
}

async fn places(reader: &mut Reader, count: usize) -> Vec<(u64, u64)> {
    let batch = peeked(reader, count).await;
    batch.iter().map(|record| (record.event.position, record.number)).collect()
}

/// Everything that waits, acknowledged.
async fn delivered(reader: &mut Reader) -> Vec<Record> {
    let mut all = Vec::new();
    loop {
        let batch = peeked(reader, 3).await;
        if batch.is_empty() {
            return all;
        }
        reader.advance(batch.len());
        reader.acknowledge(batch.len());
        all.extend(batch);
    }
}

fn text(record: &Record) -> &str {
    std::str::from_utf8(&record.event.body).expect("text")
}

#[tokio::test]
async fn positions_have_no_holes_and_numbers_count_per_key() {
    let (mut journal, mut readers) = rehearsal::journal(1 << 20, &["jsonl"]);
    for key in ["a", "b", "a"] {
        journal.append(sized(key, 1));
    }
    assert_eq!(places(&mut readers[0], 10).await, [(1, 1), (2, 1), (3, 2)]);
}

#[tokio::test]
async fn a_full_sink_is_refused_alone_and_its_numbers_keep_without_a_hole() {
    let (mut journal, mut readers) = rehearsal::journal(1_000, &["kafka", "nats"]);
    journal.append(sized("a", 300));
    delivered(&mut readers[0]).await;
    let refused_by = |sinks: &[&'static str]| Appended {
        is_accepted: sinks.len() < 2,
        refused_by: sinks.to_vec(),
        by_disk: false,
    };
    assert_eq!(journal.append(sized("a", 300)), refused_by(&["nats"]));
    assert_eq!(journal.append(sized("a", 300)), refused_by(&["kafka", "nats"]));
    readers[1].rewind();
    assert_eq!(places(&mut readers[1], 1).await, [(1, 1)]);
    readers[1].advance(1);
    readers[1].acknowledge(1);
    journal.append(sized("a", 300));
    assert_eq!(places(&mut readers[0], 9).await, [(2, 2)]);
    assert_eq!(places(&mut readers[1], 9).await, [(3, 2)]);
}

#[tokio::test]
async fn a_sink_at_its_bound_has_room_for_what_is_our_own() {
    let (mut journal, mut readers) = rehearsal::journal(600, &["kafka"]);
    journal.append(sized("a", 300));
    assert!(!journal.append(sized("a", 300)).is_accepted);
    let gap = Entry::own(Kind::Gap, Topic::new("a"), "{}".into(), Timestamp::default());
    assert!(journal.append(gap).is_accepted);
    assert_eq!(places(&mut readers[0], 9).await, [(1, 1), (2, 2)]);
}

#[tokio::test]
async fn an_event_larger_than_the_bound_passes_an_empty_journal() {
    let (mut journal, mut readers) = rehearsal::journal(100, &["jsonl"]);
    assert!(journal.append(sized("a", 5_000)).is_accepted);
    assert_eq!(places(&mut readers[0], 1).await, [(1, 1)]);
}

#[tokio::test]
async fn only_the_sinks_that_an_entry_is_for_get_it() {
    let (mut journal, mut readers) = rehearsal::journal(1 << 20, &["kafka", "nats"]);
    journal.append(sized("a", 1).only_for("nats"));
    journal.append(sized("a", 1).only_for("kafka"));
    journal.append(sized("a", 1));
    assert_eq!(places(&mut readers[0], 9).await, [(2, 1), (3, 2)]);
    assert_eq!(places(&mut readers[1], 9).await, [(1, 1), (3, 2)]);
    assert!(!journal.append(sized("a", 1).only_for("jsonl")).is_accepted);
}

#[tokio::test]
async fn the_cursor_moves_rewinds_and_skips() {
    let (mut journal, mut readers) = rehearsal::journal(1 << 20, &["jsonl"]);
    for _ in 0..5 {
        journal.append(sized("a", 1));
    }
    let reader = &mut readers[0];
    places(reader, 9).await;
    reader.advance(3);
    assert_eq!(places(reader, 1).await, [(4, 4)]);
    assert_eq!(reader.sent(1).await.expect("readable").map(|one| one.number), Some(2));
    reader.acknowledge(1);
    assert_eq!(places(reader, 1).await, [(4, 4)]);
    reader.rewind();
    assert_eq!(places(reader, 1).await, [(2, 2)]);
    let older = Epoch::new(Timestamp::default(), 0);
    let skipped = reader.skip_through(&older, 4).await.expect("readable");
    assert_eq!(skipped, 0, "an older epoch's positions are not this one's");
    let epoch = journal.epoch();
    assert_eq!(reader.skip_through(&epoch, 4).await.expect("readable"), 3);
    assert_eq!(places(reader, 9).await, [(5, 5)]);
    assert_eq!(reader.unacknowledged(), 1);
}

#[tokio::test]
async fn stats_tell_what_waits_and_since_when() {
    let (mut journal, mut readers) = rehearsal::journal(1 << 20, &["jsonl"]);
    journal.append(sized("a", 44));
    let stats = journal.stats()[0];
    assert_eq!((stats.unacknowledged, stats.bytes), (1, 300));
    assert_eq!(stats.oldest_unsent, Some(Timestamp::from_micros(7)));
    places(&mut readers[0], 9).await;
    readers[0].advance(1);
    assert_eq!(readers[0].stats().oldest_unsent, None);
    assert_eq!(readers[0].stats().oldest_unacknowledged, Some(Timestamp::from_micros(7)));
    readers[0].acknowledge(1);
    assert_eq!((readers[0].stats().bytes, readers[0].unacknowledged()), (0, 0));
    assert_eq!(readers[0].stats().oldest_unacknowledged, None);
}

#[tokio::test]
async fn an_append_and_the_close_wake_the_reader() {
    let (mut journal, mut readers) = rehearsal::journal(1 << 20, &["jsonl"]);
    journal.append(sized("a", 1));
    readers[0].changed().await;
    journal.close();
    readers[0].changed().await;
    assert!(readers[0].is_closed() && !readers[0].is_finished());
    delivered(&mut readers[0]).await;
    assert!(readers[0].is_finished());
}

#[tokio::test]
async fn a_restart_goes_on_with_epoch_numbers_and_cursors() {
    let disk = Arc::default();
    let (mut journal, mut readers, _) = open(&config(), &disk, "boot", &["kafka", "nats"]);
    for body in ["1", "2", "3"] {
        journal.append(entry("a", body));
    }
    places(&mut readers[0], 2).await;
    readers[0].advance(2);
    readers[0].acknowledge(2);
    let epoch = journal.epoch();
    drop((journal, readers));
    let (mut journal, mut readers, found) =
        open(&config(), &disk, "another boot", &["kafka", "nats"]);
    assert!(found.was_closed);
    assert_eq!((found.renewed, journal.epoch()), (None, epoch));
    assert_eq!(found.waiting, [("kafka", 1), ("nats", 3)]);
    journal.append(entry("a", "4"));
    assert_eq!(places(&mut readers[0], 9).await, [(3, 3), (4, 4)]);
    let got = delivered(&mut readers[1]).await;
    assert_eq!(got.iter().map(text).collect::<Vec<_>>(), ["1", "2", "3", "4"]);
    assert_eq!((journal.stats()[0].unacknowledged, journal.stats()[1].unacknowledged), (2, 0));
}

#[tokio::test]
async fn a_killed_process_loses_nothing_and_its_epoch_goes_on() {
    let disk: Arc<Model> = Arc::default();
    let (mut journal, readers, _) = open(&config(), &disk, "boot", &["kafka"]);
    journal.append(entry("a", "1"));
    let (epoch, left) = (journal.epoch(), disk.after_kill());
    drop((journal, readers));
    let (journal, mut readers, found) = open(&config(), &left, "boot", &["kafka"]);
    assert!(!found.was_closed);
    assert_eq!((found.renewed, journal.epoch()), (None, epoch));
    assert_eq!(places(&mut readers[0], 9).await, [(1, 1)]);
}

#[tokio::test]
async fn after_a_power_cut_a_new_epoch_names_the_last_and_its_numbers() {
    let disk: Arc<Model> = Arc::default();
    let (mut journal, readers, _) = open(&config(), &disk, "boot", &["kafka", "nats"]);
    journal.append(entry("a", "1"));
    journal.append(entry("a", "2").only_for("nats"));
    let (old, left) = (journal.epoch(), disk.after_power_cut(true, |_, _| true));
    drop((journal, readers));
    let (mut journal, mut readers, found) = open(&config(), &left, "another", &["kafka", "nats"]);
    assert_eq!(found.renewed, Some("unclean"));
    assert!(journal.epoch().as_str() > old.as_str());
    journal.append(entry("a", "3"));
    assert_eq!(readers[1].epochs(), [old.clone(), journal.epoch()]);
    let got = delivered(&mut readers[1]).await;
    let kinds: Vec<(Kind, u64)> = got.iter().map(|one| (one.event.kind, one.number)).collect();
    let (pushed, opened) = (Kind::Notification, Kind::Epoch);
    assert_eq!(kinds, [(pushed, 1), (pushed, 2), (opened, 1), (pushed, 1)]);
    let told: serde_json::Value = serde_json::from_slice(&got[2].event.body).expect("JSON");
    assert_eq!(told["last"]["epoch"], old.as_str());
    assert_eq!(told["numbers"]["a"], 2);
    assert_eq!(told["reason"], "unclean");
    let told = delivered(&mut readers[0]).await;
    let told: serde_json::Value = serde_json::from_slice(&told[1].event.body).expect("JSON");
    assert_eq!(told["numbers"]["a"], 1);
}

#[tokio::test]
async fn a_peek_never_shows_two_epochs() {
    let disk: Arc<Model> = Arc::default();
    let (mut journal, readers, _) = open(&config(), &disk, "boot", &["kafka"]);
    journal.append(entry("a", "1"));
    let left = disk.after_kill();
    drop((journal, readers));
    let (_journal, mut readers, _) = open(&config(), &left, "another", &["kafka"]);
    assert_eq!(peeked(&mut readers[0], 9).await.len(), 1);
    readers[0].advance(1);
    assert_eq!(peeked(&mut readers[0], 9).await[0].event.kind, Kind::Epoch);
}

#[tokio::test]
async fn a_sink_that_is_gone_is_released_and_one_that_comes_begins_at_the_end_in_a_new_epoch() {
    let disk = Arc::default();
    let (mut journal, readers, _) = open(&config(), &disk, "boot", &["kafka", "nats"]);
    journal.append(entry("a", "1"));
    drop((journal, readers));
    let (mut journal, mut readers, found) = open(&config(), &disk, "boot", &["kafka"]);
    assert_eq!(found.released, [("nats".to_owned(), 1)]);
    assert_eq!(found.renewed, None);
    journal.append(entry("a", "2"));
    assert_eq!(delivered(&mut readers[0]).await.len(), 2);
    drop((journal, readers));
    let (mut journal, mut readers, found) = open(&config(), &disk, "boot", &["kafka", "nats"]);
    assert_eq!((found.added, found.renewed), (vec!["nats"], Some("sink_added")));
    journal.append(entry("a", "3"));
    let got = delivered(&mut readers[1]).await;
    assert_eq!(got.iter().map(|one| one.number).collect::<Vec<_>>(), [1, 1]);
    assert_eq!((got[0].event.kind, text(&got[1])), (Kind::Epoch, "3"));
}

#[tokio::test]
async fn segments_go_when_every_sink_has_settled_them() {
    let disk: Arc<Model> = Arc::default();
    let small = Config { segment_bytes: Size(1_000), ..config() };
    let (mut journal, mut readers, _) = open(&small, &disk, "boot", &["kafka", "nats"]);
    for _ in 0..20 {
        journal.append(sized("a", 300));
    }
    assert!(disk.files().len() > 5);
    delivered(&mut readers[0]).await;
    journal.flush();
    assert!(disk.files().len() > 5, "nats has nothing of it");
    delivered(&mut readers[1]).await;
    journal.flush();
    assert_eq!(disk.files().len(), 1);
    journal.append(sized("a", 1));
    assert_eq!(places(&mut readers[0], 9).await, [(21, 21)]);
}

#[tokio::test]
async fn numbers_outlive_the_segments_that_told_them() {
    let disk: Arc<Model> = Arc::default();
    let small = Config { segment_bytes: Size(500), ..config() };
    let (mut journal, mut readers, _) = open(&small, &disk, "boot", &["kafka"]);
    journal.append(sized("once", 1));
    for _ in 0..9 {
        journal.append(sized("a", 300));
        delivered(&mut readers[0]).await;
        journal.flush();
    }
    drop((journal, readers));
    let (mut journal, mut readers, _) = open(&small, &disk, "boot", &["kafka"]);
    journal.append(sized("once", 1));
    assert_eq!(places(&mut readers[0], 9).await, [(11, 2)]);
}

#[tokio::test]
async fn with_too_many_keys_a_new_epoch_begins_and_its_notices_are_small() {
    let disk: Arc<Model> = Arc::default();
    let few = Config { keys_max: 10_000, max_bytes: Size(1 << 30), ..config() };
    let (mut journal, mut readers, _) = open(&few, &disk, "boot", &["kafka"]);
    let first = journal.epoch();
    for key in 0..10_001 {
        journal.append(sized(&format!("7f1d8a3e-4c52-4b0e-9d3a-{key:012}"), 1));
    }
    assert!(journal.epoch().as_str() > first.as_str());
    let got = delivered(&mut readers[0]).await;
    let notices: Vec<&Record> = got.iter().filter(|one| one.event.kind == Kind::Epoch).collect();
    let told: Vec<serde_json::Value> =
        notices.iter().map(|one| serde_json::from_slice(&one.event.body).expect("JSON")).collect();
    let keys: usize =
        told.iter().map(|one| one["numbers"].as_object().map_or(0, |it| it.len())).sum();
    assert_eq!(keys, 10_000);
    assert!(told.len() > 1 && told.iter().all(|one| one["parts"] == told.len()));
    assert!(notices.iter().all(|one| one.event.body.len() < 512 << 10));
    assert_eq!(got.last().map(|one| one.number), Some(1));
}

#[tokio::test]
async fn what_came_since_an_old_copy_was_opened_is_numbered_anew_for_a_sink_that_holds_more() {
    let disk: Arc<Model> = Arc::default();
    let (mut journal, readers, _) = open(&config(), &disk, "boot", &["kafka", "nats"]);
    journal.append(entry("a", "copied"));
    drop((journal, readers));
    let (mut journal, mut readers, _) = open(&config(), &disk, "boot", &["kafka", "nats"]);
    let old = journal.epoch();
    journal.append(entry("a", "2"));
    journal.append(entry("a", "3"));
    let renewed = {
        let mut renewal = std::pin::pin!(readers[0].renew(None));
        loop {
            tokio::select! {
                biased;
                renewed = &mut renewal => break renewed,
                () = tokio::task::yield_now() => journal.flush(),
            }
        }
    };
    renewed.expect("a disk that can be read");
    journal.append(entry("a", "4"));
    let got = delivered(&mut readers[0]).await;
    let pushed = got.iter().filter(|one| one.event.kind == Kind::Notification);
    let pushed: Vec<(&str, u64)> = pushed.map(|one| (text(one), one.number)).collect();
    assert_eq!(pushed, [("2", 1), ("3", 2), ("4", 3)]);
    assert!(got.iter().all(|one| one.event.epoch != old));
    assert_eq!(readers[0].unacknowledged(), 0);
    let others = delivered(&mut readers[1]).await;
    let others = others.iter().filter(|one| one.event.kind == Kind::Notification);
    assert_eq!(others.map(text).collect::<Vec<_>>(), ["copied", "2", "3", "4"]);
}

#[tokio::test]
async fn a_torn_end_is_cut_and_counted_and_costs_nothing_that_was_shown() {
    let disk: Arc<Model> = Arc::default();
    let (mut journal, readers, _) = open(&config(), &disk, "boot", &["kafka"]);
    journal.append(entry("a", "1"));
    let left = disk.after_kill();
    drop((journal, readers));
    left.damage("000000000001.log", |bytes| bytes.extend_from_slice(&[0xF1, b't', b'l', 0x1A, 9]));
    let (journal, mut readers, found) = open(&config(), &left, "boot", &["kafka"]);
    assert_eq!((found.torn_bytes, found.renewed, found.lost.len()), (5, None, 0));
    assert_eq!(delivered(&mut readers[0]).await.len(), 1);
    drop((journal, readers));
    let (_, _, found) = open(&config(), &left, "boot", &["kafka"]);
    assert_eq!(found.torn_bytes, 0);
}

#[tokio::test]
async fn damage_in_the_middle_is_named_and_what_is_whole_is_delivered() {
    let disk: Arc<Model> = Arc::default();
    let (mut journal, readers, _) = open(&config(), &disk, "boot", &["kafka"]);
    for body in ["one", "two", "three", "four"] {
        journal.append(entry("a", body));
    }
    drop((journal, readers));
    disk.damage("000000000001.log", |bytes| {
        let at = bytes.windows(3).position(|three| three == b"two").expect("it is there");
        bytes[at] = b'T';
    });
    let (mut journal, mut readers, found) = open(&config(), &disk, "boot", &["kafka"]);
    assert_eq!((found.lost.clone(), found.renewed), (vec![(2, 2)], Some("damaged")));
    journal.append(entry("a", "five"));
    journal.close();
    let got = delivered(&mut readers[0]).await;
    let bodies: Vec<&str> =
        got.iter().filter(|one| one.event.kind == Kind::Notification).map(text).collect();
    assert_eq!(bodies, ["one", "three", "four", "five"]);
    assert!(readers[0].is_finished(), "what is lost is not waited for");
}

#[tokio::test]
async fn a_segment_without_its_head_is_lost_and_named() {
    let disk: Arc<Model> = Arc::default();
    let small = Config { segment_bytes: Size(700), ..config() };
    let (mut journal, readers, _) = open(&small, &disk, "boot", &["kafka"]);
    for _ in 0..6 {
        journal.append(sized("a", 300));
    }
    let names = disk.files();
    drop((journal, readers));
    assert!(names.len() > 2);
    disk.damage(&names[1], |bytes| bytes[20] ^= 1);
    let (_journal, mut readers, found) = open(&small, &disk, "boot", &["kafka"]);
    let lost: u64 = found.lost.iter().map(|(first, last)| last - first + 1).sum();
    let got = delivered(&mut readers[0]).await;
    let pushed = got.iter().filter(|one| one.event.kind == Kind::Notification).count();
    assert_eq!((pushed as u64 + lost, found.renewed), (6, Some("damaged")));
    assert!(lost > 0);
}

#[tokio::test]
async fn damage_that_comes_while_it_is_read_is_passed_over_and_told() {
    let disk: Arc<Model> = Arc::default();
    let (mut journal, readers, _) = open(&config(), &disk, "boot", &["kafka"]);
    for body in ["one", "two", "three"] {
        journal.append(entry("a", body));
    }
    drop((journal, readers));
    let (mut journal, mut readers, _) = open(&config(), &disk, "boot", &["kafka"]);
    disk.damage("000000000001.log", |bytes| {
        let at = bytes.windows(3).position(|three| three == b"two").expect("it is there");
        bytes[at] = b'T';
    });
    let got = delivered(&mut readers[0]).await;
    assert_eq!(got.iter().map(text).collect::<Vec<_>>(), ["one", "three"]);
    assert_eq!(journal.news().lost, [("kafka", 1, 2)]);
    assert_eq!(readers[0].unacknowledged(), 0);
}

#[test]
fn another_version_is_refused_and_not_touched() {
    let disk: Arc<Model> = Arc::default();
    drop(open(&config(), &disk, "boot", &["kafka"]));
    disk.damage("000000000001.log", |bytes| {
        bytes.clear();
        super::frame::write(1, bytes, |out| out.extend_from_slice(&[1, 9, 9, 9]));
    });
    let error = super::recovery::recover(&*rehearsal::storage(&disk), "boot").expect_err("unknown");
    assert!(error.to_string().contains("format 9"), "{error}");
    assert_eq!(disk.files(), ["000000000001.log"]);
}
