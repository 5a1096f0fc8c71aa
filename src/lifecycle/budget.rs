//! How often something may be done: at most so many times in any window of time.

use crate::time::Time;
use std::collections::VecDeque;
use std::time::Duration;

/// Remembers the last uses and says when the next one is allowed.
#[derive(Clone, Debug)]
pub struct Budget {
    most: usize,
    /// What `most` is while the platform does not ask for less.
    own: usize,
    window: Duration,
    uses: VecDeque<Time>,
    /// The platform asked for nothing before.
    closed_until: Time,
}

impl Budget {
    /// At most `most` uses (at least one) in any `window`.
    pub fn new(most: usize, window: Duration) -> Self {
        let own = most.max(1);
        Self { most: own, own, window, uses: VecDeque::new(), closed_until: Time::START }
    }

    /// When the next use is allowed: `now` or later.
    pub fn next(&self, now: Time) -> Time {
        let allowed = match self.uses.len().checked_sub(self.most) {
            Some(oldest) => (self.uses[oldest] + self.window).max(now),
            None => now,
        };
        allowed.max(self.closed_until)
    }

    /// Counts a use.
    pub fn spend(&mut self, now: Time) {
        self.uses.push_back(now);
        if self.uses.len() > self.own {
            self.uses.pop_front();
        }
    }

    /// Allows no use before `until`, whoever asks: a `Retry-After` holds for the whole client.
    pub fn close_until(&mut self, until: Time) {
        self.closed_until = self.closed_until.max(until);
    }

    /// The platform says how many uses it allows in a window, and how many are left of them for the next `resets_in`: its word wins where
    /// it is the lower one.
    pub fn hear(&mut self, allowed: u32, left: u32, resets_in: Duration, now: Time) {
        let allowed = usize::try_from(allowed).unwrap_or(usize::MAX);
        // What is not ours to count, such as the questions of `tieline check`, gets a fifth.
        let ours = (allowed - allowed / 5).max(1);
        self.most = self.own.min(ours);
        if usize::try_from(left).unwrap_or(usize::MAX) <= allowed / 20 {
            // No window is longer than ours; a time of day in the header's place must not close it for years.
            self.close_until(now + resets_in.min(self.window));
        }
    }

    /// How many uses lie in the window that ends now, and how many may.
    pub fn used(&self, now: Time) -> (usize, usize) {
        let used = self.uses.iter().rev().take_while(|used| now.since(**used) < self.window);
        (used.count(), self.most)
    }

    /// Forgets all uses.
    pub fn clear(&mut self) {
        self.uses.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn uses_count_for_as_long_as_their_window() {
        let second = |seconds| Time::START + Duration::from_secs(seconds);
        let mut budget = Budget::new(5, Duration::from_secs(10));
        budget.spend(second(0));
        budget.spend(second(5));
        assert_eq!(budget.used(second(9)), (2, 5));
        assert_eq!(budget.used(second(10)), (1, 5));
        assert_eq!(budget.used(second(20)), (0, 5));
    }

    proptest! {
        #[test]
        fn no_window_ever_holds_more_than_the_budget(
            asks in proptest::collection::vec(0_u64..4_000, 1..60),
        ) {
            let window = Duration::from_secs(10);
            let mut budget = Budget::new(5, window);
            let mut now = Time::START;
            let mut used = Vec::new();
            for pause in asks {
                now = budget.next(now + Duration::from_millis(pause));
                budget.spend(now);
                used.push(now);
            }
            for (at, end) in used.iter().enumerate() {
                let within = used[..=at].iter().filter(|use_| end.since(**use_) < window).count();
                prop_assert!(within <= 5);
            }
        }
    }

    #[test]
    fn the_platforms_word_wins_where_it_is_the_lower_one() {
        let minute = Duration::from_secs(60);
        let mut budget = Budget::new(240, minute);
        let now = Time::START + minute;
        budget.hear(300, 250, minute, now);
        assert_eq!(budget.most, 240);
        budget.hear(180, 100, minute, now);
        assert_eq!((budget.most, budget.next(now)), (144, now));
        budget.hear(180, 9, Duration::from_secs(7), now);
        assert_eq!(budget.next(now), now + Duration::from_secs(7));
        budget.hear(300, 299, minute, now + minute);
        assert_eq!(budget.most, 240, "and no longer than it says so");
        let now = now + 2 * minute;
        budget.hear(300, 0, Duration::from_secs(1_764_000_000), now);
        assert_eq!(budget.next(now), now + minute, "a time of day is no span");
    }
}
