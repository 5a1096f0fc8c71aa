//! The tables `[arbitration]` and `[gaps]`.

use crate::mistake::Mistake;
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

/// What is done about gaps, the `[gaps]` table; `config/default.toml` explains each key.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// Whether REST is asked for what it can show after a gap.
    pub rebase: bool,
    /// No silence of a key is suspect before this; zero turns the watchdog of the feed off.
    #[serde(with = "humantime_serde")]
    pub feed_silence: Duration,
    /// How many gaps that have ended are kept on disk.
    pub keep: usize,
}

impl Watch {
    /// More would make each change of the ledger's file slow.
    const KEEP_MAX: usize = 10_000;

    /// What cannot work.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let fits = (1..=Self::KEEP_MAX).contains(&self.keep);
        let problem = format!("is not between 1 and {}", Self::KEEP_MAX);
        let mistake = || Mistake::new("keep", problem, "1000 suits most");
        (!fits).then(mistake).into_iter().collect()
    }
}
