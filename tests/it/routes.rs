//! Filters in the real process: what each sink gets, that its numbers have no holes, and that what errs passes.

use crate::books::Held;
use crate::harness::{Stand, brisk, eventually, program};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// What `tieline check` says of a file, as a script reads it.
async fn check(file: &Path) -> (bool, Value) {
    let args = ["check", file.to_str().unwrap(), "--output", "json"];
    let output = program(&args).output().await.unwrap();
    (output.status.success(), serde_json::from_slice(&output.stdout).unwrap())
}

/// The TOML assignment to `key` that stands in a fix.
fn printed(mistakes: &Value, key: &str) -> toml::Table {
    let fixes = mistakes.as_array().unwrap().iter().map(|mistake| mistake["fix"].as_str().unwrap());
    let start = format!("{key} = ");
    let assignment = fixes.into_iter().find_map(|fix| {
        let from = &fix[fix.find(&start)?..];
        let end = from.rfind([']', '\'']).unwrap();
        // A list ends with its bracket, also where more is said behind it.
        let list =
            from.split_inclusive(']').next().filter(|_| from[start.len()..].starts_with('['));
        Some(list.unwrap_or(&from[..=end]).to_owned())
    });
    assignment.unwrap_or_else(|| panic!("no {key} in {mistakes}")).parse().unwrap()
}

/// That each key's numbers are 1, 2, 3, …
fn assert_gap_free(events: &[Held]) {
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for event in events {
        let last = last.entry(&event.key).or_default();
        *last += 1;
        assert_eq!(event.sequence, *last, "key {}", event.key);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_subscription_that_the_platform_does_not_have_is_refused_with_an_equivalent_that_works()
{
    let mut stand = Stand::new(brisk()).await;
    stand.config.set("genesys.topics", vec!["/api/v2/analytics/events"]);
    stand.config.set("sink.jsonl.filter", r#"event.type=="queueEvent""#);
    let (right, said) = check(&stand.config.write()).await;
    assert!(!right);
    let mistakes = &said["mistakes"];
    let keys: Vec<&str> =
        mistakes.as_array().unwrap().iter().map(|one| one["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["genesys.topics", "sink.jsonl.filter"]);
    assert!(said.to_string().contains("is a path of the REST API and not a topic"), "{said}");
    assert!(said.to_string().contains("which no event has"), "{said}");

    // What it prints is taken as it stands, beside a subscription that is of no queue.
    let mut topics = printed(mistakes, "topics")["topics"].as_array().unwrap().clone();
    topics.push(format!("v2.users.{}.presence", stand.sim.queues()[0].id).into());
    stand.config.set("genesys.topics", topics);
    stand.config.set("sink.jsonl.filter", printed(mistakes, "filter")["filter"].clone());
    let (right, said) = check(&stand.config.write()).await;
    assert!(right, "{said}");

    let bridge = stand.ready().await;
    let since = stand.emitted().await + 1;
    stand.emits(90).await;
    let verdict = stand.balance(bridge, since).await;
    verdict.assert_kept();
    assert_eq!(verdict.gaps.len(), 0);
    let mut held = stand.held();
    held.retain(|event| !event.is_control());
    for family in ["conversations", "users", "observations"] {
        assert!(held.iter().any(|event| event.topic.ends_with(family)), "no {family}");
    }
    assert!(held.iter().all(|event| event.topic.contains(".queues.")));
    assert_gap_free(&held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_leaves_no_hole_in_the_numbers_and_what_it_errs_on_passes() {
    let mut stand = Stand::new(brisk()).await;
    // Observations are filtered out; of the others only members have the field.
    stand.config.set(
        "sink.jsonl.filter",
        r#"event.type != "com.genesys.cloud.v2.analytics.queues.observations" && event.data.joined"#,
    );
    let bridge = stand.ready().await;
    let erred = bridge.line(&["\"event\":\"filter_erred\""]).await;
    assert_eq!(erred["problem"], "a field that it names is not there; ask has(…) first");
    let members = |joined| {
        let held = stand.held();
        let of_members = held.into_iter().filter(|event| event.topic.ends_with(".users"));
        of_members.filter(|event| event.body.contains(joined)).count()
    };
    let joined = async || (members("\"joined\":true") > 2).then_some(());
    eventually("members that joined are there", joined).await;
    eventually("both counters move", async || {
        let (_, metrics) = bridge.read("/metrics").await;
        let moved = |name: &str| {
            let line = format!("{name}{{sink=\"jsonl\"}} ");
            metrics.lines().any(|one| one.strip_prefix(&line).is_some_and(|count| count != "0"))
        };
        (moved("tieline_events_filtered_total") && moved("tieline_filter_errors_total"))
            .then_some(())
    })
    .await;
    assert_eq!(bridge.count(&["\"event\":\"filter_erred\""]), 1, "told once a minute at most");
    bridge.finish(&stand).await;
    let held = stand.held();
    assert!(held.iter().any(|event| event.topic.ends_with(".conversations")), "what errs passes");
    assert!(held.iter().all(|event| !event.topic.ends_with(".observations")));
    assert_eq!(members("\"joined\":false"), 0);
    assert_gap_free(&held);
}
