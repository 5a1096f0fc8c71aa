//! How things stand now, read over REST after a gap, and the bodies of the events that tell of it.
//!
//! The bodies are our own, described by the schemas in `docs/contract/`; what the platform says in them is kept as it spelt it.

use super::wire;
use crate::event::Topic;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

/// How a topic stands now.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Which topic.
    pub topic: Topic,
    /// What to publish, in order: more than one where it would be too large for one message.
    pub bodies: Vec<Bytes>,
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
