//! Watches whether the feed of each key is as lively as it was: a socket that answers probes may have stopped to carry data.
//!
//! A suspicion is only told; what is healthy is never dropped for it. A key is suspected when it has been silent for far longer
//! than between any of its latest notifications, and never sooner than the configured time.

use crate::time::Time;
use std::collections::HashMap;
use std::time::Duration;

/// How many intervals are remembered for each key, and needed before it is judged.
const SAMPLES: usize = 32;

/// How many times the longest of them a silence must last.
const FACTOR: u32 = 20;

/// Notifications closer than this are one burst, which says nothing about how long pauses are; of one that does not end, the longest pause
/// of each such time counts.
const BURST: Duration = Duration::from_secs(1);

/// Nor is a burst longer than this part of the silence that is suspect, where that is short.
const BURSTS: u32 = 600;

/// A bound on memory: more keys than 20 channels of 1,000 topics have. Others are not watched.
const KEYS_MAX: usize = 32_768;

/// What is known of one key.
#[derive(Clone, Debug)]
struct Pulse {
    shard: u16,
    /// The last notification; none while its shard has no certain delivery.
    last: Option<Time>,
    /// When an interval was last remembered, and the longest since.
    sampled: Time,
    longest: Duration,
    intervals: [Duration; SAMPLES],
    count: usize,
    suspected: bool,
}

/// A key that has fallen silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspicion {
    /// The key's fingerprint.
    pub key: u64,
    /// Whose topics it has.
    pub shard: u16,
    /// Its last notification.
    pub since: Time,
}

/// The watchdog of all keys.
#[derive(Debug)]
pub struct Feed {
    /// No silence below this is suspect; zero turns the watchdog off.
    after: Duration,
    keys: HashMap<u64, Pulse>,
    suspected: usize,
}

impl Feed {
    /// A watchdog that knows no key yet.
    pub fn new(after: Duration) -> Self {
        Self { after, keys: HashMap::new(), suspected: 0 }
    }

    /// How many keys are suspected.
    pub const fn suspected(&self) -> usize {
        self.suspected
    }

    /// A notification of that key came. True when the key had been suspected.
    pub fn heard(&mut self, key: u64, shard: u16, now: Time) -> bool {
        if self.after.is_zero() {
            return false;
        }
        let Some(pulse) = self.keys.get_mut(&key) else {
            if self.keys.len() < KEYS_MAX {
                self.keys.insert(key, Pulse::new(shard, now));
            }
            return false;
        };
        pulse.shard = shard;
        pulse.beat(BURST.min(self.after / BURSTS), now);
        let suspected = std::mem::take(&mut pulse.suspected);
        self.suspected -= usize::from(suspected);
        suspected
    }

    /// The keys that have become suspect since the last look.
    pub fn check(&mut self, now: Time) -> Vec<Suspicion> {
        let mut found = Vec::new();
        for (key, pulse) in &mut self.keys {
            if let Some(since) = pulse.last
                && !pulse.suspected
                && pulse.patience(self.after).is_some_and(|patience| now.since(since) > patience)
            {
                pulse.suspected = true;
                found.push(Suspicion { key: *key, shard: pulse.shard, since });
            }
        }
        self.suspected += found.len();
        found
    }

    /// Keys that are not wanted any more are forgotten.
    pub fn retain(&mut self, is_wanted: impl Fn(u64) -> bool) {
        self.keys.retain(|key, _| is_wanted(*key));
        self.suspected = self.keys.values().filter(|pulse| pulse.suspected).count();
    }

    /// A shard has no certain delivery: nothing can be said about its keys.
    pub fn interrupted(&mut self, shard: u16) {
        for pulse in self.keys.values_mut().filter(|pulse| pulse.shard == shard) {
            pulse.last = None;
            self.suspected -= usize::from(std::mem::take(&mut pulse.suspected));
        }
    }

    /// A session of the shard has just become certain: silence counts from now.
    pub fn resumed(&mut self, shard: u16, now: Time) {
        self.interrupted(shard);
        for pulse in self.keys.values_mut().filter(|pulse| pulse.shard == shard) {
            pulse.begin(now);
        }
    }
}

impl Pulse {
    const fn new(shard: u16, now: Time) -> Self {
        let (intervals, longest) = ([Duration::ZERO; SAMPLES], Duration::ZERO);
        let last = Some(now);
        Self { shard, last, sampled: now, longest, intervals, count: 0, suspected: false }
    }

    /// Silence counts from now.
    const fn begin(&mut self, now: Time) {
        (self.last, self.sampled, self.longest) = (Some(now), now, Duration::ZERO);
    }

    /// Something was heard.
    fn beat(&mut self, burst: Duration, now: Time) {
        let Some(last) = self.last else { return self.begin(now) };
        self.last = Some(now);
        self.longest = self.longest.max(now.since(last));
        if now.since(self.sampled) >= burst {
            self.intervals[self.count % SAMPLES] = std::mem::take(&mut self.longest);
            self.count += 1;
            self.sampled = now;
        }
    }

    /// The silence that is still believed; none before enough is known.
    fn patience(&self, after: Duration) -> Option<Duration> {
        let longest = self.intervals.iter().max().filter(|_| self.count >= SAMPLES)?;
        Some((*longest * FACTOR).max(after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AFTER: Duration = Duration::from_secs(600);

    /// A key that speaks so often, as of its last word.
    fn lively(every: Duration) -> (Feed, Time) {
        let mut feed = Feed::new(AFTER);
        let mut now = Time::START;
        for _ in 0..=SAMPLES {
            now = now + every;
            assert!(!feed.heard(1, 0, now));
        }
        (feed, now)
    }

    #[test]
    fn a_lively_key_that_falls_silent_is_suspected_once_until_it_speaks() {
        let (mut feed, last) = lively(Duration::from_secs(10));
        assert_eq!(feed.check(last + AFTER), []);
        let late = last + AFTER + Duration::from_secs(1);
        assert_eq!(feed.check(late), [Suspicion { key: 1, shard: 0, since: last }]);
        assert_eq!((feed.check(late), feed.suspected()), (vec![], 1));
        assert!(feed.heard(1, 0, late));
        assert_eq!(feed.suspected(), 0);
    }

    #[test]
    fn a_key_that_is_seldom_heard_is_given_its_time() {
        let (mut feed, last) = lively(Duration::from_secs(60));
        assert_eq!(feed.check(last + Duration::from_secs(1_199)), []);
        assert_eq!(feed.check(last + Duration::from_secs(1_201)).len(), 1);
    }

    #[test]
    fn a_burst_does_not_make_a_key_lively() {
        let (mut feed, last) = lively(Duration::from_millis(10));
        assert_eq!(feed.check(last + AFTER * 10), []);
    }

    #[test]
    fn a_key_that_never_pauses_is_lively_too() {
        let mut feed = Feed::new(AFTER);
        let mut now = Time::START;
        for _ in 0..5 * SAMPLES {
            now = now + Duration::from_millis(300);
            assert!(!feed.heard(1, 0, now));
        }
        assert_eq!(feed.check(now + AFTER), []);
        assert_eq!(feed.check(now + AFTER + Duration::from_secs(1)).len(), 1);
    }

    #[test]
    fn where_a_short_silence_is_suspect_a_burst_is_short_too() {
        let after = Duration::from_secs(60);
        let mut feed = Feed::new(after);
        let mut now = Time::START;
        for _ in 0..=SAMPLES {
            now = now + Duration::from_millis(100);
            feed.heard(1, 0, now);
        }
        assert_eq!(feed.check(now + after), []);
        assert_eq!(feed.check(now + after + Duration::from_secs(1)).len(), 1);
    }

    #[test]
    fn no_key_is_suspected_while_its_shard_is_not_certain() {
        let (mut feed, last) = lively(Duration::from_secs(10));
        feed.interrupted(0);
        assert_eq!(feed.check(last + AFTER * 10), []);
        feed.resumed(0, last + AFTER * 10);
        assert_eq!(feed.check(last + AFTER * 11), []);
        assert_eq!(feed.check(last + AFTER * 12).len(), 1);
    }

    #[test]
    fn zero_turns_it_off() {
        let mut feed = Feed::new(Duration::ZERO);
        for second in 0..100 {
            feed.heard(1, 0, Time::START + Duration::from_secs(second * 2));
        }
        assert_eq!(feed.check(Time::START + AFTER * 100), []);
    }

    proptest! {
        #[test]
        fn a_key_that_goes_on_as_before_is_never_suspected(
            pauses in proptest::collection::vec(1_000_u64..60_000, 40..120),
        ) {
            let mut feed = Feed::new(AFTER);
            let mut now = Time::START;
            for pause in pauses {
                now = now + Duration::from_millis(pause);
                prop_assert_eq!(feed.check(now), vec![]);
                prop_assert!(!feed.heard(1, 0, now));
            }
        }
    }
}
