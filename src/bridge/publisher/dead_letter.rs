//! Where an event goes that a sink can never take: a line in `data_dir/dead-letter.<sink>.jsonl`, with the reason.
//!
//! The file is the operator's: it is only ever appended to, and readable by its owner alone, since bodies hold personal data.

use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What stands before the event on a line; the event itself is written in its structured form.
#[derive(Serialize)]
struct Head<'a> {
    sink: &'static str,
    reason: &'a str,
}

/// The dead-letter file of one sink.
#[derive(Clone, Debug)]
pub(super) struct DeadLetters {
    sink: &'static str,
    path: PathBuf,
}

impl DeadLetters {
    pub(super) fn new(data_dir: &Path, sink: &'static str) -> Self {
        Self { sink, path: data_dir.join(format!("dead-letter.{sink}.jsonl")) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends the event, given in its structured form, and waits for the disk: after this nothing else remembers it.
    pub(super) async fn park(&self, structured: &[u8], reason: &str) -> io::Result<()> {
        let line = line(self.sink, structured, reason)?;
        let path = self.path.clone();
        let write = move || append(&path, &line);
        match tokio::task::spawn_blocking(write).await {
            Ok(written) => written,
            Err(join) => Err(io::Error::other(join)),
        }
    }
}

/// `{"sink":…,"reason":…,"event":{…}}` and a line feed.
fn line(sink: &'static str, structured: &[u8], reason: &str) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(&Head { sink, reason })?;
    text.pop();
    text.extend_from_slice(b",\"event\":");
    text.extend_from_slice(structured);
    text.push(b'}');
    // A line feed between the tokens of a body is white space; within a string JSON has none.
    for byte in &mut text {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    text.push(b'\n');
    Ok(text)
}

fn append(path: &Path, line: &[u8]) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut file =
        OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)?;
    if is_torn(&mut file)? {
        file.write_all(b"\n")?;
    }
    file.write_all(line)?;
    file.sync_data()
}

/// Whether the last line was cut short, by a full disk or a killed process.
fn is_torn(file: &mut File) -> io::Result<bool> {
    let length = file.seek(SeekFrom::End(0))?;
    if length == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}
