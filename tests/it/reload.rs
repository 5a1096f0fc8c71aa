//! A changed configuration in a process that runs: what it takes over, what it names, what it refuses; and never a lost session.

use crate::harness::{Bridge, Stand, brisk, eventually, hold_no_secret, program, quiet};
use serde_json::{Value, json};
use std::os::unix::fs::symlink;
use std::path::Path;

/// Replaces a file as an operator should: in one move.
fn replace(path: &Path, text: &str) {
    std::fs::write(path.with_extension("new"), text).unwrap();
    std::fs::rename(path.with_extension("new"), path).unwrap();
}

async fn metric(bridge: &Bridge, series: &str) -> f64 {
    let (_, text) = bridge.read("/metrics").await;
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.unwrap_or_else(|| panic!("no {series}\n{text}")).trim().parse().unwrap()
}

fn outcome(state: &Value) -> Option<&str> {
    state["configuration"]["last_reload"]["outcome"].as_str()
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_brings_log_level_and_privacy_into_force_and_no_session_notices() {
    let mut stand = Stand::new(brisk()).await;
    stand.config.set("log.level", "info");
    let bridge = stand.ready().await;
    bridge.signal("HUP").await;
    bridge.line(&["\"config_read\"", "SIGHUP", "\"unchanged\""]).await;
    assert_eq!(bridge.count(&["\"level\":\"DEBUG\""]), 0);
    eventually("a customer waits", async || {
        stand.held().iter().any(|event| event.body.contains("tel:+1555")).then_some(())
    })
    .await;

    stand.config.set("log.level", "debug");
    let rules = toml::Table::from_iter([("*".to_owned(), toml::Value::from(vec!["**.address"]))]);
    stand.config.set("privacy.drop", rules);
    stand.config.write();
    bridge.signal("HUP").await;
    let applied = bridge.line(&["\"config_applied\"", "\"key\":\"log.level\""]).await;
    assert_eq!((&applied["was"], &applied["now"]), (&json!("\"info\""), &json!("\"debug\"")));
    bridge.line(&["\"config_applied\"", "privacy.drop.*", "**.address"]).await;
    // What was emitted from here on was heard after the rules.
    let since = stand.emitted().await + 1;
    stand.emits(120).await;
    stand.control("traffic", json!({"state": "pause"})).await;
    stand.delivered_all(since).await;
    let journal = stand.sim.journal();
    let later: Vec<_> = journal.emissions.iter().filter(|one| one.number >= since).collect();
    let told = later.iter().filter(|one| one.body.get().contains("tel:+1555"));
    assert!(told.count() > 0, "nobody has called since");
    for event in stand.held() {
        let is_later = later.iter().any(|one| one.correlation_id == event.correlation_id);
        assert!(!is_later || !event.body.contains("tel:+1555"), "{}", event.body);
    }

    assert_eq!(journal.sessions.len(), 1, "a session was dropped");
    assert!(bridge.gaps().await.is_empty());
    // A person's order to rotate has small print, which shows the level.
    bridge.signal("USR1").await;
    bridge.line(&["\"level\":\"DEBUG\"", "\"session_entered\""]).await;
    assert!(metric(&bridge, "tieline_config_reloads_total{outcome=\"applied\"}").await >= 1.0);
    bridge.finish(&stand).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_changes_nothing_says_each_mistake_and_is_forgotten_when_it_is_mended() {
    let mut stand = Stand::new(quiet()).await;
    stand.config.set("log.level", "info");
    let bridge = stand.ready().await;
    let path = stand.config.path("tieline.toml");
    let right = std::fs::read_to_string(&path).unwrap();
    let wrong = right.replace("level = \"info\"", "level = \"inof\"").replace("queues", "queus");
    replace(&path, &wrong);

    bridge.line(&["\"config_read\"", "\"trigger\":\"file\"", "\"refused\""]).await;
    let level = bridge.line(&["config_mistaken", "log.level", "inof", "fix: write a level"]).await;
    assert_eq!(level["level"], "ERROR");
    bridge.line(&["config_mistaken", "genesys.queus", "did you mean genesys.queues"]).await;
    let state = bridge.state("the page tells it", |state| outcome(state) == Some("refused")).await;
    let told = state["configuration"]["last_reload"]["mistakes"].as_array().unwrap().clone();
    assert!(told.iter().any(|one| one.as_str().unwrap().contains("inof")), "{told:?}");
    assert_eq!(state["verdict"]["fault"]["words"], "Whoever changed the configuration file");
    assert_eq!(state["ready"], true);
    assert_eq!(metric(&bridge, "tieline_config_last_reload_failed").await, 1.0);
    assert_eq!(metric(&bridge, "tieline_config_reloads_total{outcome=\"refused\"}").await, 1.0);

    // A file that is gone is a mistake too.
    std::fs::remove_file(&path).unwrap();
    bridge.line(&["config_mistaken", "does not exist"]).await;
    replace(&path, &right);
    bridge.state("it is mended", |state| outcome(state) == Some("unchanged")).await;
    assert_eq!(metric(&bridge, "tieline_config_last_reload_failed").await, 0.0);
    assert_eq!(stand.sim.journal().sessions.len(), 1, "a session was dropped");
    bridge.finish(&stand).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_config_map_is_seen_and_what_needs_a_restart_is_named_with_both_values() {
    let mut stand = Stand::new(quiet()).await;
    stand.config.set("log.level", "info");
    let (map, first) = (stand.config.path("map"), std::fs::read_to_string(stand.config.write()));
    let first = first.unwrap();
    for version in ["one", "two", "three"] {
        std::fs::create_dir_all(map.join(version)).unwrap();
    }
    let swap = |version: &str, text: &str| {
        std::fs::write(map.join(version).join("tieline.toml"), text).unwrap();
        symlink(version, map.join("..data_tmp")).unwrap();
        std::fs::rename(map.join("..data_tmp"), map.join("..data")).unwrap();
    };
    swap("one", &first);
    symlink("..data/tieline.toml", map.join("tieline.toml")).unwrap();
    let mut command = program(&["run", map.join("tieline.toml").to_str().unwrap()]);
    command.env("TIELINE_LOG__FORMAT", "json").env("TIELINE_JOURNAL__SYNC", "50ms");
    let mut bridge = Bridge::launch(command);
    bridge.doors().await;
    bridge.ready().await;

    let changed = first.replace("drain_timeout = \"10s\"", "drain_timeout = \"9s\"");
    let changed = changed.replace("level = \"info\"", "level = \"warn\"");
    let secret = "a-password-that-nobody-may-read";
    swap(
        "two",
        &format!("{changed}\n[journal]\nsync = \"80ms\"\n[sink.jsonl.x]\ny = \"{secret}\"\n"),
    );
    // An unknown key's value may be anything.
    bridge.line(&["config_mistaken", "sink.jsonl.x"]).await;
    swap("three", &format!("{changed}\n[journal]\nsync = \"80ms\"\n"));
    let pending = bridge.line(&["config_pending", "process.drain_timeout"]).await;
    assert_eq!((&pending["was"], &pending["now"]), (&json!("\"10s\""), &json!("\"9s\"")));
    assert!(pending["message"].as_str().unwrap().contains("needs a restart"));
    let overridden = bridge.line(&["config_overridden", "journal.sync"]).await;
    assert_eq!(overridden["variable"], "TIELINE_JOURNAL__SYNC");
    let is_known = |state: &Value| outcome(state) == Some("restart_needed");
    let state = bridge.state("the page tells it", is_known).await;
    let change = json!({"key": "process.drain_timeout", "was": "\"10s\"", "now": "\"9s\""});
    assert_eq!(state["configuration"]["pending"], json!([change]));
    assert_eq!(state["configuration"]["last_reload"]["applied"][0]["key"], "log.level");
    assert_eq!(metric(&bridge, "tieline_config_pending_keys").await, 1.0);
    assert_eq!(stand.sim.journal().sessions.len(), 1, "a session was dropped");

    let (_, state) = bridge.read("/api/v1/state").await;
    bridge.signal("TERM").await;
    let (code, log) = bridge.ended().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(!format!("{log}{state}").contains(secret), "{log}");
    hold_no_secret(&format!("{log}{state}"), &stand);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_queues_and_topics_are_subscribed_to_on_the_live_socket() {
    let mut stand = Stand::new(brisk()).await;
    let queues: Vec<String> = stand.sim.queues().iter().map(|queue| queue.id.clone()).collect();
    stand.config.set("genesys.queues", vec![queues[0].clone()]);
    let bridge = stand.ready().await;
    let carries = async |count: u64| {
        let is_so = |state: &Value| state["topics"]["permitted"] == count;
        bridge.state(&format!("{count} topics are heard"), is_so).await;
    };
    carries(3).await;

    stand.config.set("genesys.queues", vec![queues[0].clone(), queues[1].clone()]);
    stand.config.write();
    bridge.signal("HUP").await;
    bridge.line(&["\"config_applied\"", "genesys.queues", &queues[1]]).await;
    carries(6).await;
    let topics = ["v2.routing.queues.{id}.conversations", "v2.routing.queues.{id}.users"];
    stand.config.set("genesys.queues", vec![queues[1].clone()]);
    stand.config.set("genesys.topics", topics.map(str::to_owned).to_vec());
    stand.config.write();
    bridge.signal("HUP").await;
    bridge.line(&["\"config_applied\"", "genesys.topics"]).await;
    carries(2).await;

    let since = stand.emitted().await + 1;
    stand.emits(120).await;
    stand.control("traffic", json!({"state": "pause"})).await;
    let journal = stand.sim.journal();
    let later = journal.deliveries.iter().filter(|one| one.number >= since);
    let of = |number: u64| journal.emissions.iter().find(|one| one.number == number).unwrap();
    let keys: std::collections::BTreeSet<&str> =
        later.map(|one| of(one.number).key.as_str()).collect();
    assert_eq!(keys.into_iter().collect::<Vec<_>>(), [queues[1].as_str()]);
    assert_eq!(journal.sessions.len(), 1, "a session was dropped");
    assert!(bridge.gaps().await.is_empty());
    bridge.finish(&stand).await;
}
