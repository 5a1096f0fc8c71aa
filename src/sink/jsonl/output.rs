//! An open file or standard output: lines go in whole batches, all or none of each.

use super::config::{Config, Flush};
use super::rotation::Rotation;
use super::tail::repair;
use crate::event::Epoch;
use crate::sink::cloudevents::Encoder;
use crate::sink::{Record, Resume};
use crate::time::Timestamp;
use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// How many bytes one write may gather; a batch ends with the record that passes it.
pub(super) const BATCH: usize = 256 << 10;

/// An open file or standard output, and the lines that wait to be written.
pub(super) struct Output {
    /// `None` is standard output.
    file: Option<File>,
    flush: Flush,
    rotation: Rotation,
    /// When the last event of the lines, or of the file, was received.
    last: Option<Timestamp>,
    /// Whether the lines belong into the next file.
    is_next: bool,
    pub(super) lines: Vec<u8>,
}

impl Output {
    /// Opens the output, repairs its tail, and says what its last event is to whoever goes on with `epoch`.
    pub(super) fn open(config: &Config, epoch: &Epoch) -> io::Result<(Self, Resume)> {
        let rotation = Rotation::new(config);
        let (file, last) = if config.path == Path::new("-") {
            (None, None)
        } else {
            let mut file = rotation.create()?;
            lock(&file)?;
            let last = match repair(&mut file)? {
                // Put aside, and nothing written since.
                None if file.metadata()?.len() == 0 => rotation.last_aside()?,
                last => last,
            };
            (Some(file), last)
        };
        let resume = last.as_ref().map(|last| last.resume(epoch)).unwrap_or_default();
        let last = last.and_then(|last| last.time());
        let (flush, lines) = (config.flush, Vec::with_capacity(BATCH));
        Ok((Self { file, flush, rotation, last, is_next: false, lines }, resume))
    }

    /// Whether an event that was received then belongs into another file than what was written or added before.
    pub(super) fn is_next_period(&self, received: Timestamp) -> bool {
        self.last.is_some_and(|last| self.rotation.period(last) < self.rotation.period(received))
    }

    /// Adds one line. White space between the tokens of a body may hold line breaks; no string can, so a space does as well.
    pub(super) fn add(&mut self, encoder: &mut Encoder, record: &Record) {
        let start = self.lines.len();
        let received = record.event.received;
        self.is_next |= start == 0 && self.is_next_period(received);
        // Never back: a late event must not open the last period again.
        self.last = self.last.max(Some(received));
        encoder.structured(record, &mut self.lines);
        for byte in &mut self.lines[start..] {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        self.lines.push(b'\n');
    }

    /// Writes the lines, all or none: what a full disk took of them is cut off again.
    pub(super) fn write(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            let mut stdout = io::stdout().lock();
            stdout.write_all(&self.lines)?;
            self.lines.clear();
            return stdout.flush();
        };
        let metadata = file.metadata()?;
        if metadata.is_file() && !self.rotation.is_still(&metadata) {
            return Err(gone());
        }
        let is_full = self.rotation.is_full(metadata.len(), self.lines.len());
        if metadata.is_file() && metadata.len() > 0 && (self.is_next || is_full) {
            *file = self.rotation.rotate(file)?;
            lock(file)?;
        }
        self.is_next = false;
        let metadata = file.metadata()?;
        let written = file.write_all(&self.lines).and_then(|()| match self.flush {
            Flush::Line => Ok(()),
            Flush::Sync => file.sync_data(),
        });
        if written.is_err() && metadata.is_file() {
            file.set_len(metadata.len())?;
        }
        self.lines.clear();
        written?;
        // What was removed meanwhile has taken these lines with it. Some file systems count no names.
        let metadata = file.metadata()?;
        if metadata.is_file() && metadata.nlink() == 0 && !self.rotation.is_still(&metadata) {
            return Err(gone());
        }
        Ok(())
    }
}

/// Lines in a file without a name are lost, and in one of another name nobody may look for them.
fn gone() -> io::Error {
    io::Error::other("somebody else has moved or removed the file; it is made anew")
}

/// Keeps every other writer of ours out, in this process or another, for as long as the file is open.
fn lock(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(io::Error::other("another process writes to it")),
        Err(TryLockError::Error(error)) if error.kind() != ErrorKind::Unsupported => Err(error),
        // Pipes, devices and some network file systems know no locks.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}
