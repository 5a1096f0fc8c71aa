//! Changes an input at random, as a seed decides: bytes, stretches, and what breaks parsers more often than chance would.
//!
//! Knows no format. Coverage is not looked at.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// No input grows beyond this.
const LENGTH_MAX: usize = 128 << 10;

/// What numbers of one, two, four and eight bytes are likely to be wrong at, and the words of the formats at hand.
const TELLING: &[&[u8]] = &[
    &[0],
    &[0xFF],
    &[0x7F, 0xFF],
    &[0xFF; 2],
    &[0xFF; 4],
    &[0, 0, 0, 0x80],
    &[0xFF; 8],
    &[0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
    &[0, 0, 0, 0, 0, 0, 0, 0x80],
    b"\"",
    b"\\",
    b"\\ud800",
    b"\\u0000",
    b"{",
    b"}",
    b"[",
    b"]",
    b"[[",
    b",",
    b"null",
    b"-0",
    b"1e999",
    b"18446744073709551616",
    b"\n",
    b"\xF0\x9F\x98\x80",
    b"=",
    b"'''",
    b".",
    b"__",
    b"topicName",
    b"eventBody",
    b"v2.system.",
    b"\r\n",
    b"Nats-Msg-Id: ",
    b"\"position\":",
    super::targets::BETWEEN,
];

/// Inputs made of others.
pub struct Mutator {
    chance: StdRng,
}

impl Mutator {
    pub fn new(seed: u64) -> Self {
        Self { chance: StdRng::seed_from_u64(seed) }
    }

    /// One of the corpus, changed in one to eight places.
    pub fn next(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = self.one_of(corpus).to_vec();
        for _ in 0..self.chance.random_range(1..=8) {
            self.change(&mut input, corpus);
        }
        input.truncate(LENGTH_MAX);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let until = (at + self.length()).min(input.len());
        match self.chance.random_range(0..9) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = self.chance.random(),
            2 => drop(input.drain(at..until)),
            3 => input.truncate(at),
            4 => {
                let again = input[at..until].repeat(self.times(until - at));
                input.splice(at..at, again);
            }
            5 => {
                let telling = TELLING[self.below(TELLING.len())];
                let until = (at + telling.len()).min(input.len());
                input.splice(at..until, telling.iter().copied());
            }
            6 => {
                let telling = TELLING[self.below(TELLING.len())];
                let times = self.times(telling.len());
                input.splice(at..at, telling.repeat(times));
            }
            _ => {
                let other = self.one_of(corpus);
                let from = self.below(other.len() + 1);
                let to = (from + self.length()).min(other.len());
                input.splice(at..until, other[from..to].iter().copied());
            }
        }
    }

    fn one_of<'a>(&mut self, corpus: &'a [Vec<u8>]) -> &'a [u8] {
        &corpus[self.below(corpus.len())]
    }

    fn below(&mut self, bound: usize) -> usize {
        self.chance.random_range(0..bound.max(1))
    }

    /// Short as a rule.
    fn length(&mut self) -> usize {
        let bits = self.chance.random_range(0..12);
        self.chance.random_range(0..=1_usize << bits)
    }

    /// How often something is repeated: often enough to overflow a stack now and then, and never beyond a bound.
    fn times(&mut self, length: usize) -> usize {
        self.length().min(LENGTH_MAX / length.max(1))
    }
}
