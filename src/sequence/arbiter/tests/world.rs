//! A platform that emits, legs that lag and lose, and what comes out of an arbiter.

use super::super::{Arbiter, Leg, Verdict};
use crate::event::{Family, Marks, Notification, Topic};
use crate::sequence::Config;
use crate::time::{Time, Timestamp};
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

/// The hold of every test, in microseconds.
pub(super) const HOLD: u64 = 1_000;

pub(super) fn config() -> Config {
    Config {
        hold: Duration::from_micros(HOLD),
        window: Duration::from_secs(60),
        window_events: 10_000,
    }
}

/// Something that happened on the platform, at most once.
#[derive(Clone, Debug)]
pub(super) struct Occurrence {
    pub(super) at: u64,
    pub(super) topic: Topic,
    pub(super) body: String,
}

/// How a leg shows the platform: it carries what is emitted from `from` to `to`.
#[derive(Clone, Debug)]
pub(super) struct Carrier {
    pub(super) from: u64,
    pub(super) to: u64,
    /// How long after `from` its connection is known.
    pub(super) connect: u64,
    /// How long each occurrence takes, cycled; order is kept all the same.
    pub(super) lags: Vec<u64>,
    /// Which occurrences it drops, cycled.
    pub(super) losses: Vec<bool>,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Begin(Leg),
    Sight(Leg, usize),
    End(Leg),
}

/// What everybody did, in the order of time.
pub(super) fn schedule(truth: &[Occurrence], carriers: &[Carrier]) -> Vec<(u64, Step)> {
    let mut steps = Vec::new();
    for (number, carrier) in carriers.iter().enumerate() {
        let leg = Leg(number as u64);
        let begins = carrier.from + carrier.connect;
        steps.push((begins, Step::Begin(leg)));
        let mut last = begins;
        for (at, occurrence) in truth.iter().enumerate() {
            if occurrence.at < carrier.from || occurrence.at > carrier.to {
                continue;
            }
            last = last.max(occurrence.at + carrier.lags[at % carrier.lags.len()]);
            if !carrier.losses[at % carrier.losses.len()] {
                steps.push((last, Step::Sight(leg, at)));
            }
        }
        steps.push((last.max(carrier.to), Step::End(leg)));
    }
    steps.sort_by_key(|(at, _)| *at);
    steps
}

/// One thing that came out.
#[derive(Clone, Debug)]
pub(super) struct Published {
    pub(super) topic: Topic,
    pub(super) body: String,
    pub(super) marks: Marks,
    /// Which occurrence the sight was of.
    pub(super) occurrence: usize,
}

/// Anything that takes sights and says what goes out.
pub(super) trait Judge {
    fn step(&mut self, step: &Step, sight: Option<Notification>, now: Time) -> Vec<Notified>;
    fn finish(&mut self) -> Vec<Notified>;
}

type Notified = (Notification, Marks);

impl Judge for Arbiter {
    fn step(&mut self, step: &Step, sight: Option<Notification>, now: Time) -> Vec<Notified> {
        while let Some(due) = self.poll_timeout().filter(|due| *due <= now) {
            self.handle_timeout(due);
        }
        match (step, sight) {
            (Step::Begin(leg), _) => self.begin(*leg, 0, now),
            (Step::End(leg), _) => self.end(*leg, now),
            (Step::Sight(leg, _), Some(notification)) => self.admit(*leg, notification, now),
            (Step::Sight(..), None) => {}
        }
        drain(self)
    }

    fn finish(&mut self) -> Vec<Notified> {
        while let Some(due) = self.poll_timeout() {
            self.handle_timeout(due);
        }
        assert!(self.shards.is_empty(), "something is remembered for ever");
        drain(self)
    }
}

fn drain(arbiter: &mut Arbiter) -> Vec<Notified> {
    let mut out = Vec::new();
    while let Some(verdict) = arbiter.poll() {
        if let Verdict::Publish { notification, marks } = verdict {
            out.push((notification, marks));
        }
    }
    out
}

/// What others do: a body seen lately is a duplicate.
#[derive(Debug, Default)]
pub(super) struct BodyHashWindow(HashSet<(Topic, u128)>);

impl Judge for BodyHashWindow {
    fn step(&mut self, _: &Step, sight: Option<Notification>, _: Time) -> Vec<Notified> {
        sight
            .filter(|n| self.0.insert((n.topic.clone(), crate::event::digest(&n.body))))
            .map(|n| (n, Marks::default()))
            .into_iter()
            .collect()
    }

    fn finish(&mut self) -> Vec<Notified> {
        Vec::new()
    }
}

pub(super) fn notification(occurrence: &Occurrence, number: usize) -> Notification {
    Notification {
        topic: occurrence.topic.clone(),
        body: occurrence.body.clone().into(),
        correlation_id: Some(number.to_string().into()),
        received: Timestamp::default(),
    }
}

/// Runs a schedule to its end.
pub(super) fn run(
    judge: &mut impl Judge,
    truth: &[Occurrence],
    steps: &[(u64, Step)],
) -> Vec<Published> {
    let mut out = Vec::new();
    for (at, step) in steps {
        let sight = match step {
            Step::Sight(_, number) => Some(notification(&truth[*number], *number)),
            Step::Begin(_) | Step::End(_) => None,
        };
        out.extend(judge.step(step, sight, Time::from_micros(*at)));
    }
    out.extend(judge.finish());
    out.into_iter()
        .map(|(notification, marks)| Published {
            topic: notification.topic,
            body: String::from_utf8(notification.body.into()).expect("we wrote it"),
            marks,
            occurrence: notification
                .correlation_id
                .and_then(|id| id.parse().ok())
                .expect("we wrote it"),
        })
        .collect()
}

/// What was published on each key, in order.
pub(super) fn by_key(
    published: impl Iterator<Item = (Topic, String)>,
) -> BTreeMap<String, Vec<(String, String)>> {
    let mut keys: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for (topic, body) in published {
        let key = keys.entry(topic.key().to_owned()).or_default();
        key.push((topic.name().to_owned(), body));
    }
    keys
}

/// For each topic and body: how many were published, the most that one leg showed, and the sum over all legs.
pub(super) fn counts(
    truth: &[Occurrence],
    steps: &[(u64, Step)],
    published: &[Published],
) -> BTreeMap<(String, String), (usize, usize, usize)> {
    let mut shown: BTreeMap<(String, String), BTreeMap<u64, usize>> = BTreeMap::new();
    for (_, step) in steps {
        if let Step::Sight(leg, number) = step {
            let body = (truth[*number].topic.name().to_owned(), truth[*number].body.clone());
            *shown.entry(body).or_default().entry(leg.0).or_default() += 1;
        }
    }
    shown
        .into_iter()
        .map(|(body, legs)| {
            let out =
                published.iter().filter(|p| p.topic.name() == body.0 && p.body == body.1).count();
            let best = legs.values().copied().max().unwrap_or_default();
            (body, (out, best, legs.values().sum()))
        })
        .collect()
}

const KEYS: [&str; 2] =
    ["00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000b"];

/// One of three topics of one of two keys; the third belongs to a keyed family.
pub(super) fn topic(key: usize, kind: usize) -> Topic {
    let key = KEYS[key % KEYS.len()];
    let topic = match kind % 3 {
        0 => Topic::new(&format!("v2.users.{key}.activity")),
        1 => Topic::new(&format!("v2.users.{key}.station")),
        _ => Topic::new(&format!("v2.users.{key}.presence")),
    };
    assert_eq!(topic.family() == Family::Keyed, kind % 3 == 2);
    topic
}
