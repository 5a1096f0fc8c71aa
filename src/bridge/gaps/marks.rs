//! What each shard has heard last, as one process leaves it to the next: from there on nothing is known.
//!
//! The next process may pack its topics otherwise, so that a mark says which topics it is of. Reads and writes no file.

use crate::event::Topic;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What one shard has heard last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Whatever was heard up to then is in the journal, or lies in a gap.
    pub at: Timestamp,
    /// Of which topics.
    pub topics: Print,
    /// Whether the shard had one session alone: then nothing that was heard waits for a second sight, and what the journal has of a
    /// later time is complete too.
    pub alone: bool,
}

/// The marks of all shards.
pub type Marks = BTreeMap<u16, Mark>;

/// A hash of a shard's topics; zero where they are not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Print(u64);

impl Print {
    /// The hash of these, in whatever order.
    pub fn of(topics: &[Topic]) -> Self {
        let fold = |topic: &Topic| (topic.fingerprint() >> 64) as u64 ^ topic.fingerprint() as u64;
        Self(topics.iter().map(fold).fold(0, |all, one| all ^ one))
    }
}

impl Serialize for Print {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:016x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Print {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map(Self).map_err(serde::de::Error::custom)
    }
}

/// Since when a shard of these topics may lack something: since its own mark, where that is of the same topics. Any other may have
/// topics of whichever shard there was, and lacks something since the oldest mark.
pub fn since(marks: &Marks, shard: u16, topics: &[Topic]) -> Option<Timestamp> {
    let own = marks.get(&shard).filter(|mark| mark.topics == Print::of(topics));
    own.or_else(|| marks.values().min_by_key(|mark| mark.at)).map(|mark| mark.at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let topics = Print::of(&[Topic::new("a")]);
        let mark = Mark { at: Timestamp::from_micros(1), topics, alone: true };
        let text = serde_json::to_string(&mark).expect("plain");
        assert_eq!(serde_json::from_str::<Mark>(&text).expect("a mark"), mark);
    }

    #[test]
    fn a_shard_that_is_packed_otherwise_lacks_something_since_the_oldest_mark() {
        let [a, b, c] = ["a", "b", "c"].map(Topic::new);
        let mark = |micros, topics: &[Topic]| Mark {
            at: Timestamp::from_micros(micros),
            topics: Print::of(topics),
            alone: true,
        };
        let marks = Marks::from([
            (0, mark(9, &[a.clone(), b.clone()])),
            (1, mark(5, std::slice::from_ref(&c))),
        ]);
        let since =
            |shard, topics: &[Topic]| since(&marks, shard, topics).map(Timestamp::as_micros);
        assert_eq!(since(0, &[b.clone(), a.clone()]), Some(9), "the same, in another order");
        assert_eq!(since(0, &[a.clone(), c.clone()]), Some(5), "one of these was another shard's");
        assert_eq!(since(2, &[b]), Some(5), "a shard that was not there");
        assert_eq!(super::since(&Marks::default(), 0, &[a]), None, "nobody ever heard anything");
    }
}
