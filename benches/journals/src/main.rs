//! Compares stores for the journal's pattern: append, group commit, two readers, delete from the front, recover.
//!
//! One thread does what the journal would do at 10,000 events a second, without waiting in between: a commit (fsync) each 1,000
//! events is one each 100 ms. Prints a line a store and run. It measures; docs/decisions/0009 decides.

mod stores;

use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Events in a run.
const EVENTS: u64 = 300_000;
/// Events between two commits.
const COMMIT: u64 = 1_000;
/// Events between two deletions from the front.
const TRIM: u64 = 10_000;
/// Events that are never deleted, so that there is something to recover.
const KEPT: u64 = 100_000;
/// Bytes of an event.
const LENGTH: usize = 900;

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|name| !name.starts_with('-')).collect();
    let folder = std::env::var("JOURNALS_DIR").unwrap_or_else(|_| ".".to_owned());
    println!(
        "store         CPU µs/event  wall µs/event  slowest append ms  slowest commit ms  written B/event  disk MB at end  recovery ms  RSS MB"
    );
    for (name, open) in stores::ALL {
        if wanted.is_empty() || wanted.iter().any(|one| one == name) {
            for _ in 0..3 {
                // A process of its own would be fairer to memory: run one store at a time for that figure.
                run(name, *open, Path::new(&folder));
            }
        }
    }
}

fn run(name: &str, open: stores::Open, folder: &Path) {
    let dir = tempfile::tempdir_in(folder).expect("a folder");
    let mut store = open(dir.path());
    let mut events = events();
    let (cpu, wall, written) = (cpu(), Instant::now(), written());
    let (mut append_max, mut commit_max) = (Duration::ZERO, Duration::ZERO);
    let (mut read, mut seen) = ([0_u64; 2], 0_u64);
    for index in 0..EVENTS {
        let event = &mut events[index as usize % POOL];
        event[..8].copy_from_slice(&index.to_be_bytes());
        let began = Instant::now();
        store.append(index, event);
        append_max = append_max.max(began.elapsed());
        if (index + 1) % COMMIT == 0 {
            let began = Instant::now();
            store.commit();
            commit_max = commit_max.max(began.elapsed());
            for cursor in &mut read {
                store.read(*cursor, index + 1, &mut |_| seen += 1);
                *cursor = index + 1;
            }
        }
        if (index + 1) % TRIM == 0 {
            store.trim((index + 1).saturating_sub(KEPT));
        }
    }
    let spent = (self::cpu() - cpu, wall.elapsed(), self::written() - written);
    assert_eq!(seen, 2 * EVENTS, "both readers saw all");
    let resident = resident();
    drop(store);
    let disk = size(dir.path());
    let began = Instant::now();
    let mut store = open(dir.path());
    let mut found = 0;
    store.read(EVENTS - KEPT, EVENTS, &mut |_| found += 1);
    let recovery = began.elapsed();
    let note =
        if found == KEPT { String::new() } else { format!("  only {found} of {KEPT} found again") };
    let each = |time: Duration| time.as_secs_f64() * 1e6 / EVENTS as f64;
    println!(
        "{name:<12}  {:>12.2}  {:>13.2}  {:>17.1}  {:>17.1}  {:>15.0}  {:>14.0}  {:>11.0}  {:>6.0}{note}",
        each(spent.0),
        each(spent.1),
        append_max.as_secs_f64() * 1e3,
        commit_max.as_secs_f64() * 1e3,
        spent.2 as f64 / EVENTS as f64,
        disk as f64 / 1e6,
        recovery.as_secs_f64() * 1e3,
        resident as f64 / 1e6,
    );
}

/// How many different events there are: more than a compressor of batches can profit from.
const POOL: usize = 4_096;

/// Texts that compress about as JSON does.
fn events() -> Vec<Vec<u8>> {
    let words = r#"{"id":"7f1d8a3e-4c52-4b0e-9d3a-0c5b6e1f2a4d","state":"connected","queueId":"#;
    let mut seed = 88_172_645_463_325_252_u64;
    let mut digit = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        b"0123456789abcdef"[(seed % 16) as usize]
    };
    let mut event = || {
        let mut event: Vec<u8> = words.bytes().cycle().take(LENGTH).collect();
        event.iter_mut().step_by(3).for_each(|byte| *byte = digit());
        event
    };
    (0..POOL).map(|_| event()).collect()
}

/// CPU time of all threads of this process.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Bytes that this process has caused to be written to the disk.
fn written() -> u64 {
    number(&fs::read_to_string("/proc/self/io").unwrap_or_default(), "write_bytes:")
}

fn resident() -> u64 {
    number(&fs::read_to_string("/proc/self/status").unwrap_or_default(), "VmRSS:") * 1024
}

fn number(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
    line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| {
            if entry.path().is_dir() {
                size(&entry.path())
            } else {
                entry.metadata().map_or(0, |it| it.len())
            }
        })
        .sum()
}
