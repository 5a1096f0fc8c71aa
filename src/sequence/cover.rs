//! One open gap, topic by topic: which topics are still to be told where their events are missing.
//!
//! A topic's own gap ends with its first data, so that its record stands right before that; all others end with the gap. Does
//! not know whether a gap begins or ends: that is decided elsewhere.

use super::Certainty;
use crate::event::Topic;
use crate::time::Timestamp;
use std::collections::HashMap;

/// An interval in which events of one topic may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interval {
    /// The gaps that it belongs to, oldest first; of many the last ones.
    pub gaps: Vec<u64>,
    /// Whose topic; none where one sink alone lacks something.
    pub shard: u16,
    /// Why.
    pub cause: &'static str,
    /// How sure.
    pub certainty: Certainty,
    /// The last moment that is known to be complete.
    pub from: Timestamp,
    /// The first moment that is known to be complete again.
    pub to: Timestamp,
    /// How many events are known to be missing; where it is not known, 0.
    pub missed: u64,
}

/// How many gaps one interval names.
const GAPS_MAX: usize = 8;

impl Interval {
    /// Both in one, for a consumer that is told late.
    pub fn merge(&mut self, other: &Self) {
        self.gaps.extend(
            other.gaps.iter().filter(|gap| !self.gaps.contains(gap)).copied().collect::<Vec<_>>(),
        );
        let excess = self.gaps.len().saturating_sub(GAPS_MAX);
        self.gaps.drain(..excess);
        self.from = self.from.min(other.from);
        self.to = self.to.max(other.to);
        self.missed += other.missed;
        if other.certainty == Certainty::Certain {
            self.certainty = Certainty::Certain;
        }
    }
}

/// One open gap and its topics.
#[derive(Debug)]
pub struct Cover {
    number: u64,
    shard: u16,
    cause: &'static str,
    certainty: Certainty,
    from: Timestamp,
    topics: HashMap<Topic, Standing>,
}

/// How far a topic has come.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// It is still to be told; its events may be missing since then.
    Pending(Timestamp),
    /// It was told before data that followed; when it last showed some.
    Shown(Timestamp),
    /// It was told, and is whole.
    Settled,
}

impl Cover {
    /// A gap of these topics that begins at `from`.
    pub fn new(
        (number, shard): (u64, u16),
        (cause, certainty): (&'static str, Certainty),
        from: Timestamp,
        topics: impl IntoIterator<Item = Topic>,
    ) -> Self {
        let pending = topics.into_iter().map(|topic| (topic, Standing::Pending(from)));
        Self { number, shard, cause, certainty, from, topics: pending.collect() }
    }

    /// The gap's number.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Whose topics.
    pub const fn shard(&self) -> u16 {
        self.shard
    }

    /// Why.
    pub const fn cause(&self) -> &'static str {
        self.cause
    }

    /// Whether its topics are not known yet.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Whether every topic has been told.
    pub fn is_told(&self) -> bool {
        !self.topics.values().any(|standing| matches!(standing, Standing::Pending(_)))
    }

    /// Its topics, in the order of their names.
    pub fn topics(&self) -> Vec<Topic> {
        let mut topics: Vec<Topic> = self.topics.keys().cloned().collect();
        topics.sort_by(|one, other| one.name().cmp(other.name()));
        topics
    }

    /// More topics turn out to be concerned.
    pub fn add(&mut self, topics: impl IntoIterator<Item = Topic>, from: Timestamp) {
        for topic in topics {
            let standing = self.topics.entry(topic).or_insert(Standing::Settled);
            if *standing == Standing::Settled {
                *standing = Standing::Pending(from);
            }
        }
        self.from = self.from.min(from);
    }

    /// Data that was heard at `received` is about to be published: what must be told before it.
    pub fn heard(&mut self, topic: &Topic, received: Timestamp) -> Option<Interval> {
        let standing = self.topics.get_mut(topic)?;
        match standing {
            Standing::Shown(last) => {
                *last = received.max(*last);
                None
            }
            // What was heard before the gap and published only now stands before it.
            Standing::Pending(from) if *from < received => {
                let from = *from;
                *standing = Standing::Shown(received);
                Some(self.interval(from, received))
            }
            Standing::Pending(_) | Standing::Settled => None,
        }
    }

    /// What is to be told of a topic now, where data proves that it is complete from `to` on.
    pub fn settle(
        &mut self,
        matches: impl Fn(&Topic) -> bool,
        to: Timestamp,
    ) -> Vec<(Topic, Interval)> {
        let mut told = Vec::new();
        for (topic, standing) in self.topics.iter_mut().filter(|(topic, _)| matches(topic)) {
            if let Standing::Pending(from) = *standing {
                *standing = Standing::Settled;
                told.push((topic.clone(), from));
            }
        }
        let told = told.into_iter();
        sorted(told.map(|(topic, from)| (topic, self.interval(from, to))).collect())
    }

    /// Nothing more is wanted of some topics: what is to be told of them now, before they are forgotten.
    pub fn leave(
        &mut self,
        is_gone: impl Fn(&Topic) -> bool,
        to: Timestamp,
    ) -> Vec<(Topic, Interval)> {
        let told = self.settle(&is_gone, to);
        self.topics.retain(|topic, _| !is_gone(topic));
        told
    }

    /// What topics have shown until now has ended nothing: the session that showed it was lost before it was certain, or something
    /// else could not be read. `since` when each may lack something after all, if it may.
    pub fn distrust(&mut self, since: impl Fn(&Topic, Timestamp) -> Option<Timestamp>) {
        for (topic, standing) in &mut self.topics {
            if let Standing::Shown(last) = *standing
                && let Some(from) = since(topic, last)
            {
                *standing = Standing::Pending(from);
            }
        }
    }

    /// The gap is over: what all topics are to be told that were not, in the order of their names.
    pub fn close(mut self, to: Timestamp) -> Vec<(Topic, Interval)> {
        self.settle(|_| true, to)
    }

    fn interval(&self, from: Timestamp, to: Timestamp) -> Interval {
        Interval {
            gaps: vec![self.number],
            shard: self.shard,
            cause: self.cause,
            certainty: self.certainty,
            from,
            // The calendar may have been set back meanwhile.
            to: to.max(from),
            missed: 0,
        }
    }
}

/// The order in which records are made must not depend on a hash.
fn sorted(mut records: Vec<(Topic, Interval)>) -> Vec<(Topic, Interval)> {
    records.sort_by(|(one, _), (other, _)| one.name().cmp(other.name()));
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn at(second: u64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    fn cover(topics: &[&str]) -> Cover {
        let topics = topics.iter().map(|name| Topic::new(name));
        Cover::new((7, 0), ("cut", Certainty::Certain), at(10), topics)
    }

    fn told(records: &[(Topic, Interval)]) -> Vec<(&str, Timestamp, Timestamp)> {
        records.iter().map(|(topic, gap)| (topic.name(), gap.from, gap.to)).collect()
    }

    #[test]
    fn a_topic_is_told_right_before_its_first_data_and_the_others_at_the_end() {
        let mut cover = cover(&["a", "b"]);
        assert_eq!(cover.heard(&Topic::new("a"), at(9)), None, "heard before the gap");
        let gap = cover.heard(&Topic::new("a"), at(12)).expect("the first data");
        assert_eq!((gap.gaps, gap.from, gap.to), (vec![7], at(10), at(12)));
        assert_eq!(cover.heard(&Topic::new("a"), at(13)), None);
        assert_eq!(told(&cover.close(at(14))), [("b", at(10), at(14))]);
    }

    #[test]
    fn data_of_a_session_that_did_not_live_end_nothing() {
        let mut cover = cover(&["a"]);
        cover.heard(&Topic::new("a"), at(12));
        cover.heard(&Topic::new("a"), at(13));
        cover.distrust(|_, last| Some(last));
        assert_eq!(told(&cover.close(at(20))), [("a", at(13), at(20))]);
    }

    #[test]
    fn two_intervals_in_one_claim_what_both_claim() {
        let mut cover = cover(&["a", "b"]);
        let mut one = cover.heard(&Topic::new("a"), at(12)).expect("told");
        let other = Interval { gaps: vec![9], from: at(20), to: at(21), missed: 3, ..one.clone() };
        one.merge(&other);
        assert_eq!((one.gaps, one.from, one.to, one.missed), (vec![7, 9], at(10), at(21), 3));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Data { topic: usize, lost: bool },
        Cut,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let data = (0_usize..3, any::<bool>()).prop_map(|(topic, lost)| Step::Data { topic, lost });
        proptest::collection::vec(prop_oneof![8 => data, 1 => Just(Step::Cut)], 0..60)
    }

    proptest! {
        /// In virtual time, with sockets that show something and die again before they are certain: whatever a topic lacks
        /// lies in an interval that it is told of before its next data, and no interval begins before its last data.
        #[test]
        fn every_loss_is_told_before_the_next_data_and_no_wider_than_from_data_to_data(steps in steps()) {
            let names = ["a", "b", "c"].map(Topic::new);
            let mut cover = Cover::new((1, 0), ("cut", Certainty::Certain), at(0), names.clone());
            let mut last = [at(0); 3];
            let mut lost: [Vec<Timestamp>; 3] = Default::default();
            // Only what is lost before the first data of a socket is lost to the gap; a live socket loses nothing.
            let mut shown = [false; 3];
            for (step, now) in steps.into_iter().zip(1..) {
                match step {
                    Step::Data { topic, lost: true } if !shown[topic] => lost[topic].push(at(now)),
                    Step::Data { topic, .. } => {
                        let told = cover.heard(&names[topic], at(now));
                        prop_assert_eq!(told.is_some(), !shown[topic]);
                        if let Some(told) = told {
                            prop_assert!(told.from >= last[topic] && told.to == at(now));
                            let missing = lost[topic].drain(..);
                            prop_assert!(missing.into_iter().all(|at| told.from <= at && at <= told.to));
                        }
                        (shown[topic], last[topic]) = (true, at(now));
                    }
                    Step::Cut => {
                        cover.distrust(|_, last| Some(last));
                        shown = [false; 3];
                    }
                }
            }
            for (topic, told) in cover.close(at(100)) {
                let at = names.iter().position(|name| *name == topic).expect("one of ours");
                prop_assert!(!shown[at] && told.from == last[at]);
                prop_assert!(lost[at].iter().all(|missing| told.from <= *missing && *missing <= told.to));
                shown[at] = true;
            }
            prop_assert!(shown.iter().all(|told| *told), "every topic was told");
        }
    }
}
