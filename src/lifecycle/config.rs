//! The `[lifecycle]` table: the times that govern a session.

use crate::mistake::Mistake;
use serde::Deserialize;
use std::time::Duration;

/// Times of a session's life; `config/default.toml` explains each.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How often the platform is probed.
    #[serde(with = "humantime_serde")]
    pub ping_interval: Duration,
    /// Silence after which the peer is dead.
    #[serde(with = "humantime_serde")]
    pub dead_after: Duration,
    /// How long a fresh subscription is watched before it counts as settled.
    #[serde(with = "humantime_serde")]
    pub settle: Duration,
    /// How long a predecessor stays after its successor has settled.
    #[serde(with = "humantime_serde")]
    pub drain: Duration,
    /// The back-off's first ceiling.
    #[serde(with = "humantime_serde")]
    pub backoff_base: Duration,
    /// The back-off's last ceiling.
    #[serde(with = "humantime_serde")]
    pub backoff_cap: Duration,
    /// How long a session must live before past failures are forgotten.
    #[serde(with = "humantime_serde")]
    pub stable_after: Duration,
    /// The longest random delay before a fresh secret is taken up.
    #[serde(with = "humantime_serde")]
    pub rotation_jitter: Duration,
    /// How long before expiry a channel is renewed and a token replaced.
    #[serde(with = "humantime_serde")]
    pub renew_before: Duration,
    /// How many sessions carry each shard at the same time: 1 or 2.
    pub redundancy: usize,
    /// How often the queues are listed again, and refused topics asked for again.
    #[serde(with = "humantime_serde")]
    pub queues_refresh: Duration,
}

impl Config {
    /// What cannot work.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if self.ping_interval.is_zero() {
            mistakes.push(Mistake::new(
                "ping_interval",
                "is zero, so that the platform would be probed without end",
                "write an interval, such as \"15s\"",
            ));
        }
        if self.dead_after <= self.ping_interval {
            mistakes.push(Mistake::new(
                "dead_after",
                "is not longer than ping_interval, so that a healthy peer would be dropped",
                "allow at least two probes: a little more than twice ping_interval",
            ));
        }
        if self.backoff_base.is_zero() || self.backoff_cap < self.backoff_base {
            mistakes.push(Mistake::new(
                "backoff_cap",
                "is below backoff_base, or backoff_base is zero",
                "keep 0 < backoff_base <= backoff_cap, such as \"500ms\" and \"30s\"",
            ));
        }
        if !matches!(self.redundancy, 1 | 2) {
            mistakes.push(Mistake::new(
                "redundancy",
                "is neither 1 nor 2",
                "write 1, or 2 for two sessions on different channels all the time",
            ));
        }
        if self.queues_refresh.is_zero() {
            mistakes.push(Mistake::new(
                "queues_refresh",
                "is zero, so that the queues would be listed without end",
                "write an interval, such as \"5m\"",
            ));
        }
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_without_a_pause_is_a_mistake() {
        let config = Config { ping_interval: Duration::ZERO, ..super::super::tests::config() };
        assert_eq!(config.mistakes().len(), 1);
        let config = Config {
            redundancy: 3,
            queues_refresh: Duration::ZERO,
            ..super::super::tests::config()
        };
        assert_eq!(config.mistakes().len(), 2);
    }
}
