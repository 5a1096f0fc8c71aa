//! A file or standard output, one structured CloudEvent a line; the example to copy for a new sink.

use crate::mistake::Mistake;
use serde::Deserialize;
use std::path::PathBuf;

/// The `[sink.jsonl]` table; `config/default.toml` explains each key.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The file; `-` is standard output.
    pub path: PathBuf,
    /// When a batch counts as stored.
    pub flush: Flush,
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
        Vec::new()
    }
}
