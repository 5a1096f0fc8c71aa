//! What a start costs where much waits: journals that no sink has settled, opened again while memory is counted.

use crate::memory::MEMORY;
use bytes::Bytes;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tieline::clock::Clock;
use tieline::event::{Entry, Marks, Notification, Topic};
use tieline::journal::{Config, Found, Journal, Opening, Reader, Sync};
use tieline::size::Size;
use tieline::time::Timestamp;

/// What the writing thread of a journal may take on a busy machine.
const WRITTEN: Duration = Duration::from_secs(60);

/// So many sinks, and files, as `config/default.toml` has them.
const SINKS: &[&str] = &["kafka", "nats"];

fn config(segment_bytes: u64) -> Config {
    Config {
        max_bytes: Size(1 << 40),
        sync: Sync::Within(Duration::from_millis(100)),
        sync_bytes: Size(4 << 20),
        segment_bytes: Size(segment_bytes),
        keys_max: 100_000,
    }
}

fn open(data_dir: &Path, segment_bytes: u64) -> (Journal, Vec<Reader>, Found) {
    let (config, clock) = (config(segment_bytes), Clock::start());
    let opening = Opening { config, data_dir, sinks: SINKS, clock, salt: Box::new(|| 7) };
    opening.open().expect("a journal of ours")
}

/// A folder whose journal holds so many events of that length.
fn backlog(events: usize, length: usize, segment_bytes: u64) -> TempDir {
    let folder = crate::targets::folder();
    let (mut journal, _readers, _) = open(folder.path(), segment_bytes);
    let clock = Clock::start();
    let body = Bytes::from(format!("\"{:1$}\"", "", length.saturating_sub(2)));
    let topics: Vec<Topic> = (0..100).map(|queue| Topic::new(&format!("v2.{queue}"))).collect();
    for topic in topics.iter().cycle().take(events) {
        let notification = Notification {
            topic: topic.clone(),
            body: body.clone(),
            correlation_id: None,
            received: Timestamp::from_micros(1_700_000_000_000_000),
        };
        let entry = Entry::pushed(notification, Marks::default());
        let deadline = clock.now() + WRITTEN;
        // What waits for the disk is bounded.
        while !journal.append(entry.clone()).is_accepted {
            assert!(clock.now() < deadline, "{:?}", journal.trouble());
            journal.flush();
            std::thread::yield_now();
        }
    }
    drop(journal);
    folder
}

/// What opening it takes, in bytes and in time. All of it waits for each sink.
fn start(folder: &TempDir, events: usize, segment_bytes: u64) -> (usize, Duration) {
    MEMORY.reset_peak_usage();
    let (before, clock) = (MEMORY.current_usage(), Clock::start());
    let began = clock.now();
    let (journal, readers, _) = open(folder.path(), segment_bytes);
    let took = clock.now().since(began);
    let taken = MEMORY.peak_usage().saturating_sub(before);
    // The event that opened the epoch is not counted.
    let waiting = readers.iter().map(|reader| reader.unacknowledged() - 1).max();
    assert_eq!(waiting, Some(events));
    drop(journal);
    (taken, took)
}

#[test]
fn a_journal_opens_in_memory_that_does_not_grow_with_what_waits() {
    let _alone = super::alone();
    let small = 64 << 10;
    let takes = |events| start(&backlog(events, 2, small), events, small).0;
    let (few, many) = (takes(1_000), takes(150_000));
    // The places of files, a quarter of a MiB each in this test, are remembered, and nothing of each event.
    assert!(many < few + (1 << 20), "{few} bytes for 1,000 events, {many} for 150,000");
}

/// `TIELINE_BACKLOG=256 cargo test --test fuzz -- --nocapture a_start_holds` prints the figures of `docs/delivery.md`.
#[test]
fn a_start_holds_one_file_in_memory_and_no_more() {
    let _alone = super::alone();
    let (length, segment_bytes) = (900, 16 << 20);
    let events = (super::asked("TIELINE_BACKLOG", 48) << 20) as usize / length;
    let folder = backlog(events, length, segment_bytes);
    let (taken, took) = start(&folder, events, segment_bytes);
    let size = folder.path().join("journal").read_dir().expect("a folder");
    let size: u64 =
        size.map(|entry| entry.expect("a file").metadata().expect("a file").len()).sum();
    let told = format!("a journal of {} MiB: {} MiB at most, {took:?}", size >> 20, taken >> 20);
    writeln!(std::io::stderr(), "{told}").ok();
    assert!(taken < segment_bytes as usize + (8 << 20), "{taken} bytes");
}
