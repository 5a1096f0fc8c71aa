//! The data of events that tell of gaps, as the schemas in `docs/contract/` describe them.
//!
//! Each is far below any broker's limit on a message: names of topics are bounded in number, and the count says the rest.

use crate::event::{Entry, Kind, Topic};
use crate::lifecycle::Snapshot;
use crate::sequence::{Certainty, Gap, Interval, Rebased};
use crate::time::Timestamp;
use serde::Serialize;

/// How many topics a control event names; a topic has at most 200 characters.
const NAMES_MAX: usize = 100;

/// More than a topic's record takes in the journal.
pub(super) const RECORD_MAX: usize = 1_024;

/// What is done so that a consumer is whole again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Told {
    /// REST is asked; snapshots follow where it can show something.
    Follows,
    /// REST can show nothing of this: what was missed stays missed.
    None,
    /// REST could, but is not asked.
    Off,
}

impl Told {
    /// Of a gap of these topics: what is done of any of them.
    pub(super) fn of(topics: &[Topic], rebase: bool) -> Self {
        let mut told = topics.iter().map(|topic| Self::about(topic, rebase));
        told.find(|told| *told != Self::None).unwrap_or(Self::None)
    }

    fn about(topic: &Topic, rebase: bool) -> Self {
        match (Snapshot::of(topic), rebase) {
            (None, _) => Self::None,
            (Some(_), true) => Self::Follows,
            (Some(_), false) => Self::Off,
        }
    }
}

#[derive(Serialize)]
struct Concerned<'a> {
    count: usize,
    names: Vec<&'a str>,
}

#[derive(Serialize)]
struct Opened<'a> {
    gap: u64,
    shard: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    sink: Option<&'static str>,
    cause: &'static str,
    certainty: Certainty,
    from: Timestamp,
    topics: Concerned<'a>,
}

/// A gap began.
pub(super) fn opened(gap: &Gap, topics: &[Topic], now: Timestamp) -> Entry {
    let body = Opened {
        gap: gap.number,
        shard: gap.shard,
        sink: gap.sink,
        cause: gap.cause,
        certainty: gap.certainty,
        from: gap.from,
        topics: Concerned {
            count: gap.topics,
            names: topics.iter().take(NAMES_MAX).map(Topic::name).collect(),
        },
    };
    control(Kind::GapOpened, &body, now)
}

#[derive(Serialize)]
struct Closed {
    gap: u64,
    shard: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    sink: Option<&'static str>,
    cause: &'static str,
    certainty: Certainty,
    from: Timestamp,
    to: Timestamp,
    seconds: f64,
    topics: usize,
    /// Only where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    missed: Option<u64>,
    action: &'static str,
    snapshot: Told,
}

/// A gap ended. `missed` events are known to be missing, where that is known.
pub(super) fn closed(gap: &Gap, missed: u64, snapshot: Told, now: Timestamp) -> Entry {
    let body = Closed {
        gap: gap.number,
        shard: gap.shard,
        sink: gap.sink,
        cause: gap.cause,
        certainty: gap.certainty,
        from: gap.from,
        to: gap.to.unwrap_or(gap.from),
        seconds: gap.seconds.unwrap_or_default(),
        topics: gap.topics,
        missed: (missed > 0).then_some(missed),
        action: gap.action.unwrap_or_default(),
        snapshot,
    };
    let entry = control(Kind::GapClosed, &body, now);
    Entry { sink: gap.sink, ..entry }
}

#[derive(Serialize)]
struct Record<'a> {
    gaps: &'a [u64],
    topic: &'a str,
    shard: u16,
    cause: &'static str,
    certainty: Certainty,
    from: Timestamp,
    to: Timestamp,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    missed: Option<u64>,
    snapshot: Told,
}

/// What is missing of a topic, in its order.
pub(super) fn record(topic: &Topic, interval: &Interval, rebase: bool, now: Timestamp) -> Entry {
    let micros = interval.to.as_micros().saturating_sub(interval.from.as_micros());
    let body = Record {
        gaps: &interval.gaps,
        topic: topic.name(),
        shard: interval.shard,
        cause: interval.cause,
        certainty: interval.certainty,
        from: interval.from,
        to: interval.to,
        seconds: micros as f64 / 1e6,
        missed: (interval.missed > 0).then_some(interval.missed),
        snapshot: Told::about(topic, rebase),
    };
    Entry::own(Kind::Gap, topic.clone(), json(&body), now)
}

#[derive(Serialize)]
struct Rebase<'a> {
    gap: u64,
    topics: &'a Rebased,
}

/// What came of re-basing after a gap.
pub(super) fn rebased(gap: u64, topics: &Rebased, now: Timestamp) -> Entry {
    control(Kind::GapRebased, &Rebase { gap, topics }, now)
}

fn control(kind: Kind, body: &impl Serialize, now: Timestamp) -> Entry {
    Entry::own(kind, Topic::control(), json(body), now)
}

fn json(body: &impl Serialize) -> bytes::Bytes {
    serde_json::to_vec(body)
        .expect("names and numbers are valid JSON, and a Vec takes all of it")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_of_what_has_no_snapshot_announces_none() {
        let conversations = Topic::new("v2.routing.queues.x.conversations");
        let users = Topic::new("v2.routing.queues.00000000-0000-4000-8000-000000000001.users");
        for rebase in [true, false] {
            assert_eq!(Told::of(&[], rebase), Told::None);
            assert_eq!(Told::of(std::slice::from_ref(&conversations), rebase), Told::None);
        }
        let both = [conversations, users];
        assert_eq!(Told::of(&both, true), Told::Follows);
        assert_eq!(Told::of(&both, false), Told::Off);
    }

    #[test]
    fn the_longest_of_them_stay_below_the_limits_of_messages() {
        let name = format!("v2.{}", "x".repeat(197));
        let topics = vec![Topic::new(&name); 1_000];
        let gap = Gap {
            number: u64::MAX,
            shard: u16::MAX,
            sink: Some("kafka"),
            cause: "credentials_rejected",
            certainty: Certainty::Certain,
            from: Timestamp::default(),
            to: None,
            seconds: None,
            topics: topics.len(),
            action: None,
            rebased: None,
        };
        assert!(opened(&gap, &topics, Timestamp::default()).body.len() < 64 << 10);
        let interval = Interval {
            gaps: vec![u64::MAX; 8],
            shard: u16::MAX,
            cause: "credentials_rejected",
            certainty: Certainty::Possible,
            from: Timestamp::default(),
            to: Timestamp::from_micros(253_402_300_799_999_999),
            missed: u64::MAX,
        };
        let record = record(&topics[0], &interval, true, Timestamp::default());
        assert!(record.body.len() < RECORD_MAX - 256, "{}", record.body.len());
    }
}
