//! Puts a file aside when it is full or its period is over, under a name that sorts by time, and forgets the oldest.
//!
//! `events.jsonl` becomes `events.20261124T150000.000000Z.jsonl`, after the last event in it. A file appears under its new name whole,
//! and never takes another's place. Nothing is put aside while no event comes.

use super::config::{Config, Flush};
use super::tail::{Place, repair};
use crate::time::Timestamp;
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// When and where a file is put aside.
#[derive(Debug)]
pub(super) struct Rotation {
    path: PathBuf,
    bytes_max: u64,
    every: Duration,
    keep: usize,
    flush: Flush,
}

/// `20261124T150000.000000Z`.
const STAMP: usize = 23;

impl Rotation {
    pub(super) fn new(config: &Config) -> Self {
        let (path, bytes_max, every) =
            (config.path.clone(), config.rotate_bytes.0, config.rotate_every);
        Self { path, bytes_max, every, keep: config.keep, flush: config.flush }
    }

    /// The file under its own name, made when it is missing.
    pub(super) fn create(&self) -> io::Result<File> {
        let folder = self.folder();
        fs::create_dir_all(&folder)?;
        let is_new = !self.path.exists();
        let file = OpenOptions::new().create(true).append(true).read(true).open(&self.path)?;
        if is_new && self.flush == Flush::Sync {
            // The name must outlive a power cut as well as the lines.
            File::open(folder)?.sync_all()?;
        }
        Ok(file)
    }

    /// Whether this is still the file under its own name.
    pub(super) fn is_still(&self, file: &Metadata) -> bool {
        match fs::metadata(&self.path) {
            Ok(there) => (there.dev(), there.ino()) == (file.dev(), file.ino()),
            // What cannot be asked now was not moved for that.
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Which period a time lies in; all of them in one when the period is none.
    pub(super) fn period(&self, time: Timestamp) -> u64 {
        let every = u64::try_from(self.every.as_micros()).unwrap_or(u64::MAX);
        time.as_micros().checked_div(every).unwrap_or(0)
    }

    /// Whether so many bytes more would make the file too large.
    pub(super) const fn is_full(&self, length: u64, more: usize) -> bool {
        self.bytes_max > 0 && length + more as u64 > self.bytes_max
    }

    /// Puts the file aside and makes a new one. `file` is whole: its last line has its break.
    pub(super) fn rotate(&self, file: &mut File) -> io::Result<File> {
        let last = repair(file)?.and_then(|last| last.time());
        if self.flush == Flush::Sync {
            file.sync_all()?;
        }
        let aside = self.free_name(last.unwrap_or_default());
        fs::rename(&self.path, aside)?;
        let file = self.create()?;
        self.prune()?;
        Ok(file)
    }

    /// The place of the last event in the youngest file that was put aside.
    pub(super) fn last_aside(&self) -> io::Result<Option<Place>> {
        match self.aside()?.pop() {
            Some(path) => repair(&mut OpenOptions::new().append(true).read(true).open(path)?),
            None => Ok(None),
        }
    }

    /// Removes the oldest files beyond those that are kept.
    fn prune(&self) -> io::Result<()> {
        let aside = self.aside()?;
        let surplus = aside.len().saturating_sub(self.keep);
        for path in aside.iter().take(if self.keep == 0 { 0 } else { surplus }) {
            fs::remove_file(path)?;
        }
        Ok(())
    }

    /// A name that sorts behind all others and is nobody's: two files whose last events came in one microsecond differ by one.
    fn free_name(&self, last: Timestamp) -> PathBuf {
        let mut micros = last.as_micros();
        loop {
            let path = self.name(Timestamp::from_micros(micros));
            if !path.exists() {
                return path;
            }
            micros += 1;
        }
    }

    fn name(&self, time: Timestamp) -> PathBuf {
        let stamp: String = time.to_string().chars().filter(|c| !matches!(c, '-' | ':')).collect();
        let (head, tail) = self.affixes();
        let mut name = head;
        name.push(stamp);
        name.push(tail);
        self.folder().join(name)
    }

    /// What stands before and after the time in the name of a file that was put aside.
    fn affixes(&self) -> (OsString, OsString) {
        let mut head = self.path.file_stem().unwrap_or_default().to_owned();
        head.push(".");
        let mut tail = OsString::new();
        if let Some(extension) = self.path.extension() {
            tail.push(".");
            tail.push(extension);
        }
        (head, tail)
    }

    fn folder(&self) -> PathBuf {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        folder.unwrap_or(Path::new(".")).to_owned()
    }

    /// The files that were put aside, oldest first. Names that are only like theirs are somebody else's.
    fn aside(&self) -> io::Result<Vec<PathBuf>> {
        let (head, tail) = self.affixes();
        let mut found = Vec::new();
        for entry in fs::read_dir(self.folder())? {
            let entry = entry?;
            let name = entry.file_name();
            let inside = name
                .as_encoded_bytes()
                .strip_prefix(head.as_encoded_bytes())
                .and_then(|rest| rest.strip_suffix(tail.as_encoded_bytes()));
            if inside.is_some_and(is_stamp) {
                found.push(entry.path());
            }
        }
        found.sort();
        Ok(found)
    }
}

fn is_stamp(text: &[u8]) -> bool {
    text.len() == STAMP
        && text.iter().enumerate().all(|(at, byte)| match at {
            8 => *byte == b'T',
            15 => *byte == b'.',
            22 => *byte == b'Z',
            _ => byte.is_ascii_digit(),
        })
}
