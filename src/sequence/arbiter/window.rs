//! The identities that keyed families have published lately, bounded by time and by count.
//!
//! Exact: an identity within both bounds is never forgotten, and nothing else is ever taken for known.

use crate::time::Time;
use std::collections::{HashSet, VecDeque};
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Window {
    age_max: Duration,
    count_max: usize,
    known: HashSet<u128>,
    order: VecDeque<(Time, u128)>,
}

impl Window {
    pub(super) fn new(age_max: Duration, count_max: usize) -> Self {
        Self { age_max, count_max, known: HashSet::new(), order: VecDeque::new() }
    }

    /// Whether `identity` was inserted less than the window's age ago.
    pub(super) fn contains(&mut self, identity: u128, now: Time) -> bool {
        while let Some((since, oldest)) = self.order.front() {
            if now.since(*since) < self.age_max {
                break;
            }
            self.known.remove(oldest);
            self.order.pop_front();
        }
        self.known.contains(&identity)
    }

    /// What is known, and for how long; oldest first.
    pub(super) fn ages(&self, now: Time) -> impl Iterator<Item = (u128, Duration)> {
        let young = move |(since, _): &&(Time, u128)| now.since(*since) < self.age_max;
        self.order.iter().filter(young).map(move |(since, known)| (*known, now.since(*since)))
    }

    /// Remembers `identity`, at the cost of the oldest when the window is full.
    pub(super) fn insert(&mut self, identity: u128, now: Time) {
        if self.count_max == 0 || !self.known.insert(identity) {
            return;
        }
        self.order.push_back((now, identity));
        if self.order.len() > self.count_max
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bounds_hold() {
        let mut window = Window::new(Duration::from_micros(10), 2);
        let at = Time::from_micros;
        window.insert(1, at(0));
        window.insert(2, at(1));
        assert!(window.contains(1, at(9)));
        assert!(!window.contains(1, at(10)), "too old");
        window.insert(3, at(10));
        window.insert(4, at(10));
        assert!(!window.contains(2, at(10)), "one too many");
        assert!(window.contains(3, at(10)) && window.contains(4, at(10)));
    }
}
