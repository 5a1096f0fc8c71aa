//! The `[journal]` table.

use crate::mistake::Mistake;
use crate::size::Size;
use serde::de::{Deserialize, Deserializer, Error};
use std::time::Duration;

/// Bounds and care of the journal; `config/default.toml` explains each.
#[derive(Clone, Debug, serde::Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The bound on each sink's unacknowledged events.
    pub max_bytes: Size,
    /// When the disk is waited for.
    pub sync: Sync,
    /// The disk is waited for after so many bytes too.
    pub sync_bytes: Size,
    /// A segment is followed by another when it is so long.
    pub segment_bytes: Size,
    /// A new epoch begins when so many keys have numbers, since none can be forgotten within one.
    pub keys_max: usize,
}

/// When the disk is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// So long after a write, at most.
    Within(Duration),
    /// Before any sink sees an event.
    Always,
}

impl<'de> Deserialize<'de> for Sync {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "always" {
            return Ok(Self::Always);
        }
        humantime::parse_duration(&text).map(Self::Within).map_err(|_| {
            D::Error::custom(format!(
                "{text:?} is neither \"always\" nor a duration such as \"100ms\""
            ))
        })
    }
}

impl Config {
    /// What cannot work.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let intervals = Duration::from_millis(1)..=Duration::from_secs(60);
        if let Sync::Within(interval) = self.sync
            && !intervals.contains(&interval)
        {
            let fix = "write from \"1ms\" to \"1m\", or \"always\"";
            mistakes.push(Mistake::new("sync", "is no interval to wait for the disk", fix));
        }
        let mut bound = |key, size: Size, least: &str, most: &str| {
            let range = [least, most].map(|size| size.parse::<Size>().unwrap_or_default());
            if size < range[0] || size > range[1] {
                let fix = format!("write from \"{least}\" to \"{most}\"");
                mistakes.push(Mistake::new(key, "is out of bounds", fix));
            }
        };
        bound("max_bytes", self.max_bytes, "1MiB", "1024GiB");
        bound("segment_bytes", self.segment_bytes, "64KiB", "256MiB");
        bound("sync_bytes", self.sync_bytes, "64KiB", "16MiB");
        if !(1_000..=10_000_000).contains(&self.keys_max) {
            let fix = "write from 1000 to 10000000";
            mistakes.push(Mistake::new("keys_max", "is out of bounds", fix));
        }
        mistakes
    }
}
