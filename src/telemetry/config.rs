//! The `[telemetry]` table: what is measured beyond what is always.

use serde::Deserialize;

/// What is measured on request; `config/default.toml` explains each.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whether each queue has series of its own.
    pub per_queue: bool,
}
