//! How long to wait before the next attempt: full jitter within bounds, and never less than the platform asked.

use super::Config;
use rand::{Rng, RngExt};
use std::time::Duration;

/// The first retry follows within this time, so that a single fault costs little and many processes still spread out.
const FIRST: Duration = Duration::from_millis(100);

/// Counts failures in a row and turns them into waits. The caller decides when the past is forgotten.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    /// A back-off without failures behind it.
    pub fn new(config: &Config) -> Self {
        Self::within(config.backoff_base, config.backoff_cap)
    }

    /// A back-off with its own bounds.
    pub const fn within(base: Duration, cap: Duration) -> Self {
        Self { base, cap, failures: 0 }
    }

    /// Counts one more failure and says how long to wait.
    ///
    /// The first wait is 0–100 ms, each later one is uniform between 0 and a ceiling that doubles from base to cap. A
    /// `retry_after` is waited for in full, and the jitter comes on top.
    pub fn next(&mut self, retry_after: Option<Duration>, rng: &mut impl Rng) -> Duration {
        let ceiling = match self.failures {
            0 => FIRST.min(self.cap),
            failures => self.base.saturating_mul(1 << (failures - 1).min(20)).min(self.cap),
        };
        self.failures = self.failures.saturating_add(1);
        let jitter = jitter(ceiling, rng);
        retry_after.map_or(jitter, |asked| asked + jitter)
    }

    /// Forgets all failures.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }
}

/// A uniform duration between zero and `ceiling`.
pub fn jitter(ceiling: Duration, rng: &mut impl Rng) -> Duration {
    ceiling.mul_f64(rng.random::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    proptest! {
        #[test]
        fn a_wait_stays_below_its_ceiling_and_a_retry_after_is_never_shortened(
            seed: u64,
            failures in 0_u32..80,
            asked in proptest::option::of(0_u64..10_000),
        ) {
            let mut rng = StdRng::seed_from_u64(seed);
            let cap = Duration::from_secs(30);
            let mut backoff = Backoff::within(Duration::from_millis(500), cap);
            backoff.failures = failures;
            let asked = asked.map(Duration::from_secs);
            let wait = backoff.next(asked, &mut rng);
            prop_assert!(wait >= asked.unwrap_or_default());
            prop_assert!(wait <= asked.unwrap_or_default() + cap);
            if failures == 0 {
                prop_assert!(wait <= asked.unwrap_or_default() + FIRST);
            }
        }
    }

    #[test]
    fn the_ceiling_doubles_from_base_to_cap() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut longest = [Duration::ZERO; 9];
        for _ in 0..400 {
            let mut backoff = Backoff::within(Duration::from_millis(500), Duration::from_secs(30));
            for slot in &mut longest {
                *slot = backoff.next(None, &mut rng).max(*slot);
            }
        }
        let ceilings = [100, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000];
        for (seen, ceiling) in longest.iter().zip(ceilings.map(Duration::from_millis)) {
            assert!(*seen <= ceiling && *seen > ceiling.mul_f64(0.9), "{seen:?} of {ceiling:?}");
        }
    }
}
