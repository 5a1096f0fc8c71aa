//! The gap ledger on disk: `gaps.json` and, since it changes each second, apart from it `heard.json`.
//!
//! Both are replaced whole: written beside, synced, renamed, the folder synced. The driver hands over the latest state and never
//! waits; a task writes it. `heard.json` runs a second behind on purpose: what was heard up to then is in the journal, synced.

use super::causes::OTHERS;
use super::marks::{Mark, Marks, Print};
use crate::event::Topic;
use crate::lifecycle::Reason;
use crate::observation::Observation;
use crate::sequence::{Certainty, Gap, Ledger, Rebased};
use crate::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard, PoisonError};
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
    pub heard: Marks,
    /// The topics of open gaps that do not concern all of their shard's, by the gap's number.
    pub named: BTreeMap<u64, Vec<Topic>>,
    /// Topics that the platform refused.
    pub refused: Vec<Topic>,
    /// Gaps after which snapshots were announced that have not come, and their topics where those are few.
    pub promised: BTreeMap<u64, Vec<Topic>>,
    /// Stretches of the journal that were told as damaged.
    pub damage: Vec<(u64, u64)>,
    /// What could not be read, in words.
    pub trouble: Option<String>,
}

/// The ledger's file.
#[derive(Debug, Deserialize, Serialize)]
struct Book<G> {
    opened: u64,
    gaps: Vec<G>,
    #[serde(flatten)]
    about: About,
}

/// What the next process must know beside the gaps themselves.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct About {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) damage: Vec<(u64, u64)>,
    /// As `Kept::named`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) named: Vec<(u64, Vec<String>)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) refused: Vec<String>,
    /// As `Kept::promised`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) promised: Vec<(u64, Vec<String>)>,
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
                let About { damage, named, refused, promised } = book.about;
                let topics = |names: Vec<String>| -> Vec<Topic> {
                    names.iter().map(|name| Topic::new(name)).collect()
                };
                (kept.opened, kept.damage, kept.refused) = (book.opened, damage, topics(refused));
                let by_gap = |(gap, names)| (gap, topics(names));
                kept.named = named.into_iter().map(by_gap).collect();
                kept.promised = promised.into_iter().map(by_gap).collect();
                kept.gaps = book.gaps.into_iter().map(restored).collect();
                kept.gaps.sort_by_key(|gap| gap.number);
            }
            Err(error) => kept.trouble = Some(set_aside(&folder.join(GAPS), &error)),
        }
        let path = folder.join(HEARD);
        match read(&path) {
            Ok(heard) => kept.heard = heard.unwrap_or_default(),
            Err(error) => {
                // It was written at most two seconds after what it told of, by whichever shards there were.
                let written = fs::metadata(&path).and_then(|about| about.modified());
                let at = written.map(Timestamp::from).unwrap_or_default().before(2 * AGAIN);
                let mark = Mark { at, topics: Print::default(), alone: false };
                kept.heard = Marks::from([(0, mark)]);
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
    heard: std::sync::Mutex<Heard>,
}

/// What was heard, as it is told and as it is kept.
#[derive(Debug, Default)]
struct Heard {
    /// As of the last mark, of the shards that delivered then.
    told: Marks,
    /// What the file says. A shard stays in it for as long as there is one of that number.
    kept: Marks,
}

impl Keeper {
    /// A keeper for files in that folder, and the task that writes them until the keeper is dropped and all is written.
    pub fn new(
        folder: &Path,
        observations: mpsc::Sender<Observation>,
    ) -> (Self, impl Future<Output = ()> + use<>) {
        let (state, changes) = watch::channel(State::default());
        let keeper = Self { state, heard: std::sync::Mutex::default() };
        (keeper, write_changes(folder.to_owned(), changes, observations))
    }

    pub(super) fn save(&self, ledger: &Ledger, about: About) {
        let book = Book { opened: ledger.opened(), gaps: ledger.list().collect(), about };
        let text = json(&book);
        self.state.send_modify(|state| state.gaps = text);
    }

    /// The file says that already.
    pub(super) fn found(&self, marks: &Marks) {
        self.heard().kept.clone_from(marks);
    }

    /// Keeps what was handed over the last time, as far as it holds: what waits now may be older. A shard that is not among
    /// them delivers nothing just now, and keeps its mark; one that is not `planned` loses it.
    pub(super) fn mark(&self, marks: Marks, planned: &BTreeSet<u16>) {
        let mut heard = self.heard();
        for (shard, told) in std::mem::replace(&mut heard.told, marks) {
            let now = heard.told.get(&shard).copied().unwrap_or(told);
            let at = told.at.min(now.at);
            heard.kept.insert(shard, Mark { at, alone: told.alone && now.alone, ..told });
        }
        self.keep(heard, planned);
    }

    /// Keeps of one shard what is handed over: it delivers as of now, and what it missed before lies in a gap that has ended.
    pub(super) fn begin(&self, shard: u16, mark: Mark, planned: &BTreeSet<u16>) {
        let mut heard = self.heard();
        // A gap that is found out when it is long over begins nothing.
        if heard.kept.get(&shard).is_none_or(|kept| kept.at < mark.at) {
            heard.told.insert(shard, mark);
            heard.kept.insert(shard, mark);
            self.keep(heard, planned);
        }
    }

    /// Keeps what is handed over.
    pub(super) fn mark_last(&self, marks: Marks, planned: &BTreeSet<u16>) {
        let mut heard = self.heard();
        heard.kept.extend(marks);
        self.keep(heard, planned);
    }

    fn keep(&self, mut heard: MutexGuard<'_, Heard>, planned: &BTreeSet<u16>) {
        heard.kept.retain(|shard, _| planned.contains(shard));
        let text = json(&heard.kept);
        drop(heard);
        self.state.send_if_modified(|state| {
            let changed = state.heard != text;
            state.heard = text;
            changed
        });
    }

    /// What the file says.
    #[cfg(test)]
    pub(super) fn marked(&self) -> Marks {
        self.heard().kept.clone()
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn mark(second: u64) -> Mark {
        Mark { at: at(second), topics: Print::of(&[Topic::new("a")]), alone: true }
    }

    /// What the file of a keeper that was driven so would say.
    fn kept(drive: impl FnOnce(&Keeper)) -> Vec<(u16, u64)> {
        let (keeper, _task) = Keeper::new(Path::new("nowhere"), mpsc::channel(1).0);
        drive(&keeper);
        keeper
            .marked()
            .iter()
            .map(|(shard, mark)| (*shard, mark.at.as_micros() / 1_000_000))
            .collect()
    }

    #[tokio::test]
    async fn a_shard_keeps_its_mark_until_there_is_none_of_its_number() {
        let both = [0, 1].into();
        let marked = |keeper: &Keeper| {
            keeper.found(&Marks::from([(1, mark(1)), (7, mark(2))]));
            keeper.begin(0, mark(10), &both);
            keeper.mark(Marks::from([(0, mark(11)), (1, mark(12))]), &both);
        };
        assert_eq!(
            kept(marked),
            [(0, 10), (1, 1)],
            "the last process's, until what it heard is safe"
        );
        let lost = |keeper: &Keeper| {
            marked(keeper);
            keeper.mark(Marks::from([(0, mark(13))]), &both);
            keeper.mark(Marks::from([(0, mark(14))]), &both);
        };
        assert_eq!(kept(lost), [(0, 13), (1, 12)], "it delivers nothing just now");
        let back = |keeper: &Keeper| {
            lost(keeper);
            keeper.begin(1, mark(20), &both);
            keeper.mark(Marks::from([(0, mark(21)), (1, mark(21))]), &both);
        };
        assert_eq!(kept(back), [(0, 14), (1, 20)], "a kill right after its gap leaves no hole");
        let gone = |keeper: &Keeper| {
            back(keeper);
            keeper.mark(Marks::from([(0, mark(22))]), &[0].into());
        };
        assert_eq!(kept(gone), [(0, 21)]);
    }

    #[tokio::test]
    async fn what_waits_when_a_mark_is_written_may_be_older_than_the_mark() {
        let waits = |keeper: &Keeper| {
            keeper.mark(Marks::from([(0, mark(10))]), &[0].into());
            keeper.mark(Marks::from([(0, mark(9))]), &[0].into());
        };
        assert_eq!(kept(waits), [(0, 9)]);
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
        let named = vec![(open, vec!["a".to_owned()])];
        let refused = vec!["b".to_owned()];
        let promised = vec![(1, Vec::new()), (open, vec!["c".to_owned()])];
        keeper.save(&ledger, About { damage: vec![(7, 9)], named, refused, promised });
        for second in 20..23 {
            keeper.mark(Marks::from([(0, mark(second)), (1, mark(5))]), &[0, 1].into());
        }
        drop(keeper);
        task.await;
        let kept = Kept::load(folder.path());
        assert_eq!(kept.trouble, None);
        assert_eq!(kept.damage, [(7, 9)]);
        assert_eq!(kept.named, BTreeMap::from([(open, vec![Topic::new("a")])]));
        assert_eq!(kept.refused, [Topic::new("b")]);
        let promised = BTreeMap::from([(1, Vec::new()), (open, vec![Topic::new("c")])]);
        assert_eq!(kept.promised, promised);
        assert_eq!(kept.gaps, ledger.list().cloned().collect::<Vec<_>>());
        assert_eq!((kept.opened, kept.heard), (2, Marks::from([(0, mark(21)), (1, mark(5))])));
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
        keeper.save(&Ledger::new(1), About::default());
        let tracker = tokio_util::task::TaskTracker::new();
        let writing = tracker.spawn(task);
        assert!(matches!(observed.recv().await, Some(Observation::LedgerFailed { .. })));
        tokio::time::sleep(Duration::from_secs(10)).await;
        drop(keeper);
        writing.await.expect("the task ends");
        assert!(observed.try_recv().is_err());
    }
}
