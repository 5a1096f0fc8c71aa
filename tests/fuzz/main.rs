//! Bytes that nobody vouches for, a bounded time: the corpus and mutations of it, the same ones each time. Nothing panics, and nothing takes
//! more memory than its input accounts for.
//!
//! A binary of its own, because memory is counted for the whole process. `make fuzz` looks for more from fresh seeds, `guided/` by
//! what an input reaches; what they find becomes part of the corpus.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod backlog;
#[cfg(any(feature = "kafka", feature = "nats"))]
mod brokers;
mod memory;
mod mutation;
mod seeds;
mod targets;

use mutation::Mutator;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use targets::{TARGETS, Target};

/// One case at a time: the peak is everybody's.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The seed of the mutations; another one by `TIELINE_FUZZ_SEED`, and more of them by `TIELINE_FUZZ_TIMES`.
const SEED: u64 = 2026;

#[test]
fn any_frame_is_read_or_refused() {
    hold("frame");
}

#[test]
fn any_configuration_is_read_or_refused() {
    hold("configuration");
}

#[test]
fn any_end_of_a_file_tells_how_far_it_got_or_that_it_does_not() {
    hold("cursor");
}

#[cfg(feature = "kafka")]
#[test]
fn any_record_is_a_cursor_or_refused() {
    hold("committed");
}

#[cfg(feature = "nats")]
#[test]
fn any_last_message_is_ours_or_anothers() {
    hold("chained");
}

#[test]
fn a_journal_opens_on_any_bytes() {
    hold("segments");
}

#[test]
fn a_journal_opens_whatever_its_frames_say() {
    hold("records");
}

#[test]
fn every_way_in_has_a_corpus() {
    for target in TARGETS {
        seeds::write_where_asked(target.name);
        assert!(!corpus(target.name).is_empty(), "{}", target.name);
    }
}

/// The corpus, then its mutations.
fn hold(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let corpus = corpus(name);
    let _alone = alone();
    // What is made once is not the first case's.
    (target.run)(b"");
    for input in &corpus {
        try_one(target, input);
    }
    let mut mutator = Mutator::new(asked("TIELINE_FUZZ_SEED", SEED));
    let times = asked("TIELINE_FUZZ_TIMES", 1);
    for _ in 0..u64::from(target.mutations) * times {
        try_one(target, &mutator.next(&corpus));
    }
}

fn try_one(target: &Target, input: &[u8]) {
    if let Err(words) = memory::judge(target.run, input) {
        let kept = keep(target.name, input);
        let (name, kept, folder) = (target.name, kept.display(), folder(target.name));
        let folder = folder.display();
        panic!("{name}: {words}. They are in {kept}; once mended, they belong to {folder}");
    }
}

/// Keeps the input of a failure where it is found again.
fn keep(name: &str, input: &[u8]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("{name}-{:016x}", xxhash_rust::xxh3::xxh3_64(input)));
    std::fs::write(&path, input).unwrap();
    path
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name)
}

/// The corpus in the order of its names, and the files of the repository that are good examples.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![folder(name)];
    match name {
        "frame" => folders.push(root.join("tests/fixtures/frames")),
        "configuration" => folders.push(root.join("config")),
        _ => {}
    }
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let paths = files.map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.is_file()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn asked(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}
