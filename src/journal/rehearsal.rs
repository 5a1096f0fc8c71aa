//! A journal for tests: no thread, and a folder that is a model of a disk, which can fail, fill up, and lose what it was not waited for.

use super::open::{Opening, readers};
use super::storage::{Page, Storage};
use super::{Config, Found, Journal, Reader, Sync, Work};
use crate::clock::Clock;
use crate::size::Size;
use crate::time::Time;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A journal in a model of a disk, with the bound given.
pub(crate) fn journal(max_bytes: u64, sinks: &[&'static str]) -> (Journal, Vec<Reader>) {
    let config = Config { max_bytes: Size(max_bytes), ..config() };
    let (journal, readers, _) = open(&config, &Arc::default(), "boot", sinks);
    (journal, readers)
}

/// Runs what is played to a journal, whose readers wait for nothing here.
pub(crate) fn block_on<T>(play: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(play)
}

/// Small segments, and the disk waited for as the test says.
pub(crate) fn config() -> Config {
    Config {
        max_bytes: Size(1 << 20),
        sync: Sync::Within(Duration::from_secs(3600)),
        sync_bytes: Size(1 << 40),
        segment_bytes: Size(16 << 20),
        keys_max: 100_000,
    }
}

/// Opens a journal on that disk.
pub(crate) fn open(
    config: &Config,
    disk: &Arc<Model>,
    boot: &str,
    sinks: &[&'static str],
) -> (Journal, Vec<Reader>, Found) {
    let mut salt = 0;
    let opening = Opening {
        config: config.clone(),
        data_dir: Path::new(""),
        sinks,
        clock: Clock::start(),
        salt: Box::new(move || {
            salt += 1;
            salt
        }),
    };
    let storage = storage(disk);
    let (mut writer, found) = opening.prepare(storage, boot).expect("a journal");
    // What is due is due at once.
    (writer.beat, writer.retry, writer.retry_at) = (Duration::ZERO, Duration::ZERO, Time::START);
    let shared = Arc::clone(&writer.shared);
    let readers = readers(&shared);
    (Journal { shared, writer: Work::Inline(Box::new(writer)), _lock: None }, readers, found)
}

/// From now on nothing is written before it is flushed.
pub(crate) fn write_at_flush(journal: &mut Journal) {
    if let Work::Inline(writer) = std::mem::replace(&mut journal.writer, Work::Thread(None)) {
        journal.writer = Work::AtFlush(writer);
    }
}

/// The folder on that disk.
pub(super) fn storage(disk: &Arc<Model>) -> Arc<dyn Storage> {
    Arc::new(Disk(Arc::clone(disk)))
}

/// The disk: what the system shows, and what would be left of it without power.
#[derive(Debug, Default)]
pub(crate) struct Model(Mutex<State>);

#[derive(Clone, Debug, Default)]
struct State {
    /// By name, as the system shows it: an inode.
    names: BTreeMap<String, usize>,
    /// As the disk has it.
    kept_names: BTreeMap<String, usize>,
    files: Vec<File>,
    /// How many operations there were.
    operations: usize,
    /// Operations from this one on fail, with the error.
    fails_from: Option<(usize, ErrorKind)>,
    /// The one operation that fails.
    fails_at: Option<(usize, ErrorKind)>,
    /// Nothing is done any more: the process has been killed.
    dies_at: Option<usize>,
    /// How many bytes the files may have together.
    room: Option<usize>,
    /// Waiting for the disk fails, while everything else goes well.
    keeps_nothing: bool,
    /// The bytes of a file that cannot be read.
    unreadable: Option<(usize, Range<usize>)>,
}

#[derive(Clone, Debug, Default)]
struct File {
    shown: Vec<u8>,
    kept: Vec<u8>,
}

impl Model {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many operations that change something there were.
    pub(crate) fn operations(&self) -> usize {
        self.lock().operations
    }

    /// The process is killed before its operation of that number; whoever goes on talks to nobody.
    pub(crate) fn die_at(&self, operation: usize) {
        self.lock().dies_at = Some(operation);
    }

    /// The operation of that number fails, once.
    pub(crate) fn fail_at(&self, operation: usize, error: ErrorKind) {
        self.lock().fails_at = Some((operation, error));
    }

    /// Every operation from that number on fails.
    pub(crate) fn fail_from(&self, operation: usize, error: ErrorKind) {
        self.lock().fails_from = Some((operation, error));
    }

    /// Every operation fails from now on, or none.
    pub(crate) fn fail(&self, error: Option<ErrorKind>) {
        let mut state = self.lock();
        state.fails_from = error.map(|error| (state.operations, error));
    }

    /// So many bytes are all there is.
    pub(crate) fn room(&self, bytes: Option<usize>) {
        self.lock().room = bytes;
    }

    /// Whether every wait for the disk fails.
    pub(crate) fn keep_nothing(&self, keeps_nothing: bool) {
        self.lock().keeps_nothing = keeps_nothing;
    }

    /// These bytes of a file cannot be read.
    pub(crate) fn spoil(&self, name: &str, bytes: Range<usize>) {
        let mut state = self.lock();
        state.unreadable = Some((state.names[name], bytes));
    }

    /// The names of the files.
    pub(crate) fn files(&self) -> Vec<String> {
        self.lock().names.keys().cloned().collect()
    }

    /// Changes a file's bytes behind everybody's back.
    pub(crate) fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.lock();
        let file = state.names[name];
        change(&mut state.files[file].shown);
    }

    /// The disk after the process was killed: all that the system was given is there.
    pub(crate) fn after_kill(&self) -> Arc<Self> {
        let state = self.lock();
        let (names, files) = (state.names.clone(), state.files.clone());
        Arc::new(Self(Mutex::new(State {
            kept_names: names.clone(),
            names,
            files,
            ..State::default()
        })))
    }

    /// The disk after the power was cut: of what it was not waited for, `keep` says byte by byte (file, offset) what it has all the same.
    pub(crate) fn after_power_cut(
        &self,
        names_kept: bool,
        keep: impl Fn(usize, usize) -> bool,
    ) -> Arc<Self> {
        let state = self.lock();
        let names = if names_kept { state.names.clone() } else { state.kept_names.clone() };
        let files = state.files.iter().enumerate().map(|(inode, file)| {
            let mut left = file.kept.clone();
            for (at, byte) in file.shown.iter().enumerate().skip(file.kept.len()) {
                if !keep(inode, at) {
                    break;
                }
                left.push(*byte);
            }
            File { shown: left.clone(), kept: left }
        });
        let files = files.collect();
        Arc::new(Self(Mutex::new(State {
            kept_names: names.clone(),
            names,
            files,
            ..State::default()
        })))
    }
}

impl State {
    fn used(&self) -> usize {
        self.names.values().map(|file| self.files[*file].shown.len()).sum()
    }

    /// Counts an operation. False where it is not done although nobody notices.
    fn operate(&mut self) -> io::Result<bool> {
        let number = self.operations;
        self.operations += 1;
        if self.dies_at.is_some_and(|dies| number >= dies) {
            return Ok(false);
        }
        if let Some((_, error)) = self.fails_at.filter(|(at, _)| *at == number) {
            return Err(error.into());
        }
        match self.fails_from {
            Some((from, error)) if number >= from => Err(error.into()),
            Some(_) | None => Ok(true),
        }
    }
}

#[derive(Debug)]
struct Disk(Arc<Model>);

#[derive(Debug)]
struct Open(Arc<Model>, usize);

impl Storage for Disk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.files())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn Page>> {
        let mut state = self.0.lock();
        if state.names.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let is_done = state.operate()?;
        state.files.push(File::default());
        let inode = state.files.len() - 1;
        if is_done {
            state.names.insert(name.to_owned(), inode);
        }
        Ok(Arc::new(Open(Arc::clone(&self.0), inode)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn Page>> {
        let inode = self.0.lock().names.get(name).copied().ok_or(ErrorKind::NotFound)?;
        Ok(Arc::new(Open(Arc::clone(&self.0), inode)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        if state.operate()? {
            let inode = state.names.remove(from).ok_or(ErrorKind::NotFound)?;
            state.names.insert(to.to_owned(), inode);
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        if state.operate()? {
            state.names.remove(name);
        }
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        if state.operate()? {
            state.kept_names = state.names.clone();
        }
        Ok(())
    }
}

impl Page for Open {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.0.lock();
        let offset = usize::try_from(offset).expect("small");
        let is_done = match state.operate() {
            Ok(is_done) => is_done,
            Err(error) => {
                // Half of it is there.
                let shown = &mut state.files[self.1].shown;
                shown.truncate(offset);
                shown.extend_from_slice(&bytes[..bytes.len() / 2]);
                return Err(error);
            }
        };
        if !is_done {
            return Ok(());
        }
        let room = state.room.map_or(usize::MAX, |room| room.saturating_sub(state.used()));
        let grows = (offset + bytes.len()).saturating_sub(state.files[self.1].shown.len());
        let taken =
            if grows > room { bytes.len().saturating_sub(grows - room) } else { bytes.len() };
        let shown = &mut state.files[self.1].shown;
        shown.resize(shown.len().max(offset + taken), 0);
        shown[offset..offset + taken].copy_from_slice(&bytes[..taken]);
        if taken < bytes.len() { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.0.lock();
        let from = usize::try_from(offset).expect("small");
        if state.unreadable.as_ref().is_some_and(|(file, bytes)| {
            *file == self.1 && bytes.start < from + buffer.len() && from < bytes.end
        }) {
            return Err(ErrorKind::Other.into());
        }
        let rest = state.files[self.1].shown.get(usize::try_from(offset).expect("small")..);
        let rest = rest.unwrap_or_default();
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        let is_done = state.operate()?;
        if state.keeps_nothing {
            return Err(ErrorKind::Other.into());
        }
        if is_done {
            let file = &mut state.files[self.1];
            file.kept = file.shown.clone();
        }
        Ok(())
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        let mut state = self.0.lock();
        if state.operate()? {
            let file = &mut state.files[self.1];
            file.shown.truncate(usize::try_from(length).expect("small"));
            file.kept.truncate(usize::try_from(length).expect("small"));
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.lock().files[self.1].shown.len() as u64)
    }
}
