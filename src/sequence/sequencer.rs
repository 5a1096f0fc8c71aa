//! Numbers per sink and key, from 1, without holes: what a consumer proves completeness with.
//!
//! One sequencer serves one epoch. It forgets no key, because it could use a number twice then: whoever owns it begins a new epoch before
//! there are too many. It does not decide what gets a number.

use std::collections::HashMap;

/// So many sinks there can be at once: each has a place in every key's numbers.
pub const SINKS_MAX: usize = 8;

/// A number for each sink in their order; 0 stands for none, since the first is 1.
pub type Numbers = [u64; SINKS_MAX];

/// Gives the numbers.
#[derive(Clone, Debug, Default)]
pub struct Sequencer {
    last: HashMap<Box<str>, Numbers>,
}

impl Sequencer {
    /// The next number of that key for each sink that `takes` it.
    pub fn next(&mut self, key: &str, takes: impl Fn(usize) -> bool) -> Numbers {
        let last = match self.last.get_mut(key) {
            Some(last) => last,
            None => self.last.entry(key.into()).or_default(),
        };
        let mut given = Numbers::default();
        for (sink, (last, given)) in last.iter_mut().zip(&mut given).enumerate() {
            if takes(sink) {
                *last += 1;
                *given = *last;
            }
        }
        given
    }

    /// Takes back the numbers given last for that key: the event was not accepted after all.
    pub fn take_back(&mut self, key: &str, given: &Numbers) {
        let Some(last) = self.last.get_mut(key) else {
            return;
        };
        for (last, given) in last.iter_mut().zip(given) {
            if *given > 0 {
                *last = given - 1;
            }
        }
        if *last == Numbers::default() {
            self.last.remove(key);
        }
    }

    /// Learns that these numbers were given.
    pub fn learn(&mut self, key: &str, given: &Numbers) {
        let last = self.last.entry(key.into()).or_default();
        for (last, given) in last.iter_mut().zip(given) {
            *last = (*last).max(*given);
        }
    }

    /// How many keys have numbers.
    pub fn keys(&self) -> usize {
        self.last.len()
    }

    /// Every key and its last numbers, in no order.
    pub fn list(&self) -> impl Iterator<Item = (&str, &Numbers)> {
        self.last.iter().map(|(key, last)| (&**key, last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_counts_from_one_without_holes_for_each_sink() {
        let mut sequencer = Sequencer::default();
        let mut next = |key, sinks: &[usize]| {
            let given = sequencer.next(key, |sink| sinks.contains(&sink));
            (given[0], given[1])
        };
        assert_eq!(next("a", &[0, 1]), (1, 1));
        assert_eq!(next("b", &[1]), (0, 1));
        assert_eq!(next("a", &[0]), (2, 0));
        assert_eq!(next("a", &[0, 1]), (3, 2));
        assert_eq!(sequencer.keys(), 2);
    }

    #[test]
    fn a_number_taken_back_is_given_again() {
        let mut sequencer = Sequencer::default();
        sequencer.next("a", |sink| sink == 0);
        let given = sequencer.next("a", |sink| sink < 2);
        sequencer.take_back("a", &given);
        assert_eq!(sequencer.next("a", |sink| sink < 2), given);
        let new = sequencer.next("b", |sink| sink == 5);
        sequencer.take_back("b", &new);
        assert_eq!(sequencer.keys(), 1);
    }
}
