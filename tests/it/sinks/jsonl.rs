//! The jsonl sink: conformance, torn lines, and a disk that is full.

use super::*;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use tieline::sink::jsonl::{Config, Flush};
use tieline::size::Size;
use tieline::time::Timestamp;

struct Folder(TempDir);

impl Folder {
    fn path(&self) -> PathBuf {
        // A folder that is not there yet is made.
        self.0.path().join("deeper/events.jsonl")
    }
}

impl Place for Folder {
    const ONCE: bool = true;
    const BOUNDED: bool = false;

    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn unreachable() -> (Box<dyn Sink>, String) {
        let path = "/dev/null/events.jsonl";
        (sink(Path::new(path), Flush::Line), path.to_owned())
    }

    fn sink(&self) -> Box<dyn Sink> {
        sink(&self.path(), Flush::Line)
    }

    /// A file has no broker to kill; a crash of the host tears its last line.
    fn crash(&mut self) {}

    fn restart(&mut self) {}

    async fn read(&self) -> Vec<Stored> {
        let text = fs::read_to_string(self.path()).unwrap();
        assert!(text.ends_with('\n'));
        text.lines().map(structured).collect()
    }
}

conformance!(Folder);

#[tokio::test]
async fn a_torn_line_is_cut_and_sent_again() {
    let place = Folder::new();
    let records = records(1..=20);
    deliver(&mut place.sink(), &records[..10]).await;
    let text = fs::read_to_string(place.path()).unwrap();
    for torn in ["{", &text[..100], &text[..text.find('\n').unwrap() - 1]] {
        append(&place.path(), torn);
        let mut sink = place.sink();
        assert_eq!(sink.open(&epoch()).await.unwrap().last_position, Some(10));
        assert_eq!(fs::read_to_string(place.path()).unwrap(), text, "after {torn:?}");
    }
    append(&place.path(), "{\"specversion\":\"1.0\",\"epo");
    deliver(&mut place.sink(), &records).await;
    assert_complete::<Folder>(&place.read().await, &records);
}

#[tokio::test]
async fn text_of_somebody_else_is_never_cut() {
    let place = Folder::new();
    fs::create_dir_all(place.path().parent().unwrap()).unwrap();
    fs::write(place.path(), "a shopping list without a line break").unwrap();
    let mut sink = place.sink();
    assert_eq!(sink.open(&epoch()).await.unwrap().last_position, None);
    deliver_on(&mut sink, &records(1..=1)).await;
    let text = fs::read_to_string(place.path()).unwrap();
    assert!(text.starts_with("a shopping list without a line break\n{\"specversion\""), "{text}");
}

#[tokio::test]
async fn a_whole_line_without_its_break_is_kept() {
    let place = Folder::new();
    deliver(&mut place.sink(), &records(1..=3)).await;
    let text = fs::read_to_string(place.path()).unwrap();
    fs::write(place.path(), text.trim_end()).unwrap();
    assert_eq!(place.sink().open(&epoch()).await.unwrap().last_position, Some(3));
    assert_eq!(fs::read_to_string(place.path()).unwrap(), text);
}

#[tokio::test]
async fn a_line_longer_than_any_window_is_found() {
    let place = Folder::new();
    let mut records = records(1..=2);
    Arc::make_mut(&mut records[1].event).body = format!("\"{}\"", "x".repeat(1 << 20)).into();
    deliver(&mut place.sink(), &records).await;
    assert_eq!(place.sink().open(&epoch()).await.unwrap().last_position, Some(2));
}

#[tokio::test]
async fn line_breaks_between_tokens_do_not_break_lines() {
    let place = Folder::new();
    let mut records = records(1..=1);
    Arc::make_mut(&mut records[0].event).body = "{\r\n  \"a\": 1\n}".into();
    deliver(&mut place.sink(), &records).await;
    let stored = place.read().await;
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].body, "{    \"a\": 1 }");
}

#[tokio::test]
async fn a_device_without_room_is_named_and_tried_again() {
    let mut sink = sink(Path::new("/dev/full"), Flush::Sync);
    sink.open(&epoch()).await.unwrap();
    sink.submit(&records(1..=1)).await.unwrap();
    let error = sink.settle(&mut Vec::new()).await.unwrap_err();
    assert_eq!(error.operation, "write to /dev/full");
    assert!(matches!(error.disposition, Disposition::Retry { .. }));
    assert!(error.source.unwrap().to_string().contains("No space left"));
}

#[tokio::test]
async fn a_second_writer_is_kept_out() {
    let place = Folder::new();
    let mut first = place.sink();
    deliver(&mut first, &records(1..=5)).await;
    let error = place.sink().open(&epoch()).await.unwrap_err();
    assert!(matches!(error.disposition, Disposition::Retry { .. }));
    assert_eq!(error.source.unwrap().to_string(), "another process writes to it");
    first.close().await.unwrap();
    place.sink().open(&epoch()).await.unwrap();
}

#[tokio::test]
async fn standard_output_takes_events_too() {
    const CHILD: &str = "TIELINE_TEST_STDOUT";
    if std::env::var_os(CHILD).is_some() {
        deliver(&mut sink(Path::new("-"), Flush::Line), &records(1..=5)).await;
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sinks::jsonl::standard_output_takes_events_too"])
        .env(CHILD, "yes")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    // The harness of the tests writes there as well.
    let stored: Vec<Stored> = text
        .lines()
        .filter_map(|line| line.find("{\"specversion\"").map(|start| structured(&line[start..])))
        .collect();
    assert_complete::<Folder>(&stored, &records(1..=5));
}

/// Every line of the files in their order: those that were put aside by their names, and the open one last.
fn all_lines(place: &Folder) -> (usize, Vec<Stored>) {
    let entries = fs::read_dir(place.path().parent().unwrap()).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| *path != place.path());
    files.sort();
    files.push(place.path());
    let text: String = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    (files.len(), text.lines().map(structured).collect())
}

#[tokio::test]
async fn a_file_that_is_full_is_put_aside_and_no_event_is_lost_or_doubled() {
    let place = Folder::new();
    let records = records(1..=10_000);
    let rotate_bytes = Size(1 << 20);
    let full = || Config { rotate_bytes, ..config(&place.path(), Flush::Sync) }.build(SOURCE);
    for upto in [4_000, 10_000] {
        deliver(&mut full(), &records[..upto]).await;
    }
    let (files, stored) = all_lines(&place);
    assert!(files > 3, "{files}");
    assert_complete::<Folder>(&stored, &records);
    assert!(fs::metadata(place.path()).unwrap().len() <= rotate_bytes.0);
}

#[tokio::test]
async fn a_crash_between_putting_aside_and_the_next_line_doubles_nothing() {
    let place = Folder::new();
    let records = records(1..=20);
    deliver(&mut place.sink(), &records[..10]).await;
    let aside = place.path().with_file_name("events.20260101T000000.000000Z.jsonl");
    fs::rename(place.path(), aside).unwrap();
    assert_eq!(place.sink().open(&epoch()).await.unwrap().last_position, Some(10));
    deliver(&mut place.sink(), &records).await;
    assert_complete::<Folder>(&all_lines(&place).1, &records);
}

#[tokio::test]
async fn each_period_has_its_file_and_only_so_many_are_kept() {
    let place = Folder::new();
    let mut records = records(1..=6);
    for (hour, record) in (1..).zip(&mut records) {
        Arc::make_mut(&mut record.event).received =
            Timestamp::from_micros(1_700_000_000_000_000 + hour / 2 * 3_600_000_000);
    }
    fs::create_dir_all(place.path().parent().unwrap()).unwrap();
    let strange = place.path().with_file_name("events.of-somebody-else.jsonl");
    fs::write(&strange, "").unwrap();
    let rotate_every = Duration::from_secs(3600);
    let hourly = Config { rotate_every, keep: 2, ..config(&place.path(), Flush::Line) };
    deliver(&mut hourly.build(SOURCE), &records).await;
    assert!(strange.exists(), "it is not ours to remove");
    let names = fs::read_dir(place.path().parent().unwrap()).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let expected = [
        "events.20231114T231320.000000Z.jsonl",
        "events.20231115T001320.000000Z.jsonl",
        "events.jsonl",
        "events.of-somebody-else.jsonl",
    ];
    assert_eq!(names, expected);
    assert_eq!(place.read().await.len(), 1, "the last hour has one event");
}

/// As logrotate does, or somebody who wants the room back: nothing is written where nobody looks for it.
#[tokio::test]
async fn a_file_that_somebody_else_moves_or_removes_is_made_anew_and_costs_no_event() {
    let place = Folder::new();
    let records = records(1..=30);
    let mut sink = place.sink();
    deliver(&mut sink, &records[..10]).await;
    let moved = place.path().with_file_name("moved");
    fs::rename(place.path(), &moved).unwrap();
    continue_delivery(&mut sink, &records[..20], vec![Verdict::Stored; 10], 10).await;
    let positions = |path: &Path| -> Vec<u64> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|line| structured(line).place().0).collect()
    };
    assert_eq!(positions(&moved), (1..=10).collect::<Vec<u64>>());
    assert_eq!(positions(&place.path()), (11..=20).collect::<Vec<u64>>());

    fs::remove_file(place.path()).unwrap();
    sink.submit(&records[20..]).await.unwrap();
    let error = sink.settle(&mut Vec::new()).await.unwrap_err();
    let reason = error.source.unwrap().to_string();
    assert!(reason.contains("somebody else has moved or removed"), "{reason}");
    deliver(&mut sink, &records[20..]).await;
    assert_eq!(positions(&place.path()), (21..=30).collect::<Vec<u64>>());
}

/// The child's part: the largest file is 10 KiB there, and a write beyond it is cut short as on a full disk.
const CHILD: &str = "TIELINE_TEST_FULL_DISK";

#[tokio::test]
async fn a_full_disk_leaves_no_torn_line() {
    if let Some(path) = std::env::var_os(CHILD) {
        let mut sink = sink(Path::new(&path), Flush::Line);
        sink.open(&epoch()).await.unwrap();
        deliver_on(&mut sink, &records(1..=4)).await;
        assert_eq!(sink.submit(&records(5..=50)).await.unwrap(), 46);
        let error = sink.settle(&mut Vec::new()).await.unwrap_err();
        assert!(error.operation.contains("events.jsonl"), "{error:?}");
        return;
    }
    let place = Folder::new();
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 20; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "sinks::jsonl::a_full_disk_leaves_no_torn_line"])
        .env(CHILD, place.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(place.read().await.len(), 4);
    // There is room again.
    deliver(&mut place.sink(), &records(1..=50)).await;
    assert_complete::<Folder>(&place.read().await, &records(1..=50));
}

fn config(path: &Path, flush: Flush) -> Config {
    let (path, rotate_bytes, rotate_every) = (path.to_owned(), Size(0), Duration::ZERO);
    Config { path, flush, rotate_bytes, rotate_every, keep: 0, filter: None, required: None }
}

fn sink(path: &Path, flush: Flush) -> Box<dyn Sink> {
    config(path, flush).build(SOURCE)
}

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}
