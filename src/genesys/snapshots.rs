//! How things stand now, read over REST after a gap, and the bodies of the events that tell of it.
//!
//! The bodies are our own, described by the schemas in `docs/contract/`; what the platform says in them is kept as it spelt it.

use super::wire;
use crate::event::Topic;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::{Mutex, PoisonError};

/// How a topic stands now.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Which topic.
    pub topic: Topic,
    /// What to publish, in order: more than one where it would be too large for one message.
    pub bodies: Vec<Bytes>,
}

/// What came of one request.
#[derive(Clone, Debug)]
pub enum Shown {
    /// How the topics stand.
    Whole(Vec<Snapshot>),
    /// A page of it; others are to be read before it can be shown.
    Page,
}

/// The pages that have been read of a queue's members. One queue is read at a time.
#[derive(Debug, Default)]
pub(super) struct Pages(Mutex<Read>);

#[derive(Debug, Default)]
struct Read {
    of: Option<Topic>,
    pages: u32,
    members: Vec<wire::Member>,
}

impl Pages {
    /// Takes a page of a topic, by its number from 1, and answers all members once it was the last. None where a page before it is
    /// missing.
    pub(super) fn take(
        &self,
        topic: &Topic,
        number: u32,
        members: Vec<wire::Member>,
        is_last: bool,
    ) -> Option<Shown> {
        let mut read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if number == 1 {
            *read = Read { of: Some(topic.clone()), ..Read::default() };
        }
        if read.of.as_ref() != Some(topic) || read.pages + 1 != number {
            return None;
        }
        read.pages = number;
        read.members.extend(members);
        if !is_last {
            return Some(Shown::Page);
        }
        let all = std::mem::take(&mut *read).members;
        Some(Shown::Whole(vec![self::members(topic, &all)]))
    }
}

/// How many members one event tells of: about 70 bytes each, below every broker's default limit on a message.
const MEMBERS: usize = 5_000;

/// The metrics that are asked for: all that a queue's topic of observations can show as an instant.
const METRICS: [&str; 9] = [
    "oActiveUsers",
    "oAlerting",
    "oInteracting",
    "oMemberUsers",
    "oOffQueueUsers",
    "oOnQueueUsers",
    "oUserPresences",
    "oUserRoutingStatuses",
    "oWaiting",
];

/// The query for these queues.
pub(super) fn query(topics: &[Topic]) -> serde_json::Value {
    let predicates: Vec<_> = topics
        .iter()
        .map(|topic| {
            serde_json::json!({
                "type": "dimension",
                "dimension": "queueId",
                "operator": "matches",
                "value": topic.key(),
            })
        })
        .collect();
    serde_json::json!({
        "filter": {"type": "or", "predicates": predicates},
        "metrics": METRICS,
    })
}

/// The answer, divided between the queues; one that is not in it has nothing to show.
pub(super) fn observations(topics: &[Topic], answer: &wire::Observations) -> Vec<Snapshot> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        queue_id: &'a str,
        results: Vec<&'a RawValue>,
    }
    let shown = topics.iter().map(|topic| {
        let own = answer.results.iter().filter(|result| {
            let group: Option<wire::Grouped<'_>> = serde_json::from_str(result.get()).ok();
            group.is_some_and(|one| one.group.queue_id.eq_ignore_ascii_case(topic.key()))
        });
        let results = own.map(|result| &**result).collect();
        let body = json(&Body { queue_id: topic.key(), results });
        Snapshot { topic: topic.clone(), bodies: vec![body] }
    });
    shown.collect()
}

/// The members of a queue, in as many events as they need.
pub(super) fn members(topic: &Topic, members: &[wire::Member]) -> Snapshot {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        queue_id: &'a str,
        part: usize,
        parts: usize,
        members: &'a [wire::Member],
    }
    let parts = members.len().div_ceil(MEMBERS).max(1);
    let bodies = (0..parts).map(|at| {
        let rest = &members[at * MEMBERS..];
        let members = &rest[..rest.len().min(MEMBERS)];
        json(&Body { queue_id: topic.key(), part: at + 1, parts, members })
    });
    Snapshot { topic: topic.clone(), bodies: bodies.collect() }
}

fn json(body: &impl Serialize) -> Bytes {
    serde_json::to_vec(body)
        .expect("strings and JSON are valid JSON, and a Vec takes all of it")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(snapshot: &Snapshot, at: usize) -> &str {
        std::str::from_utf8(&snapshot.bodies[at]).expect("UTF-8")
    }

    #[test]
    fn each_queue_gets_its_own_results_as_the_platform_spelt_them() {
        let answer = r#"{"results":[{"group":{"queueId":"b"},"data":[{"metric":"oWaiting","stats":{"count":1.50}}]},{"group":{"queueId":"b","mediaType":"voice"}},{"group":{"queueId":"c"}},{"strange":true}]}"#;
        let answer: wire::Observations = serde_json::from_str(answer).expect("an answer");
        let topics = ["a", "b"].map(Topic::new);
        let shown = observations(&topics, &answer);
        assert_eq!(text(&shown[0], 0), r#"{"queueId":"a","results":[]}"#);
        assert_eq!(
            text(&shown[1], 0),
            r#"{"queueId":"b","results":[{"group":{"queueId":"b"},"data":[{"metric":"oWaiting","stats":{"count":1.50}}]},{"group":{"queueId":"b","mediaType":"voice"}}]}"#
        );
    }

    #[test]
    fn pages_are_shown_together_and_none_without_those_before_it() {
        let page = |first: usize| {
            let ids = first..first + 100;
            ids.map(|id| wire::Member { id: id.to_string(), joined: true }).collect::<Vec<_>>()
        };
        let (pages, topic, other) = (Pages::default(), Topic::new("q"), Topic::new("r"));
        assert!(pages.take(&topic, 2, page(100), true).is_none(), "no page before it");
        assert!(matches!(pages.take(&topic, 1, page(0), false), Some(Shown::Page)));
        assert!(pages.take(&other, 2, page(100), true).is_none(), "a page of another");
        assert!(pages.take(&topic, 3, page(200), true).is_none(), "one is missing");
        // Begun anew: what was read before is not shown.
        for number in 1..10 {
            let taken = pages.take(&topic, number, page(number as usize * 100), false);
            assert!(matches!(taken, Some(Shown::Page)));
        }
        let Some(Shown::Whole(shown)) = pages.take(&topic, 10, page(1_000), true) else {
            panic!("the last page shows all");
        };
        let body: serde_json::Value = serde_json::from_str(text(&shown[0], 0)).expect("JSON");
        let shown = body["members"].as_array().expect("members");
        assert_eq!((shown.len(), shown[0]["id"].as_str()), (1_000, Some("100")));
        assert!(pages.take(&topic, 11, page(1_100), true).is_none(), "it is over");
    }

    #[test]
    fn many_members_take_several_events_below_the_limit_of_a_message() {
        let member = |number: usize| wire::Member {
            id: format!("00000000-0000-4000-8000-{number:012}"),
            joined: number == MEMBERS,
        };
        let topic = Topic::new("q");
        let all: Vec<_> = (0..MEMBERS + 1).map(member).collect();
        let shown = members(&topic, &all);
        assert_eq!(shown.bodies.len(), 2);
        assert!(shown.bodies[0].len() < 500_000, "{}", shown.bodies[0].len());
        assert_eq!(
            text(&shown, 1),
            r#"{"queueId":"q","part":2,"parts":2,"members":[{"id":"00000000-0000-4000-8000-000000005000","joined":true}]}"#
        );
        assert_eq!(
            text(&members(&topic, &[]), 0),
            r#"{"queueId":"q","part":1,"parts":1,"members":[]}"#
        );
    }
}
