//! Disturbances: what happens to emissions on their way to one channel and not to another.
//!
//! The journal of emissions is the truth and never disturbed. Within one channel each key keeps its
//! order whatever the lag; between channels there is none to keep.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use crate::clock::Millis;
use crate::journal::key_of;

/// What is done to a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum What {
    /// It is not sent.
    Drop,
    /// It is sent twice.
    Double,
    /// It comes later by `lag_ms`.
    Lag,
    /// It comes later by a time between 0 and `lag_ms` that depends on key and channel, so that
    /// channels differ in the order of keys.
    Shuffle,
    /// Its body's members come in another order.
    Spell,
    /// Its body has more white space.
    Space,
    /// It has a CorrelationId of its own on each channel.
    Correlate,
}

impl What {
    /// Its name in control calls and in the journal.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Double => "double",
            Self::Lag => "lag",
            Self::Shuffle => "shuffle",
            Self::Spell => "spell",
            Self::Space => "space",
            Self::Correlate => "correlate",
        }
    }
}

/// One disturbance that is in force.
#[derive(Debug, Clone)]
pub(crate) struct Disturbance {
    pub(crate) what: What,
    /// Parts of the names of the only topics that it is about; all where none is named.
    pub(crate) topics: Vec<String>,
    /// The one channel it is about, or all.
    pub(crate) channel: Option<String>,
    /// Only each n-th frame of a channel is hit.
    pub(crate) every: u64,
    /// How many more frames are hit before it ends.
    pub(crate) left: Option<u64>,
    pub(crate) lag: Duration,
    pub(crate) until: Millis,
    /// Frames seen so far, by channel.
    pub(crate) seen: BTreeMap<String, u64>,
}

/// What becomes of one frame on one channel.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    pub(crate) dropped: bool,
    pub(crate) doubled: bool,
    pub(crate) lag: Duration,
    pub(crate) respelled: bool,
    pub(crate) spaced: bool,
    pub(crate) recorrelated: bool,
}

/// The fate of the next frame of `topic` on `channel`, all disturbances together.
pub(crate) fn fate(
    disturbances: &mut [Disturbance],
    channel: &str,
    topic: &str,
    now: Millis,
) -> Fate {
    let mut fate = Fate::default();
    for disturbance in disturbances {
        if !disturbance.is_about(topic) || !disturbance.hits(channel, now) {
            continue;
        }
        match disturbance.what {
            What::Drop => fate.dropped = true,
            What::Double => fate.doubled = true,
            What::Lag => fate.lag += disturbance.lag,
            What::Shuffle => fate.lag += share(disturbance.lag, channel, key_of(topic)),
            What::Spell => fate.respelled = true,
            What::Space => fate.spaced = true,
            What::Correlate => fate.recorrelated = true,
        }
    }
    fate
}

impl Fate {
    /// Whether the frame differs from the one in the journal.
    pub(crate) fn is_rewritten(&self) -> bool {
        self.respelled || self.spaced || self.recorrelated
    }
}

impl Disturbance {
    /// That to each frame of all topics and channels, for good.
    pub(crate) fn of(what: What) -> Self {
        Self {
            what,
            topics: Vec::new(),
            channel: None,
            every: 1,
            left: None,
            lag: Duration::ZERO,
            until: Millis::MAX,
            seen: BTreeMap::new(),
        }
    }

    fn is_about(&self, topic: &str) -> bool {
        self.topics.is_empty() || self.topics.iter().any(|part| topic.contains(part))
    }

    /// Counts a frame of this channel, and answers whether it is one to hit.
    fn hits(&mut self, channel: &str, now: Millis) -> bool {
        let concerned = self.channel.as_deref().is_none_or(|id| id == channel);
        if !concerned || self.until <= now || self.left == Some(0) {
            return false;
        }
        // Without a channel of its own each channel begins its count elsewhere, so that siblings do
        // not lose the same frame.
        let begin = if self.channel.is_some() { 0 } else { hash(channel, "") % self.every };
        let seen = self.seen.entry(channel.to_owned()).or_insert(begin);
        *seen += 1;
        let hit = seen.is_multiple_of(self.every);
        if hit && let Some(left) = &mut self.left {
            *left -= 1;
        }
        hit
    }
}

/// A part of `lag` that is always the same for a key on a channel.
fn share(lag: Duration, channel: &str, key: &str) -> Duration {
    let thousandths = u32::try_from(hash(channel, key) % 1001).unwrap_or_default();
    lag * thousandths / 1000
}

/// FNV-1a, whose low bits alone are not mixed well enough.
fn hash(channel: &str, key: &str) -> u64 {
    let mixed = channel.bytes().chain(key.bytes()).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mixed >> 32
}

/// When a frame goes out so that it does not overtake an older one of its key.
pub(crate) fn due(
    last: &mut std::collections::HashMap<String, Instant>,
    key: &str,
    lag: Duration,
) -> Option<Instant> {
    if lag.is_zero() && last.is_empty() {
        return None;
    }
    let now = Instant::now();
    last.retain(|_, due| *due > now);
    let due = last.get(key).copied().unwrap_or(now).max(now + lag);
    if due <= now {
        return None;
    }
    last.insert(key.to_owned(), due);
    Some(due)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disturbance(what: What) -> Disturbance {
        Disturbance { lag: Duration::from_secs(1), until: 100, ..Disturbance::of(what) }
    }

    #[test]
    fn only_the_nth_frame_of_the_one_channel_is_hit_and_only_in_its_time() {
        let mut all = [Disturbance {
            channel: Some("a".to_owned()),
            every: 2,
            left: Some(1),
            ..disturbance(What::Drop)
        }];
        let mut dropped = |channel: &str, now| fate(&mut all, channel, "k", now).dropped;
        assert!(!dropped("b", 0) && !dropped("b", 0));
        assert!(!dropped("a", 0));
        assert!(!dropped("a", 100));
        assert!(dropped("a", 99));
        assert!(!dropped("a", 0) && !dropped("a", 0));
    }

    #[test]
    fn a_frame_without_lag_does_not_overtake_its_key() {
        let mut last = std::collections::HashMap::new();
        let first = due(&mut last, "k", Duration::from_secs(5));
        assert_eq!(due(&mut last, "k", Duration::ZERO), first);
        assert_eq!(due(&mut last, "other", Duration::ZERO), None);
    }
}
