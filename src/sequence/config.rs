//! The `[arbitration]` table.

use serde::Deserialize;
use std::time::Duration;

/// Bounds of arbitration; `config/default.toml` explains each.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How long a follower's sight waits for its leader.
    #[serde(with = "humantime_serde")]
    pub hold: Duration,
    /// How long a family with an occurrence key remembers what it has published.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// How many it remembers at most.
    pub window_events: usize,
}
