//! Whether the traffic could be real: conversations go on in legal steps, no agent is in two of
//! them, and the statistics count what the conversations have told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use tieline_sim::{Options, rehearse};

const MEDIA: [(&str, &str); 5] = [
    ("calls", "voice"),
    ("callbacks", "callback"),
    ("chats", "chat"),
    ("emails", "email"),
    ("messages", "message"),
];

/// Where a conversation stands, told from its body alone: media type, stage and agent.
fn stage(body: &Value) -> (&'static str, &'static str, Option<String>) {
    let participants = body["participants"].as_array().unwrap();
    let of = |purpose: &str| participants.iter().find(|entry| entry["purpose"] == purpose);
    let (field, media) =
        MEDIA.into_iter().find(|(field, _)| participants[0][field].is_array()).unwrap();
    let state = |entry: &Value| entry[field][0]["state"].as_str().unwrap().to_owned();
    let user = of("agent").map(|agent| agent["userId"].as_str().unwrap().to_owned());
    let stage = match of("agent") {
        None if state(of("customer").unwrap()) == "disconnected" => "abandoned",
        None => "waiting",
        Some(agent) if state(agent) == "alerting" => "alerting",
        Some(agent) if state(agent) == "connected" => "connected",
        Some(agent) if agent["wrapup"].is_object() => "finished",
        Some(_) => "wrapping up",
    };
    (media, stage, user)
}

fn is_legal(from: Option<&str>, to: &str) -> bool {
    matches!(
        (from, to),
        (None, "waiting")
            | (Some("waiting"), "waiting" | "alerting" | "abandoned")
            | (Some("alerting"), "alerting" | "waiting" | "connected")
            | (Some("connected"), "connected" | "wrapping up")
            | (Some("wrapping up"), "wrapping up" | "finished")
    )
}

#[test]
fn conversations_take_legal_steps_and_statistics_follow_from_them() {
    let options = Options { queues: 2, rate: 60.0, ..Options::default() };
    let mut told: BTreeMap<(String, String), (&str, &str, Option<String>)> = BTreeMap::new();
    let mut steps = BTreeSet::new();
    let mut counted = 0;
    for emission in rehearse(&options, Duration::from_secs(300)).unwrap() {
        let body: Value = serde_json::from_str(emission.body.get()).unwrap();
        let queue = emission.key.clone();
        if emission.topic.ends_with(".conversations") {
            let next = stage(&body);
            let id = (queue.clone(), body["id"].as_str().unwrap().to_owned());
            let before = told.get(&id).map(|(_, stage, _)| *stage);
            assert!(is_legal(before, next.1), "{before:?} to {}", next.1);
            steps.insert((before, next.1));
            told.insert(id, next);
            let busy: Vec<&String> = told
                .values()
                .filter(|(_, stage, _)| *stage != "finished")
                .filter_map(|(_, _, agent)| agent.as_ref())
                .collect();
            let agents: BTreeSet<&&String> = busy.iter().collect();
            assert_eq!(agents.len(), busy.len(), "an agent is in two conversations");
        } else if emission.topic.ends_with(".activity") {
            for result in body["results"].as_array().unwrap() {
                for entry in result["data"].as_array().unwrap() {
                    let wanted = match entry["metric"].as_str().unwrap() {
                        "oWaiting" => "waiting",
                        "oAlerting" => "alerting",
                        _ => "connected",
                    };
                    let here = told.iter().filter(|((at, _), (media, stage, _))| {
                        *at == queue && *stage == wanted && result["mediaType"] == *media
                    });
                    assert_eq!(entry["count"], here.count());
                    counted += 1;
                }
            }
        }
    }
    for step in [
        (None, "waiting"),
        (Some("waiting"), "alerting"),
        (Some("waiting"), "abandoned"),
        (Some("alerting"), "waiting"),
        (Some("alerting"), "connected"),
        (Some("connected"), "wrapping up"),
        (Some("wrapping up"), "finished"),
    ] {
        assert!(steps.contains(&step), "{step:?}");
    }
    assert!(counted > 1000);
}

#[test]
fn agents_join_and_leave_in_turn() {
    let options = Options { queues: 2, rate: 60.0, ..Options::default() };
    let mut joined = BTreeMap::new();
    let mut changes = 0;
    for emission in rehearse(&options, Duration::from_secs(120)).unwrap() {
        if !emission.topic.ends_with(".users") {
            continue;
        }
        let body: Value = serde_json::from_str(emission.body.get()).unwrap();
        let before = joined.insert(body["id"].to_string(), body["joined"].clone());
        assert_ne!(before.as_ref(), Some(&body["joined"]));
        changes += usize::from(before.is_some());
    }
    assert!(changes > 20);
}
