//! What the status says of the configuration: what is in force, what waits for a restart, and what became of the last reload.
//!
//! Words alone: values come as a message may show them, never a secret.

use crate::time::Timestamp;
use serde::Serialize;

/// The configuration in force.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Configuration {
    /// The file that it was read from; none when there is none.
    pub file: Option<String>,
    /// Since when all of it is in force: the start, or the last reload that changed something.
    pub in_force_since: Timestamp,
    /// What the file says now and only a restart brings into force.
    pub pending: Vec<Changed>,
    /// The last time that it was read again.
    pub last_reload: Option<Reload>,
}

/// A key whose value was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// The full path, such as `sink.kafka.topic`.
    pub key: String,
    /// The value before, as TOML.
    pub was: String,
    /// The value asked for, as TOML.
    pub now: String,
}

/// What became of reading it again.
#[derive(Clone, Debug, Serialize)]
pub struct Reload {
    /// When.
    pub at: Timestamp,
    /// `SIGHUP`, or `file` when another one was found.
    pub trigger: &'static str,
    /// One of `telemetry::metrics::RELOADS`.
    pub outcome: &'static str,
    /// What is in force since then.
    pub applied: Vec<Changed>,
    /// What the file changes in vain, because a variable stands above it.
    pub overridden: Vec<OverriddenKey>,
    /// Each mistake in words; then nothing of the file is in force.
    pub mistakes: Vec<String>,
}

/// A key that the file changes in vain.
#[derive(Clone, Debug, Serialize)]
pub struct OverriddenKey {
    /// The full path.
    pub key: String,
    /// The variable that stands above the file.
    pub variable: String,
}

impl Configuration {
    /// What is in force from the start.
    pub fn new(started: Timestamp) -> Self {
        Self { in_force_since: started, ..Self::default() }
    }

    /// The mistakes for which the file was refused when it was last read; none when it was not.
    pub fn mistakes(&self) -> &[String] {
        self.last_reload.as_ref().map_or(&[], |reload| &reload.mistakes)
    }
}
