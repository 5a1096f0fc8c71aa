//! The gap ledger on disk: `gaps.json` and, since it changes each second, apart from it `heard.json`.
//!
//! Both are replaced whole: written beside, synced, renamed, the folder synced. The driver hands over the latest state and never
//! waits; a task writes it. `heard.json` runs a second behind on purpose: what was heard up to then is in the journal, synced.

use super::causes::OTHERS;
use crate::lifecycle::Reason;
use crate::observation::Observation;
use crate::sequence::{Certainty, Gap, Ledger, Rebased};
use crate::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;

const GAPS: &str = "gaps.json";
const HEARD: &str = "heard.json";

/// How soon a write that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What the last process left.
#[derive(Debug, Default)]
pub struct Kept {
    /// Gaps by number, open ones included.
    pub gaps: Vec<Gap>,
    /// How many there have been.
    pub opened: u64,
    /// What each shard had heard last; empty when no process ever heard anything.
    pub heard: BTreeMap<u16, Timestamp>,
    /// What could not be read, in words.
    pub trouble: Option<String>,
}

/// The ledger's file.
#[derive(Debug, Deserialize, Serialize)]
struct Book<G> {
    opened: u64,
    gaps: Vec<G>,
}

/// A gap as it stands in the file.
#[derive(Debug, Deserialize)]
struct Stored {
    number: u64,
    shard: u16,
    sink: Option<String>,
    cause: String,
    certainty: Certainty,
    from: Timestamp,
    to: Option<Timestamp>,
    seconds: Option<f64>,
    topics: usize,
    action: Option<String>,
    rebased: Option<Rebased>,
}

impl Kept {
    /// Reads what the last process left in that folder. What cannot be read is set aside, and said.
    pub fn load(folder: &Path) -> Self {
        let mut kept = Self::default();
        match read::<Book<Stored>>(&folder.join(GAPS)) {
            Ok(None) => {}
            Ok(Some(book)) => {
                kept.opened = book.opened;
                kept.gaps = book.gaps.into_iter().map(restored).collect();
                kept.gaps.sort_by_key(|gap| gap.number);
            }
            Err(error) => kept.trouble = Some(set_aside(&folder.join(GAPS), &error)),
        }
        let path = folder.join(HEARD);
        match read(&path) {
            Ok(heard) => kept.heard = heard.unwrap_or_default(),
            Err(error) => {
                // It was written at most two seconds after what it told of.
                let written = fs::metadata(&path).and_then(|about| about.modified());
                let heard = written.map(Timestamp::from).unwrap_or_default();
                kept.heard = BTreeMap::from([(0, heard.before(2 * AGAIN))]);
                kept.trouble = Some(set_aside(&path, &error));
            }
        }
        kept
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn set_aside(path: &Path, error: &io::Error) -> String {
    let aside = path.with_extension("broken");
    let moved = match fs::rename(path, &aside) {
        Ok(()) => format!("it is kept as {}", aside.display()),
        Err(error) => format!("it cannot be set aside: {error}"),
    };
    format!("read {}: {error}; {moved}", path.display())
}

/// Words of a file are ours or they are nobody's: what is not known is shown as such.
fn restored(stored: Stored) -> Gap {
    let causes = Reason::ALL.map(Reason::as_str);
    let causes = causes.iter().chain(&OTHERS);
    Gap {
        number: stored.number,
        shard: stored.shard,
        sink: stored.sink.map(|sink| known(&sink, crate::sink::ALL_NAMES.iter())),
        cause: known(&stored.cause, causes),
        certainty: stored.certainty,
        from: stored.from,
        to: stored.to,
        seconds: stored.seconds,
        topics: stored.topics,
        action: stored.action.map(|action| known(&action, super::causes::ACTIONS.iter())),
        rebased: stored.rebased,
    }
}

fn known<'a>(word: &str, mut words: impl Iterator<Item = &'a &'static str>) -> &'static str {
    words.find(|known| **known == word).copied().unwrap_or("unknown")
}

/// What is to be on disk.
#[derive(Clone, Debug, Default)]
struct State {
    gaps: Arc<[u8]>,
    heard: Arc<[u8]>,
}

/// The driver's end: takes the latest state.
#[derive(Debug)]
pub struct Keeper {
    state: watch::Sender<State>,
    /// What was heard as of the last mark.
    behind: std::sync::Mutex<BTreeMap<u16, Timestamp>>,
}

impl Keeper {
    /// A keeper for files in that folder, and the task that writes them until the keeper is dropped and all is written.
    pub fn new(
        folder: &Path,
        observations: mpsc::Sender<Observation>,
    ) -> (Self, impl Future<Output = ()> + use<>) {
        let (state, changes) = watch::channel(State::default());
        let keeper = Self { state, behind: std::sync::Mutex::default() };
        (keeper, write_changes(folder.to_owned(), changes, observations))
    }

    pub(super) fn save(&self, ledger: &Ledger) {
        let book = Book { opened: ledger.opened(), gaps: ledger.list().collect() };
        let text = json(&book);
        self.state.send_modify(|state| state.gaps = text);
    }

    /// Keeps what was handed over the last time.
    pub(super) fn mark(&self, heard: &BTreeMap<u16, Timestamp>) {
        let mut behind = self.behind.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = std::mem::replace(&mut *behind, heard.clone());
        if !before.is_empty() {
            let text = json(&before);
            self.state.send_if_modified(|state| {
                let changed = state.heard != text;
                state.heard = text;
                changed
            });
        }
    }
}

fn json(value: &impl Serialize) -> Arc<[u8]> {
    serde_json::to_vec(value)
        .expect("names and numbers are valid JSON, and a Vec takes all of it")
        .into()
}

async fn write_changes(
    folder: PathBuf,
    mut changes: watch::Receiver<State>,
    observations: mpsc::Sender<Observation>,
) {
    let mut written = State::default();
    let mut is_failing = false;
    while changes.changed().await.is_ok() {
        loop {
            let (wanted, last, folder) =
                (changes.borrow_and_update().clone(), written.clone(), folder.clone());
            let state = wanted.clone();
            let done = spawn_blocking(move || write(&folder, &last, &state)).await;
            match done.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
                Ok(()) => {
                    (written, is_failing) = (wanted, false);
                    break;
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        let detail = format!("write the gap ledger: {error}");
                        // The driver's own queue: when it is full there is worse to tell.
                        observations.try_send(Observation::LedgerFailed { detail }).ok();
                    }
                    if changes.has_changed().is_err() {
                        return; // Nobody will bring more, and the disk does not take this.
                    }
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }
}

fn write(folder: &Path, last: &State, state: &State) -> io::Result<()> {
    for (name, before, now) in [(GAPS, &last.gaps, &state.gaps), (HEARD, &last.heard, &state.heard)]
    {
        if before != now {
            replace(folder, name, now)?;
        }
    }
    Ok(())
}

/// Replaces a file whole: after a crash it is the old one or the new one.
fn replace(folder: &Path, name: &str, text: &[u8]) -> io::Result<()> {
    let beside = folder.join(format!("{name}.new"));
    let mut file = File::create(&beside)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&beside, folder.join(name))?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    #[tokio::test]
    async fn what_was_kept_is_found_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let (observe, mut observed) = mpsc::channel(1);
        let (keeper, task) = Keeper::new(folder.path(), observe);
        let mut ledger = Ledger::new(10);
        ledger.open(0, "cut", Certainty::Certain, at(10), 5);
        ledger.close(1, at(12), super::super::causes::RESUMED);
        ledger.rebase(1, Rebased { snapshots: 2, without: 3, ..Rebased::default() });
        let open =
            ledger.open(1, super::super::causes::FEED_SILENT, Certainty::Possible, at(13), 1);
        ledger.concern(open, "kafka");
        keeper.save(&ledger);
        for second in 20..23 {
            keeper.mark(&BTreeMap::from([(0, at(second)), (1, at(5))]));
        }
        drop(keeper);
        task.await;
        let kept = Kept::load(folder.path());
        assert_eq!(kept.trouble, None);
        assert_eq!(kept.gaps, ledger.list().cloned().collect::<Vec<_>>());
        assert_eq!((kept.opened, kept.heard), (2, BTreeMap::from([(0, at(21)), (1, at(5))])));
        assert!(observed.try_recv().is_err());
    }

    #[test]
    fn a_first_process_finds_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = Kept::load(folder.path());
        assert!(kept.gaps.is_empty() && kept.heard.is_empty() && kept.trouble.is_none());
    }

    #[test]
    fn a_torn_file_is_set_aside_and_still_makes_a_gap() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(GAPS), "{\"opened\":").expect("written");
        fs::write(folder.path().join(HEARD), "{\"0\":").expect("written");
        let kept = Kept::load(folder.path());
        assert!(kept.trouble.is_some_and(|said| said.contains("heard.broken")));
        assert_eq!(kept.heard.keys().collect::<Vec<_>>(), [&0]);
        assert!(folder.path().join("gaps.broken").exists());
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_takes_nothing_is_told_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let (observe, mut observed) = mpsc::channel(4);
        let (keeper, task) = Keeper::new(&folder.path().join("gone"), observe);
        keeper.save(&Ledger::new(1));
        let tracker = tokio_util::task::TaskTracker::new();
        let writing = tracker.spawn(task);
        assert!(matches!(observed.recv().await, Some(Observation::LedgerFailed { .. })));
        tokio::time::sleep(Duration::from_secs(10)).await;
        drop(keeper);
        writing.await.expect("the task ends");
        assert!(observed.try_recv().is_err());
    }
}
