//! The `[sink.jsonl]` table, and what a file so configured guarantees.

use super::Jsonl;
use crate::mistake::Mistake;
use crate::sink::cloudevents::Encoder;
use crate::sink::guarantee::{Guarantee, Level};
use crate::sink::{Sink, mount};
use crate::size::Size;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A smaller file would be put aside at nearly each batch.
const ROTATE_BYTES_MIN: u64 = 1 << 20;

/// A shorter period would fill the folder.
const ROTATE_EVERY_MIN: Duration = Duration::from_secs(60);

/// The `[sink.jsonl]` table; `config/default.toml` explains each key.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The file; `-` is standard output.
    pub path: PathBuf,
    /// When a batch counts as stored.
    pub flush: Flush,
    /// The file is put aside before it grows larger; zero never.
    pub rotate_bytes: Size,
    /// The file is put aside when an event of the next such period of UTC comes; zero never.
    #[serde(with = "humantime_serde")]
    pub rotate_every: Duration,
    /// How many files that were put aside are kept; zero keeps all.
    pub keep: usize,
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
        let rotates = self.rotate_bytes.0 > 0 || !self.rotate_every.is_zero();
        if self.rotate_bytes.0 > 0 && self.rotate_bytes.0 < ROTATE_BYTES_MIN {
            let fix = "write 0B for no bound, or at least 1MiB, such as \"256MiB\"";
            mistakes.push(Mistake::new("rotate_bytes", "is smaller than a few batches", fix));
        }
        if !self.rotate_every.is_zero() && self.rotate_every < ROTATE_EVERY_MIN {
            let fix = "write 0s for never, or at least a minute, such as \"1h\" or \"1d\"";
            mistakes.push(Mistake::new(
                "rotate_every",
                "makes more files than anybody can read",
                fix,
            ));
        }
        if rotates && path == b"-" {
            let fix = "set rotate_bytes and rotate_every to zero, or name a file";
            mistakes.push(Mistake::new(
                "path",
                "is standard output, which cannot be put aside",
                fix,
            ));
        }
        mistakes
    }

    /// What the file gives, by its flushing and by the file system that holds it.
    pub(super) fn guarantee(&self) -> Guarantee {
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
        let encoder = Encoder::new(source);
        Box::new(Jsonl { config: self, encoder, output: None, writing: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(path: &str) -> Config {
        let (path, flush, rotate_every) = (path.into(), Flush::Line, Duration::ZERO);
        let (filter, required) = (None, None);
        Config { path, flush, rotate_bytes: Size(0), rotate_every, keep: 0, filter, required }
    }

    #[test]
    fn only_a_file_or_standard_output_will_do() {
        let mistakes = |path: &str| config(path).mistakes().len();
        assert_eq!(mistakes("./events.jsonl"), 0);
        assert_eq!(mistakes("-"), 0);
        assert_eq!(mistakes(""), 1);
        assert_eq!(mistakes("/var/lib/tieline/"), 1);
    }

    #[test]
    fn a_file_is_put_aside_at_sensible_times_and_standard_output_never() {
        let keys = |config: Config| config.mistakes().iter().map(|one| one.key).collect::<Vec<_>>();
        let hourly = Config { rotate_every: Duration::from_secs(3600), ..config("a.jsonl") };
        assert_eq!(keys(hourly.clone()), [""; 0]);
        assert_eq!(keys(Config { path: "-".into(), ..hourly.clone() }), ["path"]);
        assert_eq!(keys(Config { rotate_bytes: Size(5), ..hourly.clone() }), ["rotate_bytes"]);
        let often = Config { rotate_every: Duration::from_secs(1), ..hourly };
        assert_eq!(keys(often), ["rotate_every"]);
    }
}
