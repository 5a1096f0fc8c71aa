//! Numbers per key, from 1, without holes: what a consumer proves completeness with.
//!
//! One sequencer serves one sink in one epoch. It does not decide what gets a number; a number once taken is used.

use std::collections::HashMap;

/// Gives the numbers.
#[derive(Debug, Default)]
pub struct Sequencer {
    /// The last number of each key. As many as there are queues, users and conversations in an epoch: it cannot forget any
    /// without using a number twice.
    last: HashMap<Box<str>, u64>,
}

impl Sequencer {
    /// The next number of that key.
    pub fn next(&mut self, key: &str) -> u64 {
        if let Some(last) = self.last.get_mut(key) {
            *last += 1;
            return *last;
        }
        self.last.insert(key.into(), 1);
        1
    }

    /// How many keys have numbers.
    pub fn keys(&self) -> usize {
        self.last.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_counts_from_one_without_holes() {
        let mut sequencer = Sequencer::default();
        let numbers: Vec<u64> = ["a", "b", "a", "a", "b"].map(|key| sequencer.next(key)).into();
        assert_eq!(numbers, [1, 1, 2, 3, 2]);
        assert_eq!(sequencer.keys(), 2);
    }
}
