//! When what is in flight was taken out of the journal, for the time to its acknowledgement.
//!
//! One moment a batch, not one an event. Decides nothing.

use crate::time::Timestamp;
use std::collections::VecDeque;

/// The batches in flight, oldest first.
#[derive(Debug, Default)]
pub(super) struct Pace(VecDeque<(Timestamp, usize)>);

impl Pace {
    /// So many were taken at `now`.
    pub(super) fn took(&mut self, count: usize, now: Timestamp) {
        if count > 0 {
            self.0.push_back((now, count));
        }
    }

    /// The oldest is settled; answers when it was taken.
    pub(super) fn settle(&mut self) -> Option<Timestamp> {
        let (taken, left) = self.0.front_mut()?;
        let taken = *taken;
        *left -= 1;
        if *left == 0 {
            self.0.pop_front();
        }
        Some(taken)
    }

    /// Nothing is in flight any more.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_the_moment_of_its_batch() {
        let mut pace = Pace::default();
        let at = Timestamp::from_micros;
        pace.took(2, at(1));
        pace.took(0, at(2));
        pace.took(1, at(3));
        let settled: Vec<_> = std::iter::from_fn(|| pace.settle()).collect();
        assert_eq!(settled, [at(1), at(1), at(3)]);
    }
}
