//! A file or standard output, one structured CloudEvent a line; the example to copy for a new sink.
//!
//! A batch is written at a time, on a thread where waiting for the disk holds nobody up. A line that a crash tore is repaired
//! when the file is opened again; the last whole line says how far we got, so that a resend doubles nothing.

use super::cloudevents::Encoder;
use super::guarantee::{Guarantee, Level};
use super::{Error, Record, Resume, Sink, Verdict, mount};
use crate::event::Epoch;
use crate::mistake::Mistake;
use async_trait::async_trait;
use serde::Deserialize;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::{fmt, future, iter};
use tokio::task::{JoinHandle, spawn_blocking};

/// The `[sink.jsonl]` table; `config/default.toml` explains each key.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The file; `-` is standard output.
    pub path: PathBuf,
    /// When a batch counts as stored.
    pub flush: Flush,
    /// Which events the sink takes; all without it.
    pub filter: Option<String>,
    /// The least that the file must give.
    pub required: Option<Level>,
}

/// When a batch counts as stored.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Flush {
    /// When the operating system has it.
    Line,
    /// When the disk has it.
    Sync,
}

impl Config {
    /// What cannot work.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let path = self.path.as_os_str().as_encoded_bytes();
        if path.is_empty() || path.ends_with(b"/") {
            mistakes.push(Mistake::new(
                "path",
                "is not the name of a file",
                "write a file such as ./events.jsonl, or - for standard output",
            ));
        }
        mistakes
    }

    /// What the file gives, by its flushing and by the file system that holds it.
    fn guarantee(&self) -> Guarantee {
        let mut guarantee = Guarantee::of(Level::EffectivelyOnce);
        if self.path == Path::new("-") {
            let text = "standard output keeps nothing: what was written before a restart is not known, and what a reader that dies \
                        had not taken is gone";
            guarantee.lowers(Level::AtLeastOnce, "stdout", text);
            return guarantee;
        }
        guarantee.holds(
            "resume",
            "the file's own end says how far it got, and a lock keeps a second writer out",
        );
        match self.flush {
            Flush::Sync => guarantee.holds("flush", "flush is sync: each batch is on the disk before it counts"),
            Flush::Line => guarantee.weakens(
                "flush",
                "flush is line: a power cut costs what the system has not written yet, commonly up to 30 s; flush = \"sync\" waits for the disk",
            ),
        }
        mount::describe(&self.path, &mut guarantee);
        guarantee
    }

    /// The sink, not yet open. `source` is the address of the platform's API.
    pub fn build(self, source: &str) -> Box<dyn Sink> {
        Box::new(Jsonl { config: self, encoder: Encoder::new(source), output: None, writing: None })
    }
}

/// How many bytes one write may gather; a batch ends with the record that passes it.
const BATCH: usize = 256 << 10;

struct Jsonl {
    config: Config,
    encoder: Encoder,
    /// Where lines go; lent to the thread that writes a batch.
    output: Option<Output>,
    /// The batch being written, and how many records it holds.
    writing: Option<(JoinHandle<io::Result<Output>>, usize)>,
}

#[async_trait]
impl Sink for Jsonl {
    async fn open(&mut self, epoch: &Epoch) -> Result<Resume, Error> {
        // A write that was given up may still be at it: it must not add lines behind the tail that is read now.
        if let Some((task, _)) = self.writing.take() {
            drop(task.await);
        }
        let (path, flush, epoch) = (self.config.path.clone(), self.config.flush, epoch.clone());
        let opened = spawn_blocking(move || Output::open(&path, flush, &epoch)).await;
        let (output, last_position) = opened
            .unwrap_or_else(|panic| Err(io::Error::other(panic)))
            .map_err(|error| self.failed("open", error))?;
        self.output = Some(output);
        Ok(Resume { last_position })
    }

    async fn submit(&mut self, records: &[Record]) -> Result<usize, Error> {
        if records.is_empty() {
            return Ok(0);
        }
        let Some(mut output) = self.output.take() else {
            return Ok(0); // One batch is written at a time.
        };
        let mut taken = 0;
        for record in records {
            output.add(&mut self.encoder, record);
            taken += 1;
            if output.lines.len() >= BATCH {
                break;
            }
        }
        let task = spawn_blocking(move || output.write().map(|()| output));
        self.writing = Some((task, taken));
        Ok(taken)
    }

    async fn settle(&mut self, verdicts: &mut Vec<Verdict>) -> Result<(), Error> {
        let Some((task, taken)) = &mut self.writing else {
            return future::pending().await;
        };
        let (written, taken) = (task.await, *taken);
        self.writing = None;
        let output = written
            .unwrap_or_else(|panic| Err(io::Error::other(panic)))
            .map_err(|error| self.failed("write to", error))?;
        self.output = Some(output);
        verdicts.extend(iter::repeat_n(Verdict::Stored, taken));
        Ok(())
    }

    async fn close(&mut self) -> Result<(), Error> {
        self.output = None;
        if let Some((task, _)) = self.writing.take() {
            drop(task.await);
        }
        Ok(())
    }

    async fn guarantee(&mut self) -> Result<Guarantee, Error> {
        Ok(self.config.guarantee())
    }
}

impl Jsonl {
    fn failed(&self, attempt: &str, error: io::Error) -> Error {
        Error::retry(format!("{attempt} {}", self.config.path.display()), error)
    }
}

impl fmt::Debug for Jsonl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jsonl").field("config", &self.config).finish_non_exhaustive()
    }
}

/// An open file or standard output, and the lines that wait to be written.
struct Output {
    /// `None` is standard output.
    file: Option<File>,
    flush: Flush,
    lines: Vec<u8>,
}

impl Output {
    /// Opens the output, repairs its tail, and finds the position of the last event of `epoch`.
    fn open(path: &Path, flush: Flush, epoch: &Epoch) -> io::Result<(Self, Option<u64>)> {
        let (file, position) = if path == Path::new("-") {
            (None, None)
        } else {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let mut file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
            lock(&file)?;
            let last = repair(&mut file)?;
            (Some(file), last.and_then(|last| last.position_in(epoch)))
        };
        let lines = Vec::with_capacity(BATCH);
        Ok((Self { file, flush, lines }, position))
    }

    /// Adds one line. White space between the tokens of a body may hold line breaks; no string can, so a space does as well.
    fn add(&mut self, encoder: &mut Encoder, record: &Record) {
        let start = self.lines.len();
        encoder.structured(record, &mut self.lines);
        for byte in &mut self.lines[start..] {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        self.lines.push(b'\n');
    }

    /// Writes the lines, all or none: what a full disk took of them is cut off again.
    fn write(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            let mut stdout = io::stdout().lock();
            stdout.write_all(&self.lines)?;
            self.lines.clear();
            return stdout.flush();
        };
        let metadata = file.metadata()?;
        let written = file.write_all(&self.lines).and_then(|()| match self.flush {
            Flush::Line => Ok(()),
            Flush::Sync => file.sync_data(),
        });
        if written.is_err() && metadata.is_file() {
            file.set_len(metadata.len())?;
        }
        self.lines.clear();
        written
    }
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

/// What a line says about the place of its event.
#[derive(Deserialize)]
struct Place {
    epoch: String,
    position: String,
}

impl Place {
    fn position_in(self, epoch: &Epoch) -> Option<u64> {
        (self.epoch == epoch.as_str()).then(|| self.position.parse().ok())?
    }
}

/// Makes the file end with a whole line, and returns that line's place if it is an event of ours.
///
/// A torn event was never acknowledged and is cut off; text that is not ours is ended instead, never cut.
fn repair(file: &mut File) -> io::Result<Option<Place>> {
    if !file.metadata()?.is_file() {
        return Ok(None); // A pipe or a device has no tail.
    }
    let mut tail = last_line(file)?;
    if !tail.is_empty() && !tail.ends_with(b"\n") {
        let torn = tail.starts_with(OURS) || OURS.starts_with(&tail);
        if torn && serde_json::from_slice::<Place>(&tail).is_err() {
            let end = file.metadata()?.len() - tail.len() as u64;
            file.set_len(end)?;
            tail = last_line(file)?;
        } else {
            file.write_all(b"\n")?;
        }
    }
    Ok(serde_json::from_slice(&tail).ok())
}

/// How every line of ours begins.
const OURS: &[u8] = br#"{"specversion":"#;

/// The file's last line, with its line break if it has one.
fn last_line(file: &mut File) -> io::Result<Vec<u8>> {
    let end = file.metadata()?.len();
    let mut window = 64 << 10;
    loop {
        let start = end.saturating_sub(window);
        let mut tail = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        file.take(end - start).read_to_end(&mut tail)?;
        let inside = tail.strip_suffix(b"\n").unwrap_or(&tail);
        match inside.iter().rposition(|&byte| byte == b'\n') {
            Some(at) => return Ok(tail.split_off(at + 1)),
            None if start == 0 => return Ok(tail),
            None => window *= 2, // A line longer than the window.
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_or_standard_output_will_do() {
        let mistakes = |path: &str| {
            let (path, flush) = (path.into(), Flush::Line);
            Config { path, flush, filter: None, required: None }.mistakes().len()
        };
        assert_eq!(mistakes("./events.jsonl"), 0);
        assert_eq!(mistakes("-"), 0);
        assert_eq!(mistakes(""), 1);
        assert_eq!(mistakes("/var/lib/tieline/"), 1);
    }
}
