//! The end of a file: how far we got, and what a crash tore.

use crate::event::Epoch;
use crate::sink::Resume;
use crate::time::Timestamp;
use serde::Deserialize;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

/// What a line says about the place of its event.
#[derive(Deserialize)]
pub(super) struct Place {
    epoch: String,
    position: String,
    time: String,
}

impl Place {
    /// When the event was received; none when somebody else wrote the line.
    pub(super) fn time(&self) -> Option<Timestamp> {
        humantime::parse_rfc3339(&self.time).ok().map(Timestamp::from)
    }

    /// What it says to whoever goes on with that epoch.
    pub(super) fn resume(&self, epoch: &Epoch) -> Resume {
        Resume::behind(&self.epoch, self.position.parse().ok(), epoch)
    }
}

/// Makes the file end with a whole line, and returns that line's place if it is an event of ours.
///
/// A torn event was never acknowledged and is cut off; text that is not ours is ended instead, never cut.
pub(super) fn repair(file: &mut File) -> io::Result<Option<Place>> {
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
