//! Bad input to the real process: each has a clear message, the right retry, costs nothing that it need not, and never a panic.

use crate::harness::{Bridge, Closed, Stand, brisk, eventually, quiet, tieline};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_named_and_mended_without_a_restart() {
    let stand = Stand::new(brisk()).await;
    stand.config.write_secret("this-is-not-it");
    let bridge = stand.start().await;
    let rejected = bridge.line(&["\"event\":\"credentials_rejected\""]).await;
    assert_eq!(rejected["level"], "ERROR");
    let words = rejected["message"].as_str().unwrap();
    assert!(words.contains("Genesys refuses the newest secret"), "{words}");
    assert!(words.contains("401 invalid_client"), "{words}");
    bridge.unready(&["not subscribed yet", "401 invalid_client"]).await;
    stand.config.write_secret(stand.sim.client_secret());
    bridge.ready().await;
    bridge.finish(&stand).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_client_id_is_named() {
    let mut stand = Stand::new(quiet()).await;
    stand.config.set("genesys.client_id", "a-client-that-nobody-knows");
    let bridge = stand.start().await;
    bridge.line(&["credentials_rejected", "400 invalid_client"]).await;
    bridge.unready(&["not subscribed yet", "400 invalid_client"]).await;
    let (_, state) = bridge.get("/api/v1/state").await;
    assert_eq!(state["login"]["client_id"], "a-client-that-nobody-knows");
    bridge.finish(&stand).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_file_that_is_missing_is_named_and_waited_for() {
    let stand = Stand::new(brisk()).await;
    std::fs::remove_file(stand.config.path("secret")).unwrap();
    let bridge = stand.start().await;
    let path = stand.config.path("secret").display().to_string();
    bridge.line(&["secret_source_failed", &path, "there is no secret to log in with"]).await;
    bridge.unready(&["not subscribed yet", &path]).await;
    stand.config.write_secret(stand.sim.client_secret());
    bridge.ready().await;
    bridge.finish(&stand).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_cannot_be_reached_is_named() {
    let closed = Closed::new();
    let mut stand = Stand::new(quiet()).await;
    for key in ["genesys.login_url", "genesys.api_url"] {
        stand.config.set(key, format!("http://{}", closed.address()));
    }
    let bridge = stand.start().await;
    let address = closed.address().to_string();
    bridge.lines(&["token_refused", "unreachable", "refused", &address], 2).await;
    bridge.unready(&["not subscribed yet", "refused", &address]).await;
    bridge.finish(&stand).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_nobody_knows_is_named_and_the_others_go_on() {
    let mut stand = Stand::new(brisk()).await;
    let queue = stand.sim.queues()[0].clone();
    let queues = vec![queue.name.clone(), "No Such Queue".to_owned()];
    stand.config.set("genesys.queues", queues);
    let bridge = stand.ready().await;
    bridge.line(&["queue_unknown", "No Such Queue", "the others are subscribed"]).await;
    let since = stand.emitted().await + 1;
    stand.emits(60).await;
    stand.control("traffic", json!({"state": "pause"})).await;
    let own = |topics: Vec<String>| -> Vec<String> {
        topics.into_iter().filter(|topic| topic.contains(&queue.id)).collect()
    };
    kept_on(&stand, bridge, since, &own(stand.config.topics(&stand.sim))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_without_permission_is_named_and_the_others_go_on() {
    let stand = Stand::new(brisk()).await;
    stand.control("forbid", json!({"topics": [".users"]})).await;
    let bridge = stand.ready().await;
    let refused = bridge.line(&["topic_rejected", ".users", "the others are subscribed"]).await;
    assert!(refused["reason"].as_str().unwrap().contains("not permitted"), "{refused}");
    let state = bridge.state("topics are refused", |state| state["topics"]["rejected"] == 3).await;
    assert_eq!(state["topics"]["permitted"], 6);
    let refusals = state["topics"]["refusals"].as_array().unwrap();
    assert!(refusals[0]["reason"].as_str().unwrap().contains("routing:queue:view"), "{state}");
    let since = stand.emitted().await + 1;
    stand.emits(60).await;
    stand.control("traffic", json!({"state": "pause"})).await;
    let mut topics = stand.config.topics(&stand.sim);
    topics.retain(|topic| !topic.ends_with(".users"));
    kept_on(&stand, bridge, since, &topics).await;
}

/// These topics came whole and in order, and nothing else came. The traffic is paused.
async fn kept_on(stand: &Stand, bridge: Bridge, since: u64, topics: &[String]) {
    let journal = stand.sim.journal();
    let last = journal.emissions.iter().rev().find(|one| topics.contains(&one.topic)).unwrap();
    eventually("the last notification is in the file", async || {
        let mut held = stand.held().into_iter();
        held.find(|event| event.correlation_id == last.correlation_id)
    })
    .await;
    bridge.finish(stand).await;
    let held = stand.held();
    crate::books::judge(&journal, topics, &held, &[], since).assert_seamless();
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_make_no_sense_are_named_and_cost_nothing() {
    let stand = Stand::new(brisk()).await;
    let bridge = stand.ready().await;
    let since = stand.emitted().await + 1;
    for what in ["not-json", "not-envelope", "empty", "binary", "unknown-topic", "unknown-version"]
    {
        stand.emits(10).await;
        stand.control("frame", json!({"what": what})).await;
    }
    let told = bridge.lines(&["\"event\":\"frame_unreadable\""], 2).await;
    let words = told[0]["message"].as_str().unwrap();
    assert!(words.contains("a frame of 16 bytes on s1 could not be read"), "{words}");
    bridge.line(&["frame_unreadable", "it is binary"]).await;
    stand.emits(30).await;
    assert_eq!(bridge.count(&["session_lost"]), 0, "{}", bridge.log());
    // What the simulator makes up outside its journal cannot be balanced; an unknown topic is delivered like any other.
    stand.control("traffic", json!({"state": "pause"})).await;
    stand.delivered_all(since).await;
    let gaps = bridge.gaps().await;
    bridge.finish(&stand).await;
    let topics = stand.config.topics(&stand.sim);
    let known: Vec<_> =
        stand.held().into_iter().filter(|event| topics.contains(&event.topic)).collect();
    let verdict = stand.judge(&known, &gaps, since);
    verdict.assert_kept();
    // Any of them may have been a notification: one possible gap for the burst, in which nothing is missing.
    let causes: Vec<&str> = gaps.iter().map(|gap| gap.cause.as_str()).collect();
    assert_eq!((causes, verdict.missed.len()), (vec!["unreadable_frame"], 0), "{verdict:#?}");
}

/// Frames whose nesting would end a parser that calls itself for each level, and frames as large as any that are taken.
#[tokio::test(flavor = "multi_thread")]
async fn frames_of_hostile_depth_and_size_cost_no_session_and_no_memory_without_bound() {
    let mut stand = Stand::new(brisk()).await;
    // They go all the way to the routes; no reader of this test could read them.
    stand.config.set("sink.jsonl.filter", "!event.type.contains('deep')");
    stand.config.set("lifecycle.dead_after", "20s");
    let bridge = stand.ready().await;
    let since = stand.emitted().await + 1;
    stand.emits(30).await;
    let before = bridge.most_memory();
    let deep = |open: &str, inner: &str, close: &str| {
        let body = format!("{}{inner}{}", open.repeat(DEPTH), close.repeat(DEPTH));
        format!(r#"{{"topicName":"v2.deep","version":"2","eventBody":{body},"metadata":{{}}}}"#)
    };
    let never_closed = "[".repeat(DEPTH);
    let frames = [deep("[", "0", "]"), deep(r#"{"a":"#, "0", "}"), never_closed];
    for text in frames.iter().cycle().take(12) {
        stand.control("frame", json!({"what": "text", "text": text})).await;
    }
    for _ in 0..LARGE {
        let large = json!({"what": "oversized", "bytes": (8 << 20) - 1_000});
        stand.control("frame", large).await;
    }
    stand.emits(60).await;
    assert_eq!(bridge.count(&["session_lost"]), 0, "{}", bridge.log());
    stand.control("traffic", json!({"state": "pause"})).await;
    stand.delivered_all(since).await;
    let taken = bridge.most_memory().saturating_sub(before);
    assert!(taken < HOSTILE_MAX, "{taken} bytes more than before");
    let (_, metrics) = bridge.read("/metrics").await;
    let deep = "tieline_events_filtered_total{sink=\"jsonl\"} 8\n";
    assert!(metrics.contains(deep), "each that ends was an event: {metrics}");
    let gaps = bridge.gaps().await;
    bridge.finish(&stand).await;
    let topics = stand.config.topics(&stand.sim);
    let held = stand.held();
    let known: Vec<_> =
        held.iter().filter(|event| topics.contains(&event.topic)).cloned().collect();
    let verdict = stand.judge(&known, &gaps, since);
    verdict.assert_kept();
    assert_eq!(verdict.missed, Vec::<u64>::new(), "{verdict:#?}");
    // What is well-formed is an event like any other, however large.
    let large = held.iter().filter(|event| event.topic == "v2.oversized").count();
    assert_eq!(large, LARGE);
}

/// Levels of a hostile frame.
const DEPTH: usize = 40_000;

/// How many frames are about as large as any may be.
const LARGE: usize = 4;

/// What such frames may take at once: some copies of the largest on their way, and what the journal keeps of them.
const HOSTILE_MAX: u64 = 128 << 20;

#[cfg(feature = "kafka")]
#[tokio::test(flavor = "multi_thread")]
async fn while_a_broker_is_dead_and_frames_make_no_sense_the_file_goes_on() {
    let closed = Closed::new();
    let mut stand = Stand::new(brisk()).await;
    stand.config.set("sink.kafka.brokers", closed.address().to_string());
    stand.config.set("process.drain_timeout", "500ms");
    let bridge = stand.start().await;
    bridge.line(&["sink_failed", "kafka"]).await;
    bridge.line(&["session_entered", "is live"]).await;
    let since = stand.emitted().await + 1;
    for what in ["not-json", "not-envelope", "empty", "binary"] {
        stand.emits(15).await;
        stand.control("frame", json!({"what": what})).await;
    }
    stand.emits(30).await;
    stand.control("traffic", json!({"state": "pause"})).await;
    stand.delivered_all(since).await;
    let waiting = |state: &Value| {
        let waiting = |sink: usize| state["sinks"][sink]["waiting_events"].as_u64();
        waiting(0) == Some(0) && waiting(1) >= Some(60)
    };
    bridge.state("everything waits for the broker, and nothing for the file", waiting).await;
    let gaps = bridge.gaps().await;
    bridge.signal("TERM").await;
    let (code, log) = bridge.ended().await;
    assert_eq!(code, Some(0), "{log}");
    let verdict = stand.judge(&stand.held(), &gaps, since);
    verdict.assert_kept();
    assert_eq!(verdict.missed, Vec::<u64>::new(), "{verdict:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_of_16_mib_ends_the_session_and_is_one_gap() {
    let mut stand = Stand::new(brisk()).await;
    // Until its last byte has come on a busy machine, nothing else does.
    stand.config.set("lifecycle.dead_after", "20s");
    let bridge = stand.ready().await;
    let since = stand.emitted().await + 1;
    stand.emits(30).await;
    stand.control("frame", json!({"what": "oversized"})).await;
    bridge.line(&["frame_unreadable", "larger than genesys.frame_max"]).await;
    let lost = bridge.line(&["session_lost"]).await;
    assert_eq!(lost["reason"], "protocol", "{lost}");
    bridge.line(&["gap_closed"]).await;
    stand.emits(60).await;
    let verdict = stand.balance(bridge, since).await;
    verdict.assert_one_gap(&stand.sim.journal(), "protocol", "resumed", Duration::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_named_and_waited_for_and_costs_nothing() {
    let mut stand = Stand::new(brisk()).await;
    let disk = stand.config.path("disk");
    std::fs::create_dir(&disk).unwrap();
    let events = disk.join("events.jsonl");
    stand.config.set("sink.jsonl.path", events.display().to_string());
    let mut bridge = Bridge::launch(on_small_disk(&stand, &disk));
    bridge.doors().await;
    // It fills up sooner than `/readyz` is looked at.
    bridge.line(&["session_entered", "is live"]).await;
    let since = stand.emitted().await + 1;
    bridge.line(&["sink_failed", "jsonl", "No space left on device"]).await;
    bridge.unready(&["sink jsonl", "No space left on device"]).await;
    stand.emits(60).await;
    let sink = |state: &Value| state["sinks"][0]["waiting_events"].as_u64().unwrap() > 20;
    bridge.state("events wait for the disk", sink).await;

    let remount = Command::new("nsenter")
        .args(["-m", "-t", &bridge.pid().to_string()])
        .args(["mount", "-o", "remount,size=64m"])
        .arg(&disk)
        .status()
        .await;
    assert!(remount.unwrap().success());
    bridge.ready().await;
    stand.emits(30).await;
    stand.control("traffic", json!({"state": "pause"})).await;
    // The disk is the process's alone, and ends with it.
    let seen = Path::new("/proc").join(bridge.pid().to_string()).join("root");
    let seen = seen.join(events.strip_prefix("/").unwrap());
    let held = eventually("everything is in the file", async || {
        let held = crate::books::read_lines(&seen);
        stand.judge(&held, &[], since).lost.is_empty().then_some(held)
    })
    .await;
    let gaps = bridge.gaps().await;
    bridge.finish(&stand).await;
    stand.judge(&held, &gaps, since).assert_seamless();
}

/// The process on a disk of 64 KiB of its own, that nobody else sees and that is gone with it.
fn on_small_disk(stand: &Stand, disk: &Path) -> Command {
    let run = tieline(&stand.config, &[]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c"]);
    command.arg("mount -t tmpfs -o size=64k tmpfs \"$0\" && exec \"$@\"").arg(disk);
    command.arg(run.as_std().get_program()).args(run.as_std().get_args());
    command
}

#[cfg(all(feature = "kafka", feature = "nats"))]
#[tokio::test(flavor = "multi_thread")]
async fn nats_that_is_down_at_the_start_is_waited_for_while_ingesting() {
    down_at_the_start("nats", "sink.nats.url", "nats://").await;
}

#[cfg(all(feature = "kafka", feature = "nats"))]
#[tokio::test(flavor = "multi_thread")]
async fn kafka_that_is_down_at_the_start_is_waited_for_while_ingesting() {
    down_at_the_start("kafka", "sink.kafka.brokers", "").await;
}

/// Nothing of what is heard before the broker comes up is lost to it.
#[cfg(all(feature = "kafka", feature = "nats"))]
async fn down_at_the_start(kind: &str, key: &str, scheme: &str) {
    let closed = Closed::new();
    let address = closed.address();
    let mut stand = Stand::new(brisk()).await;
    stand.config.set(key, format!("{scheme}{address}"));
    let bridge = stand.start().await;
    bridge.line(&["sink_failed", kind, &address.to_string()]).await;
    bridge.line(&["session_entered", "is live"]).await;
    let since = stand.emitted().await + 1;
    bridge.unready(&[&format!("sink {kind} is not connected"), &address.to_string()]).await;
    stand.emits(60).await;
    let waiting = |state: &Value| state["sinks"][1]["waiting_events"].as_u64().unwrap() > 20;
    bridge.state("events wait for the broker", waiting).await;

    drop(closed);
    let port = address.port().to_string();
    let (script, own) = (kind.to_owned(), port.clone());
    let start = move || crate::servers::Server::start(&script, &["--port", &own]);
    let server = tokio::task::spawn_blocking(start).await.unwrap();
    bridge.ready().await;
    stand.emits(30).await;
    stand.control("traffic", json!({"state": "pause"})).await;
    stand.delivered_all(since).await;
    let held = stand.held();
    let of_queues = held.iter().filter(|event| !event.is_control()).count();
    let stored = match kind {
        "nats" => {
            let url = server.field("url");
            crate::consumers::nats(&url, "GENESYS", Some(held.len())).await
        }
        _ => {
            let brokers = address.to_string();
            crate::consumers::kafka(&brokers, "genesys.events", Some(of_queues)).await
        }
    };
    bridge.finish(&stand).await;
    let stored: Vec<_> = stored.into_iter().map(|message| message.event).collect();
    for held in [held, stored] {
        stand.judge(&held, &[], since).assert_seamless();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_does_not_answer_is_named() {
    let closed = Closed::new();
    let mut stand = Stand::new(quiet()).await;
    stand.config.set("genesys.login_url", "https://login.example.com");
    stand.config.set("genesys.api_url", "https://api.example.com");
    let proxy = format!("http://us-er:hush-hush@{}", closed.address());
    stand.config.environment = vec![("HTTPS_PROXY".to_owned(), proxy)];
    let bridge = stand.start().await;
    bridge.line(&["token_refused", "\"proxy\""]).await;
    bridge.unready(&["not subscribed yet"]).await;
    let log = bridge.finish(&stand).await;
    assert!(log.contains("at https://login.example.com"), "{log}");
    assert!(!log.contains("hush-hush"), "{log}");
}
